"""Files of strangers are read by children that can do nothing else (CONTROLS UPL-08, fault F20)."""

from __future__ import annotations

import dataclasses
import io
import os
import signal
import threading
import time
from functools import partial

import pytest

from apps.dicom import decode, json_model, limited, parse
from apps.dicom.errors import Code, DicomError, FrameError, RejectedError
from apps.dicom.limited import pool as pool_module
from apps.dicom.limited.plain import NotPlainError, from_plain, to_plain
from apps.dicom.limited.pool import Call, Child, Limits, Pool
from tests.dicom.files import grey, part10

MB = 1 << 20
LIMITS = Limits(memory_bytes=700 * MB, processor_seconds=0.5, wall_seconds=2, payload_bytes=MB, files=50)


@pytest.fixture(scope="module")
def pool():
    pool = Pool("tests.dicom.dangerous", LIMITS, size=2)
    yield pool
    pool.close()


def outcomes(pool, contents, operation="echo"):
    answers = pool.run(Call(operation, [io.BytesIO(content) for content in contents]))
    return [answer.error.code if answer.error else b"".join(answer.payload) for answer in answers]


def test_a_file_that_kills_its_parser_costs_that_one_file_UPL_08_F20(pool):
    for deadly, code in (
        (b"crash", Code.PARSER_CRASHED),
        (b"hang", Code.PARSER_TIMED_OUT),
        (b"sleep", Code.PARSER_TIMED_OUT),
        (b"allocate", Code.TOO_LARGE),
        (b"recurse", Code.MALFORMED),
    ):
        assert outcomes(pool, [b"one", b"two", deadly, b"three"]) == [b"one", b"two", code, b"three"]
    assert outcomes(pool, [b"again"]) == [b"again"]


def test_a_child_that_asks_for_ever_is_ended_UPL_08(pool):
    assert outcomes(pool, [bytes(MB)], "asking_for_ever") == [Code.PARSER_TIMED_OUT]


def test_a_confined_child_reaches_nothing_and_knows_nothing_UPL_08(pool, monkeypatch):
    monkeypatch.setenv("PORTAL_MASTER_KEY", "secret")
    fresh = Pool("tests.dicom.dangerous", LIMITS, size=1)
    [answer] = fresh.run(Call("escape", [io.BytesIO(b"")]))
    fresh.close()
    succeeded, environment = answer.body
    assert succeeded == []
    assert not [name for name in environment if name.startswith(("PORTAL", "DATABASE", "PATH"))]


def test_a_killed_child_is_replaced_and_its_file_read_again_F20(pool):
    outcomes(pool, [b"warm"])
    begun = time.monotonic()
    for child in pool._idle:
        os.kill(child.process.pid, signal.SIGKILL)
        child.process.wait()
    assert outcomes(pool, [b"one", b"two"]) == [b"one", b"two"]
    assert time.monotonic() - begun < 5 * 6  # 5 s on a machine of its own


def test_one_that_is_slow_holds_nobody_else_up_RATE_04(pool):
    slow = threading.Thread(target=outcomes, args=(pool, [b"sleep"]))
    outcomes(pool, [b"warm"])
    slow.start()
    assert outcomes(pool, [b"quick"]) == [b"quick"]
    assert slow.is_alive()
    slow.join()


def test_a_child_is_replaced_after_so_many_files(pool):
    outcomes(pool, [b"one"])
    before = {child.process.pid for child in pool._idle}
    outcomes(pool, [b"x"] * LIMITS.files)
    outcomes(pool, [b"x"] * LIMITS.files)
    assert not before & {child.process.pid for child in pool._idle}


def test_what_reading_a_file_raises_comes_through_and_decides_nothing(pool):
    class Broken(io.BytesIO):
        def read(self, size=-1):
            raise ConnectionError("away")

    with pytest.raises(ConnectionError):
        pool.run(Call("asking_for_ever", [Broken(bytes(MB))]))
    assert outcomes(pool, [b"fine"]) == [b"fine"]


def test_a_forked_process_leaves_its_parents_children_alone(pool):
    outcomes(pool, [b"warm"])
    count = len(pool._idle)
    pid = os.fork()
    if pid == 0:
        os._exit(len(pool._idle))
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert len(pool._idle) == count
    assert outcomes(pool, [b"still"]) == [b"still"]


def test_a_system_that_starts_no_child_refuses_no_file():
    broken = Pool("tests.dicom.no_such_module", LIMITS, size=1)
    with pytest.raises(pool_module.ChildStartError):
        outcomes(broken, [b"sound"])


def test_children_that_a_rush_has_left_are_ended(pool, monkeypatch):
    outcomes(pool, [b"warm"])
    pool.warm_up()
    spare = Child("tests.dicom.dangerous", LIMITS)
    pool._idle.insert(0, spare)
    monkeypatch.setattr(pool_module, "_IDLE_SECONDS", -1)
    outcomes(pool, [b"next"])
    assert spare.process.returncode is not None
    assert len(pool._idle) == 1


def test_answers_are_not_believed():
    for values in (None, [], {}, [1, 2, 3], ["x"] * 50, [None] * 51):
        with pytest.raises(NotPlainError):
            from_plain(values, b"")
    with pytest.raises(NotPlainError):
        from_plain(to_plain(parse.parse_header(io.BytesIO(part10(grey(4, 4)))))[0], b"PIX1nonsense")


def facts(header):
    return {field.name: getattr(header, field.name) for field in dataclasses.fields(header) if field.name != "dataset"}


def result(function, *arguments):
    try:
        found = function(*arguments)
    except DicomError as error:
        return type(error), error.code
    return facts(found) if isinstance(found, parse.Header) else found


def first_frame(room, index, file):
    return room.decode_frame(file, index, 1)


def pixel_data(file):
    return json_model.bulk_data(file, parse.parse_header(file), "7FE00010")


@pytest.mark.samples
def test_children_give_the_same_answers_as_this_process(samples):
    """Every sample: header; and of the small ones pictures, frames and metadata, in every transfer syntax."""
    files = [path for path in sorted(samples.rglob("*")) if path.is_file() and path.stat().st_size < MB]
    contents = [path.read_bytes() for path in files]
    parsed = limited.parse_headers([io.BytesIO(content) for content in contents])
    seen_syntaxes = set()
    for content, found, path in zip(contents, parsed, files, strict=True):
        expected = result(parse.parse_header, io.BytesIO(content))
        got = (type(found), found.code) if isinstance(found, DicomError) else facts(found)
        assert got == expected, path.name
        if isinstance(found, DicomError) or found.transfer_syntax_uid in seen_syntaxes:
            continue
        seen_syntaxes.add(found.transfer_syntax_uid)
        pairs = [
            (decode.thumbnail, limited.thumbnail),
            (decode.to_explicit_little_endian, limited.to_explicit_little_endian),
            (partial(first_frame, decode, found.pixels), partial(first_frame, limited, found.pixels)),
            (pixel_data, lambda file: limited.bulk_data(file, "7FE00010")),
        ]
        for ours, theirs in pairs:
            assert result(ours, io.BytesIO(content)) == result(theirs, io.BytesIO(content)), path.name
    assert len(seen_syntaxes) >= 12


def test_errors_keep_their_kind_across_the_pipe():
    file = io.BytesIO(part10(grey(4, 4)))
    header = limited.parse_header(file)
    with pytest.raises(FrameError) as caught:
        limited.decode_frame(file, header.pixels, 99)
    assert caught.value.code == Code.NO_SUCH_FRAME
    with pytest.raises(RejectedError):
        limited.parse_header(io.BytesIO(b"nothing"))
