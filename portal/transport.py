"""kombu's filesystem transport, made atomic: a message appears under its name only when it is whole.

kombu opens the file under its final name and then writes, so that a polling consumer can read half a message.
"""

import json
import os
import time
import uuid
from pathlib import Path
from typing import Any

from kombu.transport import filesystem


class Channel(filesystem.Channel):
    """Writes aside, then renames."""

    def _put(self, queue: str, payload: dict[str, Any], **kwargs: Any) -> None:  # type: ignore[override]
        folder = Path(self.data_folder_out)
        name = f"{time.time_ns() // 1_000_000}_{uuid.uuid4()}.{queue}.msg"
        aside = folder / f".{name}.part"  # never matches what a consumer looks for
        descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(json.dumps(payload).encode())
        aside.rename(folder / name)


class Transport(filesystem.Transport):
    """Names the channel above."""

    Channel = Channel
