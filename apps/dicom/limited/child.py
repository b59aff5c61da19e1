"""The child's side: confined, it answers one call after the other until its socket closes.

Started as `python -I -c "...; child.main(...)"` by `pool`, with its one socket as standard input and nothing else.
"""

from __future__ import annotations

import gc
import importlib
import io
import socket
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, Final, cast

from apps.dicom.errors import Code, DicomError, RejectedError
from apps.dicom.limited import confine, wire

_READ_BYTES: Final = 64 << 10
_MAX_READ_BYTES: Final = 4 << 20
# Answers to small files are sent together, but nobody waits longer than this for one that is ready.
_HOLD_SECONDS: Final = 0.05
_HOLD_BYTES: Final = 256 << 10
_MAX_PAYLOAD_BYTES: Final = 64 << 20

Operation = Callable[[BinaryIO, dict[str, Any]], tuple[Any, Iterator[bytes]]]


class _Line:
    """The socket to the portal."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.stream = cast("BinaryIO", connection.makefile("rb", buffering=_READ_BYTES))
        self._held: list[wire.Buffer] = []
        self._held_bytes = 0
        self._flushed_at = 0.0

    def receive(self) -> tuple[bytes, Any, bytes]:
        return wire.receive(self.stream, _MAX_PAYLOAD_BYTES)

    def hold(self, kind: bytes, body: Any = None, payload: tuple[bytes, ...] = ()) -> None:
        """Send with the others, soon."""
        buffers = wire.pack(kind, body, payload)
        self._held += buffers
        self._held_bytes += sum(map(len, buffers))
        if self._held_bytes > _HOLD_BYTES or time.monotonic() - self._flushed_at > _HOLD_SECONDS:
            self.flush()

    def flush(self) -> None:
        if self._held:
            held, self._held, self._held_bytes = self._held, [], 0
            wire.send(self.connection, held)
        self._flushed_at = time.monotonic()


class SentFile(io.BytesIO):
    """A file that came whole with the call."""

    @property
    def head(self) -> bytes:
        """The bytes that came with the call."""
        return self.getvalue()


class RemoteFile(io.RawIOBase):
    """A file that lies with the portal: its beginning came with the call, other ranges are asked for."""

    def __init__(self, line: _Line, number: int, size: int, head: bytes) -> None:
        super().__init__()
        self._line, self._number, self._size, self.head = line, number, size, head
        self._at = 0
        self._window, self._window_at = b"", 0
        self._ahead = _READ_BYTES

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = 0, /) -> int:
        self._at = max(0, offset + {0: 0, 1: self._at, 2: self._size}[whence])
        return self._at

    def read(self, size: int | None = -1, /) -> bytes:
        left = max(0, self._size - self._at)
        wanted = left if size is None or size < 0 else min(size, left)
        data = self._some(wanted) if wanted else b""
        if len(data) < wanted:
            parts = [data]
            missing = wanted - len(data)
            while missing:
                parts.append(self._some(missing))
                missing -= len(parts[-1])
            data = b"".join(parts)
        return data

    def readinto(self, target: Any, /) -> int:
        view = memoryview(target).cast("B")
        data = self.read(len(view))
        view[: len(data)] = data
        return len(data)

    def _some(self, wanted: int) -> bytes:
        """Return at least one of the wanted bytes at the present place, and go behind them."""
        at = self._at
        if at < len(self.head):
            data = self.head[at : at + wanted]
        else:
            inside = at - self._window_at
            if not 0 <= inside < len(self._window):
                self._load(wanted)
                inside = 0
            data = self._window[inside : inside + wanted]
        self._at = at + len(data)
        return data

    def _load(self, wanted: int) -> None:
        is_next = self._at == self._window_at + len(self._window) and bool(self._window)
        self._ahead = min(2 * self._ahead, _MAX_READ_BYTES) if is_next else _READ_BYTES
        length = min(max(wanted, self._ahead), _MAX_READ_BYTES, self._size - self._at)
        self._line.hold(wire.READ, {"file": self._number, "offset": self._at, "length": length})
        self._line.flush()
        kind, _, data = self._line.receive()
        if kind != wire.DATA or len(data) != length:
            raise wire.WireError
        self._window, self._window_at = data, self._at


def main(operations: str, memory_bytes: int) -> None:
    """Answer calls of the functions in the module `operations` until the portal hangs up."""
    line = _Line(socket.socket(fileno=0))
    module = importlib.import_module(operations)
    module.warm_up()
    gc.collect()
    gc.freeze()
    confine.limit(memory_bytes)
    is_confined = confine.confine()
    line.hold(wire.READY, {"is_confined": is_confined})
    line.flush()
    try:
        while True:
            _answer(line, module.OPERATIONS)
    except (wire.WireError, OSError):
        confine.leave()


def _answer(line: _Line, operations: dict[str, Operation]) -> None:
    kind, call, heads = line.receive()
    if kind != wire.CALL:
        raise wire.WireError
    operation = operations[call["operation"]]
    at = 0
    for number, (size, head_bytes) in enumerate(call["files"]):
        head = heads[at : at + head_bytes]
        at += head_bytes
        file = SentFile(head) if size == head_bytes else RemoteFile(line, number, size, head)
        confine.allow_seconds(call["processor_seconds"])
        try:
            body, pieces = operation(cast("BinaryIO", file), call["arguments"])
            for piece in pieces:
                line.hold(wire.PIECE, None, (piece,))
            line.hold(wire.DONE, body)
        except wire.WireError:
            raise
        except DicomError as error:
            line.hold(wire.REFUSED, [type(error).__name__, error.code])
        except MemoryError:
            line.hold(wire.REFUSED, [RejectedError.__name__, Code.TOO_LARGE])
        except Exception:
            # A hole in a parser or decoder costs this one file. Nothing is said about it: the text may quote the file.
            line.hold(wire.REFUSED, [RejectedError.__name__, Code.MALFORMED])
    confine.allow_seconds(0)
    line.flush()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
