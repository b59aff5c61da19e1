"""kombu's filesystem transport, made to survive that a process dies at any moment.

kombu writes messages and bindings under their final names, so that a consumer can read half a message and a process
killed at the wrong moment leaves an empty table of bindings on which every later one fails. It takes a message by
moving it to the system's folder for temporary files, which copies where that is another disk. Here whatever has a name
is whole, and a message belongs to whoever removes it.
"""

import fcntl
import json
import logging
import os
import time
import uuid
from pathlib import Path
from queue import Empty
from typing import Any

from kombu.transport import filesystem

log = logging.getLogger(__name__)


def write_whole(path: Path, content: bytes) -> None:
    """Write aside, then rename; not waited for by an fsync, since a message that is lost is sent again."""
    aside = path.with_name(f".{path.name}.{uuid.uuid4()}.part")  # never matches what a consumer looks for
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    aside.rename(path)


class Channel(filesystem.Channel):
    """Whole files alone."""

    def _put(self, queue: str, payload: dict[str, Any], **kwargs: Any) -> None:  # type: ignore[override]
        name = f"{time.time_ns() // 1_000_000}_{uuid.uuid4()}.{queue}.msg"
        write_whole(Path(self.data_folder_out, name), json.dumps(payload).encode())

    def _get(self, queue: str) -> dict[str, Any]:  # type: ignore[override]
        for name in sorted(os.listdir(self.data_folder_in)):
            if name.partition(".")[2] != f"{queue}.msg":
                continue
            path = Path(self.data_folder_in, name)
            try:
                content = path.read_bytes()
                path.unlink()
            except FileNotFoundError:
                continue  # another consumer was faster
            try:
                message: dict[str, Any] = json.loads(content)
            except ValueError:
                # A power cut can leave a file without its bytes; the sweep sends the message again.
                log.warning("a message was not whole")
                continue
            return message
        raise Empty

    def _table_of(self, exchange: str) -> Path:
        return Path(self.control_folder, f"{exchange}.exchange")

    def get_table(self, exchange: str) -> list[Any]:
        """Return the bindings of an exchange; an unreadable table is an empty one, since every process binds anew."""
        try:
            rows = json.loads(self._table_of(exchange).read_bytes())
        except (FileNotFoundError, ValueError):
            return []
        return [filesystem.exchange_queue_t(*row) for row in rows]

    def _queue_bind(self, exchange: str, routing_key: str, pattern: str, queue: str) -> None:  # type: ignore[override]
        binding = filesystem.exchange_queue_t(routing_key or "", pattern or "", queue or "")
        with Path(self.control_folder, ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            bindings = self.get_table(exchange)
            if binding not in bindings:
                write_whole(self._table_of(exchange), json.dumps([binding, *bindings]).encode())


class Transport(filesystem.Transport):
    """Names the channel above."""

    Channel = Channel
