"""What is on the screen, saved: a picture with the window that was set, a film of a stack, both marked if wished."""

from __future__ import annotations

import io
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from django.test import Client
from PIL import Image

from apps.access.services import Principal
from apps.accounts.models import User
from apps.accounts.roles import CAPABILITIES, Role
from apps.audit.models import AuditEvent
from apps.audit.services import Context
from apps.clinics.models import Clinic
from apps.clinics.scoping import clinic_scope
from apps.dicom import phantom
from apps.exports import film
from apps.exports.watermark import mark
from apps.sharing import services as sharing
from apps.studies.models import Instance, Series
from tests.studies.files import index


@pytest.fixture
def head(clinic_a: Clinic) -> Series:
    with clinic_scope(clinic_a):
        index(clinic_a, *phantom.ct_head(6))
        return Series.objects.select_related("study__patient", "clinic").get()


def picture_of(client: Client, series: Series, **query: str) -> Image.Image:
    response = client.get(f"/c/alpha/series/{series.public_id}/picture/", query)
    assert response.status_code == 200
    return Image.open(io.BytesIO(response.content))


def test_the_picture_is_what_the_window_shows(as_bob: Client, head: Series) -> None:
    brain, bone = (
        np.asarray(picture_of(as_bob, head, window=window, format="png"), dtype=int) for window in ("40,80", "600,2800")
    )
    assert brain.shape == bone.shape == (512, 512)
    assert np.abs(brain - bone).mean() > 5
    assert picture_of(as_bob, head).format == "JPEG"
    with clinic_scope(head.clinic):
        first = Instance.objects.earliest("instance_number")
    assert not np.array_equal(
        np.asarray(picture_of(as_bob, head, window="40,80", format="png", instance=first.sop_instance_uid)), brain
    )
    events = AuditEvent.objects.filter(verb="instance.downloaded")
    assert {event.details["format"] for event in events} == {"png", "jpeg"}


def test_what_is_not_there_is_not_there(as_bob: Client, head: Series) -> None:
    for query in (
        {"window": "x"}, {"window": "40,0"}, {"frame": "2"}, {"frame": "0"}, {"format": "gif"}, {"rate": "900"},
        {"instance": "1.2.3"},
    ):  # fmt: skip
        assert as_bob.get(f"/c/alpha/series/{head.public_id}/picture/", query).status_code == 404, query


def test_a_film_plays_every_frame_in_order(as_bob: Client, head: Series, tmp_path: Path) -> None:
    response = as_bob.get(f"/c/alpha/series/{head.public_id}/film/", {"window": "40,80", "rate": "5"})
    assert response["Content-Type"] == "video/mp4"
    (tmp_path / "film.mp4").write_bytes(response.getvalue())
    told = subprocess.run(
        ["ffprobe", "-v", "error", "-count_frames", "-select_streams", "v", "-show_entries",
         "stream=codec_name,width,height,nb_read_frames,r_frame_rate,pix_fmt", "-of", "default=nw=1", "film.mp4"],
        cwd=tmp_path, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    for fact in ("codec_name=h264", "width=512", "nb_read_frames=6", "r_frame_rate=5/1", "pix_fmt=yuv420p"):
        assert fact in told
    assert AuditEvent.objects.get(verb="series.downloaded").details["format"] == "mp4"


def test_the_encoder_ends_when_nobody_reads_on() -> None:
    picture = io.BytesIO()
    Image.new("L", (64, 64), 90).save(picture, "JPEG")
    before = set(threading.enumerate())

    def endless() -> Iterator[bytes]:
        while True:
            yield picture.getvalue()

    chunks = film.make_film(endless, rate=25, size=(64, 64))
    assert next(chunks)
    # Threads of another test's server may end meanwhile.
    begun = set(threading.enumerate()) - before
    assert begun
    chunks.close()  # type: ignore[attr-defined]
    assert not begun & set(threading.enumerate())


def test_without_an_encoder_no_film_is_made_and_that_is_said(
    as_bob: Client, head: Series, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    response = as_bob.get(f"/c/alpha/series/{head.public_id}/film/")
    assert response["Location"] == f"/c/alpha/studies/{head.study.public_id}/"
    assert "No film can be made" in as_bob.get(response["Location"]).content.decode()


def test_a_watermark_is_written_over_the_picture_and_nothing_else_is() -> None:
    grey = io.BytesIO()
    Image.new("L", (400, 300), 40).save(grey, "PNG")
    assert mark(grey.getvalue(), "", "image/png") == grey.getvalue()
    marked = np.asarray(Image.open(io.BytesIO(mark(grey.getvalue(), "Dr. Grace · 2026", "image/png"))).convert("L"))
    share = (marked > 45).mean()
    assert 0.01 < share < 0.4
    assert {(marked[:150] > 45).any(), (marked[150:] > 45).any()} == {True}


def test_a_recipient_saves_marked_pictures_where_downloading_is_allowed_SHARE_15(
    clinic_a: Clinic, alice: User, as_alice: Client, head: Series
) -> None:
    context = Context("user", alice.public_id, user_id=alice.pk)
    with clinic_scope(clinic_a):
        acts = Principal("member", clinic_a, CAPABILITIES[Role.OWNER], context, alice)
        study = head.study
        made = [
            sharing.share(
                acts, [study], has_pin=False, recipient="Dr. Grace", is_watermarked=is_marked, may_download=may
            )
            for is_marked, may in ((True, True), (False, True), (True, False))
        ]
    pictures = []
    for one in made:
        dana = Client()
        dana.post(f"/s/{one.token}")
        path = f"/v/{one.share.link.public_id}/series/{head.public_id}/picture/"
        pictures.append(dana.get(path, {"format": "png", "window": "40,80"}))
    assert [response.status_code for response in pictures] == [200, 200, 404]
    marked, plain = (np.asarray(Image.open(io.BytesIO(one.content)).convert("L"), dtype=int) for one in pictures[:2])
    assert (np.abs(marked - plain) > 20).mean() > 0.005
