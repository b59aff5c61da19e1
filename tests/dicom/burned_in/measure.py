"""How much planted text is gone, how much anatomy was changed, and how long it took."""

from __future__ import annotations

import io
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from apps.dicom import parse, pixels
from apps.dicom.burned_in.boxes import Box, covered
from apps.dicom.burned_in.clean import reopened
from apps.dicom.burned_in.cleaner import TextCleaner, examine
from apps.dicom.deidentify import NeedsReviewError, PixelJob
from tests.dicom.burned_in.planted import Planted, part10

GONE = 0.97
"""A string is gone when so much of its letters was painted over, in every frame."""
MARGIN = 10
"""So many pixels around a string may go with it."""


@dataclass
class Score:
    """What a run came to."""

    files: int = 0
    frames: int = 0
    strings: int = 0
    gone: int = 0
    refused: int = 0
    anatomy: int = 0
    changed: int = 0
    seconds: float = 0.0
    processor_seconds: float = 0.0
    missed: Counter[str] = field(default_factory=Counter)
    # What the background itself says, which is found and cleaned too, and no anatomy.
    _own: dict[str, npt.NDArray[np.bool_]] = field(default_factory=dict)

    def add(self, planted: Planted, kind: str) -> None:
        """Clean one file and count."""
        header = parse.parse_header(io.BytesIO(planted.data))
        job = PixelJob(planted.data, header.transfer_syntax_uid, ("Canary", "Zerlina"), lambda tag: "")
        begun, worked = time.perf_counter(), time.process_time()
        try:
            cleaned = TextCleaner()(job)
        except NeedsReviewError:
            cleaned = None
            self.refused += 1
            self.strings -= len(planted.plants)
            self.gone -= len(planted.plants)
        self.seconds += time.perf_counter() - begun
        self.processor_seconds += time.process_time() - worked
        self.files += 1
        self.frames += len(planted.frames)
        self.strings += len(planted.plants)
        before = [pixels.read_frame(io.BytesIO(planted.data), header.pixels, n + 1) for n in range(len(planted.frames))]
        after = before
        if cleaned is not None:
            file, found = reopened(cleaned, header)
            after = [pixels.read_frame(file, found.pixels, n + 1) for n in range(len(planted.frames))]
        # Black is the lowest value there is.
        painted = [np.all(_flat(new.samples) == new.samples.min(), axis=-1) for new in after]
        for one in planted.plants:
            is_gone = cleaned is None or all(mask[one.letters].mean() >= GONE for mask in painted)
            self.gone += is_gone
            if not is_gone:
                share = min(mask[one.letters].mean() for mask in painted)
                self.missed[f"{one.kind} {one.size} on {planted.background}: {share:.2f}"] += 1
        anatomy = ~self._background_text(planted, kind)
        for one in planted.plants:
            left, top, right, bottom = one.box
            anatomy[max(0, top - MARGIN) : bottom + MARGIN, max(0, left - MARGIN) : right + MARGIN] = False
        for old, new in zip(before, after, strict=True):
            is_changed = np.any(_flat(old.samples) != _flat(new.samples), axis=-1)
            self.anatomy += int(anatomy.sum())
            self.changed += int((is_changed & anatomy).sum())

    def joined(self, other: Score) -> Score:
        """Return what the two come to together."""
        both = Score(missed=self.missed + other.missed)
        for each in (
            "files",
            "frames",
            "strings",
            "gone",
            "refused",
            "anatomy",
            "changed",
            "seconds",
            "processor_seconds",
        ):
            setattr(both, each, getattr(self, each) + getattr(other, each))
        return both

    def _background_text(self, planted: Planted, kind: str) -> npt.NDArray[np.bool_]:
        known = self._own.get(planted.background)
        if known is None:
            known = self._own[planted.background] = own_text(planted.background, kind)
        return known

    def as_dict(self) -> dict[str, Any]:
        """The figures."""
        return {
            "files": self.files,
            "strings": self.strings,
            "gone_percent": round(100 * self.gone / max(1, self.strings), 2),
            "anatomy_changed_percent": round(100 * self.changed / max(1, self.anatomy), 4),
            "refused": self.refused,
            "seconds_a_frame": round(self.seconds / max(1, self.frames), 3),
            "processor_seconds_a_frame": round(self.processor_seconds / max(1, self.frames), 3),
            "missed": dict(self.missed),
        }


OWN_FRAMES: dict[tuple[str, str], tuple[npt.NDArray[np.uint8], ...]] = {}
"""The frames of each background by kind and name, for `own_text`."""
# Backgrounds that came with text on them: scales, settings, the name of a hospital. All others have none, so that
# whatever is found there is wrong.
WITH_TEXT = frozenset({"cardiac-rgb", "obstetric-palette", "us-j2k-lossless-ybr-rct"})
# Columns and bars of settings, of which not all is found.
PANELS = {
    "obstetric-palette": (Box(0, 0, 800, 56),),
    "echo-30-frames-jpeg-ybr422": (Box(284, 0, 320, 240), Box(0, 222, 320, 240), Box(0, 0, 60, 45)),
}


def own_text(name: str, kind: str) -> npt.NDArray[np.bool_]:
    """Return where a background has text of its own, a little around it included."""
    frames = OWN_FRAMES[kind, name]
    name = name.rpartition(" ")[2]
    known = list(PANELS.get(name, ()))
    if name in WITH_TEXT:
        data = part10(kind, frames, "native")
        known += [box.grown(MARGIN) for box in examine(io.BytesIO(data), parse.parse_header(io.BytesIO(data))).boxes]
    return covered(known, *frames[0].shape[:2])


def _flat(samples: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return samples if samples.ndim == 3 else samples[..., None]
