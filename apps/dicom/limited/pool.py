"""The portal's side: a few warm children, each with one call at a time, replaced when they die or have served enough.

A child that crashes, hangs or wants too much memory costs the one file it was at: the others of its call are given to a
fresh child, one by one. Nothing of a file is written anywhere; what a child asks for goes through its socket.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

from apps.dicom import errors
from apps.dicom.errors import Code, DicomError
from apps.dicom.limited import wire

log = logging.getLogger(__name__)

_ROOT: Final = Path(__file__).resolve().parents[3]
_START: Final = (
    "import sys; sys.path.insert(0, sys.argv[1]); from apps.dicom.limited import child; "
    "child.main(sys.argv[2], int(sys.argv[3]))"
)
_START_SECONDS: Final = 60
_IDLE_SECONDS: Final = 60
_STREAM_BYTES: Final = 64 << 10
_MAX_ASKED_BYTES: Final = 4 << 20
# One thread each: a child answers one call at a time, and its own threads would count against its limits.
_ENVIRONMENT: Final = {
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "MALLOC_ARENA_MAX": "1",
    "LC_ALL": "C.UTF-8",
}
_FAMILIES: Final = {
    name: kind
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and issubclass(kind, DicomError) and kind is not DicomError
}


@dataclass(frozen=True)
class Limits:
    """What one child may take."""

    memory_bytes: int
    """Address space, the interpreter and its libraries included."""
    processor_seconds: float
    """For one file."""
    wall_seconds: float
    """For one file, or for one piece of a long answer."""
    payload_bytes: int
    """Of one piece of an answer."""
    files: int = 5000
    """After so many a child is replaced, so that nothing adds up."""


@dataclass
class Call:
    """An operation on files, each with what is sent of it at once; the rest is read when the child asks."""

    operation: str
    files: Sequence[BinaryIO]
    arguments: dict[str, Any] = field(default_factory=dict)
    head_of: Callable[[BinaryIO], tuple[int, wire.Buffer]] | None = None


@dataclass
class Answer:
    """What a child said about one file: a text (of JSON, unchecked) and bytes, or an error."""

    body: Any = None
    payload: list[bytes] = field(default_factory=list)
    error: DicomError | None = None


class ChildGoneError(Exception):
    """The child died or was ended; `is_timeout`: because it took too long."""

    def __init__(self, *, is_timeout: bool) -> None:
        super().__init__()
        self.is_timeout = is_timeout


class ChildStartError(OSError):
    """No child can be started at the moment: that is no fault of any file, and nothing is decided."""


class Child:
    """One process and the socket to it."""

    def __init__(self, operations: str, limits: Limits) -> None:
        self.limits = limits
        self.served = 0
        self.idle_since = 0.0
        ours, theirs = socket.socketpair()
        with theirs:
            # -I: no environment and no current folder decide what is imported. What it prints could quote a file.
            self.process = subprocess.Popen(
                [sys.executable, "-I", "-c", _START, str(_ROOT), operations, str(limits.memory_bytes)],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=_ENVIRONMENT,
                close_fds=True,
                cwd="/",
            )
        self.connection = ours
        self.stream = cast("BinaryIO", ours.makefile("rb", buffering=_STREAM_BYTES))
        self.is_ready = False
        self._deadline = 0.0

    def answers(self, call: Call) -> Iterator[Answer]:
        """Send a call and yield an answer for each file, in order; a long one in pieces as they come.

        Raises ChildGoneError in place of the first answer that does not come, and what reading a file raises; the child
        is of no more use then.
        """
        self._wait_until_ready()
        heads = [(call.head_of or _whole_size)(file) for file in call.files]
        body = {
            "operation": call.operation,
            "arguments": call.arguments,
            "files": [(size, len(head)) for size, head in heads],
            "processor_seconds": self.limits.processor_seconds,
        }
        self._deadline = time.monotonic() + self.limits.wall_seconds * max(1, len(heads))
        self._send(wire.pack(wire.CALL, body, [head for _, head in heads]))
        self.served += len(heads)
        for _ in call.files:
            yield from self._answer(call.files)

    def _answer(self, files: Sequence[BinaryIO]) -> Iterator[Answer]:
        pieces: list[bytes] = []
        while True:
            kind, body, payload = self._receive()
            if kind == wire.READ:
                self._serve(files, body)
            elif kind == wire.PIECE:
                pieces.append(payload)
            elif kind == wire.DONE:
                yield Answer(body, pieces)
                return
            elif kind == wire.REFUSED:
                yield Answer(error=_error_of(body))
                return
            else:
                raise ChildGoneError(is_timeout=False)

    def end(self) -> None:
        """Kill the process and let go of it."""
        with contextlib.suppress(OSError):
            self.process.kill()
        with contextlib.suppress(OSError):
            self.stream.close()
            self.connection.close()
        self.process.wait()

    def forget(self) -> None:
        """Close the socket only: in a process that was forked, the child is its parent's."""
        with contextlib.suppress(OSError):
            self.stream.close()
            self.connection.close()

    def _wait_until_ready(self) -> None:
        if not self.is_ready:
            try:
                kind, body, _ = self._receive(_START_SECONDS)
            except ChildGoneError as gone:
                raise ChildStartError from gone
            if kind != wire.READY:
                raise ChildStartError
            self.is_ready = True
            if not body["is_confined"]:
                log.warning("parser children run without a system call filter on this system")

    def _serve(self, files: Sequence[BinaryIO], asked: Any) -> None:
        number, offset, length = asked["file"], asked["offset"], asked["length"]
        is_sound = type(number) is type(offset) is type(length) is int
        if not is_sound or not 0 <= number < len(files) or offset < 0 or not 0 <= length <= _MAX_ASKED_BYTES:
            raise ChildGoneError(is_timeout=False)
        file = files[number]
        file.seek(offset)
        self._send(wire.pack(wire.DATA, None, [file.read(length)]))

    def _send(self, buffers: list[wire.Buffer]) -> None:
        self.connection.settimeout(self.limits.wall_seconds)
        try:
            wire.send(self.connection, buffers)
        except OSError as error:
            raise self._gone(is_timeout=isinstance(error, TimeoutError)) from error

    def _receive(self, seconds: float | None = None) -> tuple[bytes, Any, bytes]:
        # A child that keeps asking is no better than one that is silent: the whole call has an end too.
        left = seconds or min(self.limits.wall_seconds, self._deadline - time.monotonic())
        if left <= 0:
            raise ChildGoneError(is_timeout=True)
        self.connection.settimeout(left)
        try:
            return wire.receive(self.stream, self.limits.payload_bytes)
        except (OSError, wire.WireError) as error:
            raise self._gone(is_timeout=isinstance(error, TimeoutError)) from error

    def _gone(self, *, is_timeout: bool) -> ChildGoneError:
        if not is_timeout:
            with contextlib.suppress(subprocess.TimeoutExpired):
                is_timeout = self.process.wait(1) in (-signal.SIGPROF, -signal.SIGXCPU)
        return ChildGoneError(is_timeout=is_timeout)


def _whole_size(file: BinaryIO) -> tuple[int, wire.Buffer]:
    return file.seek(0, os.SEEK_END), b""


def _error_of(body: Any) -> DicomError:
    try:
        name, code = body
        return _FAMILIES[name](Code(code))
    except (TypeError, ValueError, KeyError):
        raise ChildGoneError(is_timeout=False) from None


class Pool:
    """Children of one kind. Threads share it; a process that is forked starts its own."""

    def __init__(self, operations: str, limits: Limits, *, size: int) -> None:
        self._operations, self._limits = operations, limits
        self._idle: list[Child] = []
        self._lock = threading.Lock()
        self._places = threading.BoundedSemaphore(size)
        self._size = size
        os.register_at_fork(after_in_child=self._start_anew)

    def run(self, call: Call) -> list[Answer]:
        """Return an answer for each file of the call, in order.

        A file whose child dies twice has the error `parser-crashed`, one that takes too long `parser-timed-out`. Raises
        what reading a file raises, and ChildStartError: nothing is decided then.
        """
        answers: list[Answer] = []
        with self._places:
            with contextlib.suppress(ChildGoneError):
                self._collect(call, call.files, answers)
            # Whichever killed the child, the rest are asked about alone, each in its own call.
            while len(answers) < len(call.files):
                answers.append(self._alone(call, call.files[len(answers)]))
        return answers

    def warm_up(self) -> None:
        """Start a child ahead of its first call; returns at once."""
        with self._lock:
            if not self._idle:
                child = Child(self._operations, self._limits)
                child.idle_since = time.monotonic()
                self._idle.append(child)

    def close(self) -> None:
        """End the idle children."""
        with self._lock:
            idle, self._idle = self._idle, []
        for child in idle:
            child.end()

    def _alone(self, call: Call, file: BinaryIO) -> Answer:
        for is_last in (False, True):
            answers: list[Answer] = []
            try:
                self._collect(call, [file], answers)
            except ChildGoneError as gone:
                if gone.is_timeout:
                    return Answer(error=errors.RejectedError(Code.PARSER_TIMED_OUT))
                if is_last:
                    return Answer(error=errors.RejectedError(Code.PARSER_CRASHED))
                continue
            return answers[0]
        raise AssertionError

    def _collect(self, call: Call, files: Sequence[BinaryIO], answers: list[Answer]) -> None:
        child = self._taken()
        is_sound = False
        try:
            for answer in child.answers(Call(call.operation, files, call.arguments, call.head_of)):
                answers.append(answer)  # noqa: PERF402 - what came before a child died is kept
            is_sound = True
        finally:
            self._give_back(child, is_sound=is_sound)

    def _taken(self) -> Child:
        with self._lock:
            while self._idle:
                child = self._idle.pop()
                if child.process.poll() is None:
                    return child
                child.end()
        return Child(self._operations, self._limits)

    def _give_back(self, child: Child, *, is_sound: bool) -> None:
        if not is_sound or child.served >= self._limits.files:
            child.end()
            return
        child.idle_since = now = time.monotonic()
        with self._lock:
            self._idle.append(child)
            # The last one to come back goes out first: what a rush has left lies at the front.
            superfluous = [each for each in self._idle[:-1] if now - each.idle_since > _IDLE_SECONDS]
            self._idle = [each for each in self._idle if each not in superfluous]
        for each in superfluous:
            each.end()

    def _start_anew(self) -> None:
        idle, self._idle = self._idle, []
        self._lock, self._places = threading.Lock(), threading.BoundedSemaphore(self._size)
        for child in idle:
            child.forget()
