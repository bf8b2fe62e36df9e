"""Every file at hand that has pixels looks as pydicom and numpy make it look, by a way of their own."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pacs_actors.archive.transcoding.messages import CannotTranscode
from pacs_actors.rendering.messages import CannotRender, Look, Picture
from tests.pacs_actors.archive.transcoding_data import BUNDLED, SHARED, part10, stored
from tests.pacs_actors.rendering.rendering_data import expected, pixels, read, rendered

FILES = [
    *part10(BUNDLED),
    *(
        path
        for path in part10(SHARED)
        if not (BUNDLED / path.name).is_file() and "charset_files" not in path.parts
    ),
]
# What is drawn over the pixels, or what pydicom does not know: tests of their own look at it.
OVERLAYS = {"examples_overlay.dcm", "ovly_p01.dcm", "MR-SIEMENS-DICOM-WithOverlays.dcm"}
NO_OPINION = {
    "eCT_Supplemental.dcm",  # windows in functional groups
    "parametric_map_float.dcm",
    "parametric_map_double_float.dcm",
    "OBXXXX1A_expb.dcm",  # pydicom takes the words of its palette as they lie, in the other byte order
    "OBXXXX1A_expb_2frame.dcm",
    "seg_image_sm_control_labelmap.dcm",
    "seg_image_ct_true_fractional.dcm",
    *(path.name for path in FILES if path.name.startswith("rtdose")),  # one scale for all frames
}
BROKEN = {
    "MR_truncated.dcm", "emri_small_jpeg_2k_lossless_too_short.dcm", "JPEG2000-embedded-sequence-delimiter.dcm",
    "badVR.dcm", "nested_priv_SQ.dcm", "3gb-bulk-data-truncated",
}  # fmt: skip


def has_pixels(path: Path) -> bool:
    return any(name in read(path) for name in ("PixelData", "FloatPixelData", "DoubleFloatPixelData"))


def picture_by_pydicom(path: Path) -> Any:
    try:
        return expected(read(path))
    except Exception:  # no decoder for it here
        return None


@pytest.mark.filterwarnings("ignore")
def test_every_file_looks_as_pydicom_makes_it_look() -> None:
    compared, different, refused = 0, {}, set()
    for path in FILES:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if not has_pixels(path):
                continue
            try:
                ours = pixels(stored(path))
            except (CannotRender, CannotTranscode):
                refused.add(path.name)
                continue
            theirs = picture_by_pydicom(path)
        if theirs is None or path.name in OVERLAYS | NO_OPINION or theirs.shape != ours.shape:
            continue
        compared += 1
        # One grey level: who rounds when. Colour out of lossy JPEG: two decoders spread chroma in two ways.
        far = np.abs(ours.astype(int) - theirs.astype(int)) > 1
        if far.mean() > 0.001:
            different[path.name] = round(float(far.mean()), 4)
    assert different == {}
    assert refused <= BROKEN
    assert compared >= 60


def overlay(found: Any, group: int) -> Any:
    if (group, 0x3000) in found:
        return found.overlay_array(group)
    cells = np.frombuffer(found.PixelData, "<u2").reshape(found.Rows, found.Columns)
    return cells >> found[group, 0x102].value & 1


@pytest.mark.parametrize("name", sorted(OVERLAYS))
def test_overlays_are_white_and_all_else_is_as_without(name: str) -> None:
    path = next((path for path in FILES if path.name == name), None)
    if path is None:
        pytest.skip("not here")
    ours, theirs = pixels(stored(path)), expected(read(path))
    drawn = np.zeros(ours.shape, bool)
    for group in range(0x6000, 0x6020, 2):
        if (group, 0x10) in read(path):
            mask = overlay(read(path), group)
            drawn[: mask.shape[0], : mask.shape[1]] |= mask.astype(bool)[: ours.shape[0], : ours.shape[1]]
    assert (ours[drawn] == 255).all() and drawn.any()
    assert np.abs(ours[~drawn].astype(int) - theirs[~drawn].astype(int)).max() <= 1


@pytest.mark.parametrize("name", ["rtdose.dcm", "rtdose_expb.dcm", "rtdose_rle.dcm"])
def test_every_frame_of_a_dose_has_the_scale_of_the_whole(name: str) -> None:
    path = BUNDLED / name
    if not path.is_file():
        pytest.skip("not among pydicom's files here")
    grid = read(path).pixel_array.astype(np.float64)
    for frame in (0, 7, 14):
        wanted = np.floor(grid[frame] / grid.max() * 255 + 0.5)
        assert np.abs(pixels(stored(path), frames=(frame + 1,)).astype(int) - wanted).max() <= 1


def test_a_frame_of_an_enhanced_image_has_its_own_window() -> None:
    path = next((path for path in FILES if path.name == "eCT_Supplemental.dcm"), None)
    if path is None:
        pytest.skip("not here")
    found = read(path)
    array = found.pixel_array
    for frame in range(int(found.NumberOfFrames)):
        groups = [found.PerFrameFunctionalGroupsSequence[frame], found.SharedFunctionalGroupsSequence[0]]
        voi, rescale = (
            next(getattr(group, name)[0] for group in groups if name in group)
            for name in ("FrameVOILUTSequence", "PixelValueTransformationSequence")
        )
        values = array[frame] * float(rescale.RescaleSlope) + float(rescale.RescaleIntercept)
        centre, width = (float(np.atleast_1d(value)[0]) for value in (voi.WindowCenter, voi.WindowWidth))
        shown = np.clip((values - (centre - 0.5)) / (width - 1) + 0.5, 0, 1) * 255
        assert np.abs(pixels(stored(path), frames=(frame + 1,)).astype(int) - shown).max() <= 1


@pytest.mark.parametrize("name", ["seg_image_ct_binary.dcm", "seg_image_ct_true_fractional.dcm"])
def test_a_frame_of_a_segmentation_is_a_mask(name: str) -> None:
    path = next((path for path in FILES if path.name == name), None)
    if path is None:
        pytest.skip("not here")
    found = read(path)
    most = int(found.get("MaximumFractionalValue", 1)) if found.SegmentationType == "FRACTIONAL" else 1
    mask = found.pixel_array[0].astype(np.float64) / most
    assert np.abs(pixels(stored(path), frames=(1,)).astype(int) - np.floor(mask * 255 + 0.5)).max() <= 1


@pytest.mark.parametrize("picture", [Picture.JPEG, Picture.PNG, Picture.GIF, Picture.WEBP])
@pytest.mark.parametrize("name", ["CT_small.dcm", "SC_rgb_rle_2frame.dcm", "examples_palette.dcm"])
def test_every_form_of_picture_holds_the_same(picture: Picture, name: str) -> None:
    import io

    from PIL import Image

    path = BUNDLED / name
    if not path.is_file():
        pytest.skip("not among pydicom's files here")
    data, answer = rendered(stored(path), Look(picture=picture, quality=95))
    with Image.open(io.BytesIO(data)) as drawn:
        assert drawn.format == picture.name
        frames = int(read(path).get("NumberOfFrames", 1))
        assert (
            getattr(drawn, "n_frames", 1) == (frames if picture is Picture.GIF else 1)
            and answer.frames == frames
        )
        drawn.seek(0)
        wanted = pixels(stored(path))
        shown = np.asarray(drawn.convert("RGB" if wanted.ndim == 3 else "L")).astype(int)
        if shown.shape == wanted.shape:
            assert np.abs(shown - wanted).mean() < 6
