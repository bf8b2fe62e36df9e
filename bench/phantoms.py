"""Pictures of bodies that never were: a head in CT and MR, a chest, a beating heart.

Made of ellipsoids, as Shepp and Logan's phantom is; the seed makes each patient a little different, and gives the head its lesion.
Positions are in mm as the patient has them: x to the left, y to the back, z to the head (PS3.3 C.7.6.2.1.1).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[Any]
Real = NDArray[np.float64]


@dataclass(frozen=True)
class Picture:
    """pixels: (rows, columns) or (frames, rows, columns), as they are stored. attributes: what goes with them, by keyword."""

    pixels: Pixels
    attributes: dict[str, Any]


@dataclass(frozen=True)
class Ellipsoid:
    """Painted over what was there before. half_axes: mm; turn: about z, degrees; folds: depth of its furrows, 0: smooth."""

    tissue: str
    centre: tuple[float, float, float]
    half_axes: tuple[float, float, float]
    turn: float = 0.0
    folds: float = 0.0


HEAD_SIDE: Final = 256
HEAD_FIELD_MM: Final = 230.0
SLICE_MM: Final = 5.0
_LOWEST_MM: Final = -58.0
_HEAD: Final = (
    Ellipsoid("scalp", (0, 0, 0), (77, 97, 88)),
    Ellipsoid("bone", (0, 0, 0), (72, 92, 83)),
    Ellipsoid("marrow", (0, 0, 0), (69.5, 89.5, 80.5)),
    Ellipsoid("bone", (0, 0, 0), (68, 88, 79)),
    Ellipsoid("air", (0, -88, -34), (15, 6, 12)),
    Ellipsoid("fluid", (0, 0, 0), (65, 85, 76)),
    Ellipsoid("grey", (0, 0, 0), (63.5, 83.5, 74.5)),
    Ellipsoid("white", (-29, 0, 6), (25, 66, 58), folds=0.16),
    Ellipsoid("white", (29, 0, 6), (25, 66, 58), folds=0.16),
    Ellipsoid("fluid", (0, 0, 14), (1.3, 83, 60)),
    Ellipsoid("fluid", (-40, -16, -4), (21, 2, 9), turn=12),
    Ellipsoid("fluid", (40, -16, -4), (21, 2, 9), turn=-12),
    Ellipsoid("white", (0, 2, 12), (12, 34, 12)),
    Ellipsoid("grey", (0, 40, -42), (46, 36, 24)),
    Ellipsoid("grey", (-23, -8, 2), (6, 16, 11), turn=-12),
    Ellipsoid("grey", (23, -8, 2), (6, 16, 11), turn=12),
    Ellipsoid("grey", (-9, 9, 2), (7, 13, 9), turn=-18),
    Ellipsoid("grey", (9, 9, 2), (7, 13, 9), turn=18),
    Ellipsoid("fluid", (-9, -20, 12), (4.5, 20, 13), turn=14),
    Ellipsoid("fluid", (9, -20, 12), (4.5, 20, 13), turn=-14),
    Ellipsoid("fluid", (-16, 27, 9), (5, 18, 9), turn=-22),
    Ellipsoid("fluid", (16, 27, 9), (5, 18, 9), turn=22),
    Ellipsoid("fluid", (0, 4, 0), (2, 12, 9)),
    Ellipsoid("fluid", (0, 34, -36), (7, 5, 9)),
)
# Hounsfield units; and what a T2-weighted sequence makes of the same.
_CT: Final = {
    "air": -1000, "scalp": 12, "bone": 1150, "marrow": 620, "fluid": 5, "grey": 40, "white": 28, "lesion": 68,
}  # fmt: skip
_T2: Final = {
    "air": 6, "scalp": 620, "bone": 40, "marrow": 260, "fluid": 1050, "grey": 560, "white": 380, "lesion": 860,
}  # fmt: skip


def head_ct(seed: int, slices: int = 24) -> Iterator[Picture]:
    """Axial slices from the base up, signed 12 bit, values in HU."""
    generator = np.random.default_rng(seed)
    for position, head in _head(generator, _CT, slices):
        values = head + _blurred(generator.normal(0, 9, head.shape))
        stored = np.clip(values, -1024, 2047).astype(np.int16)
        yield Picture(
            stored,
            {
                "StudyDescription": "CT HEAD", "SeriesDescription": "HEAD 5.0 H30s", "BodyPartExamined": "HEAD",
                "ProtocolName": "Head", "RescaleType": "HU", "WindowCenter": "40",
                "WindowWidth": "90", **_plane(position),
            },
        )  # fmt: skip


def head_mr(seed: int, slices: int = 24) -> Iterator[Picture]:
    """The same head, T2-weighted, unsigned 16 bit; brighter on the side of the coil."""
    generator = np.random.default_rng(seed)
    shade = 1 + 0.12 * np.linspace(1, -1, HEAD_SIDE)[:, None]
    for position, head in _head(generator, _T2, slices):
        # The magnitude of a noisy complex signal: there is no negative and no perfectly dark one.
        real, imaginary = generator.normal(0, 16, (2, *head.shape))
        stored = np.clip(np.hypot(head * shade + real, imaginary), 0, 4095).astype(np.uint16)
        yield Picture(
            stored,
            {
                "StudyDescription": "MR BRAIN", "SeriesDescription": "T2 TSE TRA", "BodyPartExamined": "BRAIN",
                "ProtocolName": "Brain", "RepetitionTime": "4800", "EchoTime": "98", "EchoTrainLength": "15",
                "WindowCenter": "560", "WindowWidth": "1120", **_plane(position),
            },
        )  # fmt: skip


def chest(seed: int, rows: int = 840, columns: int = 700) -> Iterator[Picture]:
    """One view from behind, unsigned 16 bit: what a detector sees through lungs, heart, spine and ribs."""
    generator = np.random.default_rng(seed)
    width, lean = generator.uniform(0.94, 1.06), generator.uniform(0.92, 1.12)
    spacing = 0.5
    y, x = np.mgrid[0:rows, 0:columns].astype(float)
    x, y = (x - columns / 2) * spacing / width, (y - rows / 2) * spacing
    aside = np.abs(x)
    # Thicknesses along the beam, in cm of water.
    body = 17 * _dome((aside / (158 + 22 * np.clip(-(y + 95) / 110, 0, 1))) ** 4)
    neck = 10 * _dome((x / 52) ** 2)
    shoulder = np.clip((y + 196 - 0.32 * np.clip(aside - 45, 0, None)) / 22, 0, 1)
    depth = np.where(y < -190, neck, np.maximum(body * shoulder, neck * (y < -150)))
    floor = 92 - 14 * (x < 0)  # the right dome of the diaphragm, on the left of the picture, is higher
    base = floor + 46 * ((aside - 68) / 60) ** 2
    lungs = _dome(((aside - 66) / 50) ** 2 + ((y + 18) / 138) ** 2) * np.clip((base - y) / 5, 0, 1)
    heart = _dome(((x - 24 + 0.3 * y) / (52 * lean)) ** 2 + ((y - 48) / 60) ** 2) * (y < 118)
    vessels = _dome(((x - 8) / 24) ** 2 + ((y + 48) / 44) ** 2)
    depth -= 12.5 * lungs * (1 - 0.75 * heart)
    depth += 3.5 * heart + 2.4 * vessels
    for side in (-1, 1):  # vessels that leave the hila
        for angle in np.linspace(-1.2, 1.2, 9):
            out, along = side * x - 24, y - 6
            run = out * np.cos(angle) + along * np.sin(angle)
            off = along * np.cos(angle) - out * np.sin(angle) - 5 * np.sin(run / 17 + 9 * angle)
            depth += 0.9 * np.exp(-((off / 2.4) ** 2)) * np.clip(run / 12, 0, 1) * np.exp(-run.clip(0) / 26)
    spine = _dome((x / 17) ** 2) * (0.8 + 0.2 * np.cos(y / 3.7)) * (y > -200)
    depth += 3.4 * spine
    for number in range(10):
        behind = -128 + 24 * number + 30 * ((aside - 12) / 118) ** 2 - 10 * np.sin(aside / 42)
        before = -92 + 25 * number - 42 * ((aside - 118) / 100)
        reach = 130 * np.sqrt(np.clip(1 - ((behind - 60) / 245) ** 2, 0, 1))
        depth += 1.5 * _dome(((y - behind) / 4.4) ** 2) * ((aside > 14) & (aside < reach))
        if number < 6:
            depth += 0.8 * _dome(((y - before) / 4.6) ** 2) * ((aside > 62) & (aside < reach))
    collar = -143 - 0.26 * (aside - 12) + 5 * np.sin(aside / 24)
    depth += 2.0 * _dome(((y - collar) / 5) ** 2) * ((aside > 10) & (aside < 128))
    counts = generator.normal(1, 0.012, depth.shape)
    stored = np.clip(_blurred(depth.clip(0)) / 24 * 4095 + 60 * _blurred(counts - 1) / 0.012, 0, 4095)
    yield Picture(
        stored.astype(np.uint16),
        {
            "StudyDescription": "CR CHEST", "SeriesDescription": "CHEST PA", "BodyPartExamined": "CHEST",
            "ProtocolName": "Chest PA", "ViewPosition": "PA", "ImagerPixelSpacing": [str(spacing)] * 2,
            "WindowCenter": "1900", "WindowWidth": "3600",
        },
    )  # fmt: skip


def heart(seed: int, frames: int = 16, rows: int = 300, columns: int = 400) -> Iterator[Picture]:
    """One beat of a heart from the apex, unsigned 8 bit, a multi-frame that begins where it ends."""
    generator = np.random.default_rng(seed)
    y, x = np.mgrid[0:rows, 0:columns].astype(float)
    x, y = (x - columns / 2) / rows, y / rows
    reach, angle = np.hypot(x, y + 0.04), np.arctan2(x, y + 0.04)
    fan = (np.abs(angle) < 0.66) & (reach > 0.05) & (reach < 0.98)
    # Speckle is as fine as the beam: of one size along it, wider the deeper it is.
    noise = generator.normal(0, 1, (2, 320, 110))
    grain = np.hypot(_blurred(noise[0]), _blurred(noise[1]))
    speckle = grain[
        (reach * 319).astype(int).clip(0, 319), ((angle + 0.66) / 1.32 * 109).astype(int).clip(0, 109)
    ]
    size, pictures = generator.uniform(0.92, 1.08), []
    for number in range(frames):
        beat = 1 - 0.16 * (1 - np.cos(2 * np.pi * number / frames))
        echo = np.full(x.shape, 0.16)
        muscle = ((x - 0.01) / 0.32) ** 2 + ((y - 0.46) / 0.40) ** 2
        echo[muscle < 1] = 0.5
        echo[np.abs(muscle - 1) < 0.05] = 1.3  # the pericardium
        for left, wide, high, long in ((0.085, 0.115, 0.36, 0.22), (-0.125, 0.085, 0.38, 0.19)):
            # The ventricles shrink while the valves' plane comes towards the apex.
            chamber = ((x - left) / (wide * size * beat)) ** 2 + ((y - high) / (long * beat)) ** 2
            echo[chamber < 1] = 0.025
        for left, wide in ((0.09, 0.11), (-0.12, 0.1)):
            chamber = ((x - left) / (wide * size)) ** 2 + ((y - 0.71) / (0.115 * (2 - beat))) ** 2
            echo[chamber < 1] = 0.025
        plane = 0.58 - 0.1 * (1 - beat)
        swing = 0.05 * np.cos(2 * np.pi * number / frames)
        for left in (0.09, -0.12):
            leaflet = plane + swing * (0.09 - np.abs(x - left)) / 0.09
            echo[(np.abs(y - leaflet) < 0.007) & (np.abs(x - left) < 0.09)] = 1.0
        decibels = 20 * np.log10(np.maximum(_blurred(echo) * speckle * np.exp(-0.35 * reach), 1e-4))
        pictures.append(np.where(fan, np.clip((decibels + 44) / 42, 0, 1) * 255, 0).astype(np.uint8))
    yield Picture(
        np.stack(pictures),
        {
            "StudyDescription": "US HEART", "SeriesDescription": "4 CHAMBERS", "BodyPartExamined": "HEART",
            "ProtocolName": "Adult heart", "FrameTime": "50", "CineRate": "20",
        },
    )  # fmt: skip


KINDS: Final[dict[str, Callable[[int], Iterator[Picture]]]] = {
    "ct": head_ct,
    "mr": head_mr,
    "cr": chest,
    "us": heart,
}


def _head(
    generator: np.random.Generator, tissues: dict[str, int], slices: int
) -> Iterator[tuple[float, Real]]:
    """Position along z and values of each slice."""
    scale, tilt = generator.uniform(0.94, 1.04), generator.uniform(-5, 5)
    side = generator.choice((-1.0, 1.0))
    place = (side * generator.uniform(22, 34), generator.uniform(-30, 34), generator.uniform(8, 26))
    half_axes = (generator.uniform(6, 11), generator.uniform(8, 14), generator.uniform(9, 14))
    lesion = Ellipsoid("lesion", place, half_axes, turn=generator.uniform(-40, 40), folds=0.06)
    steps = (np.arange(HEAD_SIDE) - HEAD_SIDE / 2 + 0.5) * HEAD_FIELD_MM / HEAD_SIDE / scale
    angle = np.radians(tilt)
    x = steps[None, :] * np.cos(angle) + steps[:, None] * np.sin(angle)
    y = steps[:, None] * np.cos(angle) - steps[None, :] * np.sin(angle)
    for z in _LOWEST_MM + SLICE_MM * np.arange(slices):
        values = np.full((HEAD_SIDE, HEAD_SIDE), float(tissues["air"]))
        for one in (*_HEAD, lesion):
            if abs(z - one.centre[2]) > 1.5 * one.half_axes[2]:  # the deepest fold reaches less far
                continue
            values[_inside(one, x, y, float(z))] = tissues[one.tissue]
        yield float(z), _blurred(values)


def _inside(one: Ellipsoid, x: Real, y: Real, z: float) -> NDArray[np.bool_]:
    angle = np.radians(one.turn)
    dx, dy, dz = x - one.centre[0], y - one.centre[1], z - one.centre[2]
    along, across = dx * np.cos(angle) + dy * np.sin(angle), dy * np.cos(angle) - dx * np.sin(angle)
    distance = (
        (along / one.half_axes[0]) ** 2 + (across / one.half_axes[1]) ** 2 + (dz / one.half_axes[2]) ** 2
    )
    if one.folds:
        turn = np.arctan2(across / one.half_axes[1], along / one.half_axes[0])
        wave = np.sin(15 * turn + 2 * np.sin(z / 11)) + 0.7 * np.sin(26 * turn - z / 7 + 3 * np.sin(2 * turn))
        distance = distance * (1 + one.folds * wave)
    inside: NDArray[np.bool_] = distance < 1
    return inside


def _plane(z: float) -> dict[str, Any]:
    corner = f"{-HEAD_FIELD_MM / 2:.1f}"
    return {
        "ImagePositionPatient": [corner, corner, f"{z:.1f}"], "SliceLocation": f"{z:.1f}", "SliceThickness": f"{SLICE_MM:g}",
        "SpacingBetweenSlices": f"{SLICE_MM:g}", "PixelSpacing": [f"{HEAD_FIELD_MM / HEAD_SIDE:.6f}"] * 2,
    }  # fmt: skip


def _dome(squared: Real) -> Real:
    """The thickness of a ball of radius 1 where it is ``squared`` ** 0.5 from its centre."""
    thickness: Real = np.sqrt(np.clip(1 - squared, 0, None))
    return thickness


def _blurred(values: Real) -> Real:
    """By half a pixel: no scanner has edges as sharp as a formula's."""
    for axis in (0, 1):
        values = np.moveaxis(values, axis, 0)
        outside = np.concatenate([values[:1], values, values[-1:]])
        values = np.moveaxis((outside[:-2] + 2 * values + outside[2:]) / 4, 0, axis)
    return values
