"""Writers of one SQLite database take turns: threads of a process, and processes."""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from pathlib import Path

import pytest

from portal.sqlite import line

fork = multiprocessing.get_context("fork")


@pytest.fixture
def database(tmp_path: Path) -> str:
    return str(tmp_path / "viewbox.sqlite3")


def test_one_process_at_a_time(database: str):
    inside, most = fork.Value("i", 0), fork.Value("i", 0)

    def write_often() -> None:
        for _ in range(50):
            assert line.stand(database, 30)
            inside.value += 1
            most.value = max(most.value, inside.value)
            time.sleep(0.0005)
            inside.value -= 1
            line.leave(database)

    writers = [fork.Process(target=write_often) for _ in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    assert [writer.exitcode for writer in writers] == [0] * 4
    assert most.value == 1


def test_who_waits_comes_before_who_has_just_written(database: str):
    """However many threads the other process has: without the line it could write on for ever."""
    turns = fork.Queue()

    def write(name: str, count: int) -> None:
        for _ in range(count):
            assert line.stand(database, 30)
            turns.put(name)
            time.sleep(0.005)
            line.leave(database)

    assert line.stand(database, 1)
    greedy, patient = (fork.Process(target=write, args=given) for given in (("greedy", 60), ("patient", 3)))
    greedy.start()
    time.sleep(0.1)
    line.leave(database)
    patient.start()
    order = [turns.get(timeout=30) for _ in range(63)]
    for writer in (greedy, patient):
        writer.join(30)
    between = [at for at, name in enumerate(order) if name == "patient"]
    assert between[-1] - between[0] <= 6, order


def test_a_process_that_dies_lets_the_others_write(database: str):
    def die_writing() -> None:
        assert line.stand(database, 1)
        os._exit(1)

    writer = fork.Process(target=die_writing)
    writer.start()
    writer.join(30)
    assert line.stand(database, 1)
    line.leave(database)


def test_who_waits_too_long_is_told(database: str):
    assert line.stand(database, 1)
    answers = fork.Queue()
    other = fork.Process(target=lambda: answers.put(line.stand(database, 0.1)))
    other.start()
    assert answers.get(timeout=30) is False
    other.join(30)
    line.leave(database)
    # The one that gave up holds nobody up.
    done = threading.Event()
    threading.Thread(target=lambda: line.stand(database, 1) and done.set()).start()
    assert done.wait(5)
    line.leave(database)
