"""Which part of a picture is shown, how large, and how tall its pixels are (PS3.18 8.3.5.1.3, PS3.3 C.7.6.3.1.7). Pure."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray
from PIL import Image as Drawing

from pacs_actors.rendering.attributes import DataSet
from pacs_actors.rendering.messages import CannotRender, Viewport

MAX_OUTPUT_PIXELS: Final = 64 * 1024 * 1024
_PIXEL_ASPECT_RATIO: Final = 0x00280034
_SPACINGS: Final = (0x00280030, 0x00181164, 0x00182010)
# Beyond, somebody wrote nonsense; below, nobody sees it.
_TALLEST: Final = 8.0
_SQUARE: Final = 0.01


class Plan(Struct, frozen=True):
    """box: of the source: left, top, right, bottom; width, height: of the result; mirrored: left-right, upside down."""

    box: tuple[float, float, float, float]
    width: int
    height: int
    mirrored: tuple[bool, bool] = (False, False)


def pixel_tallness(data_set: DataSet, measures: DataSet | None = None) -> float:
    """Height of a pixel in its widths; 1 for square ones and where nothing says.

    measures: item of the frame's Pixel Measures Sequence
    """
    for tag in (_PIXEL_ASPECT_RATIO, *_SPACINGS):
        for source in (measures, data_set):
            ratio = source.numbers(tag) if source is not None else []
            if len(ratio) >= 2 and min(ratio[:2]) > 0:
                tallness = ratio[0] / ratio[1]
                sensible = 1 / _TALLEST <= tallness <= _TALLEST and abs(tallness - 1) > _SQUARE
                return tallness if sensible else 1.0
    return 1.0


def plan(rows: int, columns: int, tallness: float, viewport: Viewport | None) -> Plan:
    """Fit the region that is asked for into the viewport, its aspect kept; without one every pixel is shown.

    raises: CannotRender if the region lies outside, or the result were too large
    """
    left, top, right, bottom = 0.0, 0.0, float(columns), float(rows)
    mirrored = (False, False)
    if viewport is not None:
        across, down = (columns, rows) if viewport.relative else (1, 1)
        left, right = _span(viewport.left * across, viewport.region_width * across, columns)
        top, bottom = _span(viewport.top * down, viewport.region_height * down, rows)
        mirrored = (viewport.region_width < 0, viewport.region_height < 0)
    width, height = (right - left) * max(1.0, 1 / tallness), (bottom - top) * max(1.0, tallness)
    if viewport is not None:
        scale = min(viewport.width / width, viewport.height / height)
        if not viewport.enlarge:
            scale = min(scale, 1.0)
        width, height = width * scale, height * scale
    result = Plan((left, top, right, bottom), max(1, round(width)), max(1, round(height)), mirrored)
    if result.width * result.height > MAX_OUTPUT_PIXELS:
        raise CannotRender(f"a picture of {result.width} x {result.height} is beyond our limits")
    return result


def _span(start: float, length: float, size: int) -> tuple[float, float]:
    stop = start + abs(length) if length else float(size)
    start, stop = max(0.0, start), min(float(size), stop)
    if stop - start < 1e-3:
        raise CannotRender("the region lies outside of the image")
    return start, stop


def apply(picture: NDArray[np.uint8], how: Plan) -> NDArray[np.uint8]:
    """Cut, scale and mirror. picture: (rows, columns) or (rows, columns, 3)"""
    rows, columns = picture.shape[:2]
    whole = how.box == (0.0, 0.0, float(columns), float(rows))
    if not (whole and (how.width, how.height) == (columns, rows)):
        picture = _resized(picture, how)
    if how.mirrored[0]:
        picture = picture[:, ::-1]
    if how.mirrored[1]:
        picture = picture[::-1]
    return np.ascontiguousarray(picture)


def _resized(picture: NDArray[np.uint8], how: Plan) -> NDArray[np.uint8]:
    """Areas are averaged where it shrinks; where it grows, neighbours are blended. Each direction for itself."""
    left, top, right, bottom = how.box
    drawing = Drawing.fromarray(np.ascontiguousarray(picture))
    across, down = _filter(how.width, right - left), _filter(how.height, bottom - top)
    if across is down:
        done: Any = drawing.resize((how.width, how.height), across, how.box)
    else:
        middle = drawing.resize(
            (how.width, drawing.height), across, (left, 0.0, right, float(drawing.height))
        )
        done = middle.resize((how.width, how.height), down, (0.0, top, float(how.width), bottom))
    return np.asarray(done, np.uint8)


def _filter(given: int, taken: float) -> Drawing.Resampling:
    return Drawing.Resampling.BOX if given <= taken else Drawing.Resampling.BILINEAR
