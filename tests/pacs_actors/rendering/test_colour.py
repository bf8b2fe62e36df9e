"""Colour models against the equations of PS3.3 C.7.6.3.1.2 and ITU-R BT.601."""

from __future__ import annotations

import imagecodecs
import numpy as np
import pytest

from pacs_actors.rendering.colour import from_ybr_full, from_ybr_partial, in_profile, spread_422, to_8_bits
from pacs_actors.rendering.messages import CannotRender, Profile


def one(*ybr: int) -> np.ndarray:
    return np.array([[ybr]], np.uint8)


@pytest.mark.parametrize(
    ("ybr", "rgb"),
    [
        ((0, 128, 128), (0, 0, 0)),
        ((255, 128, 128), (255, 255, 255)),
        ((76, 85, 255), (254, 0, 0)),  # pure red, by the standard's forward equations
        ((29, 255, 107), (0, 0, 254)),
        ((150, 44, 21), (0, 255, 1)),
    ],
)
def test_full(ybr: tuple[int, ...], rgb: tuple[int, ...]) -> None:
    assert np.abs(from_ybr_full(one(*ybr))[0, 0].astype(int) - rgb).max() <= 1


@pytest.mark.parametrize(
    ("ybr", "rgb"),
    [
        ((16, 128, 128), (0, 0, 0)),
        ((235, 128, 128), (255, 255, 255)),
        ((81, 90, 240), (255, 0, 0)),
        ((0, 128, 128), (0, 0, 0)),
    ],
)
def test_partial(ybr: tuple[int, ...], rgb: tuple[int, ...]) -> None:
    assert np.abs(from_ybr_partial(one(*ybr))[0, 0].astype(int) - rgb).max() <= 2


def test_two_lumas_share_a_pair_of_chromas() -> None:
    octets = np.array([1, 2, 10, 20, 3, 4, 30, 40], np.uint8)
    assert spread_422(octets, 1, 4).tolist() == [[[1, 10, 20], [2, 10, 20], [3, 30, 40], [4, 30, 40]]]


def test_samples_of_other_depths_as_octets() -> None:
    assert to_8_bits(np.array([0, 256, 65535], np.uint16), 16).tolist() == [0, 1, 255]
    assert to_8_bits(np.array([0, 4095], np.uint16), 12).tolist() == [0, 255]
    assert to_8_bits(np.array([0, 7, 15], np.uint8), 4).tolist() == [0, 119, 255]


def test_profiles() -> None:
    rgb = np.full((2, 2, 3), (200, 30, 30), np.uint8)
    adobe = bytes(imagecodecs.cms_profile("adobergb"))
    assert in_profile(rgb, adobe, Profile.NO)[1] == b""
    assert in_profile(rgb, adobe, Profile.YES)[1] == adobe
    same, profile = in_profile(rgb, b"", Profile.SRGB)
    assert same is rgb and profile[36:40] == b"acsp"
    # The same numbers mean a stronger red in Adobe RGB than in sRGB.
    assert in_profile(rgb, adobe, Profile.SRGB)[0][0, 0, 0] > 200
    assert in_profile(rgb, b"", Profile.ADOBE_RGB)[0][0, 0, 0] < 200
    with pytest.raises(CannotRender):
        in_profile(rgb, bytes(200), Profile.SRGB)
