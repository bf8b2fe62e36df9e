"""One rendering, from a mapped file to a descriptor. Runs in a pixel process."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pacs_actors.archive.transcoding.convert import mapped_data_set
from pacs_actors.archive.transcoding.messages import CannotTranscode
from pacs_actors.rendering import colour, geometry
from pacs_actors.rendering.appearance import PIXEL_MEASURES, Appearance
from pacs_actors.rendering.attributes import DataSet
from pacs_actors.rendering.encoders import encode_animation, encode_picture, placeholder
from pacs_actors.rendering.grey import Grey, grey_levels
from pacs_actors.rendering.messages import (
    MAX_ANIMATED_FRAMES,
    CannotRender,
    Look,
    Picture,
    Rendered,
    RenderJob,
    Viewport,
    Why,
)
from pacs_actors.rendering.planes import draw, overlays, shutter
from pacs_actors.rendering.presentation import Presentation
from pacs_actors.rendering.source import PixelSource
from protocols.dataset.elements import NeedMore
from protocols.dataset.transfer_syntax import DEFLATED, encoding_of
from protocols.errors import CannotUnderstand

_SOP_INSTANCE: Final = 0x00080018
_REPRESENTATIVE_FRAME: Final = 0x00286010
_FRAME_TIME: Final = 0x00181063
_CINE_RATE: Final = 0x00180040
_RECOMMENDED_RATE: Final = 0x00082144
_GREYS: Final = ("MONOCHROME1", "MONOCHROME2")
_PARTIAL: Final = ("YBR_PARTIAL_422", "YBR_PARTIAL_420")
_ANIMATION_SIDE: Final = 512
_MAX_ANIMATED_PIXELS: Final = 128 * 1024 * 1024
_PLACEHOLDER_SIDE: Final = 200


def render(job: RenderJob, source_fd: int, target_fd: int, *more: int) -> Rendered:
    """Do one job.

    more:   an empty file if the data set is deflated; the presentation state if there is one
    raises: CannotRender, CannotTranscode, OSError, MemoryError
    """
    try:
        made, picture, frames = _made(job, source_fd, more)
    except (CannotRender, CannotTranscode):
        if not job.placeholder:
            raise
        made, picture, frames = _lettered(job), Picture.PNG, 0
    if len(made) > job.max_bytes:
        raise CannotRender(f"it would be larger than {job.max_bytes} bytes")
    left = memoryview(made)
    while left:
        left = left[os.write(target_fd, left) :]
    return Rendered(len(made), picture, frames)


def _made(job: RenderJob, source_fd: int, more: tuple[int, ...]) -> tuple[bytes, Picture, int]:
    """The picture, what it is, and how many frames the object has."""
    data = mapped_data_set(job, source_fd, *more[:1])
    try:
        data_set = DataSet(data, encoding_of(job.source, data[:6]))
        if job.look.picture is not Picture.HTML:
            return _pictured(data_set, job, _presentation(job, data_set, more))
        from pacs_actors.rendering.document import as_html  # noqa: PLC0415 - few want text

        return as_html(data_set), Picture.HTML, 1
    except NeedMore:
        raise CannotRender("the pixels are cut short, or a length is wrong") from None
    except CannotUnderstand as failure:
        raise CannotRender(str(failure)) from None


def _presentation(job: RenderJob, image: DataSet, more: tuple[int, ...]) -> Presentation | None:
    if job.state is None:
        return None
    if job.state.source in DEFLATED:
        raise CannotRender("a presentation state that is deflated is not applied")
    data = mapped_data_set(job.state, more[-1])
    state = DataSet(data, encoding_of(job.state.source, data[:6]))
    return Presentation(state, image.text(_SOP_INSTANCE))


def _lettered(job: RenderJob) -> bytes:
    """A tile with the placeholder's letters, where nothing can be shown."""
    viewport = job.look.viewport or Viewport(_PLACEHOLDER_SIDE, _PLACEHOLDER_SIDE)
    side = min(viewport.width, viewport.height)
    return encode_picture(placeholder(job.placeholder, side, side), Picture.PNG, quality=90)


def _pictured(
    data_set: DataSet, job: RenderJob, presentation: Presentation | None
) -> tuple[bytes, Picture, int]:
    look = job.look
    source = PixelSource(data_set, job.source)
    numbers = _frames(data_set, source.image.frames, look)
    renderer = _Renderer(data_set, source, look, presentation)
    if look.picture is Picture.GIF:
        made = encode_animation(renderer.all_of(numbers), _frame_ms(data_set))
    else:
        pixels, profile = renderer.one(numbers[0])
        made = encode_picture(pixels, look.picture, quality=look.quality, profile=profile)
    return made, look.picture, source.image.frames


def _frames(data_set: DataSet, count: int, look: Look) -> list[int]:
    """Which frames are shown, from 0 on. raises: CannotRender"""
    if look.frames:
        if max(look.frames) > count or min(look.frames) < 1:
            raise CannotRender(f"there are {count} frames", Why.NO_FRAME)
        return [number - 1 for number in look.frames]
    if look.picture is Picture.GIF:
        if count > MAX_ANIMATED_FRAMES:
            raise CannotRender(
                f"more than {MAX_ANIMATED_FRAMES} frames in one animation: ask for some of them"
            )
        return list(range(count))
    representative = data_set.integer(_REPRESENTATIVE_FRAME)
    if representative is not None and 1 <= representative <= count:
        return [representative - 1]
    return [count // 2 if look.middle else 0]


def _frame_ms(data_set: DataSet) -> int:
    """How long a frame of an animation is shown (PS3.3 C.7.6.5), within what browsers do."""
    time_ms = data_set.number(_FRAME_TIME)
    if not time_ms or time_ms <= 0:
        rate = data_set.number(_RECOMMENDED_RATE) or data_set.number(_CINE_RATE) or 0.0
        time_ms = 1000.0 / rate if rate > 0 else 100.0
    return int(min(max(time_ms, 20.0), 2000.0))


class _Renderer:
    """Makes pictures of the frames of one data set, all in the same way."""

    def __init__(
        self, data_set: DataSet, source: PixelSource, look: Look, presentation: Presentation | None
    ) -> None:
        self._data_set, self._source, self._look = data_set, source, look
        self._presentation = presentation
        self._appearance = Appearance(data_set, source, look.window)
        palette = source.photometric == "PALETTE COLOR"
        self._palette = colour.Palette(data_set, signed=source.image.signed) if palette else None
        shuttered = data_set if presentation is None else presentation.state
        self._shutter = shutter(shuttered, source.image.rows, source.image.columns)

    def one(self, frame: int, *, steady: bool = False) -> tuple[NDArray[np.uint8], bytes]:
        """A frame's picture, and the ICC profile to send with it. raises: CannotRender, CannotTranscode"""
        stored, cells = self._source.frame(frame)
        profile = b""
        if self._source.image.samples == 1 and self._palette is None:
            if self._source.photometric not in _GREYS:
                raise CannotRender(
                    f"the photometric interpretation {self._source.photometric[:16]} is not known"
                )
            picture = grey_levels(stored, self._grey(stored, frame, steady=steady))
        else:
            picture = self._coloured(stored)
            own = colour.own_profile(self._data_set)
            picture, profile = colour.in_profile(picture, own, self._look.profile)
        picture = self._covered(picture, frame, cells)
        tallness = geometry.pixel_tallness(self._data_set, self._appearance.group(PIXEL_MEASURES, frame))
        if self._presentation is not None:
            picture, tallness = self._presented(self._presentation, picture, frame, tallness)
        rows, columns = picture.shape[:2]
        how = geometry.plan(rows, columns, tallness, self._viewport(rows, columns))
        return geometry.apply(picture, how), profile

    def _grey(self, stored: NDArray[Any], frame: int, *, steady: bool) -> Grey:
        if self._presentation is None:
            return self._appearance.grey(stored, frame, steady=steady)
        image = self._source.image
        return self._presentation.grey(frame, bits=image.bits_stored, signed=image.signed)

    @staticmethod
    def _presented(
        presentation: Presentation, picture: NDArray[np.uint8], frame: int, tallness: float
    ) -> tuple[NDArray[np.uint8], float]:
        """The displayed area, turned as it is to be seen, and how tall its pixels are then."""
        left, top, right, bottom = presentation.box(frame, *picture.shape[:2])
        tallness = presentation.tallness(frame) or tallness
        turned = presentation.turned(picture[top:bottom, left:right])
        return turned, 1 / tallness if presentation.quarters % 2 else tallness

    def all_of(self, frames: list[int]) -> Iterator[NDArray[np.uint8]]:
        """One after the other. raises: CannotRender if together they are too large"""
        budget = _MAX_ANIMATED_PIXELS // len(frames)
        for frame in frames:
            picture, _ = self.one(frame, steady=True)
            if picture.shape[0] * picture.shape[1] > budget:
                raise CannotRender(
                    "an animation so large is beyond our limits: ask for fewer frames or a smaller viewport"
                )
            yield picture

    def _coloured(self, stored: NDArray[Any]) -> NDArray[np.uint8]:
        image, photometric = self._source.image, self._source.photometric
        if self._palette is not None:
            return self._palette.look_up(stored)
        pixels = colour.to_8_bits(stored, image.bits_stored)
        if photometric in ("YBR_FULL", "YBR_FULL_422"):
            return colour.from_ybr_full(pixels)
        if photometric in _PARTIAL:
            return colour.from_ybr_partial(pixels)
        if photometric == "RGB":
            return pixels
        raise CannotRender(f"the photometric interpretation {photometric[:16]} is not known")

    def _covered(
        self, picture: NDArray[np.uint8], frame: int, cells: NDArray[Any] | None
    ) -> NDArray[np.uint8]:
        """With overlays and shutter."""
        found = [] if self._presentation is not None else list(overlays(self._data_set, frame, cells))
        if not found and self._shutter is None:
            return picture
        picture = picture.copy()
        if self._shutter is not None:
            hidden, level = self._shutter
            picture[hidden] = level
        for overlay in found:
            draw(picture, overlay)
        return picture

    def _viewport(self, rows: int, columns: int) -> Viewport | None:
        """The one asked for; animations are kept small."""
        if self._look.viewport is None and self._look.picture is Picture.GIF:
            return Viewport(_ANIMATION_SIDE, _ANIMATION_SIDE, enlarge=False)
        return self._look.viewport
