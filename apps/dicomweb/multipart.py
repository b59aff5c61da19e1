"""multipart/related (RFC 2387, RFC 2046 5.1): a writer, and a reader that never holds a whole part.

The ready-made parsers are made for forms: they want a Content-Disposition in each part or push data at callbacks. A
stored instance is pulled instead, chunk by chunk, straight into encryption, so that no byte of it rests in the clear.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from apps.dicomweb.errors import BadRequestError

CHUNK_BYTES = 1024 * 1024
MAX_HEADER_BYTES = 8 * 1024
MAX_BOUNDARY_BYTES = 70

_BLANK_LINE = b"\r\n\r\n"


class MultipartError(BadRequestError):
    """The body is not the multipart message that its Content-Type promises, or it ends too early."""

    code = "bad-multipart"


class Readable(Protocol):
    """What a body is read from."""

    def read(self, size: int, /) -> bytes:
        """Return up to `size` bytes, none at the end."""
        ...


@dataclass(frozen=True)
class Part:
    """One part of a body. `chunks` must be used up, or left, before the next part is asked for."""

    headers: Mapping[str, str]
    chunks: Iterator[bytes]

    @property
    def content_type(self) -> str:
        """Return the Content-Type of the part, empty when it names none."""
        return self.headers.get("content-type", "")


class MultipartReader:
    """Walk through the parts of a body as it arrives.

    Holds at most one chunk and one delimiter in memory. What a caller leaves of a part is skipped when the next one is
    asked for. Raises MultipartError, from the parts' chunks too, when the body is malformed or cut off.
    """

    def __init__(self, stream: Readable, boundary: str, *, chunk_bytes: int = CHUNK_BYTES) -> None:
        encoded = boundary.encode("ascii", errors="replace")
        if not 0 < len(encoded) <= MAX_BOUNDARY_BYTES:
            raise MultipartError("The Content-Type names no usable boundary.")
        self._stream = stream
        self._chunk_bytes = chunk_bytes
        self._delimiter = b"\r\n--" + encoded
        # What was read, used as far as `_at`. The first delimiter may stand at the very start: it is treated as if a
        # line had ended before it.
        self._buffer = b"\r\n"
        self._at = 0
        self._is_inside = True

    def __iter__(self) -> Iterator[Part]:
        self._skip()  # the preamble is no content (RFC 2046 5.1.1)
        while not self._is_closed():
            headers = self._read_headers()
            self._is_inside = True
            yield Part(headers, self._until_delimiter())
            self._skip()

    def _skip(self) -> None:
        # A fresh generator: the part's own one may have been closed half way.
        if self._is_inside:
            for _ in self._until_delimiter():
                pass

    def _fill(self) -> None:
        chunk = self._stream.read(self._chunk_bytes)
        if not chunk:
            raise MultipartError("The body ends before its closing boundary.")
        rest = self._buffer[self._at :]
        self._buffer, self._at = rest + chunk if rest else chunk, 0

    def _until_delimiter(self) -> Iterator[bytes]:
        """Yield what lies before the next delimiter and go behind the delimiter."""
        delimiter = self._delimiter
        while (position := self._buffer.find(delimiter, self._at)) < 0:
            # Bytes that may be the beginning of a delimiter stay for the next round.
            safe = len(self._buffer) - len(delimiter) + 1
            if safe > self._at:
                chunk = self._buffer[self._at : safe]
                self._at = safe
                yield chunk
            self._fill()
        chunk = self._buffer[self._at : position]
        self._at = position + len(delimiter)
        self._is_inside = False
        if chunk:
            yield chunk

    def _find(self, end: bytes, complaint: str) -> int:
        """Return where `end` stands next; raises MultipartError when it is not where a header ends at the latest."""
        while (position := self._buffer.find(end, self._at)) < 0:
            if len(self._buffer) - self._at > MAX_HEADER_BYTES:
                raise MultipartError(complaint)
            self._fill()
        if position - self._at > MAX_HEADER_BYTES:
            raise MultipartError(complaint)
        return position

    def _is_closed(self) -> bool:
        """Read the rest of the delimiter's line; True when it was the closing one."""
        while len(self._buffer) - self._at < 2:
            self._fill()
        if self._buffer.startswith(b"--", self._at):
            return True
        position = self._find(b"\r\n", "A boundary line does not end.")
        if self._buffer[self._at : position].strip(b" \t"):
            raise MultipartError("A boundary line goes on after the boundary.")
        self._at = position
        return False

    def _read_headers(self) -> dict[str, str]:
        """Read the header lines; the buffer begins with the line end of the delimiter, so none at all is found too."""
        position = self._find(_BLANK_LINE, "The headers of a part are too long or do not end.")
        lines = self._buffer[self._at : position].decode("latin-1").split("\r\n")
        self._at = position + len(_BLANK_LINE)
        headers: dict[str, str] = {}
        for line in lines:
            if not line:
                continue
            name, colon, value = line.partition(":")
            if not colon:
                raise MultipartError("A header line of a part has no colon.")
            headers[name.strip().lower()] = value.strip()
        return headers


def make_boundary() -> str:
    """Return a boundary that no content holds but by a chance of 2 to the power of -128."""
    return secrets.token_hex(16)


def part_head(boundary: str, content_type: str, headers: Mapping[str, str] | None = None, *, is_first: bool) -> bytes:
    """Return what stands before the content of a part: delimiter, headers, blank line.

    No CR or LF gets through into a header.
    """
    lines = [f"--{boundary}", f"Content-Type: {content_type}"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    if any("\r" in line or "\n" in line for line in lines):
        raise ValueError("a header may not hold a line end")
    return ("" if is_first else "\r\n").encode() + "\r\n".join(lines).encode("ascii") + _BLANK_LINE


def closing(boundary: str) -> bytes:
    """Return what ends the body."""
    return f"\r\n--{boundary}--\r\n".encode()


def write_multipart(
    boundary: str, parts: Iterable[tuple[str, Iterable[bytes]]], headers: Mapping[str, str] | None = None
) -> Iterator[bytes]:
    """Yield a body of parts, each a Content-Type and its chunks; nothing is held back. `headers`: more for each."""
    is_first = True
    for content_type, chunks in parts:
        yield part_head(boundary, content_type, headers, is_first=is_first)
        yield from chunks
        is_first = False
    yield closing(boundary) if not is_first else f"--{boundary}--\r\n".encode()


def multipart_content_type(boundary: str, part_type: str) -> str:
    """Return the Content-Type of a whole body; `part_type` is the media type of its parts, without parameters."""
    return f'multipart/related; type="{part_type}"; boundary={boundary}'
