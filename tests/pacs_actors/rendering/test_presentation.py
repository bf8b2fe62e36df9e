"""Presentation states made by pydicom, applied to small images: what comes out is worked out pixel by pixel."""

from __future__ import annotations

from random import Random
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset

from pacs_actors.archive.transcoding.messages import CannotTranscode
from pacs_actors.rendering.messages import CannotRender
from tests.pacs_actors.archive.transcoding_data import DEFLATED, EXPLICIT, IMPLICIT, Stored, encode, image
from tests.pacs_actors.rendering.rendering_data import native, pixels

VALUES = np.arange(24, dtype=np.uint8).reshape(4, 6) * 10
STORED = native(image(VALUES), VALUES)


def reference(uid: str = "1.2.3.4", *frames: int) -> Dataset:
    found = Dataset()
    found.ReferencedSOPClassUID, found.ReferencedSOPInstanceUID = "1.2.840.10008.5.1.4.1.1.7", uid
    if frames:
        found.ReferencedFrameNumber = list(frames)
    return found


def item(*references: Dataset, **attributes: Any) -> Dataset:
    found = Dataset()
    if references:
        found.ReferencedImageSequence = list(references)
    for keyword, value in attributes.items():
        setattr(found, keyword, value)
    return found


def state(syntax: str = EXPLICIT, *, of: str = "1.2.3.4", **attributes: Any) -> Stored:
    found = item(**{"PresentationLUTShape": "IDENTITY", **attributes})
    found.SOPClassUID, found.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.11.1", "1.2.9"
    found.ReferencedSeriesSequence = [item(reference("1.2.7")), item(reference("1.2.8"), reference(of))]
    return Stored(encode(found, implicit=syntax == IMPLICIT), syntax)


def lut(*entries: int, first: int = 0, bits: int = 8) -> Dataset:
    table = Dataset()
    table.LUTDescriptor = [len(entries), first, bits]
    table.add_new(0x00283006, "OW", np.array(entries, "<u2").tobytes())
    return table


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT])
def test_without_values_of_interest_all_that_may_be_stored_is_shown(syntax: str) -> None:
    assert np.array_equal(pixels(STORED, state=state(syntax)), VALUES)


def test_what_the_image_says_about_its_looks_does_not_count() -> None:
    found = image(VALUES, photometric="MONOCHROME1")
    found.WindowCenter, found.WindowWidth, found.RescaleSlope, found.RescaleIntercept = 1, 2, 7, 100
    assert np.array_equal(pixels(native(found, VALUES), state=state()), VALUES)


def test_the_window_is_that_of_the_item_that_names_the_image() -> None:
    windows = [
        item(reference("1.2.7"), WindowCenter=1, WindowWidth=2),
        item(WindowCenter=500, WindowWidth=2),
        item(reference(), WindowCenter=105, WindowWidth=2),
    ]
    made = pixels(STORED, state=state(SoftcopyVOILUTSequence=windows))
    assert np.array_equal(made, np.where(VALUES > 100, 255, 0))
    general = pixels(STORED, state=state(SoftcopyVOILUTSequence=[item(WindowCenter=25, WindowWidth=2)]))
    assert np.array_equal(general, np.where(VALUES > 20, 255, 0))


def test_frames_have_windows_of_their_own() -> None:
    frames = np.stack([VALUES, VALUES])
    stored = native(image(VALUES, frames=2), frames)
    windows = [item(reference("1.2.3.4", 2), WindowCenter=25, WindowWidth=2)]
    given = state(SoftcopyVOILUTSequence=windows)
    assert np.array_equal(pixels(stored, state=given, frames=(1,)), VALUES)
    assert np.array_equal(pixels(stored, state=given, frames=(2,)), np.where(VALUES > 20, 255, 0))


def test_modality_voi_and_presentation_follow_each_other() -> None:
    given = state(
        RescaleSlope=2, RescaleIntercept=-100, RescaleType="US",
        SoftcopyVOILUTSequence=[item(reference(), WindowCenter=10, WindowWidth=2)],
        PresentationLUTShape="INVERSE",
    )  # fmt: skip
    assert np.array_equal(pixels(STORED, state=given), np.where(2 * VALUES.astype(int) - 100 > 0, 0, 255))


def test_tables_of_a_state() -> None:
    voi = item(reference(), VOILUTSequence=[lut(0, 128, 255, first=10)])
    expected = np.select([VALUES <= 10, VALUES == 11], [0, 128], 255)
    assert np.array_equal(pixels(STORED, state=state(SoftcopyVOILUTSequence=[voi])), expected)
    presentation = state(PresentationLUTSequence=[lut(*range(255, -1, -1))])
    assert np.array_equal(pixels(STORED, state=presentation), 255 - VALUES)
    modality = state(ModalityLUTSequence=[lut(0, 255, first=100)])
    assert np.array_equal(pixels(STORED, state=modality), np.where(VALUES > 100, 255, 0))


@pytest.mark.parametrize("flip", ["N", "Y"])
@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_turned_clockwise_and_then_flipped(degrees: int, flip: str) -> None:
    expected = VALUES
    for _ in range(degrees // 90):
        rows, columns = expected.shape
        turned = np.empty((columns, rows), np.uint8)
        for row in range(rows):
            for column in range(columns):
                turned[column, rows - 1 - row] = expected[row, column]
        expected = turned
    if flip == "Y":
        expected = expected[:, ::-1]
    made = pixels(STORED, state=state(ImageRotation=degrees, ImageHorizontalFlip=flip))
    assert np.array_equal(made, expected)


@pytest.mark.parametrize(
    ("first", "second"), [([2, 1], [4, 3]), ([4, 3], [2, 1]), ([2, 3], [4, 1])], ids=["plain", "180", "90"]
)
def test_the_displayed_area_is_cut_out_whichever_corner_comes_first(
    first: list[int], second: list[int]
) -> None:
    area = item(reference(), DisplayedAreaTopLeftHandCorner=first, DisplayedAreaBottomRightHandCorner=second)
    assert np.array_equal(pixels(STORED, state=state(DisplayedAreaSelectionSequence=[area])), VALUES[:3, 1:4])


def test_a_displayed_area_is_shown_as_far_as_there_are_pixels() -> None:
    def shown(left: int, top: int, right: int, bottom: int) -> Any:
        area = item(
            DisplayedAreaTopLeftHandCorner=[left, top], DisplayedAreaBottomRightHandCorner=[right, bottom]
        )
        return pixels(STORED, state=state(DisplayedAreaSelectionSequence=[area]))

    assert np.array_equal(shown(-100, 2, 3, 2**31 - 1), VALUES[1:, :3])
    with pytest.raises(CannotRender, match="outside"):
        shown(7, 1, 9, 4)


def test_pixels_that_are_tall_lie_down_with_the_image() -> None:
    area = item(
        DisplayedAreaTopLeftHandCorner=[1, 1], DisplayedAreaBottomRightHandCorner=[6, 4],
        PresentationPixelAspectRatio=[2, 1],
    )  # fmt: skip
    upright = state(DisplayedAreaSelectionSequence=[area])
    lying = state(DisplayedAreaSelectionSequence=[area], ImageRotation=90, ImageHorizontalFlip="N")
    assert pixels(STORED, state=upright).shape == (8, 6)
    assert pixels(STORED, state=lying).shape == (6, 8)


def test_the_shutter_is_that_of_the_state_and_overlays_of_the_image_are_off() -> None:
    found = image(VALUES)
    found.ShutterShape = "RECTANGULAR"
    found.ShutterLeftVerticalEdge, found.ShutterRightVerticalEdge = 3, 3
    found.ShutterUpperHorizontalEdge, found.ShutterLowerHorizontalEdge = 3, 3
    found.add_new(0x60000010, "US", 4)
    found.add_new(0x60000011, "US", 6)
    found.add_new(0x60000040, "CS", "G")
    found.add_new(0x60000050, "SS", [1, 1])
    found.add_new(0x60003000, "OW", b"\xff" * 4)
    stored = native(found, VALUES)
    assert not np.array_equal(pixels(stored), VALUES)
    assert np.array_equal(pixels(stored, state=state()), VALUES)
    given = state(
        ShutterShape="RECTANGULAR", ShutterLeftVerticalEdge=2, ShutterRightVerticalEdge=6,
        ShutterUpperHorizontalEdge=1, ShutterLowerHorizontalEdge=4, ShutterPresentationValue=0xFFFF,
    )  # fmt: skip
    expected = VALUES.copy()
    expected[:, 0] = 255
    assert np.array_equal(pixels(stored, state=given), expected)


def test_a_state_of_another_image_is_not_applied() -> None:
    with pytest.raises(CannotRender, match="does not refer"):
        pixels(STORED, state=state(of="1.2.3.5"))
    with pytest.raises(CannotRender, match="deflated"):
        pixels(STORED, state=Stored(b"\0" * 64, DEFLATED))


def test_a_damaged_state_is_refused_or_applied_as_far_as_it_goes() -> None:
    random, outcomes = Random(4), set()
    whole = state(
        SoftcopyVOILUTSequence=[item(reference(), VOILUTSequence=[lut(0, 128, 255, first=10)])],
        ImageRotation=90, ImageHorizontalFlip="Y", PresentationLUTSequence=[lut(*range(256))],
        DisplayedAreaSelectionSequence=[
            item(DisplayedAreaTopLeftHandCorner=[1, 1], DisplayedAreaBottomRightHandCorner=[6, 4])
        ],
    ).data  # fmt: skip
    for _ in range(400):
        damaged = bytearray(whole[: random.randrange(1, len(whole) + 1)])
        for _ in range(random.randrange(3)):
            damaged[random.randrange(len(damaged))] = random.randrange(256)
        try:
            pixels(STORED, state=Stored(bytes(damaged), EXPLICIT))
        except (CannotRender, CannotTranscode):
            outcomes.add("refused")
        else:
            outcomes.add("applied")
    assert outcomes == {"refused", "applied"}
