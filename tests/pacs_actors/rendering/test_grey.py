"""From stored values to grey levels, against values worked out by hand from the formulas of PS3.3."""

from __future__ import annotations

import numpy as np
import pytest

from pacs_actors.rendering.grey import Grey, Modality, grey_levels, limits_of, modality_values, windowed
from pacs_actors.rendering.lookup import Table
from pacs_actors.rendering.messages import Function, Window


def values(*numbers: float) -> np.ndarray:
    return np.array(numbers, np.float64)


def levels(stored: list[int], grey: Grey, dtype: str = "i2") -> list[int]:
    return [int(level) for level in grey_levels(np.array([stored], dtype), grey)[0]]


def test_linear_as_the_standards_own_example_has_it() -> None:
    """PS3.3 C.11.2.1.2.1: c 2048, w 4096 leaves 0 to 4095 as it is; c 0, w 100: below -50 is 0, above 49 is 1."""
    assert windowed(values(0, 4095, 1000), Window(2048, 4096)) == pytest.approx([0, 1, 1000 / 4095])
    assert windowed(values(-51, -50, 49, 50, 0), Window(0, 100)) == pytest.approx(
        [0, 0, 1, 1, 0.5 + 0.5 / 99]
    )
    # c 0, w 1: 0 and more is white.
    assert windowed(values(-1, -0.5, -0.49, 0, 1), Window(0, 1)) == pytest.approx([0, 0, 1, 1, 1])


def test_linear_exact() -> None:
    """PS3.3 C.11.2.1.3.2: y = (x - c) / w + 0.5."""
    exact = Window(0, 100, Function.LINEAR_EXACT)
    assert windowed(values(-51, -50, -25, 0, 25, 50, 51), exact) == pytest.approx(
        [0, 0, 0.25, 0.5, 0.75, 1, 1]
    )
    assert windowed(values(0.25), Window(0.5, 1, Function.LINEAR_EXACT)) == pytest.approx([0.25])


def test_sigmoid() -> None:
    """PS3.3 C.11.2.1.3.1: y = 1 / (1 + exp(-4 (x - c) / w)); 4 / ln 3 of the width away it is 3/4."""
    sigmoid = Window(10, 40, Function.SIGMOID)
    found = windowed(values(10, 10 + 10 * np.log(3), 10 - 10 * np.log(3), 1e9, -1e9), sigmoid)
    assert found == pytest.approx([0.5, 0.75, 0.25, 1, 0])


def test_rescale_comes_before_the_window() -> None:
    """CT: stored 1024 is 0 HU. The window -160 to 240 has its middle at 40 (C 40, W 400)."""
    grey = Grey(modality=Modality(1.0, -1024.0), window=Window(40, 400))
    assert levels([0, 864, 1064, 1264, 4095], grey) == [0, 0, 128, 255, 255]


def test_a_modality_table_counts_from_its_first_value_and_keeps_its_ends() -> None:
    table = Table(-1, 16, np.array([5, 10, 20], np.uint16))
    stored = np.array([-9, -1, 0, 1, 9])
    assert list(modality_values(stored, Modality(table=table))) == [5, 5, 10, 20, 20]


def test_a_voi_table_gives_shares_of_its_largest_value() -> None:
    table = Table(100, 12, np.array([0, 2048, 4095], np.uint16))
    assert levels([0, 100, 101, 102, 5000], Grey(voi=table)) == [0, 0, 128, 255, 255]


@pytest.mark.parametrize("inverse", [False, True])
def test_upside_down(inverse: bool) -> None:
    found = levels([0, 51, 255], Grey(window=Window(128, 256), inverse=inverse), "u1")
    assert found == ([255, 204, 0] if inverse else [0, 51, 255])


def test_a_presentation_table_lies_over_the_whole_range() -> None:
    """PS3.3 C.11.4: entry 0 for the darkest, the last for the brightest."""
    table = Table(0, 8, np.array([255, 128, 0], np.uint8))
    grey = Grey(window=Window(128, 256), presentation=table)
    assert levels([0, 128, 255], grey, "u1") == [255, 128, 0]


def test_padding_is_black_even_upside_down_and_does_not_count() -> None:
    stored = np.array([-2000, 0, 100], "i2")
    limits = limits_of(stored, Modality(), (-2000, -2000))
    assert limits == (0, 100)
    assert levels([-2000, 0, 50, 100], Grey(limits=limits, padding=(-2000, -2000))) == [0, 0, 128, 255]
    turned = Grey(limits=limits, padding=(-2000, -1900), inverse=True)
    assert levels([-2000, -1900, 0, 100], turned) == [0, 0, 255, 0]


def test_limits_are_in_modality_units_whatever_the_slope() -> None:
    stored = np.array([1, 3], "u2")
    assert limits_of(stored, Modality(2.0, -10.0)) == (-8, -4)
    assert limits_of(stored, Modality(-1.0, 0.0)) == (-3, -1)
    assert limits_of(stored, Modality(), (0, 9)) == (0, 0)
    assert limits_of(np.array([np.nan, np.inf, 2.0, 1.0]), Modality()) == (1, 2)


def test_an_image_of_one_value_is_black() -> None:
    assert levels([7, 7], Grey(limits=(7, 7))) == [0, 0]


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "u4", "i4"])
def test_whole_numbers_take_the_same_levels_by_table_and_one_by_one(dtype: str) -> None:
    information = np.iinfo(dtype)
    random = np.random.default_rng(3)
    stored = random.integers(information.min, information.max, (64, 64), dtype=dtype, endpoint=True)
    middle, width = float(information.max) / 2, float(information.max)
    grey = Grey(modality=Modality(1.5, -3.0), window=Window(middle, width, Function.SIGMOID))
    one_by_one = grey_levels(stored.astype(np.float64), grey)
    assert np.array_equal(grey_levels(stored, grey), one_by_one)


@pytest.mark.parametrize(("low", "high"), [(-300, -5), (-1, 0), (5, 300), (-7, 2000), (4, 4)])
@pytest.mark.parametrize("dtype", ["<i2", ">i2", "<i4"])
def test_so_they_do_wherever_the_values_lie(low: int, high: int, dtype: str) -> None:
    stored = np.random.default_rng(3).integers(low, high, (64, 64), endpoint=True).astype(dtype)
    grey = Grey(modality=Modality(1.5, -3.0), window=Window((low + high) / 2, high - low + 9), inverse=True)
    assert np.array_equal(grey_levels(stored, grey), grey_levels(stored.astype(np.float64), grey))


def test_a_table_that_would_be_larger_than_the_image_is_not_made() -> None:
    stored = np.array([[0, 2**31 - 1]], "i4")
    assert list(grey_levels(stored, Grey(limits=(0, 2**31 - 1)))[0]) == [0, 255]


def test_what_is_no_number_is_black() -> None:
    assert list(grey_levels(np.array([np.nan, 1.0]), Grey())) == [0, 255]
