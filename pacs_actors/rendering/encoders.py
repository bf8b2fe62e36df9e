"""Pictures as files: JPEG, PNG, WebP, GIF."""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterable
from itertools import chain
from typing import Any, Final

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from PIL import Image as Drawing

from pacs_actors.rendering.messages import CannotRender, Picture

Pixels = NDArray[np.uint8]

_ICC_CHUNK_BYTES: Final = 65519
_JPEG_HEAD: Final = 2
_PNG_HEAD: Final = 33
_PNG_SPEED: Final = 1
_MOST_JPEG: Final = 65500
_MOST_WEBP: Final = 16383


def encode_picture(pixels: Pixels, picture: Picture, *, quality: int, profile: bytes = b"") -> bytes:
    """pixels: (rows, columns) or (rows, columns, 3); profile: ICC, for JPEG and PNG. raises: CannotRender"""
    most = {Picture.JPEG: _MOST_JPEG, Picture.WEBP: _MOST_WEBP}.get(picture)
    if most is not None and max(pixels.shape[:2]) > most:
        raise CannotRender(f"{picture.value} has at most {most} pixels a side")
    match picture:
        case Picture.JPEG:
            return _with_jpeg_profile(bytes(imagecodecs.jpeg8_encode(pixels, level=quality)), profile)
        case Picture.PNG:
            return _with_png_profile(bytes(imagecodecs.png_encode(pixels, level=_PNG_SPEED)), profile)
        case Picture.WEBP:
            if pixels.ndim == 2:
                pixels = np.stack([pixels] * 3, axis=-1)
            return bytes(imagecodecs.webp_encode(pixels, level=quality, lossless=False, numthreads=1))
        case Picture.GIF:
            return encode_animation([pixels], 0)
    raise CannotRender(f"{picture.value} is no picture")


def encode_animation(frames: Iterable[Pixels], frame_ms: int) -> bytes:
    """A GIF that repeats for ever. frames: at least one, all of one shape"""
    drawings = map(_for_gif, frames)
    first = next(iter(drawings))
    out = io.BytesIO()
    more: dict[str, Any] = {}
    rest = list(drawings)
    if rest:
        more = {"save_all": True, "append_images": rest, "duration": frame_ms, "loop": 0, "disposal": 1}
    first.save(out, "GIF", optimize=False, **more)
    return out.getvalue()


def _for_gif(pixels: Pixels) -> Drawing.Image:
    drawing = Drawing.fromarray(pixels)
    if drawing.mode == "L":
        return drawing
    return drawing.quantize(256, method=Drawing.Quantize.FASTOCTREE, dither=Drawing.Dither.NONE)


def _with_jpeg_profile(data: bytes, profile: bytes) -> bytes:
    """ICC.1 annex B.4: APP2 segments behind the beginning."""
    if not profile:
        return data
    pieces = [profile[at : at + _ICC_CHUNK_BYTES] for at in range(0, len(profile), _ICC_CHUNK_BYTES)]
    if len(pieces) > 255:
        raise CannotRender("the ICC profile is too large")
    segments = (
        (
            b"\xff\xe2",
            (len(piece) + 16).to_bytes(2, "big"),
            b"ICC_PROFILE\0",
            bytes((number, len(pieces))),
            piece,
        )
        for number, piece in enumerate(pieces, 1)
    )
    head = _JPEG_HEAD
    if data[2:4] == b"\xff\xe0":  # JFIF wants to be the first
        head += 2 + int.from_bytes(data[4:6], "big")
    return b"".join((data[:head], *chain.from_iterable(segments), data[head:]))


def _with_png_profile(data: bytes, profile: bytes) -> bytes:
    """PNG 11.3.2.3: iCCP behind IHDR."""
    if not profile:
        return data
    content = b"iCCP" + b"ICC profile\0\0" + zlib.compress(profile)
    chunk = (len(content) - 4).to_bytes(4, "big") + content + zlib.crc32(content).to_bytes(4, "big")
    return data[:_PNG_HEAD] + chunk + data[_PNG_HEAD:]


def placeholder(text: str, width: int, height: int) -> Pixels:
    """A neutral tile with a few letters, for what has no pixels. (height, width)"""
    from PIL import ImageDraw, ImageFont  # noqa: PLC0415 - fonts are for these few only

    tile = Drawing.new("L", (width, height), 0x2B)
    draw = ImageDraw.Draw(tile)
    size = max(8, min(height // 3, round(1.5 * width / max(len(text), 3))))
    draw.rectangle((0, 0, width - 1, height - 1), outline=0x55)
    draw.text((width / 2, height / 2), text, fill=0xC0, font=ImageFont.load_default(size), anchor="mm")
    return np.asarray(tile, np.uint8)
