"""The demo's pictures are those of bodies: where there should be bone, air, lung or blood, there it is."""

from __future__ import annotations

import numpy as np
import pytest

from bench import phantoms


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_head_has_skull_brain_and_a_bleeding_in_hounsfield_units(seed: int) -> None:
    slices = list(phantoms.head_ct(seed, slices=18))
    positions = [float(one.attributes["SliceLocation"]) for one in slices]
    assert positions == sorted(positions) and len(set(positions)) == 18
    units = np.stack([one.pixels.astype(int) for one in slices])
    assert (units[:, :4, :4] < -950).all()  # air around it
    middle = units[11]
    brain = middle[118:138, 80:176]
    assert 15 < np.median(brain) < 50
    assert (middle.max(axis=1)[60:190] > 900).all()  # the skull on both sides of it
    blocks = units[:, 64:192, 64:192].reshape(18, 32, 4, 32, 4)
    means, spread = blocks.mean((2, 4)), blocks.std((2, 4))
    columns = np.nonzero((means > 58) & (means < 78) & (spread < 15))[2]
    assert len(columns) > 10  # blood
    assert (columns < 16).all() or (columns >= 16).all()  # on one side


def test_two_patients_have_two_heads_and_one_has_always_the_same() -> None:
    one, again, other = (next(phantoms.head_mr(seed, slices=1)).pixels for seed in (1, 1, 2))
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)


def test_a_chest_has_dark_lungs_on_both_sides_of_a_bright_spine() -> None:
    (view,) = phantoms.chest(1)
    row = view.pixels[380].astype(int)
    right, spine, left = row[180:240].mean(), row[335:365].mean(), row[460:520].mean()
    assert spine > 1.5 * right and spine > 1.5 * left
    assert row[:8].max() < 200


def test_a_heart_beats_and_begins_again_where_it_ended() -> None:
    (loop,) = phantoms.heart(1)
    frames = loop.pixels.astype(float)
    dark = [(frame[60:210, 130:280] < 40).mean() for frame in frames]  # blood gives no echo
    assert int(np.argmin(dark)) == len(frames) // 2
    assert max(dark) > 1.2 * min(dark)
    steps = [np.abs(frames[at] - frames[at - 1]).mean() for at in range(len(frames))]
    assert steps[0] < 1.5 * max(steps[1:])  # from the last frame to the first, too
