"""The multipart reader and writer: any chunking, any content, nothing half."""

from __future__ import annotations

import io
import secrets

import pytest

from apps.dicomweb.multipart import MultipartError, MultipartReader, make_boundary, part_head, write_multipart


def read(body: bytes, boundary: str = "b", chunk_bytes: int = 65536) -> list[tuple[str, bytes]]:
    reader = MultipartReader(io.BytesIO(body), boundary, chunk_bytes=chunk_bytes)
    return [(part.content_type, b"".join(part.chunks)) for part in reader]


@pytest.mark.parametrize("chunk_bytes", [1, 2, 3, 7, 64, 65536])
def test_parts_are_read_back_whatever_the_chunk_size(chunk_bytes: int) -> None:
    contents = [b"", b"\r\n", b"--b", b"\r\n--", b"x\r\n-\r\n--\r\n--c\r\n", secrets.token_bytes(999)]
    body = b"".join(write_multipart("b", [("application/dicom", [content]) for content in contents]))
    assert read(body, chunk_bytes=chunk_bytes) == [("application/dicom", content) for content in contents]


def test_a_body_may_begin_with_a_line_end_or_a_preamble_and_end_with_an_epilogue() -> None:
    rest = b"--b\r\nContent-Type: a/b\r\n\r\n1\r\n--b--"
    assert read(b"\r\n" + rest) == read(b"ignored\r\n" + rest) == read(rest + b"\r\nignored") == [("a/b", b"1")]


def test_boundary_lines_may_end_in_blanks_and_parts_may_have_no_headers() -> None:
    assert read(b"--b \t\r\n\r\n1\r\n--b--") == [("", b"1")]


def test_a_part_that_is_left_half_read_does_not_spoil_the_next() -> None:
    body = b"".join(write_multipart("b", [("a/b", [b"1" * 5000]), ("a/b", [b"2"])]))
    seen = []
    for part in MultipartReader(io.BytesIO(body), "b", chunk_bytes=100):
        seen.append(next(part.chunks)[:1])
        part.chunks.close()  # type: ignore[attr-defined]
    assert seen == [b"1", b"2"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"no boundary at all",
        b"--b\r\nContent-Type: a/b\r\n\r\ncut off",
        b"--b\r\nContent-Type: a/b\r\n\r\n1\r\n--b\r\n",
        b"--b\r\nContent-Type: a/b",
        b"--b\r\nno colon\r\n\r\n1\r\n--b--",
        b"--bc\r\n\r\n1\r\n--b--",
        b"--b\r\nX: " + b"x" * 20000 + b"\r\n\r\n1\r\n--b--",
    ],
)
def test_a_malformed_or_truncated_body_is_an_error(body: bytes) -> None:
    with pytest.raises(MultipartError):
        read(body)


@pytest.mark.parametrize("boundary", ["", "x" * 71])
def test_an_unusable_boundary_is_an_error(boundary: str) -> None:
    with pytest.raises(MultipartError):
        MultipartReader(io.BytesIO(b""), boundary)


def test_a_long_part_is_never_held_whole() -> None:
    class Endless:
        def __init__(self) -> None:
            self.rest = 64

        def read(self, size: int, /) -> bytes:
            self.rest -= 1
            return b"\r\n--" + b"x" * (size - 4) if self.rest else b"\r\n--b--"

    reader = MultipartReader(Endless(), "b", chunk_bytes=1000)
    reader._buffer += b"--b\r\n\r\n"
    part = next(iter(reader))
    assert max(len(chunk) for chunk in part.chunks) <= 2000


def test_line_ends_do_not_get_into_part_headers() -> None:
    with pytest.raises(ValueError, match="line end"):
        part_head("b", "image/jpeg\r\nX-Evil: 1", is_first=True)


def test_boundaries_do_not_repeat() -> None:
    assert len({make_boundary() for _ in range(1000)}) == 1000
