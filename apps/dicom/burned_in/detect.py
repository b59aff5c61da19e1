"""Find text in a picture, by a trained detector (PP-OCRv4) and by following strokes.

The detector looks at the upright picture, and once more, turned by a quarter, at what may stand in a vertical line: of
such a line it sees the letters, each by itself. What it finds is followed along the line as long as strokes of the same
brightness go on. What it is not sure of is read, and kept when it reads like text or like something the header says of
this patient.
A picture is (rows, columns) or (rows, columns, 3) of unsigned bytes.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from .blots import without_blots
from .boxes import Box, without_inner
from .colours import least, most
from .evened import evened
from .ink import fitted, sheet_of
from .lines import leading, lines_of
from .models import DETECTION, at_once, planes_of, session
from .plausible import READABLE, Beyond, Found, is_certain, is_huge, plausible, read_either_way, reads_like_text
from .reading import speaks_of

Picture = npt.NDArray[np.uint8]
Map = npt.NDArray[np.float32]

# What counts as part of a text, how sure the detector must be of the whole, and how much it shrinks what it marks.
PIXEL_THRESHOLD: Final = 0.3
SURE: Final = 0.5
UNSURE: Final = 0.3
UNCLIP: Final = 1.6
MIN_SIDE: Final = 3
# Letters of 8 pixels are seen when doubled; so many pixels are given to the detector for one frame, no more.
BUDGET: Final = 1_250_000
MAX_SCALE: Final = 2.5
RIM: Final = 16
"""At least so many pixels are put around what the detector is given: it does not see letters at an edge."""
OVERVIEW: Final = 400_000
STROKES: Final = 800_000
"""And so many for a large film as a whole, and for its parts with strokes, where small letters are looked for."""
WIDE: Final = 2.0
"""What is wider, of its height, is a horizontal line; all else may be a letter of a vertical one, or some of them."""
ALONG: Final = 12
"""So many widths of a letter a vertical line may go on above and below it."""
BESIDE: Final = 1.0
"""So many of them are looked at to its left and right."""
MOST: Final = 0.6
"""Where columns have more than this part of a picture, all of it is looked at at once."""
SLIM: Final = 50_000
"""A part with strokes that is higher than wide and no larger may be one vertical line: it is looked at turned too."""
# Above this a picture is looked at whole at its reduced size, and closely only where it has strokes.
LARGE: Final = 700_000
CELL: Final = 32
AROUND: Final = 5
"""Cells on a side of what is around a cell."""
TILE: Final = 12
"""Cells on a side of a tile."""
COLOURED: Final = 60
COLOURS: Final = 0.01
"""A pixel whose samples differ by more has a colour; so many of them, and a picture has flow or the like in it."""
COARSE: Final = 0.45
"""Scale of one more look at a small picture, of the first."""
PLAIN: Final = 0.6
"""Scale of the look at the picture as it is, of that at its whiteness."""
MAX_UNSURE: Final = 12
"""How many doubtful places are read in one picture."""


def find_text(picture: Picture, seeds: Sequence[str] = (), stands: npt.NDArray[np.bool_] | None = None) -> list[Box]:
    """Return where there is text; ``seeds`` are names, numbers and dates that the header knows.

    ``stands``: of a cine, which pixels are the same in all frames, as most letters are.
    """
    rows, columns = picture.shape[:2]
    if min(rows, columns) < 8:
        return []
    boxes: list[Box] = []
    clear = evened(picture)
    for number, (shown, found) in enumerate(_found(picture, clear, 1.0)):
        certain = [each for each in found if each.score >= SURE]
        sure = plausible(shown, brightest(shown), certain, seeds, boxes, has_flow=number > 0)
        unsure = [each for each in found if each.score < SURE and not any(box.meets(each.box) for box in sure + boxes)]
        unsure.sort(key=lambda each: -each.score)
        doubtful = [each.box for each in unsure[: MAX_UNSURE if number == 0 else MAX_UNSURE // 3]]
        read_ = at_once(partial(read_either_way, shown), doubtful)
        boxes += [*sure, *(box for box, line in zip(doubtful, read_, strict=True) if reads_like_text(line, seeds))]
    sheet = sheet_of(picture, stands)
    boxes = without_inner(without_blots(clear, boxes))
    lines = lines_of(boxes)
    lead = leading(lines, rows, columns)
    # The parts as well: a line may be of several inks, and be taken for plain ground where another one is.
    parts = [fitted(sheet, box, None) for box in {*boxes, *lines}.difference(lead)]
    whole = at_once(partial(fitted, sheet, beyond=Beyond(clear)), lead)
    return without_inner([box.grown(1).within(columns, rows) for box in [*parts, *whole]])


def find_readable(picture: Picture, seeds: Sequence[str] = ()) -> list[Box]:
    """Return where text can be read: the look at what was cleaned, at another scale, with half the effort."""
    if min(picture.shape[:2]) < 8:
        return []
    boxes: list[Box] = []
    for shown, found in _found(picture, evened(picture), 0.4):
        new = without_inner([each.box for each in found if not any(box.holds(each.box) for box in boxes)])
        readable = at_once(partial(is_readable, shown, seeds=seeds), new)
        boxes += [box for box, is_text in zip(new, readable, strict=True) if is_text]
    return without_inner(boxes)


def _found(picture: Picture, clear: Picture, effort: float) -> Iterator[tuple[Picture, list[Found]]]:
    """Yield what the detector finds, and what it was shown: the picture, and where it has colours its whiteness too."""
    for shown, parts in renderings(picture, clear, effort):
        found: list[Found] = []
        if effort >= 1.0 and shown.shape[0] * shown.shape[1] <= LARGE:
            # Large letters, and small ones on flow, are found when they are small.
            found += _look(shown, *_coarse(parts))
        turned: list[Found] = []
        for part, scale in parts:
            found += _look(shown, part, scale)
            is_slim = part.height > part.width and part.area <= SLIM
            columns = [part] if is_slim else columns_of([each.box for each in found if part.meets(each.box)], part)
            for column in columns:
                turned += _look_turned(shown, column, scale)
        yield shown, found + turned


def columns_of(boxes: Sequence[Box], part: Box) -> list[Box]:
    """Return where there may be vertical lines: around what was found that is no horizontal one."""
    columns = []
    for box in boxes:
        if box.width <= WIDE * box.height:
            aside, along = max(8, round(BESIDE * box.width)), round(ALONG * max(8, box.width))
            column = Box(box.left - aside, box.top - along, box.right + aside, box.bottom + along)
            columns.append(column.common(part))
    columns = _joined(columns)
    return [part] if sum(column.area for column in columns) > MOST * part.area else columns


def _coarse(parts: list[tuple[Box, float]]) -> tuple[Box, float]:
    part, scale = parts[0]
    return part, max(0.6, scale * COARSE)


def renderings(picture: Picture, clear: Picture, effort: float = 1.0) -> list[tuple[Picture, list[tuple[Box, float]]]]:
    """Return what the detector is to be shown: pictures, and of each the parts and their scales.

    ``clear`` is the picture with its grounds spread, which may look like colours where there are hardly any.
    White letters over flow in colours are found by the least of the three colours: there flow is black, grey stays as
    it is, and white stands out. Letters of a colour differ from flow of another in red, in green or in blue.
    """
    if picture.ndim == 2:
        return [(clear, looks(clear, effort))]
    colours = most(picture).astype(np.int16) - least(picture) > COLOURED
    if float(colours.mean()) < COLOURS:
        return [(clear, looks(clear, effort))]
    white = least(clear)
    parts = looks(white, effort)
    scale = PLAIN * min(scale for _, scale in parts)
    out = [(white, parts)]
    # Letters that have a colour, or stand on one, lie where colours are.
    place = _extent(colours)
    if place is not None and effort >= 1.0:
        out += [(np.ascontiguousarray(clear[..., sample]), [(place, scale)]) for sample in range(3)]
    elif place is not None:
        out.append((clear, [(place, scale)]))
    return out


def _extent(marked: npt.NDArray[np.bool_]) -> Box | None:
    """Return the rectangle of all that is marked, with a little around."""
    rows, columns = marked.shape
    down, across = np.flatnonzero(marked.any(axis=1)), np.flatnonzero(marked.any(axis=0))
    if not len(down) or not len(across):
        return None
    return Box(int(across[0]), int(down[0]), int(across[-1]) + 1, int(down[-1]) + 1).grown(12).within(columns, rows)


def is_readable(picture: Picture, box: Box, seeds: Sequence[str] = ()) -> bool:
    """Return whether what stands in a box can be read, or speaks of somebody the header knows."""
    line = read_either_way(picture, box)
    if is_huge(box, picture):
        return is_certain(line) or speaks_of(line, seeds)
    return (len(line.letters) >= 2 and line.confidence >= READABLE) or speaks_of(line, seeds)


def looks(picture: Picture, effort: float = 1.0) -> list[tuple[Box, float]]:
    """Return the parts to look at and their scales: the whole of a small picture, of a large one where strokes are."""
    rows, columns = picture.shape[:2]
    whole = Box(0, 0, columns, rows)
    if whole.area <= LARGE:
        return [(whole, min(MAX_SCALE, (BUDGET / whole.area) ** 0.5) * effort**0.5)]
    parts = stroke_parts(brightest(picture))
    area = max(1, sum(part.area for part in parts))
    scale = min(2.0, max(0.75, (effort * STROKES / area) ** 0.5))
    return [(whole, (effort * OVERVIEW / whole.area) ** 0.5), *((part, scale) for part in parts)]


def brightest(picture: Picture) -> Map:
    """Return the brightest of the colours of each pixel: blue letters on black are bright letters."""
    return most(picture).astype(np.float32)


def stroke_parts(grey: Map) -> list[Box]:
    """Return the rectangles of a large picture that have thin, sharp strokes: letters, and what looks so."""
    rows, columns = grey.shape
    sharp = np.zeros_like(grey)
    # Second differences two pixels apart: strokes and letters answer, gradients and soft tissue do not.
    sharp[2:-2] = np.abs(2 * grey[2:-2] - grey[:-4] - grey[4:])
    sharp[:, 2:-2] = np.maximum(sharp[:, 2:-2], np.abs(2 * grey[:, 2:-2] - grey[:, :-4] - grey[:, 4:]))
    high, wide = -(-rows // CELL), -(-columns // CELL)
    padded = np.pad(sharp, ((0, high * CELL - rows), (0, wide * CELL - columns)))
    cells = padded.reshape(high, CELL, wide, CELL).transpose(0, 2, 1, 3).reshape(high, wide, CELL * CELL)
    # Noise is what is usual around: black beside a breast says nothing of the breast.
    usual = np.pad(np.median(cells[..., ::4], axis=2), AROUND // 2, mode="edge")
    around = np.lib.stride_tricks.sliding_window_view(usual, (AROUND, AROUND)).reshape(high, wide, AROUND * AROUND)
    noise = np.median(around, axis=2) / 0.6745
    # The faintest letters differ by some 28 grey levels from what is around, which counts twice here.
    counts = (cells > np.maximum(24.0, 7.0 * noise)[..., None]).sum(axis=2)
    busy = counts >= 10
    beside = np.pad(busy, 1)
    for down in (-1, 0, 1):
        for right in (-1, 0, 1):
            busy = busy | beside[1 + down : 1 + down + high, 1 + right : 1 + right + wide]
    parts: list[Box] = []
    for box, _ in components(busy.astype(np.float32), 0.5):
        parts += _tiles(busy, box)
    return [
        Box(part.left * CELL, part.top * CELL, part.right * CELL, part.bottom * CELL).within(columns, rows)
        for part in _joined(parts)
    ]


def _tiles(busy: npt.NDArray[np.bool_], box: Box) -> list[Box]:
    """Return a region of cells, or, where its rectangle is large and half empty, the tiles that have some of it.

    Tiles reach a cell into the next one: a line that crosses is found from both sides, and joined later.
    """
    cut = busy[box.top : box.bottom, box.left : box.right]
    if box.area <= TILE * TILE or float(cut.mean()) > 0.7:
        return [box]
    tiles = []
    for top in range(box.top, box.bottom, TILE):
        for left in range(box.left, box.right, TILE):
            down, across = np.nonzero(busy[top : min(top + TILE, box.bottom), left : min(left + TILE, box.right)])
            if len(down):
                tile = Box(
                    left + int(across.min()),
                    top + int(down.min()),
                    left + int(across.max()) + 1,
                    top + int(down.max()) + 1,
                )
                tiles.append(tile.grown(1).within(busy.shape[1], busy.shape[0]))
    return tiles


def _joined(parts: list[Box]) -> list[Box]:
    """Unite rectangles that meet, until none do but those of which the union would be half as large again."""
    joined: list[Box] = []
    for part in parts:
        current = part
        while True:
            met = next((other for other in joined if other.meets(current) and _is_tight(current, other)), None)
            if met is None:
                break
            joined.remove(met)
            current = current.joined(met)
        joined.append(current)
    return joined


def _is_tight(one: Box, other: Box) -> bool:
    return one.joined(other).area < 1.5 * max(one.area, other.area)


def _look(picture: Picture, part: Box, scale: float) -> list[Found]:
    cut = picture[part.top : part.bottom, part.left : part.right]
    return [
        Found(Box(box.left + part.left, box.top + part.top, box.right + part.left, box.bottom + part.top), score)
        for box, score in _detected(cut, scale)
    ]


def _look_turned(picture: Picture, part: Box, scale: float) -> list[Found]:
    cut = np.rot90(picture[part.top : part.bottom, part.left : part.right])
    return [
        Found(Box(part.right - box.bottom, part.top + box.left, part.right - box.top, part.top + box.right), score)
        for box, score in _detected(cut, scale)
    ]


def _detected(picture: Picture, scale: float) -> list[Found]:
    """Run the detector; return what it found in pixels of the picture."""
    rows, columns = picture.shape[:2]
    high, wide = (max(1, round(side * scale)) for side in (rows, columns))
    filter_ = Image.Resampling.BICUBIC if scale >= 1 else Image.Resampling.BOX
    # The model takes multiples of 32: there is more around rather than another shape.
    rims = [(RIM, RIM + -(side + 2 * RIM) % 32) for side in (high, wide)]
    samples = np.pad(planes_of(picture, wide, high, filter_), ((0, 0), *rims), mode="edge")
    model = session(DETECTION)
    [answer] = model.run(None, {model.get_inputs()[0].name: samples[None]})
    across, down = wide / columns, high / rows
    found = []
    for box, score in components(answer[0, 0, RIM : RIM + high, RIM : RIM + wide], PIXEL_THRESHOLD):
        if min(box.width, box.height) < MIN_SIDE or score < UNSURE:
            continue
        # Undo the shrinking the detector was trained with (Liao et al. 2020, section 3.4).
        margin = box.area * UNCLIP / (2 * (box.width + box.height))
        grown = Box(
            int((box.left - margin) / across),
            int((box.top - margin) / down),
            int(np.ceil((box.right + margin) / across)),
            int(np.ceil((box.bottom + margin) / down)),
        )
        found.append(Found(grown.within(columns, rows), score))
    return found


def components(values: Map, threshold: float) -> list[Found]:
    """Return the bounding box of each connected region (8 neighbours) above a threshold, and its mean value.

    By runs: the rows are cut into runs of marked pixels, and runs of neighbouring rows that touch are united.
    """
    rows, columns = values.shape
    edges = np.diff(np.pad(values > threshold, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    at, first = np.nonzero(edges == 1)
    _, end = np.nonzero(edges == -1)
    if not len(at):
        return []
    roots = _united(at, first, end, rows)
    sums = np.zeros((rows, columns + 1))
    np.cumsum(values, axis=1, out=sums[:, 1:])
    _, numbers = np.unique(roots, return_inverse=True)
    count = int(numbers.max()) + 1
    total = np.bincount(numbers, sums[at, end] - sums[at, first], count)
    size = np.bincount(numbers, end - first, count)
    left = np.full(count, columns)
    top = np.full(count, rows)
    right = np.zeros(count, dtype=np.int64)
    bottom = np.zeros(count, dtype=np.int64)
    np.minimum.at(left, numbers, first)
    np.minimum.at(top, numbers, at)
    np.maximum.at(right, numbers, end)
    np.maximum.at(bottom, numbers, at + 1)
    return [
        Found(Box(int(left[n]), int(top[n]), int(right[n]), int(bottom[n])), float(total[n] / size[n]))
        for n in range(count)
    ]


def _united(
    at: npt.NDArray[np.int64], first: npt.NDArray[np.int64], end: npt.NDArray[np.int64], rows: int
) -> npt.NDArray[np.int64]:
    """Return for each run the number of the run that stands for its region."""
    parents = list(range(len(at)))

    def root(number: int) -> int:
        while parents[number] != number:
            parents[number] = parents[parents[number]]
            number = parents[number]
        return number

    starts = np.searchsorted(at, np.arange(rows + 1)).tolist()
    begins, ends = first.tolist(), end.tolist()
    for row in range(1, rows):
        above, here = starts[row - 1], starts[row]
        last_above, last_here = starts[row], starts[row + 1]
        while above < last_above and here < last_here:
            if begins[above] <= ends[here] and begins[here] <= ends[above]:
                one, other = root(above), root(here)
                parents[max(one, other)] = min(one, other)
            if ends[above] < ends[here]:
                above += 1
            else:
                here += 1
    return np.array([root(number) for number in range(len(parents))], dtype=np.int64)
