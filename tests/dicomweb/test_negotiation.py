"""Accept headers as clients really send them, and what they get (PS3.18 8.7)."""

from __future__ import annotations

import pytest

from apps.dicomweb.negotiation import (
    EXPLICIT_VR_BIG_ENDIAN,
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
    MediaRange,
    acceptable,
    choose,
    choose_frames,
    choose_instances,
    parse_accept,
    parse_media_type,
)

JPEG_BASELINE = "1.2.840.10008.1.2.4.50"
JPEG_LOSSLESS = "1.2.840.10008.1.2.4.70"
JPEG_LS = "1.2.840.10008.1.2.4.80"
J2K_LOSSLESS = "1.2.840.10008.1.2.4.90"
HTJ2K = "1.2.840.10008.1.2.4.201"
RLE = "1.2.840.10008.1.2.5"

OHIF_FRAMES = "multipart/related; type=application/octet-stream; transfer-syntax=*"


def frames(accept: str, stored: str, **kwargs: object) -> tuple[bool, str, str, bool] | None:
    found = choose_frames(parse_accept(accept), stored, **kwargs)  # type: ignore[arg-type]
    return found and (found.is_multipart, found.media_type, found.transfer_syntax_uid, found.is_as_stored)


def test_ranges_are_ordered_by_quality_and_then_as_sent() -> None:
    ranges = parse_accept("text/html;q=0.5, image/png, IMAGE/JPEG; Q=0.9, image/gif, video/mp4;q=0, nonsense, a/b;q=x")
    assert [one.media_type for one in ranges] == ["image/png", "image/gif", "image/jpeg", "text/html"]


def test_quoted_parameters_may_hold_separators() -> None:
    assert parse_media_type('Multipart/Related; TYPE="application/dicom"; boundary="a;b,\\"c"') == (
        "multipart/related",
        {"type": "application/dicom", "boundary": 'a;b,"c'},
    )


def test_no_accept_header_means_anything() -> None:
    assert parse_accept("") == [MediaRange("*/*")]
    assert parse_accept("nonsense") == []


def test_the_query_parameter_goes_before_the_header() -> None:
    assert [one.media_type for one in acceptable("*/*", ["image/png", "image/jpeg"])] == ["image/png", "image/jpeg"]
    assert [one.media_type for one in acceptable("image/gif", [])] == ["image/gif"]


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("application/dicom+json", "application/dicom+json"),
        ("application/dicom+json, application/json", "application/dicom+json"),
        ("application/json", "application/json"),
        ("*/*", "application/dicom+json"),
        ("application/*", "application/dicom+json"),
        ('multipart/related; type="application/dicom+xml"', None),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "application/dicom+json"),
    ],
)
def test_json_is_given_to_who_takes_it(accept: str, expected: str | None) -> None:
    assert choose(parse_accept(accept), ["application/dicom+json", "application/json"]) == expected


@pytest.mark.parametrize(
    ("stored", "media_type"),
    [(JPEG_LS, "image/jls"), (HTJ2K, "image/jphc"), (RLE, "image/dicom-rle"), (JPEG_LOSSLESS, "image/jpeg")],
)
def test_ohif_gets_compressed_frames_as_stored_and_named_by_their_true_type(stored: str, media_type: str) -> None:
    assert frames(OHIF_FRAMES, stored, frame_count=3) == (True, media_type, stored, True)


@pytest.mark.parametrize("stored", [EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN, "1.2.840.10008.1.2.1.99"])
def test_native_frames_are_octets_little_endian(stored: str) -> None:
    for accept in (OHIF_FRAMES, "", "multipart/related; type=application/octet-stream"):
        assert frames(accept, stored) == (True, "application/octet-stream", EXPLICIT_VR_LITTLE_ENDIAN, True)


def test_big_endian_is_turned_round() -> None:
    assert frames(OHIF_FRAMES, EXPLICIT_VR_BIG_ENDIAN) == (
        True,
        "application/octet-stream",
        EXPLICIT_VR_LITTLE_ENDIAN,
        False,
    )


def test_octets_without_a_transfer_syntax_are_decoded() -> None:
    accept = 'multipart/related; type="application/octet-stream"'
    assert frames(accept, J2K_LOSSLESS) == (True, "application/octet-stream", EXPLICIT_VR_LITTLE_ENDIAN, False)
    assert frames(accept, J2K_LOSSLESS, may_decode=False) is None


@pytest.mark.parametrize(
    ("accept", "stored", "media_type"),
    [
        ('multipart/related; type="image/jpeg"', JPEG_BASELINE, "image/jpeg"),
        (f'multipart/related; type="image/jpeg"; transfer-syntax={JPEG_BASELINE}', JPEG_BASELINE, "image/jpeg"),
        ('multipart/related; type="image/x-jls"', JPEG_LS, "image/jls"),
        ('multipart/related; type="image/*"', JPEG_LS, "image/jls"),
        ('multipart/related; type="*/*"', J2K_LOSSLESS, "image/jp2"),
        ("multipart/related", J2K_LOSSLESS, "image/jp2"),
    ],
)
def test_a_stored_frame_goes_to_who_names_its_type(accept: str, stored: str, media_type: str) -> None:
    assert frames(accept, stored) == (True, media_type, stored, True)


@pytest.mark.parametrize(
    ("accept", "stored"),
    [
        ('multipart/related; type="image/jpeg"', JPEG_LS),
        (f'multipart/related; type="image/jpeg"; transfer-syntax={JPEG_LOSSLESS}', JPEG_BASELINE),
        ('multipart/related; type="image/jpeg"', EXPLICIT_VR_LITTLE_ENDIAN),
        ("text/html", EXPLICIT_VR_LITTLE_ENDIAN),
        ('multipart/related; type="video/mp4"', JPEG_BASELINE),
    ],
)
def test_a_frame_is_never_compressed_anew(accept: str, stored: str) -> None:
    assert frames(accept, stored) is None


def test_a_single_part_answer_is_for_one_frame() -> None:
    assert frames("application/octet-stream", EXPLICIT_VR_LITTLE_ENDIAN) == (
        False,
        "application/octet-stream",
        EXPLICIT_VR_LITTLE_ENDIAN,
        True,
    )
    assert frames("application/octet-stream", EXPLICIT_VR_LITTLE_ENDIAN, frame_count=2) is None
    assert frames("image/jls; transfer-syntax=*", JPEG_LS) == (False, "image/jls", JPEG_LS, True)


def test_the_better_liked_range_wins() -> None:
    accept = 'multipart/related; type="application/octet-stream"; q=0.5, multipart/related; type="image/jp2"'
    assert frames(accept, J2K_LOSSLESS) == (True, "image/jp2", J2K_LOSSLESS, True)


def instances(accept: str, stored: str, *, is_single: bool = True) -> tuple[bool, str | None] | None:
    found = choose_instances(parse_accept(accept), is_single=is_single)
    return found and (found.is_multipart, found.syntax_for(stored))


@pytest.mark.parametrize(
    ("accept", "stored", "expected"),
    [
        ('multipart/related; type="application/dicom"; transfer-syntax=*', J2K_LOSSLESS, (True, J2K_LOSSLESS)),
        ("", J2K_LOSSLESS, (True, J2K_LOSSLESS)),
        ('multipart/related; type="application/dicom"', J2K_LOSSLESS, (True, EXPLICIT_VR_LITTLE_ENDIAN)),
        ('multipart/related; type="application/dicom"', IMPLICIT_VR_LITTLE_ENDIAN, (True, EXPLICIT_VR_LITTLE_ENDIAN)),
        ('multipart/related; type="application/dicom"', JPEG_BASELINE, (True, JPEG_BASELINE)),
        (f'multipart/related; type="application/dicom"; transfer-syntax={JPEG_LS}', JPEG_LS, (True, JPEG_LS)),
        (f'multipart/related; type="application/dicom"; transfer-syntax={JPEG_LS}', J2K_LOSSLESS, (True, None)),
        ("application/dicom", EXPLICIT_VR_LITTLE_ENDIAN, (False, EXPLICIT_VR_LITTLE_ENDIAN)),
        ("application/dicom+xml", EXPLICIT_VR_LITTLE_ENDIAN, None),
        ('multipart/related; type="application/dicom+xml"', EXPLICIT_VR_LITTLE_ENDIAN, None),
    ],
)
def test_instances(accept: str, stored: str, expected: tuple[bool, str | None] | None) -> None:
    assert instances(accept, stored) == expected


def test_several_instances_are_never_single_part() -> None:
    assert instances("application/dicom", EXPLICIT_VR_LITTLE_ENDIAN, is_single=False) is None


def test_every_acceptable_transfer_syntax_counts() -> None:
    part = 'multipart/related; type="application/dicom"'
    accept = f"{part}; transfer-syntax={JPEG_LS}, {part}; transfer-syntax={EXPLICIT_VR_LITTLE_ENDIAN};q=0.5"
    assert instances(accept, JPEG_LS) == (True, JPEG_LS)
    assert instances(accept, RLE) == (True, EXPLICIT_VR_LITTLE_ENDIAN)
