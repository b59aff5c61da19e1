"""What travels between the portal and a limited child: a head, a JSON text, bytes. Nothing that runs when it is read.

    message = kind (1 byte) || length of the text (4 bytes) || length of the bytes (8 bytes) || text || bytes

The portal believes nothing that a child says: lengths are bounded, the text must be JSON, and whoever asked checks it.
"""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Iterable
from typing import Any, BinaryIO, Final

CALL: Final = b"C"
"""To the child: an operation, its arguments, and the beginnings of its files."""
DATA: Final = b"D"
"""To the child: the range of a file that it asked for."""
READY: Final = b"Y"
"""From the child, once: it is warm and confined, or as far as this system can."""
READ: Final = b"R"
"""From the child: it needs a range of a file."""
PIECE: Final = b"P"
"""From the child: bytes of the answer for the present file; more may follow."""
DONE: Final = b"O"
"""From the child: the answer for the present file, whole now."""
REFUSED: Final = b"E"
"""From the child: the present file has the error with this family and code."""

_HEAD: Final = struct.Struct("<cIQ")
_MAX_TEXT_BYTES: Final = 64 << 20
_TOGETHER_BYTES: Final = 64 << 10

Buffer = bytes | bytearray | memoryview


class WireError(Exception):
    """What came is no message: the other side is gone, or not what it was."""


def pack(kind: bytes, body: Any = None, payload: Iterable[Buffer] = ()) -> list[Buffer]:
    """Return a message as the buffers to be sent one after the other."""
    text = b"" if body is None else json.dumps(body, separators=(",", ":"), allow_nan=False).encode()
    parts = list(payload)
    return [_HEAD.pack(kind, len(text), sum(map(len, parts))), text, *parts]


def send(connection: socket.socket, buffers: list[Buffer]) -> None:
    """Send buffers: small ones in one go, large ones without a copy of them."""
    if sum(map(len, buffers)) <= _TOGETHER_BYTES:
        connection.sendall(b"".join(buffers))
        return
    for buffer in buffers:
        connection.sendall(buffer)


def receive(stream: BinaryIO, max_payload_bytes: int) -> tuple[bytes, Any, bytes]:
    """Return the next message: its kind, its body and its bytes; raises WireError."""
    head = stream.read(_HEAD.size)
    if len(head) != _HEAD.size:
        raise WireError
    kind, text_bytes, payload_bytes = _HEAD.unpack(head)
    if text_bytes > _MAX_TEXT_BYTES or payload_bytes > max_payload_bytes:
        raise WireError
    text = stream.read(text_bytes)
    payload = stream.read(payload_bytes) if payload_bytes else b""
    if len(text) != text_bytes or len(payload) != payload_bytes:
        raise WireError
    try:
        return kind, json.loads(text) if text else None, payload
    except (ValueError, RecursionError) as error:
        raise WireError from error
