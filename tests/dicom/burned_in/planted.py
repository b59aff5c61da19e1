"""Images with text planted in their pixels: over real backgrounds where there are samples, else over made ones."""

from __future__ import annotations

import io
import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.filewriter import dcmwrite
from pydicom.pixels.encoders.base import get_encoder
from pydicom.uid import UID, ExplicitVRLittleEndian, JPEG2000Lossless, JPEGBaseline8Bit, JPEGLSLossless, RLELossless

from apps.dicom import decode, parse
from apps.dicom.uid import make_uid

Picture = npt.NDArray[np.uint8]

US, SC, CR = "1.2.840.10008.5.1.4.1.1.6.1", "1.2.840.10008.5.1.4.1.1.7", "1.2.840.10008.5.1.4.1.1.1"
SOP_CLASSES = {"us": US, "sc": SC, "cr": CR, "cine": "1.2.840.10008.5.1.4.1.1.3.1"}
BACKGROUNDS = {
    "us": (
        "05-us/cardiac-10-frames-no-extension",
        "05-us/cardiac-rgb.dcm",
        "05-us/echo-doppler-8-frames-jpeg.dcm",
        "05-us/obstetric-palette.dcm",
        "05-us/us-j2k-lossless-ybr-rct.dcm",
        "05-us/echo-30-frames-jpeg-ybr422.dcm",
    ),
    "cr": (
        "06-xray/cr-chest-j2k-mono1.dcm",
        "06-xray/cr-lower-leg-j2k-mono1.dcm",
        "06-xray/dx-dog.dcm",
        "06-xray/mg-ge-jpeg-lossless.dcm",
        "07-xa/coronary-96-frames.dcm",
    ),
    "sc": ("01-ct-head-ge/IM010.dcm", "02-mr-head-t2/*", "03-mr-head-t1-sag/*", "04-ct-chest/*"),
    "cine": (
        "05-us/cardiac-10-frames-no-extension",
        "05-us/echo-doppler-8-frames-jpeg.dcm",
        "05-us/echo-30-frames-jpeg-ybr422.dcm",
        "07-xa/coronary-96-frames.dcm",
    ),
}
SYNTAXES = {
    "native": ExplicitVRLittleEndian,
    "rle": RLELossless,
    "jpeg-ls": JPEGLSLossless,
    "j2k": JPEG2000Lossless,
    "jpeg": JPEGBaseline8Bit,
}
NAMES = (
    "MUELLER^ANNA",
    "Tanaka, Yuki",
    "O'Brien Sean",
    "KOWALSKA MARIA",
    "Dr. House",
    "Nguyen Van Anh",
    "Canary Zerlina",
)
KINDS = ("light", "dark", "faint", "vertical", "small", "large", "colour")
VISIBLE = 8
"""Grey levels from which two shades beside each other are told apart on a good screen."""
LEGIBLE = 0.9
"""A string of which less can be seen is not planted: nobody could read it."""
FONT_FOLDERS = ("/usr/share/fonts/truetype", "/usr/share/fonts/opentype")
FONTS = ("DejaVuSans.ttf", "DejaVuSansMono.ttf", "DejaVuSerif-Bold.ttf", "NimbusSans-Regular.otf", "C059-Roman.otf")


@dataclass(frozen=True)
class Plant:
    """A string in the pixels: its kind and size, and which pixels of the frame its letters are."""

    kind: str
    size: int
    box: tuple[int, int, int, int]
    letters: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Planted:
    """A Part 10 file with planted text."""

    data: bytes
    background: str
    frames: tuple[Picture, ...]
    plants: tuple[Plant, ...]


@cache
def font(name: str, size: int) -> Any:
    """A face of the machine, or Pillow's own."""
    for folder in FONT_FOLDERS:
        for path in sorted(Path(folder).rglob(name)):
            return ImageFont.truetype(str(path), size)
    return ImageFont.load_default(size)


@cache
def frames_of(path: Path) -> tuple[Picture, ...]:
    """The frames of a sample, as they are shown, 8 bits; at most 24 of them."""
    with path.open("rb") as file:
        header = parse.parse_header(file)
        shown = range(1, min(header.number_of_frames, 24) + 1)
        pictures = [decode.rendered(file, n, header=header, media_type="image/png") for n in shown]
    return tuple(np.asarray(Image.open(io.BytesIO(picture))) for picture in pictures)


def backgrounds(kind: str, samples: Path | None) -> list[tuple[str, tuple[Picture, ...]]]:
    """What text is planted on, by name."""
    if samples is None:
        return [("made", tuple(_made(number) for number in range(8 if kind == "cine" else 1)))]
    found = []
    for pattern in BACKGROUNDS[kind]:
        path = sorted(samples.glob(pattern))[len(sorted(samples.glob(pattern))) // 3]
        pictures = frames_of(path)
        found.append((f"{path.parent.name} {path.stem}", pictures if kind == "cine" else pictures[:1]))
    return found


def _made(number: int) -> Picture:
    """Speckle in a fan, as an ultrasound image has; another one for each number."""
    noise = np.random.default_rng(number)
    down, across = np.mgrid[0:480, 0:640]
    inside = (np.hypot(down - 40, across - 320) < 410) & (np.abs(across - 320) < (down - 60) * 0.75)
    return np.where(inside, noise.integers(20, 130, (480, 640)), 0).astype(np.uint8)


def _text(chance: random.Random) -> str:
    texts = (
        chance.choice(NAMES),
        f"{chance.randrange(10**8):08}",
        f"{chance.randrange(1, 29):02}.{chance.randrange(1, 13):02}.{chance.randrange(1930, 2020)}",
        f"ID: {chance.choice('ABKXZ')}{chance.randrange(10**6):06}",
        f"ACC {chance.randrange(2000, 2026)}-{chance.randrange(10**5):05}",
        f"{chance.choice(NAMES)}  {chance.randrange(24):02}:{chance.randrange(60):02}",
    )
    return chance.choice(texts)


def plant(frames: tuple[Picture, ...], chance: random.Random, count: int) -> tuple[tuple[Picture, ...], list[Plant]]:
    """Write `count` strings over every frame, none over another, each where it can be seen."""
    rows, columns = frames[0].shape[:2]
    out = [np.array(frame) for frame in frames]
    plants: list[Plant] = []
    taken = np.zeros((rows, columns), np.bool_)
    for _ in range(count * 12):
        if len(plants) == count:
            break
        kind = chance.choice(KINDS)
        size = {"small": 8, "large": chance.choice((28, 36, 48))}.get(kind, chance.choice((9, 10, 12, 14, 16, 20, 24)))
        if min(rows, columns) > 1200 and kind != "small":
            size *= chance.choice((1, 2, 3))
        letters = drawn(_text(chance), font(chance.choice(FONTS), size))
        if kind == "vertical":
            letters = np.rot90(letters, chance.choice((1, 3)))
        high, wide = letters.shape
        if high >= rows - 4 or wide >= columns - 4:
            continue
        top, left = chance.randrange(2, rows - high - 1), chance.randrange(2, columns - wide - 1)
        if chance.random() < 0.35:
            top = chance.choice((2, rows - high - 2))
        if taken[max(0, top - 6) : top + high + 6, max(0, left - 6) : left + wide + 6].any():
            continue
        colour = _colour(kind, [frame[top : top + high, left : left + wide] for frame in out], chance)
        if colour is None:
            continue
        seen = np.zeros(letters.shape, np.bool_)
        written = [np.array(frame[top : top + high, left : left + wide]) for frame in out]
        for part, frame in zip(written, out, strict=True):
            _write(part, letters, colour)
            seen |= _differs(part, frame[top : top + high, left : left + wide])
        is_letter = letters > 96
        if float((is_letter & seen).sum()) < LEGIBLE * float(is_letter.sum()):
            continue
        for part, frame in zip(written, out, strict=True):
            frame[top : top + high, left : left + wide] = part
        where = np.zeros((rows, columns), np.bool_)
        where[top : top + high, left : left + wide] = is_letter & seen
        taken[top : top + high, left : left + wide] = True
        plants.append(Plant(kind, size, (left, top, left + wide, top + high), where))
    return tuple(out), plants


def _differs(after: Picture, before: Picture) -> npt.NDArray[np.bool_]:
    """Return where a written letter can be told from what was there: black on black is no text to anybody."""
    apart = np.abs(after.astype(np.int16) - before)
    return (apart.max(axis=2) if apart.ndim == 3 else apart) >= VISIBLE


def drawn(text: str, face: Any) -> Picture:
    """Letters as white on black, and nothing around them."""
    left, top, right, bottom = face.getbbox(text)
    mask = Image.new("L", (int(right - left) + 2, int(bottom - top) + 2))
    ImageDraw.Draw(mask).text((1 - left, 1 - top), text, fill=255, font=face)
    return np.asarray(mask)


def _colour(kind: str, under: list[Picture], chance: random.Random) -> tuple[float, float, float] | None:
    """A colour that can be seen on what is there, None when there is none of this kind."""
    grey = np.concatenate(
        [part.reshape(-1, part.shape[-1]).mean(axis=1) if part.ndim == 3 else part.ravel() for part in under]
    )
    mean, spread = float(grey.mean()), float(grey.std())
    if kind == "dark":
        return None if np.percentile(grey, 25) < 90 else (float(chance.randrange(0, 30)),) * 3
    if kind == "faint":
        return (
            None if spread > 12 or mean > 190 else (min(255.0, mean + max(3 * spread, chance.randrange(28, 60))),) * 3
        )
    if np.percentile(grey, 90) > 150:
        return None
    if kind == "colour" and under[0].ndim == 3:
        return chance.choice(((255.0, 255.0, 0.0), (0.0, 255.0, 255.0), (0.0, 255.0, 0.0), (255.0, 128.0, 0.0)))
    return (float(chance.randrange(200, 256)),) * 3


def _write(part: Picture, drawn: Picture, colour: tuple[float, float, float]) -> None:
    share = drawn / 255.0
    if part.ndim == 3:
        part[:] = np.clip(part * (1 - share[..., None]) + np.array(colour) * share[..., None], 0, 255)
    else:
        part[:] = np.clip(part * (1 - share) + colour[0] * share, 0, 255)


def make(kind: str, syntax: str, number: int, seed: int, *, samples: Path | None, strings: int = 6) -> Planted:
    """Return file `number` of a run."""
    chance = random.Random(f"{seed} {kind} {syntax} {number}")
    found = backgrounds(kind, samples)
    name, frames = found[number % len(found)]
    planted, plants = plant(frames, chance, strings)
    return Planted(part10(kind, planted, syntax), name, planted, tuple(plants))


def part10(kind: str, frames: tuple[Picture, ...], syntax: str) -> bytes:
    """Return the frames as a file of this kind in this transfer syntax."""
    chosen = SYNTAXES[syntax]
    rows, columns = frames[0].shape[:2]
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = SOP_CLASSES[kind], make_uid()
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = make_uid(), make_uid()
    dataset.Modality = {"us": "US", "cine": "US", "cr": "CR", "sc": "OT"}[kind]
    dataset.PatientName, dataset.PatientID = "Canary^Zerlina", "4711"
    dataset.Rows, dataset.Columns = rows, columns
    dataset.SamplesPerPixel = 3 if frames[0].ndim == 3 else 1
    dataset.PhotometricInterpretation = "RGB" if frames[0].ndim == 3 else "MONOCHROME2"
    if frames[0].ndim == 3:
        dataset.PlanarConfiguration = 0
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit, dataset.PixelRepresentation = 7, 0
    if len(frames) > 1:
        dataset.NumberOfFrames = len(frames)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = chosen
    if chosen == ExplicitVRLittleEndian:
        content = b"".join(frame.tobytes() for frame in frames)
        dataset.PixelData = content + b"\0" * (len(content) % 2)
    else:
        dataset.PixelData = encapsulate([_encoded(frame, chosen, dataset) for frame in frames])
        dataset["PixelData"].VR = "OB"
    out = io.BytesIO()
    dcmwrite(out, dataset, enforce_file_format=True)
    return out.getvalue()


def _encoded(frame: Picture, syntax: UID, dataset: Dataset) -> bytes:
    if syntax == JPEGBaseline8Bit:
        out = io.BytesIO()
        Image.fromarray(frame).save(out, "JPEG", quality=92, subsampling=0)
        dataset.PhotometricInterpretation = "YBR_FULL" if frame.ndim == 3 else "MONOCHROME2"
        dataset.LossyImageCompression = "01"
        return out.getvalue()
    options: dict[str, Any] = {
        "rows": frame.shape[0],
        "columns": frame.shape[1],
        "samples_per_pixel": dataset.SamplesPerPixel,
        "number_of_frames": 1,
        "bits_allocated": 8,
        "bits_stored": 8,
        "pixel_representation": 0,
        "photometric_interpretation": dataset.PhotometricInterpretation,
        "planar_configuration": 0,
    }
    plugin = "pyjpegls" if syntax == JPEGLSLossless else "pylibjpeg"
    return bytes(get_encoder(syntax).encode(frame, encoding_plugin=plugin, **options))


def run(kind: str, syntax: str, count: int, seed: int, samples: Path | None) -> Iterator[Planted]:
    """Yield the files of a run."""
    for number in range(count):
        yield make(kind, syntax, number, seed, samples=samples)
