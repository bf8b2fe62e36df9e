"""Renderings made in this very process, and the same pictures made another way: by pydicom and numpy."""

from __future__ import annotations

import os
from typing import Any

import imagecodecs
import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.pixels import apply_color_lut, apply_modality_lut, apply_voi_lut, apply_windowing

from pacs_actors.rendering.messages import Look, Picture, Rendered, RenderJob, State
from pacs_actors.rendering.render import render
from tests.pacs_actors.archive.transcoding_data import EXPLICIT, Stored, encode

OFFSET = 777


def rendered(
    stored: Stored, look: Look | None = None, *, placeholder: str = "", state: Stored | None = None
) -> tuple[bytes, Rendered]:
    """Render it here, without a process. Raises what ``render`` raises."""
    source, made, scratch, states = (os.memfd_create(name) for name in ("source", "made", "scratch", "state"))
    try:
        os.write(source, bytes(OFFSET) + stored.data)
        place = None
        if state is not None:
            os.write(states, state.data)
            place = State(0, len(state.data), state.syntax)
        job = RenderJob(
            OFFSET, len(stored.data), stored.syntax, look or Look(picture=Picture.PNG), placeholder, place
        )
        answer = render(job, source, made, scratch, states)
        assert answer.length == os.fstat(made).st_size
        return os.pread(made, answer.length, 0), answer
    finally:
        for fd in (source, made, scratch, states):
            os.close(fd)


def pixels(stored: Stored, *, state: Stored | None = None, **look: Any) -> Any:
    """The picture as an array, by way of PNG."""
    return imagecodecs.png_decode(rendered(stored, Look(picture=Picture.PNG, **look), state=state)[0])


def native(data_set: Dataset, values: Any, *, syntax: str = EXPLICIT) -> Stored:
    """A data set with Pixel Data of these values, one frame or many."""
    data_set.PixelData = values.tobytes() + b"\0" * (values.nbytes % 2)
    data_set["PixelData"].VR = "OW" if values.dtype.itemsize > 1 else "OB"
    return Stored(encode(data_set), syntax)


def expected(found: Dataset, frame: int = 0) -> Any:
    """The picture by pydicom and numpy alone: no overlay, no shutter, no scaling. None where pydicom has no opinion."""
    array = found.pixel_array
    if int(found.get("NumberOfFrames", 1) or 1) > 1:
        array = array[frame]
    photometric = found.PhotometricInterpretation
    if photometric == "PALETTE COLOR":
        coloured = apply_color_lut(array, found)
        return coloured if coloured.dtype == np.uint8 else (coloured >> 8).astype(np.uint8)
    if array.ndim == 3:
        bits = found.BitsStored
        return (array >> (bits - 8)).astype(np.uint8) if bits > 8 else array.astype(np.uint8)
    values = apply_modality_lut(array, found).astype(np.float64)
    if "VOILUTSequence" in found:
        table = found.VOILUTSequence[0]
        shown = apply_voi_lut(values.astype(np.int64), found).astype(np.float64) / (
            2 ** table.LUTDescriptor[2] - 1
        )
    elif "WindowCenter" in found and found.WindowCenter not in (None, ""):
        low, high = _output_range(found)
        shown = (apply_windowing(array if "RescaleSlope" not in found else values, found) - low) / (
            high - low
        )
    else:
        kept = values
        if "PixelPaddingValue" in found:
            kept = values[array != found.PixelPaddingValue]
        low, high = kept.min(), kept.max()
        shown = np.clip((values - low) / (high - low), 0, 1) if high > low else np.zeros(values.shape)
    if found.get("PresentationLUTShape", "INVERSE" if photometric == "MONOCHROME1" else "") == "INVERSE":
        shown = 1 - shown
    picture = np.floor(shown * 255 + 0.5).astype(np.uint8)
    if "PixelPaddingValue" in found:
        picture[array == found.PixelPaddingValue] = 0
    return picture


def _output_range(found: Dataset) -> tuple[float, float]:
    """What pydicom maps a window onto."""
    bits = found.BitsStored
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if found.PixelRepresentation else (0, 2**bits - 1)
    slope, intercept = float(found.get("RescaleSlope", 1)), float(found.get("RescaleIntercept", 0))
    return low * slope + intercept, high * slope + intercept


def read(path: Any) -> Dataset:
    return pydicom.dcmread(path)


__all__ = ["expected", "native", "pixels", "read", "rendered"]
