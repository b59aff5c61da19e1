"""A computed head for demonstrations: Hounsfield units of a volume that looks like a CT of the brain.

Nobody was scanned. Shapes are level sets and distances in millimetres in the patient coordinate system of
PS3.3 C.7.6.2 (x to the left, y to the back, z up); cortex and air cells come from filtered noise.
"""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from PIL import Image

Volume = npt.NDArray[np.float32]
Slice = npt.NDArray[np.float32]
Point = tuple[float, float, float]

FIELD_OF_VIEW: Final = 240.0
"""Side of the square image, in millimetres."""
LOWEST: Final = -43.0
"""z of the lowest slice, at the skull base."""
HIGHEST: Final = 70.0

_GRID: Final = 256
_AIR: Final = -1000.0
_FAT: Final = -85.0
_SKIN: Final = 40.0
_MUSCLE: Final = 58.0
_WATERY: Final = 7.0
_WHITE: Final = 25.5
_GREY: Final = 39.5
_DURA: Final = 62.0
_COMPACT: Final = 1350.0
_SPONGY: Final = 620.0

_BLEED: Final[Point] = (-29.0, 6.0, 29.0)


def head_volume(heights: Sequence[float], size: int, seed: int) -> list[Slice]:
    """Return one (size, size) array of Hounsfield units per height z in millimetres.

    Rows run from front to back, columns from the patient's right to left. The same seed gives the same head.
    """
    random = np.random.default_rng(seed)
    z = np.asarray(heights, dtype=np.float32)
    volume = _Head(z, random).volume()
    return [_as_scanned(plane, size, random) for plane in volume]


def _blend(first: Volume, second: Volume, softness: float) -> Volume:
    """Return the union of two depths with a fillet of about ``softness`` mm."""
    return np.asarray(
        0.5 * (first + second + np.sqrt((first - second) ** 2 + softness**2)) - softness / 4, dtype=np.float32
    )


def _smooth_step(value: Any, width: float = 1.0) -> Volume:
    """Rise from 0 to 1 over ``width`` millimetres around zero: the blur of a scanner at a border."""
    return np.asarray(np.clip(np.asarray(value, dtype=np.float32) / np.float32(width) + 0.5, 0.0, 1.0))


class _Head:
    def __init__(self, z: npt.NDArray[np.float32], random: np.random.Generator) -> None:
        axis = (np.arange(_GRID, dtype=np.float32) + 0.5) * (FIELD_OF_VIEW / _GRID) - FIELD_OF_VIEW / 2
        self.z = z[:, None, None]
        self.y = axis[None, :, None] + 0 * self.z
        self.x = axis[None, None, :]
        self.shape = (len(z), _GRID, _GRID)
        self.spacing = float(z[1] - z[0]) if len(z) > 1 else 2.25
        self.random = random
        self.folds = self._noise(10.5, 0.30)
        self.fine = self._noise(5.0, 0.35)
        self.broad = self._noise(38.0, 0.6)
        self.value: Volume = np.full(self.shape, _AIR, dtype=np.float32)

    def volume(self) -> Volume:
        depth = self._depth()
        self._shell(depth)
        self._face(depth)
        self._brain(depth)
        self._skull_base(depth)
        self._headrest()
        return self.value

    def _noise(self, wavelength: float, bandwidth: float) -> Volume:
        """Return noise around one wavelength (mm), deviation 1. Its zero lines wander like sulci."""
        step = FIELD_OF_VIEW / _GRID
        padded = len(self.z) + 16
        spectrum = np.fft.rfftn(self.random.standard_normal((padded, _GRID, _GRID), dtype=np.float32))
        fz = np.fft.fftfreq(padded, self.spacing)[:, None, None]
        fy = np.fft.fftfreq(_GRID, step)[None, :, None]
        fx = np.fft.rfftfreq(_GRID, step)[None, None, :]
        radius = np.sqrt(fx * fx + fy * fy + fz * fz)
        centre = 1.0 / wavelength
        spectrum *= np.exp(-0.5 * ((radius - centre) / (bandwidth * centre)) ** 2)
        field = np.fft.irfftn(spectrum, s=(padded, _GRID, _GRID), axes=(0, 1, 2))[: len(self.z)]
        return np.asarray(field / field.std(), dtype=np.float32)

    def _put(self, amount: Any, value: Any) -> None:
        """Mix ``value`` (HU) in; ``amount`` is 0 to 1."""
        self.value += np.asarray(amount, dtype=np.float32) * (value - self.value)

    def _ellipsoid(self, centre: Point, radii: Point) -> Volume:
        """Return an approximate depth in mm below the surface, negative outside."""
        dx, dy, dz = (self.x - centre[0]) / radii[0], (self.y - centre[1]) / radii[1], (self.z - centre[2]) / radii[2]
        return np.asarray((1.0 - np.sqrt(dx * dx + dy * dy + dz * dz)) * min(radii), dtype=np.float32)

    def _tube(self, start: Point, end: Point, radius: float, end_radius: float | None = None) -> Volume:
        """Return the depth in mm below the surface of a round-ended tube, negative outside."""
        ax, ay, az = (b - a for a, b in zip(start, end, strict=True))
        px, py, pz = self.x - start[0], self.y - start[1], self.z - start[2]
        along = np.clip((px * ax + py * ay + pz * az) / (ax * ax + ay * ay + az * az), 0.0, 1.0)
        distance = np.sqrt((px - along * ax) ** 2 + (py - along * ay) ** 2 + (pz - along * az) ** 2)
        reach = radius if end_radius is None else radius + along * (end_radius - radius)
        return np.asarray(reach - distance, dtype=np.float32)

    def _both(self, make: Any, *points: Point, **sizes: Any) -> Volume:
        """Return the union of a shape and its mirror image on the other side."""
        mirrored = [(-x, y, z) for x, y, z in points]
        return np.asarray(np.maximum(make(*points, **sizes), make(*mirrored, **sizes)))

    def _depth(self) -> Volume:
        """Return the depth below the skin in mm, negative in the air around."""
        z = self.z
        up = np.clip((z - 8.0) / 80.0, 0.0, 1.0)
        down = np.clip((8.0 - z) / 60.0, 0.0, 1.0)
        scale = np.power(np.clip(1.0 - np.power(up, 2.35), 0.0, None), 1 / 2.1) * (1.0 - 0.09 * down * down)
        scale = np.maximum(scale, 0.02)
        half_length, half_width = 95.0 * scale, 77.0 * scale
        back = np.clip(self.y / half_length, -1.2, 1.2)
        # Widest behind the ears, narrower at the temples, broad forehead.
        width = half_width * (1.0 - 0.10 * (back - 0.22) ** 2 - 0.06 * np.clip(-back, 0, 1) * down)
        radius = np.power(
            np.power(np.abs(self.x) / width, 2.15) + np.power(np.abs(self.y) / half_length, 2.15), 1 / 2.15
        )
        level = (1.0 - radius) * np.minimum(half_length, half_width)
        if len(self.z) < 2:
            return np.asarray(level, dtype=np.float32)
        gz, gy, gx = np.gradient(level, self.spacing, FIELD_OF_VIEW / _GRID, FIELD_OF_VIEW / _GRID)
        slope = np.sqrt(gx * gx + gy * gy + np.clip(gz, -2.5, 2.5) ** 2)
        depth = level / np.maximum(slope, 0.55)
        nose = self._tube((0, -84, -22), (0, -92, -44), 5.5, 9.5)
        self.ears = self._both(self._tube, (74, 16, -18), (83, 27, -16), radius=2.6, end_radius=2.0)
        self.ears = np.maximum(
            self.ears, self._both(self._tube, (73, 14, -30), (80, 22, -32), radius=3.4, end_radius=2.4)
        )
        depth = _blend(depth, nose, 9.0)
        return _blend(depth, self.ears, 3.0).astype(np.float32)

    def _shell(self, depth: Volume) -> None:
        """Put skin, fat, muscle and the vault of the skull."""
        self._put(_smooth_step(depth, 1.9), _SKIN)
        self._put(_smooth_step(depth - 2.4, 1.6) * (0.85 + 0.1 * self.fine), _FAT)
        self._put(_smooth_step(self.ears + 1.0), 55.0)
        temples = self._both(self._ellipsoid, (72, -22, -22), radii=(16, 30, 34))
        self._put(_smooth_step(temples, 2.0) * _smooth_step(depth - 3.0), _MUSCLE)
        neck = self._ellipsoid((0, 92, -52), (58, 26, 32))
        self._put(_smooth_step(neck, 3.0) * _smooth_step(depth - 5.0), _MUSCLE - 6 + 4 * self.fine)
        self.outer = depth - 5.8 - np.clip(temples, 0, 7) * 0.8 - np.clip(neck, 0, 12) * 0.55
        front_back = np.abs(self.y) / 95.0
        self.thickness = 6.0 + 2.0 * front_back**2 + 0.4 * self.broad
        inside = self.outer - self.thickness
        bone = _smooth_step(self.outer) * _smooth_step(-inside)
        middle = np.exp(-(((self.outer - self.thickness / 2) / (0.22 * self.thickness)) ** 2))
        density = _COMPACT + 60 * self.broad - (_COMPACT - _SPONGY - 90 * self.fine) * middle
        self._put(bone, density)
        self.inside = inside
        # Sutures: coronal, and lambdoid, thin wavering gaps.
        wave = 2.2 * self.fine
        coronal = np.abs(self.y + 22 - 0.25 * self.z + wave)
        lambdoid = np.abs(self.y - 62 + 0.55 * np.abs(self.x) - 0.2 * self.z + wave)
        gap = np.maximum(_smooth_step(0.7 - coronal, 1.2), _smooth_step(0.7 - lambdoid, 1.2)) * _smooth_step(
            self.z - 18, 8
        )
        self._put(gap * bone * 0.55, 180.0)

    def _floor(self) -> Volume:
        """Return how far a point is above the floor of the skull, in mm."""
        across = np.abs(self.x)
        front = -12.0 + 7.0 * np.exp(-(((across - 30) / 15.0) ** 2)) - 0.16 * (self.y + 62) + 0.6 * self.broad
        bowl = -43.0 + 0.014 * ((across - 38) ** 2 + (self.y + 12) ** 2)
        middle = np.maximum(np.minimum(bowl, -30.0), -42.0 + 23.0 * np.exp(-((self.x / 16.0) ** 2)))
        back = -75.0 + 0 * self.x
        to_middle = 1 / (1 + np.exp(-(self.y + 38 + 0.10 * np.abs(self.x)) / 2.2))
        to_back = 1 / (1 + np.exp(-(self.y - 8 - 0.30 * np.abs(self.x)) / 3.0))
        height = front * (1 - to_middle) + middle * to_middle * (1 - to_back) + back * to_back
        return np.asarray(self.z - height, dtype=np.float32)

    def _face(self, depth: Volume) -> None:
        """Put orbits, nose and sinuses below the front of the skull's floor."""
        floor = self._floor()
        face = _smooth_step(-floor - 1.5, 2.0) * _smooth_step(-self.y - 30, 6.0)
        deep = face * _smooth_step(depth - 4.0)
        self._put(deep, _FAT + 12 * self.fine)
        masticators = self._both(self._ellipsoid, (47, -28, -48), radii=(11, 17, 24))
        self._put(_smooth_step(masticators, 2.0) * deep, _MUSCLE)
        # Bony frame of the orbits, cheekbones, nasal bones.
        walls = self._both(self._tube, (47, -63, -30), (33, -38, -27), radius=2.2)
        walls = np.maximum(walls, self._both(self._tube, (47, -63, -16), (36, -36, -18), radius=2.6))
        walls = np.maximum(walls, self._both(self._tube, (47, -62, -40), (66, -18, -41), radius=3.0))
        rims = self._both(self._tube, (49, -66, -14), (49, -64, -45), radius=4.0)
        self._put(_smooth_step(np.maximum(walls, rims)) * _smooth_step(depth - 2.0), 1050 + 80 * self.fine)
        cells = self._both(self._ellipsoid, (7.5, -56, -27), radii=(7.5, 25, 13))
        self._put(_smooth_step(cells, 1.2), 420.0)
        self._put(_smooth_step(cells - 1.0) * _smooth_step(0.95 - np.abs(self.folds + 0.6 * self.fine), 0.5), _AIR + 40)
        nose = self._ellipsoid((0, -74, -46), (12, 26, 16))
        self._put(_smooth_step(nose), 45.0)
        self._put(
            _smooth_step(nose - 2.2) * _smooth_step(np.abs(self.x) - 1.6) * _smooth_step(0.7 - self.folds, 0.6), _AIR
        )
        self._put(_smooth_step(nose) * _smooth_step(0.9 - np.abs(self.x)), 330.0)
        sphenoid = self._ellipsoid((2, -20, -31), (15, 13, 9))
        self._put(_smooth_step(sphenoid + 2.5), 700.0)
        self._put(_smooth_step(sphenoid) * _smooth_step(np.abs(self.x - 2.5) - 0.7), _AIR + 15)
        self._orbits(depth)

    def _orbits(self, depth: Volume) -> None:
        cone = self._both(self._tube, (31, -68, -27), (16, -30, -24), radius=16.0, end_radius=4.0)
        self._put(_smooth_step(cone) * _smooth_step(depth - 3.0), _FAT - 8)
        for start, end in (((42, -68, -27), (17, -31, -24)), ((19, -66, -27), (13, -31, -24))):
            self._put(_smooth_step(self._both(self._tube, start, end, radius=2.1)), 52.0)
        for dz in (9.5, -9.5):
            muscle = self._both(self._tube, (31, -66, -27 + dz), (15, -31, -24 + dz / 5), radius=1.9)
            self._put(_smooth_step(muscle), 52.0)
        self._put(_smooth_step(self._both(self._tube, (31, -58, -27), (13, -29, -22), radius=2.0)), 36.0)
        globe = self._both(self._ellipsoid, (32, -71, -27), radii=(12.3, 12.3, 12.3))
        self._put(_smooth_step(globe), 48.0)
        self._put(_smooth_step(globe - 1.2), 12.0)
        lens = self._both(self._ellipsoid, (32, -79.5, -27), radii=(4.6, 2.4, 4.6))
        self._put(_smooth_step(lens), 88.0)

    def _brain(self, depth: Volume) -> None:
        floor = self._floor()
        within = np.minimum(self.inside, floor)
        cavity = _smooth_step(within)
        self._put(cavity * _smooth_step(self.outer), _DURA)
        space = _smooth_step(within - 1.0)
        self._put(space, _WATERY + 3)
        # The bleed pushes its surroundings to the other side: look up the anatomy where it was before.
        towards = np.exp(-((self._distance(_BLEED) / 26.0) ** 2))
        saved_x = self.x
        self.x = self.x - 4.5 * towards
        surface = within - 2.6
        behind_tent = self._posterior_fossa()
        tissue = _smooth_step(surface, 1.4)
        medial = np.abs(self.x) - 1.5 + 60.0 * (1.0 - self._between_hemispheres())
        cortex_depth = np.clip(np.minimum(surface, medial), 0, None)
        sulcus = np.exp(-((self.folds / 0.36) ** 2)) * np.exp(-((cortex_depth / 15.0) ** 2.4))
        ribbon = np.exp(-((self.folds / 0.95) ** 2)) * np.exp(-((cortex_depth / 19.0) ** 3))
        ribbon = np.maximum(ribbon, np.exp(-((cortex_depth / 3.6) ** 2)))
        cerebrum = _WHITE + (_GREY - _WHITE) * ribbon + 0.8 * self.broad
        cerebrum -= (cerebrum - _WATERY) * 0.85 * sulcus
        self._put(tissue * (1 - behind_tent), cerebrum)
        self._deep_grey(tissue)
        self._cerebellum(tissue * behind_tent, surface)
        self._fluid(tissue)
        self._midline(within)
        self.x = saved_x
        self._bleed(tissue)

    def _distance(self, centre: Point) -> Volume:
        squares = ((self.x - centre[0]) ** 2, (self.y - centre[1]) ** 2, (self.z - centre[2]) ** 2)
        return np.asarray(np.sqrt(sum(squares)), dtype=np.float32)

    def _posterior_fossa(self) -> Volume:
        """Return how much of a point lies below the tentorium, 0 to 1."""
        tent = 6.0 - 0.30 * np.clip(np.abs(self.x) - 4, 0, None) - 0.20 * np.clip(self.y - 30, 0, None)
        behind = self.y - 4 - 0.22 * np.abs(self.x)
        self.tent = np.minimum(tent - self.z, behind)
        return _smooth_step(self.tent, 2.0)

    def _deep_grey(self, tissue: Volume) -> None:
        nuclei = (
            ((14, -22, 24), (5.5, 10, 10)),
            ((12, 9, 18), (9.5, 15, 10)),
            ((25, -5, 15), (7, 17, 10)),
            ((33.5, -2, 15), (1.6, 17, 12)),
        )
        for centre, radii in nuclei:
            self._put(_smooth_step(self._both(self._ellipsoid, centre, radii=radii), 2.5) * tissue * 0.9, _GREY - 1)

    def _cerebellum(self, amount: Volume, surface: Volume) -> None:
        folia = np.sin(1.9 * np.clip(surface, 0, 30) + 1.1 * self.folds)
        leaf = np.exp(-((np.clip(surface, 0, None) / 15.0) ** 2))
        self._put(amount, 34.0 + 4.5 * folia * leaf)
        self._put(amount * _smooth_step(self._both(self._ellipsoid, (15, 44, -24), radii=(9, 13, 10)), 6.0), _WHITE + 2)
        around = self._ellipsoid((0, 14, -22), (19, 17, 36))
        self._put(amount * _smooth_step(around, 2.0), _WATERY + 3)
        stem = np.maximum(self._ellipsoid((0, 15, -27), (14.5, 13, 17)), self._tube((0, 18, -50), (0, 10, 6), 11.0))
        peduncles = self._both(self._tube, (10, 18, -26), (24, 36, -28), radius=7.0)
        self._put(amount * _smooth_step(np.maximum(stem, peduncles), 1.5), 31.0)
        self._put(_smooth_step(1.1 - np.abs(self.tent), 1.2) * _smooth_step(surface, 2.0) * 0.4, _DURA)

    def _fluid(self, tissue: Volume) -> None:
        lateral = self._both(self._tube, (4.5, -8, 27), (12.5, -37, 24), radius=4.0, end_radius=4.8)
        for start, end, radius, end_radius in (
            ((4.5, -8, 28), (13, 16, 34), 4.5, 6.0),
            ((13, 16, 34), (24, 34, 23), 6.0, 7.5),
            ((24, 34, 23), (19, 60, 19), 6.0, 2.2),
            ((25, 32, 20), (33, 2, -9), 4.5, 1.6),
        ):
            lateral = np.maximum(lateral, self._both(self._tube, start, end, radius=radius, end_radius=end_radius))
        self._put(_smooth_step(lateral, 1.4) * tissue, _WATERY)
        self._put(_smooth_step(self._ellipsoid((0, 3, 14), (2.3, 14, 11)), 1.2) * tissue, _WATERY)
        self._put(_smooth_step(self._ellipsoid((0, 36, -22), (7, 5, 10)), 1.2) * tissue, _WATERY)
        sylvian = (
            np.abs(self.z - 8 - 0.5 * (self.y + 4) - 0.25 * (np.abs(self.x) - 36) + 2.5 * self.broad) * 0.85
            + 0.4 * self.fine
            - 1.9
        )
        reach = np.minimum(np.abs(self.x) - 35.5, 26.0 - np.abs(self.y + 6))
        fissure = np.minimum(-sylvian, reach)
        insula = np.minimum(2.0 - np.abs(np.abs(self.x) - 38 + 0.014 * (self.y + 4) ** 2), 21 - np.abs(self.y + 4))
        fissure = np.maximum(fissure, np.minimum(insula, 12 - np.abs(self.z - 13)))
        self._put(_smooth_step(fissure, 1.6) * tissue * 0.9, _WATERY + 1)
        star = np.maximum(
            self._ellipsoid((0, -10, -12), (9, 7, 7)), self._both(self._tube, (6, -16, -12), (30, -26, -6), radius=3.0)
        )
        star = np.maximum(star, self._both(self._tube, (8, -2, -10), (19, 16, -2), radius=2.8))
        star = np.maximum(star, self._ellipsoid((0, 29, 4), (13, 4.5, 7)))
        self._put(_smooth_step(star, 1.6) * tissue, _WATERY + 2)
        plexus = self._both(self._ellipsoid, (22, 32, 24), radii=(2.6, 3.6, 3.0))
        self._put(_smooth_step(plexus, 1.5), 190 + 40 * self.fine)
        self._put(_smooth_step(self._ellipsoid((0, 25, 13), (2.3, 2.8, 2.6)), 1.5), 240.0)

    def _between_hemispheres(self) -> Volume:
        """Return where the two halves are apart, 0 to 1: above and around the corpus callosum."""
        above = _smooth_step(self.z - 24 - 14 * np.exp(-((self.y / 45.0) ** 2)), 4.0)
        around = _smooth_step(np.abs(self.y - 2) - 44, 4.0) * _smooth_step(self.z + 2 + 0.3 * self.y, 4.0)
        return np.asarray(np.maximum(above, around))

    def _midline(self, within: Volume) -> None:
        bend = self.x + 0.35 * self.broad
        where = self._between_hemispheres() * _smooth_step(within - 0.5)
        self._put(_smooth_step(2.1 - np.abs(bend), 1.6) * where * 0.85, _WATERY + 4)
        self._put(_smooth_step(0.75 - np.abs(bend), 0.9) * where * 0.9, _DURA + 6)
        sinus = np.minimum(5.5 - np.abs(self.x), 6.5 - np.clip(within, 0, None)) - 1.0
        self._put(
            _smooth_step(sinus, 2.0) * _smooth_step(within) * _smooth_step(self.y - 20 + 40 * (self.z > 30), 8.0), 58.0
        )

    def _bleed(self, tissue: Volume) -> None:
        """Add a fresh haemorrhage with its oedema, right of the midline."""
        ragged = 2.2 * self.broad + 0.45 * self.folds
        distance = np.sqrt(
            ((self.x - _BLEED[0]) / 0.85) ** 2 + ((self.y - _BLEED[1]) / 1.25) ** 2 + ((self.z - _BLEED[2]) / 1.0) ** 2
        )
        self._put(_smooth_step(20.5 + 1.3 * ragged - distance, 6.0) * tissue * 0.8, 17.0)
        self._put(_smooth_step(12.0 + ragged - distance, 2.2) * tissue, 69 + 2.5 * self.broad + 1.2 * self.fine)

    def _skull_base(self, depth: Volume) -> None:
        floor = self._floor()
        plate = _smooth_step(1.3 - np.abs(floor + 0.4), 1.4) * _smooth_step(self.inside + 3.0)
        self._put(plate * _smooth_step(-self.y + 30), 880 + 90 * self.fine)
        ridge = self._both(self._tube, (11, -29, -15), (52, -43, -14), radius=2.6, end_radius=4.0)
        clivus = self._tube((0, -6, -22), (0, 4, -52), 5.0, 7.0)
        self._put(_smooth_step(np.maximum(ridge, clivus)) * _smooth_step(depth - 6.0), 960 + 90 * self.fine)
        petrous = self._both(self._tube, (14, 3, -33), (56, 26, -31), radius=6.0, end_radius=11.0)
        self._put(_smooth_step(petrous) * _smooth_step(depth - 5.0), 1150 + 120 * self.fine)
        canal = self._both(self._tube, (19, 7, -32), (34, 13, -32), radius=2.2)
        self._put(_smooth_step(canal), 60.0)
        mastoid = np.maximum(
            self._both(self._ellipsoid, (58, 31, -36), radii=(11, 15, 17)),
            self._both(self._tube, (40, 15, -31), (50, 18, -31), radius=3.0),
        )
        holes = _smooth_step(mastoid - 1.5) * _smooth_step(0.55 - np.abs(self.fine) + 0.3 * self.folds, 0.5)
        self._put(holes * _smooth_step(depth - 8.0), _AIR + 120)
        passage = self._both(self._tube, (50, 16, -32), (86, 15, -31), radius=3.2)
        self._put(_smooth_step(passage), _AIR)
        frontal = np.maximum(self._ellipsoid((8, -86, 6), (14, 4.2, 13)), self._ellipsoid((-9, -86, 3), (13, 4.0, 10)))
        frontal = np.minimum(frontal, np.abs(self.x) - 0.9) + 0.5 * self.folds
        self._put(_smooth_step(frontal) * _smooth_step(self.outer - 1.2) * _smooth_step(-self.inside - 0.8), _AIR + 10)

    def _headrest(self) -> None:
        """Add the padded holder under the head, and the table's edge."""
        bow = np.sqrt(self.x**2 + (self.y + 18) ** 2)
        below = _smooth_step(self.y - 25, 2.0)
        free = _smooth_step(self.value * -1.0 - 800, 100.0)
        pad = _smooth_step(6.0 - np.abs(bow - 122), 1.2)
        shell = np.maximum(_smooth_step(0.8 - np.abs(bow - 115.5)), _smooth_step(0.9 - np.abs(bow - 128.5)))
        self._put(pad * below * free, -920.0)
        self._put(shell * below * free, -150.0)


def _as_scanned(plane: Slice, size: int, random: np.random.Generator) -> Slice:
    """Bring a plane to the image size and add quantum noise with the grain of a soft kernel."""
    image = Image.fromarray(plane.astype(np.float32))
    scaled = np.asarray(image.resize((size, size), Image.Resampling.BICUBIC), dtype=np.float32)
    noise = random.standard_normal((size, size), dtype=np.float32)
    for axis in (0, 1):
        noise = 0.5 * noise + 0.25 * (np.roll(noise, 1, axis) + np.roll(noise, -1, axis))
    strength = np.where(scaled > -900, 7.0, 4.5).astype(np.float32)
    return np.asarray(scaled + noise * strength, dtype=np.float32)
