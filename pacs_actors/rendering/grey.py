"""From stored values to grey levels (PS3.3 C.11, PS3.4 N.2): modality, values of interest, presentation. Pure.

Every step takes and gives arrays of float64 of any shape. Between the steps after the second, 0 is black and 1 is white.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from pacs_actors.rendering.lookup import Table
from pacs_actors.rendering.messages import Function, Window

Numbers = NDArray[np.float64]

# A table of more entries costs more than it saves.
_MOST_TABULATED: Final = 1 << 17


class Modality(Struct, frozen=True):
    """Modality LUT (PS3.3 C.11.1): a table, or slope and intercept."""

    slope: float = 1.0
    intercept: float = 0.0
    table: Table | None = None


class Grey(Struct, frozen=True):
    """All that maps the stored values of one frame.

    window:       values of interest; one of window, voi, limits
    voi:          VOI LUT
    limits:       black and white in modality units, where nothing says what is of interest
    inverse:      the presentation is upside down: MONOCHROME1, Presentation LUT Shape INVERSE
    presentation: Presentation LUT
    padding:      stored values from the first to the second are background: black
    """

    modality: Modality = Modality()
    window: Window | None = None
    voi: Table | None = None
    limits: tuple[float, float] = (0.0, 1.0)
    inverse: bool = False
    presentation: Table | None = None
    padding: tuple[int, int] | None = None


def modality_values(stored: NDArray[Any], modality: Modality) -> Numbers:
    """Stored values in the modality's units (PS3.3 C.11.1.1)."""
    if modality.table is not None:
        return modality.table.look_up(stored).astype(np.float64)
    values: Numbers = stored.astype(np.float64)
    if modality.slope != 1.0:
        values *= modality.slope
    if modality.intercept:
        values += modality.intercept
    return values


def windowed(values: Numbers, window: Window) -> Numbers:
    """PS3.3 C.11.2.1.2.1 (linear), C.11.2.1.3.2 (linear exact), C.11.2.1.3.1 (sigmoid)."""
    centre, width = window.centre, window.width
    match window.function:
        case Function.SIGMOID:
            exponent = np.clip(-4.0 * (values - centre) / width, -700.0, 700.0)
            return 1.0 / (1.0 + np.exp(exponent))
        case Function.LINEAR_EXACT:
            return np.clip((values - centre) / width + 0.5, 0.0, 1.0)
    if width <= 1.0:
        return (values > centre - 0.5).astype(np.float64)
    return np.clip((values - (centre - 0.5)) / (width - 1.0) + 0.5, 0.0, 1.0)


def stretched(values: Numbers, limits: tuple[float, float]) -> Numbers:
    """The first limit is black and below, the second white and above."""
    black, white = limits
    if white <= black:
        return np.zeros(values.shape)
    return np.clip((values - black) / (white - black), 0.0, 1.0)


def presented(levels: Numbers, *, inverse: bool, table: Table | None) -> Numbers:
    """Presentation LUT (PS3.3 C.11.6): upside down, or by a table over the whole range."""
    if table is not None:
        levels = table.over_range(levels)
    return 1.0 - levels if inverse else levels


def grey_levels(stored: NDArray[Any], grey: Grey) -> NDArray[np.uint8]:
    """All of it: 0 is black, 255 white.

    stored: integers or floats, in any shape
    """
    if stored.dtype.kind == "f" or not stored.size:
        return _mapped(stored, grey)
    low, high = _domain(stored)
    if high - low >= min(_MOST_TABULATED, 4 * stored.size):
        return _mapped(stored, grey)
    table = _mapped(np.arange(low, high + 1, dtype=np.int64), grey)
    if stored.dtype.itemsize > 2:
        return table[stored.astype(np.int64) - low]
    return _over_all_cells(table, low, stored.dtype.itemsize).take(_cells(stored), mode="wrap")


def _over_all_cells(table: NDArray[np.uint8], low: int, size: int) -> NDArray[np.uint8]:
    """A table for values from ``low`` on as one for all cells of ``size`` bytes: then no place has to be worked out."""
    whole = np.zeros(1 << 8 * size, np.uint8)
    below = max(0, min(-low, len(table)))  # as unsigned cells the negative values lie at the end
    if below:
        whole[len(whole) + low : len(whole) + low + below] = table[:below]
    first = max(low, 0)
    whole[first : first + len(table) - below] = table[below:]
    return whole


def _cells(stored: NDArray[Any]) -> NDArray[Any]:
    """Integers as unsigned cells in the machine's own byte order."""
    native = stored.astype(stored.dtype.newbyteorder("="), copy=False)
    return native.view(f"u{native.dtype.itemsize}")


def _domain(stored: NDArray[Any]) -> tuple[int, int]:
    """What values there may be, at least."""
    if stored.dtype == np.uint8:
        return 0, 255
    return int(stored.min()), int(stored.max())


def _mapped(stored: NDArray[Any], grey: Grey) -> NDArray[np.uint8]:
    values = modality_values(stored, grey.modality)
    if grey.window is not None:
        levels = windowed(values, grey.window)
    elif grey.voi is not None:
        levels = grey.voi.share(values)
    else:
        levels = stretched(values, grey.limits)
    levels = presented(levels, inverse=grey.inverse, table=grey.presentation)
    result = np.floor(np.nan_to_num(levels) * 255.0 + 0.5).astype(np.uint8)
    if grey.padding is not None:
        low, high = grey.padding
        result[(stored >= low) & (stored <= high)] = 0
    return result


def limits_of(
    stored: NDArray[Any], modality: Modality, padding: tuple[int, int] | None = None
) -> tuple[float, float]:
    """The smallest and the largest value in modality units, padding (PS3.3 C.7.5.1.1.2) not counted."""
    if padding is not None:
        stored = stored[(stored < padding[0]) | (stored > padding[1])]
    if stored.dtype.kind == "f":
        stored = stored[np.isfinite(stored)]
    if not stored.size:
        return 0.0, 0.0
    if modality.table is None:
        ends = modality_values(np.array([stored.min(), stored.max()]), modality)
    else:
        ends = modality_values(stored, modality)
    return float(ends.min()), float(ends.max())
