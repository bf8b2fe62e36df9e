"""What a softcopy presentation state makes of an image that it refers to (PS3.3 A.33, PS3.4 N.2).

Applied are modality LUT, VOI LUT, presentation LUT, display shutter, displayed area, rotation and flip. Graphic annotations,
overlays and magnification are not: a picture has no layers that could be switched off, and no size of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pacs_actors.rendering.attributes import DataSet
from pacs_actors.rendering.grey import Grey, Modality
from pacs_actors.rendering.lookup import Table, read_table
from pacs_actors.rendering.messages import CannotRender, Function, Window

_REFERENCED_SERIES: Final = 0x00081115
_REFERENCED_IMAGES: Final = 0x00081140
_REFERENCED_INSTANCE: Final = 0x00081155
_REFERENCED_FRAMES: Final = 0x00081160
_RESCALE_INTERCEPT, _RESCALE_SLOPE, _MODALITY_LUT = 0x00281052, 0x00281053, 0x00283000
_SOFTCOPY_VOI_LUT, _VOI_LUT = 0x00283110, 0x00283010
_WINDOW_CENTRE, _WINDOW_WIDTH, _VOI_LUT_FUNCTION = 0x00281050, 0x00281051, 0x00281056
_PRESENTATION_LUT, _PRESENTATION_LUT_SHAPE = 0x20500010, 0x20500020
_DISPLAYED_AREA, _TOP_LEFT, _BOTTOM_RIGHT = 0x0070005A, 0x00700052, 0x00700053
_PIXEL_SPACING, _PIXEL_ASPECT_RATIO = 0x00700101, 0x00700102
_ROTATION, _FLIP = 0x00700042, 0x00700041
_MAX_ITEMS: Final = 2000
_FUNCTIONS: Final = {"SIGMOID": Function.SIGMOID, "LINEAR_EXACT": Function.LINEAR_EXACT}


class Presentation:
    """A state as it applies to one image.

    state: the presentation state; image: SOP Instance UID
    """

    def __init__(self, state: DataSet, image: str) -> None:
        """raises: CannotRender if the state does not refer to the image"""
        self.state, self._image = state, image
        series = _items(state, _REFERENCED_SERIES)
        if not any(self._named(one, frame=0) for one in series):
            raise CannotRender("the presentation state does not refer to this image")

    def grey(self, frame: int, *, bits: int, signed: bool) -> Grey:
        """How the stored values of a frame, from 0 on, become grey levels. Nothing that the image says about it counts.

        bits:   that are stored
        raises: CannotRender for a damaged table
        """
        state = self.state
        modality = self._modality(signed=signed)
        window, voi = self._interest(frame, signed=signed or modality.intercept < 0)
        table = state.item(_PRESENTATION_LUT)
        return Grey(
            modality=modality,
            window=window,
            voi=voi,
            limits=_whole_range(modality, bits, signed=signed),
            inverse=state.text(_PRESENTATION_LUT_SHAPE) == "INVERSE",
            presentation=None if table is None else read_table(table, signed=False),
        )

    def box(self, frame: int, rows: int, columns: int) -> tuple[int, int, int, int]:
        """The displayed area (PS3.3 C.10.4) as far as there are pixels: left, top, right, bottom, the last two behind it."""
        area = self._applying(_DISPLAYED_AREA, frame)
        corners = [] if area is None else area.numbers(_TOP_LEFT)[:2] + area.numbers(_BOTTOM_RIGHT)[:2]
        if len(corners) < 4:
            return 0, 0, columns, rows
        # Which corner is the upper one depends on the rotation: both count in the image as it is stored, from 1 on.
        left, right = sorted((corners[0], corners[2]))
        top, bottom = sorted((corners[1], corners[3]))
        left, top = max(left - 1, 0.0), max(top - 1, 0.0)
        right, bottom = min(right, float(columns)), min(bottom, float(rows))
        if right - left < 1 or bottom - top < 1:
            raise CannotRender("the displayed area lies outside of the image")
        return int(left), int(top), int(right), int(bottom)

    def tallness(self, frame: int) -> float | None:
        """Height of a pixel in its widths as it is to be displayed; None if the state does not say."""
        area = self._applying(_DISPLAYED_AREA, frame)
        if area is not None:
            for tag in (_PIXEL_SPACING, _PIXEL_ASPECT_RATIO):
                ratio = area.numbers(tag)[:2]
                if len(ratio) == 2 and min(ratio) > 0 and 1 / 8 <= ratio[0] / ratio[1] <= 8:
                    return ratio[0] / ratio[1]
        return None

    @property
    def quarters(self) -> int:
        """Quarter turns clockwise."""
        return (self.state.integer(_ROTATION) or 0) // 90 % 4

    def turned(self, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """PS3.3 C.10.6: rotated clockwise, then flipped left to right."""
        picture = np.rot90(picture, -self.quarters)
        if self.state.text(_FLIP) == "Y":
            picture = picture[:, ::-1]
        return np.ascontiguousarray(picture)

    def _modality(self, *, signed: bool) -> Modality:
        lut = self.state.item(_MODALITY_LUT)
        if lut is not None:
            return Modality(table=read_table(lut, signed=signed))
        return Modality(
            self.state.number(_RESCALE_SLOPE) or 1.0, self.state.number(_RESCALE_INTERCEPT) or 0.0
        )

    def _interest(self, frame: int, *, signed: bool) -> tuple[Window | None, Table | None]:
        """Neither: all that there may be counts (PS3.4 N.2.2)."""
        item = self._applying(_SOFTCOPY_VOI_LUT, frame)
        if item is None:
            return None, None
        lut = item.item(_VOI_LUT)
        if lut is not None:
            return None, read_table(lut, signed=signed)
        centre, width = item.number(_WINDOW_CENTRE), item.number(_WINDOW_WIDTH)
        function = _FUNCTIONS.get(item.text(_VOI_LUT_FUNCTION), Function.LINEAR)
        if centre is None or width is None or width < (1 if function is Function.LINEAR else 1e-9):
            return None, None
        return Window(centre, width, function), None

    def _applying(self, sequence: int, frame: int) -> DataSet | None:
        """The item of a sequence that names the frame, else one that names no image."""
        general = None
        for item in _items(self.state, sequence):
            if _REFERENCED_IMAGES not in item:
                general = item if general is None else general
            elif self._named(item, frame=frame + 1):
                return item
        return general

    def _named(self, item: DataSet, *, frame: int) -> bool:
        """Whether an item's references have the image and, unless it is 0, the frame."""
        for reference in _items(item, _REFERENCED_IMAGES):
            if reference.text(_REFERENCED_INSTANCE) == self._image:
                frames = reference.numbers(_REFERENCED_FRAMES)
                if not frame or not frames or frame in frames:
                    return True
        return False


def _whole_range(modality: Modality, bits: int, *, signed: bool) -> tuple[float, float]:
    """The smallest and the largest value that may come out of the modality LUT."""
    if modality.table is not None:
        return 0.0, float(modality.table.white)
    lowest = -(1 << bits - 1) if signed else 0
    ends = sorted(modality.slope * value + modality.intercept for value in (lowest, lowest + (1 << bits) - 1))
    return ends[0], ends[1]


def _items(data_set: DataSet, sequence: int) -> Iterator[DataSet]:
    for extent in data_set.extents(sequence)[:_MAX_ITEMS]:
        yield data_set.item_at(sequence, extent)
