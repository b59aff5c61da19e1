"""A study looked at as a person would notice what is wrong: every byte, every pixel, and through the viewer's door."""

from __future__ import annotations

import hashlib
import hmac
import logging
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.test import Client
from django.urls import reverse

from apps.clinics.models import Clinic
from apps.clinics.scoping import clinic_scope
from apps.dicom.decode import can_decode, decode_frame
from apps.dicom.errors import DicomError
from apps.dicom.frames import PixelIndex, frame_range, read_ranges
from apps.dicom.parse import parse_header
from apps.keys.errors import KeyUnavailableError
from apps.storage.errors import StorageError
from apps.storage.models import Blob
from apps.storage.services import open_blob
from apps.studies.models import Document, Instance, Study

log = logging.getLogger(__name__)

Fail = Callable[[str, str, str], None]
ANY_FRAME = 'multipart/related; type="application/octet-stream"; transfer-syntax=*'


class Looker:
    """Looks at studies of one clinic and counts; what is wrong goes to ``fail`` (item, code, message)."""

    def __init__(self, clinic: Clinic, token: str, fail: Fail, digest: Any) -> None:
        self._clinic, self._token, self._fail, self._digest = clinic, token, fail, digest
        self.instance_count = self.frame_count = self.document_count = self.read_bytes = 0
        host = next((name for name in settings.ALLOWED_HOSTS if not name.startswith((".", "*", "["))), "localhost")
        self._client = Client(HTTP_HOST=host, raise_request_exception=False)

    def look_at(self, study: Study) -> None:
        """Read, parse and decode all instances and documents of a study, and open it as the viewer does."""
        with clinic_scope(self._clinic):
            instances = list(
                Instance.objects.filter(series__study=study).select_related("blob", "series__study").order_by("pk")
            )
            documents = list(Document.objects.filter(study=study).select_related("blob"))
            for instance in instances:
                self._read(instance.blob, instance)
            for document in documents:
                self._read(document.blob)
        self.instance_count += len(instances)
        self.document_count += len(documents)
        with_pixels = next((each for each in instances if each.number_of_frames and each.pixel_index), None)
        self._open(study, with_pixels)

    def _read(self, blob: Blob, instance: Instance | None = None) -> None:
        item = f"blob {blob.public_id}"
        try:
            with open_blob(blob) as reader:
                digest = hashlib.sha256()
                while chunk := reader.read(1 << 20):
                    digest.update(chunk)
                self.read_bytes += reader.size
                if not hmac.compare_digest(digest.digest(), bytes(blob.sha256)):
                    self._fail(item, "blob-differs", f"{item} opens, but is not what was stored.")
                if instance is not None:
                    reader.seek(0)
                    self._decode(reader, instance)
        except (StorageError, KeyUnavailableError) as error:
            self._fail(item, error.code, f"{item}: {error}")
        except DicomError as error:
            self._fail(item, "not-readable", f"{item} is not a readable DICOM file any more: {error}")

    def _decode(self, reader: Any, instance: Instance) -> None:
        header = parse_header(reader)
        if header.sop_instance_uid != instance.sop_instance_uid:
            self._fail(f"blob {instance.blob.public_id}", "other-instance", "The blob holds another instance.")
        index = PixelIndex.from_bytes(bytes(instance.pixel_index)) if instance.pixel_index else None
        if index is None or not can_decode(instance.transfer_syntax_uid):
            return
        for number in range(1, instance.number_of_frames + 1):
            self._digest.update(hashlib.sha256(decode_frame(reader, index, number)).digest())
            self.frame_count += 1

    def _open(self, study: Study, instance: Instance | None) -> None:
        """Ask for the study's metadata and a frame as the viewer does: rights, trail, decryption and all."""
        item = f"study {study.public_id}"
        uids = [study.study_instance_uid]
        answer = self._get("dicomweb-study-metadata", uids, "application/dicom+json")
        if answer[0] != 200:
            self._fail(item, "viewer-refused", f"The viewer does not get the metadata of {item} ({answer[0]}).")
        if instance is None:
            return
        uids += [instance.series.series_instance_uid, instance.sop_instance_uid, "1"]
        status, body = self._get("dicomweb-frames", uids, ANY_FRAME)
        with clinic_scope(self._clinic):
            if status != 200 or self._first_frame(instance) not in body:
                self._fail(item, "viewer-refused", f"The viewer does not get the pixels of {item} ({status}).")

    def _first_frame(self, instance: Instance) -> bytes:
        """Return the bytes that must be in the answer; none where the frame is no run of bytes, or cannot be read."""
        try:
            with open_blob(instance.blob) as reader:
                index = PixelIndex.from_bytes(bytes(instance.pixel_index or b""))
                return read_ranges(reader, frame_range(index, 1))
        except (StorageError, KeyUnavailableError, DicomError):
            # What cannot be read was named where it was read from end to end.
            return b""

    def _get(self, name: str, arguments: list[str], accept: str) -> tuple[int, bytes]:
        url = reverse(name, args=[self._clinic.slug, *arguments])
        headers = {"Authorization": f"Bearer {self._token}", "Accept": accept}
        answer: Any = self._client.get(url, headers=headers, secure=True)
        try:
            body = b"".join(answer.streaming_content) if answer.streaming else answer.content
        except StorageError:
            return 500, b""
        return answer.status_code, bytes(body)
