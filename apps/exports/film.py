"""A film of a stack or a cine, as it is on the screen: MP4 (H.264), made while it is sent.

The encoder is the program ffmpeg of the operating system, fed with pictures that we drew and reading nothing else. It
is not part of Viewbox: where it is not installed, no film is offered.
"""

from __future__ import annotations

import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from typing import IO, Final

MAX_FRAMES: Final = 3000
MAX_SIDE: Final = 1024
DEFAULT_RATE: Final = 10
MAX_RATE: Final = 60
_CHUNK_BYTES: Final = 64 << 10
MEDIA_TYPE: Final = "video/mp4"


def encoder() -> str | None:
    """Return where ffmpeg is; None when it is not installed."""
    return shutil.which("ffmpeg")


def make_film(pictures: Callable[[], Iterator[bytes]], *, rate: float, size: tuple[int, int]) -> Iterator[bytes]:
    """Return the film of these pictures (JPEG, drawn one after the other when their turn comes).

    `rate` is pictures a second, `size` what all are fitted into. Memory stays flat. A picture that cannot be drawn
    ends the film there; a film whose reader went away ends the encoder. Raises OSError when there is no encoder.
    """
    width, height = (max(2, side - side % 2) for side in size)
    process = subprocess.Popen(
        [
            encoder() or "ffmpeg", "-nostdin", "-hide_banner", "-loglevel", "error", "-threads", "1",
            "-f", "image2pipe", "-framerate", f"{rate:g}", "-c:v", "mjpeg", "-i", "pipe:0",
            "-vf", f"scale={width}:{height}:force_original_aspect_ratio=decrease,pad={width}:{height}:-1:-1",
            "-c:v", "libx264", "-preset", "veryfast", "-crf", "18", "-pix_fmt", "yuv420p", "-threads", "1",
            "-an", "-map_metadata", "-1", "-movflags", "frag_keyframe+empty_moov+default_base_moof",
            "-f", "mp4", "pipe:1",
        ],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    feeder = threading.Thread(target=_feed, args=(process.stdin, pictures), daemon=True)
    feeder.start()
    return _read(process, feeder)


def _feed(pipe: IO[bytes], pictures: Callable[[], Iterator[bytes]]) -> None:
    try:
        with pipe:
            for picture in pictures():
                pipe.write(picture)
    except (BrokenPipeError, ValueError):
        # Nobody wants the rest.
        return


def _read(process: subprocess.Popen[bytes], feeder: threading.Thread) -> Iterator[bytes]:
    output: IO[bytes] = process.stdout  # type: ignore[assignment]
    try:
        while chunk := output.read(_CHUNK_BYTES):
            yield chunk
    finally:
        process.kill()
        process.wait()
        output.close()
        feeder.join(5)
