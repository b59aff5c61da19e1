"""A computed beating heart for demonstrations: grey levels that look like an ultrasound of four chambers.

Speckle is made as it comes about: scatterers that sit in the tissue and move with it, blurred by the beam,
their envelope compressed to decibels. Lengths are millimetres; x to the right of the display, z away from
the transducer. Nobody was examined.
"""

from typing import Any, Final

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

Field = npt.NDArray[np.float32]
Grey = npt.NDArray[np.uint8]

WIDTH: Final = 640
HEIGHT: Final = 480
DEPTH: Final = 160.0
MILLIMETRES_PER_PIXEL: Final = DEPTH / 440.0

_TOP: Final = 22
_HALF_ANGLE: Final = np.deg2rad(41.0)
_BEAMS: Final = 208
_SAMPLES: Final = 620
_TEXTURE_STEP: Final = 0.32
_RANGE_DECIBELS: Final = 54.0


def beating_heart(frames: int, seed: int) -> list[Grey]:
    """Return one heart beat as (480, 640) grey levels; the last frame leads back to the first."""
    random = np.random.default_rng(seed)
    heart = _Heart(random)
    return [heart.frame(number / frames, number, frames) for number in range(frames)]


def contraction(phase: float) -> float:
    """Return how far the ventricles have contracted, 0 to 1, at a phase of the beat (0 is the R wave)."""
    if phase < 0.36:
        return float(0.5 - 0.5 * np.cos(np.pi * phase / 0.36))
    if phase < 0.62:
        return float(0.12 + 0.88 * (0.5 + 0.5 * np.cos(np.pi * (phase - 0.36) / 0.26)))
    if phase < 0.84:
        return 0.12
    return float(0.12 * (0.5 + 0.5 * np.cos(np.pi * (phase - 0.84) / 0.16)))


def _opening(phase: float) -> float:
    """Return how far the valves to the ventricles are open: early filling, then the kick of the atria."""
    early = np.exp(-(((phase - 0.56) / 0.065) ** 2))
    late = 0.75 * np.exp(-(((phase - 0.90) / 0.05) ** 2))
    return float(min(1.0, early + late + 0.12 * (0.5 < phase < 0.95)))


def _soft(value: Any, width: float) -> Field:
    return np.asarray(np.clip(np.asarray(value, dtype=np.float32) / np.float32(width) + 0.5, 0.0, 1.0))


class _Heart:
    def __init__(self, random: np.random.Generator) -> None:
        self.random = random
        angle = np.linspace(-_HALF_ANGLE, _HALF_ANGLE, _BEAMS, dtype=np.float32)[:, None]
        self.range = np.linspace(2.0, DEPTH, _SAMPLES, dtype=np.float32)[None, :]
        self.angle = angle
        self.x = self.range * np.sin(angle)
        self.z = self.range * np.cos(angle)
        side = int(260 / _TEXTURE_STEP)
        self.texture = self._scatterers(side)
        self.clutter = self._scatterers(side)
        self.patches = self._patches(side)
        self.to_screen = self._screen_map()
        self.kernel = self._beam()

    def _scatterers(self, side: int) -> npt.NDArray[np.complex64]:
        real = self.random.standard_normal((side, side), dtype=np.float32)
        imaginary = self.random.standard_normal((side, side), dtype=np.float32)
        return (real + 1j * imaginary).astype(np.complex64)

    def _patches(self, side: int) -> Field:
        """Return a slowly varying brightness of tissue, around 1."""
        coarse = self.random.standard_normal((side // 24, side // 24)).astype(np.float32)
        image = Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC)
        return np.asarray(np.exp(0.45 * np.asarray(image, dtype=np.float32)))

    def _beam(self) -> npt.NDArray[np.complex64]:
        """Return the point spread in (beam, sample) as a transfer function."""
        beam = np.fft.fftfreq(_BEAMS)[:, None]
        sample = np.fft.fftfreq(_SAMPLES)[None, :]
        lateral, axial = 1.25, 1.15
        transfer = np.exp(-2 * (np.pi * lateral * beam) ** 2 - 2 * (np.pi * axial * sample) ** 2)
        return transfer.astype(np.complex64)

    def _sampled(self, field: npt.NDArray[Any], x: Field, z: Field) -> npt.NDArray[Any]:
        """Look a field up at material coordinates, between its points linearly."""
        side = field.shape[0]
        column = np.clip((x + 130) / _TEXTURE_STEP, 0, side - 2.001)
        row = np.clip((z + 30) / _TEXTURE_STEP, 0, side - 2.001)
        left, top = column.astype(np.int32), row.astype(np.int32)
        u, v = column - left, row - top
        upper = field[top, left] * (1 - u) + field[top, left + 1] * u
        lower = field[top + 1, left] * (1 - u) + field[top + 1, left + 1] * u
        return np.asarray(upper * (1 - v) + lower * v)

    def frame(self, phase: float, number: int, frames: int) -> Grey:
        """Return the picture at a phase of the beat (0 to 1)."""
        echo = self._echo(phase)
        envelope = np.abs(np.fft.ifft2(np.fft.fft2(echo) * self.kernel))
        decibels = 20 * np.log10(envelope / 0.46 + 1e-5)
        levels = np.clip((decibels + _RANGE_DECIBELS - 10) / _RANGE_DECIBELS, 0, 1)
        return self._screen(levels.astype(np.float32), phase, number, frames)

    def _echo(self, phase: float) -> npt.NDArray[np.complex64]:
        c = contraction(phase)
        swing = 2.2 * np.sin(2 * np.pi * (phase - 0.08))
        # The heart lies a little oblique; its base moves towards the apex, which stays.
        tilt = np.deg2rad(-9.0)
        px, pz = self.x - 3.0 - 0.4 * swing, self.z - 24.0
        along = pz * np.cos(tilt) + px * np.sin(tilt)
        across = px * np.cos(tilt) - pz * np.sin(tilt)
        base = 78.0 - 11.0 * c
        unmoved = along * (78.0 / base)

        left_half, right_half = 22.5 * (1 - 0.30 * c), 13.5 * (1 - 0.24 * c)
        left = self._ventricle(across - 15.0, along, base, left_half, 0.0)
        right = self._ventricle(across + 23.5, along - 12.0, base - 12.0, right_half, -5.0)
        atrium_swell = 1.0 + 0.13 * c
        left_atrium = self._ellipse(across - 16, along - base - 19, 19.5 * atrium_swell, 17 * atrium_swell)
        right_atrium = self._ellipse(across + 21, along - base - 17, 18 * atrium_swell, 16 * atrium_swell)
        septum = np.abs(across + 2.5) - 1.3
        left_atrium, right_atrium = np.minimum(left_atrium, septum), np.minimum(right_atrium, septum)
        chambers = np.maximum(np.maximum(left, right), np.maximum(left_atrium, right_atrium))
        for centre, half in ((15.0, 0.8 * left_half), (-28.5, 0.8 * right_half)):
            passage = np.minimum(half - np.abs(across - centre), 6.0 - np.abs(along - base))
            chambers = np.maximum(chambers, passage)

        wall = 8.5 + 4.0 * c
        outside = np.maximum(
            np.maximum(left + wall, right + 4.5 + 1.5 * c), np.maximum(left_atrium, right_atrium) + 3.0
        )
        muscle = _soft(outside, 1.2) * _soft(-chambers, 1.0)
        body = self._sampled(self.patches, self.x, self.z)
        inside = self._sampled(self.patches, across + 40, unmoved + 20)

        strength = 0.135 * body * _soft(-outside, 2.0) * np.exp(-np.clip(-outside, 0, None) / 55.0)
        strength = strength + 0.40 * muscle * inside
        # Fibres of the septum are hit square on, those of the lateral wall along: they send back less.
        strength *= 1.0 - 0.35 * muscle * _soft(across - 30, 12.0) * _soft(base - along, 20.0)
        rim = np.exp(-(((outside - 0.6) / 1.0) ** 2)) * _soft(self.z - 60, 40.0)
        strength = strength + 1.5 * rim * inside
        edge = np.exp(-(((chambers + 1.0) / 1.0) ** 2))
        strength = strength + 0.38 * edge
        strength = strength * (1 - 0.985 * _soft(chambers, 1.0)) + 0.006
        hinges = (15 - 0.86 * left_half, 15 + 0.86 * left_half, -28.5 - 0.86 * right_half, -28.5 + 0.86 * right_half)
        strength = np.maximum(strength, self._valves(across, along, base, hinges, _opening(phase)))
        near = 0.55 * np.exp(-self.range / 9.0) + 0.05 * np.exp(-(((self.range - 26) / 16) ** 2))
        strength = strength * (1 - 0.55 * np.exp(-self.range / 14.0))
        fade = (0.62 + 0.38 * np.cos(self.angle * 1.6)) * (1.0 - 0.28 * (self.range / DEPTH) ** 2)

        moving = self._sampled(self.texture, across * (1 + 0.18 * c), unmoved)
        still = self._sampled(self.clutter, self.x, self.z)
        within = _soft(outside + 2.0, 6.0)
        scatter = moving * within + still * (1 - within)
        blood = self.random.standard_normal(scatter.shape) + 1j * self.random.standard_normal(scatter.shape)
        echo = strength * scatter + 0.0085 * blood + near * still
        return np.asarray(echo * fade, dtype=np.complex64)

    @staticmethod
    def _ventricle(across: Field, along: Field, base: float, half_width: float, lean: float) -> Field:
        """Return the depth in mm below the surface of a bullet-shaped chamber, its tip at 0, its base flat."""
        t = np.clip(along / base, 0, 1)
        width = (
            half_width * np.power(1.0 - np.power(1.0 - np.clip(t / 0.75, 0, 1), 2.3) + 1e-5, 0.62) * (1.0 - 0.16 * t**4)
        )
        sideways = (width - np.abs(across - lean * t)) * 0.9
        ends = np.minimum(along, base - along)
        return np.asarray(0.5 * (sideways + ends - np.sqrt((sideways - ends) ** 2 + 9.0)) + 0.6, dtype=np.float32)

    @staticmethod
    def _ellipse(across: Field, along: Field, half_width: float, half_length: float) -> Field:
        radius = np.sqrt((across / half_width) ** 2 + (along / half_length) ** 2)
        return np.asarray((1 - radius) * min(half_width, half_length), dtype=np.float32)

    @staticmethod
    def _valves(
        across: Field, along: Field, base: float, hinges: tuple[float, float, float, float], opened: float
    ) -> Field:
        """Return the bright lines of the leaflets between the upper and the lower chambers.

        ``hinges`` are where the leaflets are fixed, left to right of the left pair, then of the right pair.
        """
        result = np.zeros(across.shape, dtype=np.float32)
        left, right = hinges[1] - hinges[0], hinges[3] - hinges[2]
        leaflets = (
            (hinges[0], 1, 0.56 * left),
            (hinges[1], -1, 0.47 * left),
            (hinges[2], 1, 0.52 * right),
            (hinges[3], -1, 0.52 * right),
        )
        for hinge, direction, length in leaflets:
            angle = np.deg2rad(9 + 66 * opened)
            ux, uz = direction * np.cos(angle), -np.sin(angle)
            dx, dz = across - hinge, along - base
            s = np.clip(dx * ux + dz * uz, 0, length)
            sag = 1.6 * np.sin(np.pi * s / length) * (1 - opened)
            distance = np.sqrt((dx - s * ux) ** 2 + (dz - s * uz + sag) ** 2)
            result = np.maximum(result, 0.85 * np.exp(-((distance / 0.9) ** 2)))
        return result

    def _screen_map(self) -> tuple[npt.NDArray[np.bool_], Field, Field]:
        row, column = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float32)
        x = (column - WIDTH / 2 + 0.5) * MILLIMETRES_PER_PIXEL
        z = (row - _TOP) * MILLIMETRES_PER_PIXEL
        radius = np.sqrt(x * x + z * z)
        angle = np.arctan2(x, np.maximum(z, 1e-3))
        seen = (np.abs(angle) <= _HALF_ANGLE) & (radius >= 3.0) & (radius <= DEPTH) & (z > 0)
        beam = (angle + _HALF_ANGLE) / (2 * _HALF_ANGLE) * (_BEAMS - 1)
        sample = (radius - 2.0) / (DEPTH - 2.0) * (_SAMPLES - 1)
        return seen, np.clip(beam, 0, _BEAMS - 1.001), np.clip(sample, 0, _SAMPLES - 1.001)

    def _screen(self, levels: Field, phase: float, number: int, frames: int) -> Grey:
        seen, beam, sample = self.to_screen
        b, s = beam.astype(np.int32), sample.astype(np.int32)
        u, v = beam - b, sample - s
        b1, s1 = np.minimum(b + 1, _BEAMS - 1), np.minimum(s + 1, _SAMPLES - 1)
        near = levels[b, s] * (1 - v) + levels[b, s1] * v
        far = levels[b1, s] * (1 - v) + levels[b1, s1] * v
        picture = np.where(seen, np.power(near * (1 - u) + far * u, 1.12) * 250, 0)
        image = Image.fromarray(picture.astype(np.uint8))
        self._annotate(ImageDraw.Draw(image), phase, number, frames)
        return np.asarray(image, dtype=np.uint8)

    def _annotate(self, draw: ImageDraw.ImageDraw, phase: float, number: int, frames: int) -> None:
        """Draw the depth scale, the electrocardiogram with its moving point, and what this is."""
        for centimetres in range(int(DEPTH / 10) + 1):
            y = _TOP + round(centimetres * 10 / MILLIMETRES_PER_PIXEL)
            length = 9 if centimetres % 5 == 0 else 4
            draw.line((WIDTH - 14 - length, y, WIDTH - 14, y), fill=170)
            if centimetres % 5 == 0 and centimetres:
                draw.text((WIDTH - 46, y - 6), f"{centimetres}", fill=170)
        for step in range(24):
            y = 60 + step * 5
            draw.rectangle((20, y, 30, y + 4), fill=max(0, 250 - step * 11))
        draw.polygon([(WIDTH // 2 + 16, 10), (WIDTH // 2 + 24, 10), (WIDTH // 2 + 20, 17)], fill=190)
        draw.text((20, 14), "Synthetic phantom", fill=200)
        draw.text((20, 28), "not a patient", fill=150)
        draw.text((20, 200), f"{frames} fps\n16 cm\n54 dB", fill=150, spacing=3)
        left, right, middle = 20, 190, HEIGHT - 22
        beats = 2
        points = []
        for column in range(left, right):
            t = (column - left) / (right - left) * beats
            points.append((column, middle - round(26 * _electrocardiogram(t % 1.0))))
        draw.line(points, fill=150, width=1)
        x = left + round((phase + 1) / beats * (right - left)) % (right - left)
        y = middle - round(26 * _electrocardiogram(phase))
        draw.ellipse((x - 3, y - 3, x + 3, y + 3), fill=255)
        draw.text((WIDTH - 60, HEIGHT - 20), f"{number + 1:2d}/{frames}", fill=130)


def _electrocardiogram(phase: float) -> float:
    """Return the deflection of one beat, with the R wave at phase 0."""
    value = 0.0
    for centre, width, height in (
        (0.0, 0.012, 1.0),
        (0.032, 0.011, -0.28),
        (0.968, 0.010, -0.14),
        (0.82, 0.028, 0.13),
        (0.30, 0.05, 0.24),
    ):
        distance = min(abs(phase - centre), abs(phase - centre - 1), abs(phase - centre + 1))
        value += height * float(np.exp(-((distance / width) ** 2)))
    return value
