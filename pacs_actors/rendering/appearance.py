"""What a data set says about how its frames look, its functional groups included (PS3.3 C.7.6.16, C.11)."""

from __future__ import annotations

from typing import Any, Final

from numpy.typing import NDArray

from pacs_actors.rendering.attributes import DataSet
from pacs_actors.rendering.grey import Grey, Modality, limits_of
from pacs_actors.rendering.lookup import Table, read_table
from pacs_actors.rendering.messages import CannotRender, Function, Window
from pacs_actors.rendering.source import PixelSource

PER_FRAME_GROUPS: Final = 0x52009230
SHARED_GROUPS: Final = 0x52009229
FRAME_VOI_LUT: Final = 0x00289132
PIXEL_VALUE_TRANSFORMATION: Final = 0x00289145
PIXEL_MEASURES: Final = 0x00289110
_WINDOW_CENTRE, _WINDOW_WIDTH, _VOI_LUT_FUNCTION = 0x00281050, 0x00281051, 0x00281056
_RESCALE_INTERCEPT, _RESCALE_SLOPE = 0x00281052, 0x00281053
_MODALITY_LUT, _VOI_LUT, _PRESENTATION_LUT = 0x00283000, 0x00283010, 0x20500010
_PRESENTATION_LUT_SHAPE: Final = 0x20500020
_PADDING, _PADDING_LIMIT = 0x00280120, 0x00280121
_SOP_CLASS: Final = 0x00080016
_DOSE_GRID_SCALING: Final = 0x3004000E
_MAXIMUM_FRACTIONAL_VALUE: Final = 0x0062000E
_SEGMENTATIONS: Final = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")
_FUNCTIONS: Final = {"SIGMOID": Function.SIGMOID, "LINEAR_EXACT": Function.LINEAR_EXACT}
# Above, the whole of a dose is not looked at to scale one frame of it.
_MOST_DOSE_FRAMES: Final = 500


class Appearance:
    """window: instead of what the data set has"""

    def __init__(self, data_set: DataSet, source: PixelSource, window: Window | None) -> None:
        self._data_set, self._source, self._window = data_set, source, window
        self._per_frame = data_set.extents(PER_FRAME_GROUPS)
        self._shared = data_set.item(SHARED_GROUPS)
        self._limits: tuple[float, float] | None = None
        shape = data_set.text(_PRESENTATION_LUT_SHAPE)
        # INVERSE is how MONOCHROME1 says it, not a second turn (PS3.3 C.11.6.1.2).
        self._inverse = shape == "INVERSE" if shape else source.photometric == "MONOCHROME1"
        table = data_set.item(_PRESENTATION_LUT)
        self._presentation = None if table is None else read_table(table, signed=False)

    def group(self, tag: int, frame: int) -> DataSet | None:
        """The item of a functional group for a frame, from 0 on: its own, or the shared one."""
        if frame < len(self._per_frame):
            own = self._data_set.item_at(PER_FRAME_GROUPS, self._per_frame[frame]).item(tag)
            if own is not None:
                return own
        return self._shared.item(tag) if self._shared is not None else None

    def grey(self, stored: NDArray[Any], frame: int, *, steady: bool = False) -> Grey:
        """How the stored values of a frame become grey levels.

        steady: where nothing says what is of interest, the first frame that is asked for decides for all
        """
        modality = self._modality(frame)
        padding = self._padding()
        window, voi = self._window, None
        if window is None:
            window, voi = self._interest(frame, modality)
        limits = (0.0, 1.0)
        if window is None and voi is None:
            if self._limits is None or not steady:
                self._limits = self._found_limits(stored, modality, padding)
            limits = self._limits
        return Grey(
            modality=modality,
            window=window,
            voi=voi,
            limits=limits,
            inverse=self._inverse,
            presentation=self._presentation,
            padding=padding,
        )

    def _modality(self, frame: int) -> Modality:
        data_set = self._data_set
        lut = data_set.item(_MODALITY_LUT)
        if lut is not None:
            return Modality(table=read_table(lut, signed=self._source.image.signed))
        transformation = self.group(PIXEL_VALUE_TRANSFORMATION, frame) or data_set
        slope = transformation.number(_RESCALE_SLOPE)
        if slope is None:
            slope = data_set.number(_DOSE_GRID_SCALING)
        return Modality(slope or 1.0, transformation.number(_RESCALE_INTERCEPT) or 0.0)

    def _interest(self, frame: int, modality: Modality) -> tuple[Window | None, Table | None]:
        """A table if there is one, else the first window; a damaged table counts as none."""
        group = self.group(FRAME_VOI_LUT, frame)
        data_set = self._data_set if group is None else group
        lut = data_set.item(_VOI_LUT)
        if lut is not None:
            signed = self._source.image.signed or modality.intercept < 0
            try:
                return None, read_table(lut, signed=signed)
            except CannotRender:
                pass
        centre, width = data_set.number(_WINDOW_CENTRE), data_set.number(_WINDOW_WIDTH)
        # The linear function is made for whole numbers: its half a step and its width of one less mean nothing in others.
        plain = Function.LINEAR_EXACT if self._source.floating else Function.LINEAR
        function = _FUNCTIONS.get(data_set.text(_VOI_LUT_FUNCTION), plain)
        if centre is None or width is None or width < (1 if function is Function.LINEAR else 1e-9):
            return None, None
        return Window(centre, width, function), None

    def _found_limits(
        self, stored: NDArray[Any], modality: Modality, padding: tuple[int, int] | None
    ) -> tuple[float, float]:
        data_set, image = self._data_set, self._source.image
        if data_set.text(_SOP_CLASS) in _SEGMENTATIONS:
            most = data_set.integer(_MAXIMUM_FRACTIONAL_VALUE)
            return 0.0, float(max(1, most or (1 if image.bits_stored == 1 else int(stored.max()))))
        if data_set.number(_DOSE_GRID_SCALING) is not None and image.frames <= _MOST_DOSE_FRAMES:
            # One scale for the whole grid: frames are compared with each other.
            most = max(int(self._source.frame(number)[0].max()) for number in range(image.frames))
            return 0.0, most * modality.slope
        return limits_of(stored, modality, padding)

    def _padding(self) -> tuple[int, int] | None:
        """Stored values that are background, in order (PS3.3 C.7.5.1.1.2)."""
        ends = [self._padding_value(tag) for tag in (_PADDING, _PADDING_LIMIT)]
        first, second = ends
        if first is None:
            return None
        return (first, first) if second is None else (min(first, second), max(first, second))

    def _padding_value(self, tag: int) -> int | None:
        raw = bytes(self._data_set.raw(tag)[:2])
        if len(raw) < 2:
            return None
        order = "big" if self._data_set.encoding.big_endian else "little"
        return int.from_bytes(raw, order, signed=self._source.image.signed)  # type: ignore[arg-type]
