"""Viewports, regions, mirrors, pixels that are no squares; overlays and shutters."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset

from pacs_actors.rendering.attributes import DataSet
from pacs_actors.rendering.geometry import apply, pixel_tallness, plan
from pacs_actors.rendering.messages import CannotRender, Viewport
from protocols.dataset.transfer_syntax import EXPLICIT_LE
from tests.pacs_actors.archive.transcoding_data import encode, image
from tests.pacs_actors.rendering.rendering_data import native, pixels

SQUARE = np.arange(16, dtype=np.uint8).reshape(4, 4) * 16


def shown(viewport: Viewport | None, picture: Any = SQUARE, tallness: float = 1.0) -> Any:
    return apply(picture, plan(*picture.shape[:2], tallness, viewport))


def test_nothing_asked_is_every_pixel() -> None:
    assert np.array_equal(shown(None), SQUARE)


def test_shrinking_averages_areas() -> None:
    halves = SQUARE.reshape(2, 2, 2, 2).mean(axis=(1, 3))
    assert np.abs(shown(Viewport(2, 2)) - halves).max() <= 0.5


def test_growing_blends_neighbours() -> None:
    row = np.array([[0, 100]], np.uint8)
    assert shown(Viewport(4, 4), row).tolist() == [[0, 25, 75, 100]] * 2


def test_the_aspect_is_kept_within_the_viewport() -> None:
    wide = np.zeros((100, 200), np.uint8)
    assert shown(Viewport(50, 50), wide).shape == (25, 50)
    assert shown(Viewport(1000, 50), wide).shape == (50, 100)
    assert shown(Viewport(1000, 50), np.zeros((100, 200, 3), np.uint8)).shape == (50, 100, 3)
    assert shown(Viewport(500, 500, enlarge=False), wide).shape == (100, 200)


def test_a_region_and_its_mirrors() -> None:
    part = SQUARE[1:3, 2:4]
    assert np.array_equal(shown(Viewport(2, 2, 2, 1, 2, 2)), part)
    assert np.array_equal(shown(Viewport(2, 2, 2, 1, -2, 2)), part[:, ::-1])
    assert np.array_equal(shown(Viewport(2, 2, 2, 1, 2, -2)), part[::-1])
    assert np.array_equal(shown(Viewport(2, 2, 2, 1, -2, -2)), part[::-1, ::-1])
    assert np.array_equal(shown(Viewport(2, 2, 0.5, 0.25, 0.5, 0.5, relative=True)), part)


def test_a_region_that_reaches_over_the_edge_is_cut_and_one_outside_refused() -> None:
    assert np.array_equal(shown(Viewport(2, 2, 2, 2, 100, 100)), SQUARE[2:, 2:])
    with pytest.raises(CannotRender):
        shown(Viewport(2, 2, 4, 0, 2, 2))


def test_a_result_beyond_our_limits_is_refused() -> None:
    with pytest.raises(CannotRender, match="limits"):
        plan(65535, 65535, 1.0, None)


def test_pixels_that_are_no_squares_become_such() -> None:
    """PS3.3 C.7.6.3.1.7: vertical to horizontal. Twice as tall as wide: twice the rows."""
    assert shown(None, SQUARE, 2.0).shape == (8, 4)
    assert shown(None, SQUARE, 0.5).shape == (4, 8)
    assert shown(Viewport(8, 8), SQUARE, 2.0).shape == (8, 4)


@pytest.mark.parametrize(
    ("given", "tallness"),
    [
        ({"PixelAspectRatio": [2, 1]}, 2), ({"PixelSpacing": [0.5, 0.25]}, 2), ({"ImagerPixelSpacing": [1, 2]}, 0.5),
        ({"PixelSpacing": [0.5, 0.501]}, 1), ({"PixelSpacing": [0, 1]}, 1), ({"PixelAspectRatio": [999, 1]}, 1), ({}, 1),
    ],
)  # fmt: skip
def test_how_tall_a_pixel_is(given: dict[str, Any], tallness: float) -> None:
    data_set = Dataset()
    data_set.update({})
    for keyword, value in given.items():
        setattr(data_set, keyword, value)
    assert pixel_tallness(DataSet(memoryview(encode(data_set)), EXPLICIT_LE)) == tallness


def with_overlay(rows: int, columns: int, origin: list[int], bits: Any, **more: Any) -> Dataset:
    data_set = image(SQUARE)
    data_set.WindowCenter, data_set.WindowWidth = 128, 256
    data_set.add_new(0x60000010, "US", rows)
    data_set.add_new(0x60000011, "US", columns)
    data_set.add_new(0x60000040, "CS", more.get("kind", "G"))
    data_set.add_new(0x60000050, "SS", origin)
    data_set.add_new(0x60000100, "US", 1)
    data_set.add_new(0x60000102, "US", 0)
    packed = np.packbits(np.array(bits, np.uint8).reshape(-1), bitorder="little").tobytes()
    data_set.add_new(0x60003000, "OW", packed + b"\0" * (len(packed) % 2))
    return data_set


def test_an_overlay_is_drawn_white_where_its_origin_says() -> None:
    data_set = with_overlay(2, 2, [2, 3], [[1, 0], [0, 1]])
    expected = SQUARE.copy()
    expected[1, 2] = expected[2, 3] = 255
    assert np.array_equal(pixels(native(data_set, SQUARE)), expected)


@pytest.mark.parametrize("origin", [[-1, -1], [4, 4], [-30000, 32000]])
def test_an_overlay_may_reach_over_every_edge(origin: list[int]) -> None:
    found = pixels(native(with_overlay(2, 2, origin, [[1, 1], [1, 1]]), SQUARE))
    assert (found == 255).sum() == (1 if origin == [4, 4] else 0)


def test_a_region_of_interest_and_a_damaged_overlay_are_not_drawn() -> None:
    for data_set in (
        with_overlay(2, 2, [1, 1], [[1, 1], [1, 1]], kind="R"),
        with_overlay(60000, 60000, [1, 1], [[1, 1], [1, 1]]),
    ):
        assert np.array_equal(pixels(native(data_set, SQUARE)), SQUARE)


def test_an_overlay_in_the_spare_bits_of_the_cells() -> None:
    data_set = image(SQUARE.astype("u2"), bits=8)
    data_set.WindowCenter, data_set.WindowWidth = 128, 256
    for tag, vr, value in (
        (0x60000010, "US", 4), (0x60000011, "US", 4), (0x60000040, "CS", "G"), (0x60000050, "SS", [1, 1]),
        (0x60000100, "US", 16), (0x60000102, "US", 12),
    ):  # fmt: skip
        data_set.add_new(tag, vr, value)
    cells = SQUARE.astype("u2")
    cells[3, 0] |= 1 << 12
    found = pixels(native(data_set, cells))
    assert found[3, 0] == 255 and found[3, 1] == SQUARE[3, 1] and found[0, 0] == 0


@pytest.mark.parametrize(
    ("shutter", "left"),
    [
        ({"ShutterShape": "RECTANGULAR", "ShutterLeftVerticalEdge": 2, "ShutterRightVerticalEdge": 3,
          "ShutterUpperHorizontalEdge": 1, "ShutterLowerHorizontalEdge": 1}, 2),
        ({"ShutterShape": "CIRCULAR", "CenterOfCircularShutter": [2, 2], "RadiusOfCircularShutter": 1}, 5),
        ({"ShutterShape": "POLYGONAL", "VerticesOfThePolygonalShutter": [1, 1, 1, 2, 2, 2, 2, 1]}, 4),
        ({"ShutterShape": "CIRCULAR"}, 16),
    ],
)  # fmt: skip
def test_a_shutter_hides_what_is_outside(shutter: dict[str, Any], left: int) -> None:
    bright = np.full((4, 4), 200, np.uint8)
    data_set = image(bright)
    data_set.WindowCenter, data_set.WindowWidth = 128, 256
    for keyword, value in shutter.items():
        setattr(data_set, keyword, value)
    found = pixels(native(data_set, bright))
    assert (found == 200).sum() == left and (found == 0).sum() == 16 - left
