"""One rendering as a pixel process does it: which frame, which form, what is refused."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydicom.dataset import Dataset

from pacs_actors.archive.transcoding.messages import CannotTranscode
from pacs_actors.rendering.messages import CannotRender, Look, Picture, Profile, Viewport, Why, Window
from tests.pacs_actors.archive.transcoding_data import (
    DEFLATED,
    EXPLICIT,
    Stored,
    encode,
    gradient,
    image,
    stored,
)
from tests.pacs_actors.rendering.rendering_data import native, pixels, rendered

HOSTILE = Path(__file__).resolve().parents[3].parent / "shared" / "data" / "hostile" / "generated"


def frames(count: int = 5, **attributes: Any) -> Stored:
    """Frame n is all n * 10."""
    cells = np.stack([np.full((4, 6), number * 10 % 256, np.uint8) for number in range(1, count + 1)])
    data_set = image(cells[0], frames=count)
    data_set.WindowCenter, data_set.WindowWidth = 128, 256
    for keyword, value in attributes.items():
        setattr(data_set, keyword, value)
    return native(data_set, cells)


def test_without_a_number_it_is_the_first_the_middle_or_the_representative_frame() -> None:
    assert pixels(frames())[0, 0] == 10
    assert pixels(frames(), middle=True)[0, 0] == 30
    assert pixels(frames(RepresentativeFrameNumber=5), middle=True)[0, 0] == 50
    assert pixels(frames(RepresentativeFrameNumber=6))[0, 0] == 10
    assert pixels(frames(), frames=(4,))[0, 0] == 40


@pytest.mark.parametrize("number", [0, 6, 2**31])
def test_a_frame_that_is_not_there(number: int) -> None:
    with pytest.raises(CannotRender) as refused:
        pixels(frames(), frames=(number,))
    assert refused.value.why is Why.NO_FRAME


def test_an_animation_goes_at_the_pace_of_the_images() -> None:
    data, _ = rendered(frames(FrameTime="40"), Look(picture=Picture.GIF))
    with Image.open(io.BytesIO(data)) as moving:
        assert (moving.n_frames, moving.info["duration"], moving.info["loop"]) == (5, 40, 0)
        moving.seek(4)
        assert np.asarray(moving.convert("L"))[0, 0] == 50


def test_frames_without_a_window_share_one_in_an_animation() -> None:
    cells = np.stack([np.linspace(0, 100 * (number + 1), 24).reshape(4, 6) for number in range(2)]).astype(
        np.uint8
    )
    data, _ = rendered(native(image(cells[0], frames=2), cells), Look(picture=Picture.GIF))
    with Image.open(io.BytesIO(data)) as moving:
        moving.seek(1)
        assert (np.asarray(moving.convert("L"))[2:] == 255).all()


def test_an_animation_beyond_our_limits_is_refused() -> None:
    with pytest.raises(CannotRender, match="frames"):
        rendered(frames(1001), Look(picture=Picture.GIF))
    with pytest.raises(CannotRender, match="large"):
        rendered(frames(20), Look(picture=Picture.GIF, viewport=Viewport(4096, 4096)))


def test_quality_changes_the_size() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64)).astype(np.uint8)
    sizes = [len(rendered(native(image(noise), noise), Look(quality=quality))[0]) for quality in (5, 50, 100)]
    assert sizes == sorted(sizes) and sizes[0] * 3 < sizes[2]


def test_the_window_asked_for_goes_before_that_of_the_data_set() -> None:
    assert pixels(frames(), window=Window(10, 1))[0, 0] == 255
    assert pixels(frames(), window=Window(12, 1))[0, 0] == 0


def test_monochrome_1_is_upside_down_once_even_if_it_is_said_twice() -> None:
    assert pixels(frames(PhotometricInterpretation="MONOCHROME1"))[0, 0] == 245
    twice = frames(PhotometricInterpretation="MONOCHROME1", PresentationLUTShape="INVERSE")
    assert pixels(twice)[0, 0] == 245
    assert pixels(frames(PresentationLUTShape="INVERSE"))[0, 0] == 245


def test_a_colour_profile_goes_with_the_picture() -> None:
    colour = gradient(samples=3)
    own = bytes(imagecodecs.cms_profile("adobergb"))
    data_set = image(colour)
    data_set.ICCProfile = own
    for picture in (Picture.JPEG, Picture.PNG):
        data, _ = rendered(native(data_set, colour), Look(picture=picture, profile=Profile.YES))
        with Image.open(io.BytesIO(data)) as drawn:
            assert drawn.info["icc_profile"] == own
            drawn.load()
        data, _ = rendered(native(data_set, colour), Look(picture=picture))
        with Image.open(io.BytesIO(data)) as drawn:
            assert "icc_profile" not in drawn.info


def test_no_pixels_are_refused_or_letters_are_drawn() -> None:
    data_set = Dataset()
    data_set.PatientID = "1"
    empty = Stored(encode(data_set), EXPLICIT)
    with pytest.raises(CannotRender) as refused:
        rendered(empty)
    assert refused.value.why is Why.NO_PIXELS
    data, answer = rendered(empty, Look(picture=Picture.JPEG, viewport=Viewport(64, 48)), placeholder="SR")
    assert (answer.picture, answer.frames) == (Picture.PNG, 0)
    assert imagecodecs.png_decode(data).shape == (48, 48)


def test_a_deflated_data_set() -> None:
    plain = frames()
    packed = zlib.compressobj(wbits=-15)
    data = packed.compress(plain.data) + packed.flush()
    assert np.array_equal(pixels(Stored(data, DEFLATED)), pixels(plain))


def test_pixels_with_fewer_bytes_than_promised_are_refused() -> None:
    short = frames()
    at = short.data.index(struct.pack("<HH", 0x7FE0, 0x10))
    cut = short.data[: at + 8] + struct.pack("<I", 100) + short.data[at + 12 : at + 112]
    assert pixels(Stored(cut, EXPLICIT), frames=(4,))[0, 0] == 40
    with pytest.raises(CannotRender):
        pixels(Stored(cut, EXPLICIT), frames=(5,))


def test_a_report_is_text_and_an_image_is_none() -> None:
    with pytest.raises(CannotRender):
        rendered(frames(), Look(picture=Picture.HTML))


@pytest.mark.skipif(not HOSTILE.is_dir(), reason="no hostile files here")
def test_hostile_files_are_refused() -> None:
    tried = 0
    for path in sorted(HOSTILE.iterdir()):
        try:
            hostile = stored(path)
        except Exception:  # not even its header
            hostile = Stored(path.read_bytes()[132:] or b"\0", EXPLICIT)
        tried += 1
        with pytest.raises((CannotRender, CannotTranscode)):
            rendered(hostile)
        assert rendered(hostile, placeholder="X")[1].frames == 0
    assert tried > 15


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_damage_anywhere_ends_in_a_picture_or_a_refusal(data: st.DataObject) -> None:
    plain = frames(2, PixelPaddingValue=3, RescaleSlope=2, RescaleIntercept=1).data
    damaged = bytearray(plain)
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(plain) - 49))] = data.draw(st.integers(0, 255))
    try:
        made, _ = rendered(Stored(bytes(damaged), EXPLICIT))
    except (CannotRender, CannotTranscode):
        return
    assert imagecodecs.png_decode(made).size
