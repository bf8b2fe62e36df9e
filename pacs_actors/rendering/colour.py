"""Colour: palettes, luminance and chrominance, colour profiles (PS3.3 C.7.6.3.1.2, C.11.15). Pure."""

from __future__ import annotations

from typing import Any, Final

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from pacs_actors.rendering.attributes import DataSet
from pacs_actors.rendering.lookup import Table, read_segmented_table, read_table
from pacs_actors.rendering.messages import CannotRender, Profile

Rgb = NDArray[np.uint8]

ICC_PROFILE: Final = 0x00282000
MAX_PROFILE_BYTES: Final = 4 * 1024 * 1024
_DESCRIPTORS: Final = (0x00281101, 0x00281102, 0x00281103)
_DATA: Final = (0x00281201, 0x00281202, 0x00281203)
_SEGMENTED_DATA: Final = (0x00281221, 0x00281222, 0x00281223)
_KNOWN_PROFILES: Final = {Profile.SRGB: "srgb", Profile.ADOBE_RGB: "adobergb"}


def to_8_bits(cells: NDArray[Any], bits: int) -> Rgb:
    """Samples of ``bits`` bits as samples of 8."""
    if bits == 8:
        return cells.astype(np.uint8, copy=False)
    if bits > 8:
        return (cells >> (bits - 8)).astype(np.uint8)
    return (cells.astype(np.uint16) * 255 // ((1 << bits) - 1)).astype(np.uint8)


def from_ybr_full(ybr: Rgb) -> Rgb:
    """YBR_FULL, YBR_FULL_422 with its chroma spread (PS3.3 C.7.6.3.1.2). (..., 3) in and out."""
    luma, blue, red = _components(ybr, 0.0)
    return _joined(luma + 1.402 * red, luma - 0.344136 * blue - 0.714136 * red, luma + 1.772 * blue)


def from_ybr_partial(ybr: Rgb) -> Rgb:
    """YBR_PARTIAL_422 and YBR_PARTIAL_420 with their chroma spread: luma from 16 to 235, chroma to 240 (ITU-R BT.601)."""
    luma, blue, red = _components(ybr, 16.0)
    luma = luma * np.float32(255.0 / 219.0)
    scale = np.float32(255.0 / 224.0)
    return _joined(
        luma + 1.402 * scale * red,
        luma - (0.344136 * blue + 0.714136 * red) * scale,
        luma + 1.772 * scale * blue,
    )


def _components(ybr: Rgb, black: float) -> tuple[NDArray[np.float32], ...]:
    values = ybr.astype(np.float32)
    return values[..., 0] - np.float32(black), values[..., 1] - 128, values[..., 2] - 128


def _joined(*planes: NDArray[Any]) -> Rgb:
    out = np.empty((*planes[0].shape, 3), np.uint8)
    for number, plane in enumerate(planes):
        out[..., number] = np.clip(plane + np.float32(0.5), 0, 255)
    return out


def spread_422(octets: NDArray[np.uint8], rows: int, columns: int) -> Rgb:
    """Uncompressed YBR_FULL_422 or YBR_PARTIAL_422: two lumas, one pair of chromas (PS3.3 C.7.6.3.1.2).

    octets: rows * columns * 2, columns being even
    """
    quads = octets.reshape(rows, columns // 2, 4)
    out = np.empty((rows, columns // 2, 2, 3), np.uint8)
    out[..., 0] = quads[..., :2]
    out[..., 1] = quads[..., 2:3]
    out[..., 2] = quads[..., 3:4]
    return out.reshape(rows, columns, 3)


class Palette:
    """Red, green and blue tables of PALETTE COLOR (PS3.3 C.7.6.3.1.5), plain or in segments."""

    def __init__(self, data_set: DataSet, *, signed: bool) -> None:
        """raises: CannotRender if the tables are missing or damaged"""
        segmented = _DATA[0] not in data_set and _SEGMENTED_DATA[0] in data_set
        tables = [
            read_segmented_table(data_set, descriptor=descriptor, data=in_segments)
            if segmented
            else read_table(data_set, signed=signed, descriptor=descriptor, data=data)
            for descriptor, data, in_segments in zip(_DESCRIPTORS, _DATA, _SEGMENTED_DATA, strict=True)
        ]
        if len({(len(table.entries), table.first) for table in tables}) > 1:
            raise CannotRender("the tables of the palette differ")
        self._first = tables[0].first
        self._colours: Rgb = np.stack([_octets(table) for table in tables], axis=-1)

    def look_up(self, stored: NDArray[Any]) -> Rgb:
        """(...) stored values to (..., 3)."""
        places = np.clip(stored.astype(np.int64) - self._first, 0, len(self._colours) - 1)
        return self._colours.take(places, axis=0)


def _octets(table: Table) -> NDArray[np.uint8]:
    # Some write 8 bits and say 16.
    wide = table.bits > 8 and table.entries.max(initial=0) > 255
    return to_8_bits(table.entries, table.bits if wide else 8)


def own_profile(data_set: DataSet) -> bytes:
    """The data set's ICC profile (PS3.3 C.11.15), b"" without one that we would take."""
    profile = data_set.raw(ICC_PROFILE)
    return bytes(profile) if 128 <= len(profile) <= MAX_PROFILE_BYTES else b""


def in_profile(rgb: Rgb, own: bytes, wanted: Profile) -> tuple[Rgb, bytes]:
    """The picture in the colour space that is wanted, and the profile to send with it.

    own: the data set's; b"" is sRGB
    raises: CannotRender if the data set's profile is damaged
    """
    if wanted is Profile.NO:
        return rgb, b""
    if wanted is Profile.YES:
        return rgb, own or _profile(Profile.SRGB)
    target = _profile(wanted)
    if not own and wanted is Profile.SRGB:
        return rgb, target
    try:
        made = imagecodecs.cms_transform(
            np.ascontiguousarray(rgb),
            own or _profile(Profile.SRGB),
            target,
            colorspace="rgb",
            outcolorspace="rgb",
        )
    except Exception as failure:
        raise CannotRender(f"the ICC profile cannot be used ({type(failure).__name__})") from failure
    return np.asarray(made, np.uint8), target


def _profile(wanted: Profile) -> bytes:
    return bytes(imagecodecs.cms_profile(_KNOWN_PROFILES[wanted]))
