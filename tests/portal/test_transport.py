"""The broker of an embedded installation: what was put is taken once, whoever dies on the way (F6)."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from queue import Empty
from typing import Any

import pytest
from kombu import Connection

MESSAGES = 150
QUEUE = "celery"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("messages", "control"):
        (tmp_path / name).mkdir()
    return tmp_path


def connect(folder: Path) -> Connection:
    options = {
        "data_folder_in": str(folder / "messages"),
        "data_folder_out": str(folder / "messages"),
        "control_folder": str(folder / "control"),
        "polling_interval": 0.01,
    }
    return Connection("filesystem://", transport="portal.transport:Transport", transport_options=options)


def put(folder: Path, producer: int, count: int, noted: Any) -> None:
    """Put messages, telling after each that it was put."""
    with connect(folder) as connection:
        queue = connection.SimpleQueue(QUEUE)
        for number in range(count):
            queue.put([producer, number])
            noted.send((producer, number))
    noted.close()


def take(folder: Path, noted: Any) -> None:
    """Take messages and tell which, until a message says that it was the last one."""
    with connect(folder) as connection:
        queue = connection.SimpleQueue(QUEUE, no_ack=True)
        while True:
            try:
                producer, number = queue.get(timeout=1).payload
            except Empty:
                continue
            if producer < 0:
                break
            noted.send((producer, number))
    noted.close()


def start(target: Callable[..., None], *arguments: Any) -> tuple[Any, Any]:
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=target, args=(*arguments, there), daemon=True)
    process.start()
    there.close()
    return process, here


def told(pipe: Any) -> list[tuple[int, int]]:
    """All that a process told until it ended."""
    heard = []
    while True:
        try:
            heard.append(pipe.recv())
        except EOFError:
            return heard


def test_two_producers_and_two_consumers_lose_nothing_and_double_nothing(folder: Path) -> None:
    producers = [start(put, folder, number, MESSAGES) for number in range(2)]
    consumers = [start(take, folder) for _ in range(2)]
    sent = [message for _, pipe in producers for message in told(pipe)]
    assert len(sent) == 2 * MESSAGES
    with connect(folder) as connection:
        queue = connection.SimpleQueue(QUEUE)
        for _ in consumers:
            queue.put([-1, 0])
    taken = [message for _, pipe in consumers for message in told(pipe)]
    assert Counter(taken) == Counter(sent)
    assert not list((folder / "messages").iterdir())


def test_a_producer_killed_on_the_way_leaves_whole_messages_alone(folder: Path) -> None:
    process, pipe = start(put, folder, 0, 1_000_000)
    sent = [pipe.recv() for _ in range(100)]
    os.kill(process.pid, signal.SIGKILL)
    sent += told(pipe)
    taken = []
    with connect(folder) as connection:
        queue = connection.SimpleQueue(QUEUE, no_ack=True)
        while queue.qsize():
            taken.append(tuple(queue.get(timeout=5).payload))
    assert set(sent) <= set(taken)
    assert len(taken) == len(set(taken))


@pytest.mark.parametrize(("name", "torn"), [("empty", b""), ("half", b'[["half", "')])
def test_torn_messages_and_bindings_stop_nobody(folder: Path, name: str, torn: bytes) -> None:
    (folder / "messages" / f"1_torn.{name}.msg").write_bytes(torn)
    (folder / "control" / f"{name}.exchange").write_bytes(torn)
    with connect(folder) as connection:
        queue = connection.SimpleQueue(name, no_ack=True)  # a name that this process has not bound before
        queue.put("whole")
        assert queue.get(timeout=5).payload == "whole"
        with pytest.raises(Empty):
            queue.get_nowait()
