"""What lies over the pixels: overlays (PS3.3 C.9.2) and display shutters (C.7.6.11). Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray
from PIL import Image as Drawing
from PIL import ImageDraw

from pacs_actors.rendering.attributes import DataSet

Mask = NDArray[np.bool_]

_OVERLAY_GROUPS: Final = range(0x6000, 0x601F, 2)
_MAX_VERTICES: Final = 1024
_SHUTTER_SHAPE: Final = 0x00181600
_SHUTTER_PRESENTATION_VALUE: Final = 0x00181622


class Overlay(Struct, frozen=True):
    """One overlay's graphics on one frame. top, left: of its first pixel, from 0 on, in the image; may be outside."""

    top: int
    left: int
    mask: Mask


def overlays(data_set: DataSet, frame: int, cells: NDArray[Any] | None) -> Iterator[Overlay]:
    """The graphics (type G) that lie on a frame; what does not make sense is left out.

    frame: from 0 on
    cells: (rows, columns) the frame's pixel cells with their unused bits, in which overlays of old lie
    """
    for group in _OVERLAY_GROUPS:
        base = group << 16
        if base | 0x40 not in data_set or data_set.text(base | 0x40) != "G":
            continue
        rows, columns = data_set.integer(base | 0x10) or 0, data_set.integer(base | 0x11) or 0
        origin = data_set.numbers(base | 0x50) or [1, 1]
        count = max(1, data_set.integer(base | 0x15) or 1)
        place = frame - (data_set.integer(base | 0x51) or 1) + 1
        if count == 1 and base | 0x15 not in data_set:
            place = 0
        if not (0 < rows <= 65535 and 0 < columns <= 65535 and len(origin) == 2 and 0 <= place < count):
            continue
        mask = _bits(data_set, base, rows, columns, place)
        if mask is None:
            mask = _embedded(data_set, base, rows, columns, cells)
        if mask is not None:
            yield Overlay(int(origin[0]) - 1, int(origin[1]) - 1, mask)


def _bits(data_set: DataSet, base: int, rows: int, columns: int, place: int) -> Mask | None:
    """Overlay Data: bits of all frames behind each other, the first in the lowest bit (PS3.5 8.1.2)."""
    raw = data_set.raw(base | 0x3000)
    first = rows * columns * place
    start, stop = first // 8, (first + rows * columns + 7) // 8
    if stop > len(raw):
        return None
    octets = np.frombuffer(bytes(raw[start : stop + (stop - start) % 2]), np.uint8)
    if data_set.encoding.big_endian and start % 2 == 0 and len(octets) % 2 == 0:
        octets = octets.view(">u2").astype("<u2").view(np.uint8)
    bits = np.unpackbits(octets, bitorder="little")[first % 8 : first % 8 + rows * columns]
    return bits.reshape(rows, columns).astype(bool)


def _embedded(
    data_set: DataSet, base: int, rows: int, columns: int, cells: NDArray[Any] | None
) -> Mask | None:
    """A bit of the pixel cells that Bits Stored leaves free (retired, PS3.5-2004 8.1.2)."""
    position = data_set.integer(base | 0x102)
    if cells is None or position is None or cells.shape != (rows, columns) or base | 0x3000 in data_set:
        return None
    if not 0 < position < cells.dtype.itemsize * 8:
        return None
    mask: Mask = (cells >> position & 1).astype(bool)
    return mask


def draw(picture: NDArray[np.uint8], overlay: Overlay) -> None:
    """Make white what the overlay has. picture: (rows, columns) or (rows, columns, 3), changed in place."""
    height, width = picture.shape[:2]
    rows, columns = overlay.mask.shape
    top, left = max(0, overlay.top), max(0, overlay.left)
    bottom, right = min(height, overlay.top + rows), min(width, overlay.left + columns)
    if top < bottom and left < right:
        part = overlay.mask[
            top - overlay.top : bottom - overlay.top, left - overlay.left : right - overlay.left
        ]
        picture[top:bottom, left:right][part] = 255


def shutter(data_set: DataSet, rows: int, columns: int) -> tuple[Mask, int] | None:
    """What a display shutter hides, and the grey level it gets; None without one."""
    shapes = data_set.texts(_SHUTTER_SHAPE)
    hidden: Mask | None = None
    for shape in shapes[:3]:
        shown = _shown(data_set, shape, rows, columns)
        if shown is not None:
            hidden = ~shown if hidden is None else hidden | ~shown
    if hidden is None:
        return None
    level = data_set.integer(_SHUTTER_PRESENTATION_VALUE) or 0
    return hidden, min(max(level, 0), 0xFFFF) >> 8


def _shown(data_set: DataSet, shape: str, rows: int, columns: int) -> Mask | None:
    """Rows and columns count from 1 on, edges included."""
    if not shape:
        return None
    down, across = np.ogrid[1 : rows + 1, 1 : columns + 1]
    if shape == "RECTANGULAR":
        edges = [data_set.number(tag) for tag in (0x00181602, 0x00181604, 0x00181606, 0x00181608)]
        if None in edges:
            return None
        left, right, upper, lower = edges
        return (across >= left) & (across <= right) & (down >= upper) & (down <= lower)
    if shape == "CIRCULAR":
        centre, radius = data_set.numbers(0x00181610), data_set.number(0x00181612)
        if len(centre) != 2 or radius is None:
            return None
        circle: Mask = (down - centre[0]) ** 2 + (across - centre[1]) ** 2 <= radius**2
        return circle
    if shape == "POLYGONAL":
        numbers = data_set.numbers(0x00181620)[: 2 * _MAX_VERTICES]
        if len(numbers) < 6 or len(numbers) % 2 or max(map(abs, numbers)) > 1e6:
            return None
        polygon = Drawing.new("1", (columns, rows))
        corners = [(column - 1, row - 1) for row, column in zip(numbers[::2], numbers[1::2], strict=True)]
        ImageDraw.Draw(polygon).polygon(corners, fill=1)
        return np.asarray(polygon, bool)
    return None
