"""The Image Pixel attributes of one data set, believed only after they are checked (PS3.3 C.7.6.3)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from msgspec import Struct

from pacs_actors.archive.transcoding.messages import CannotTranscode

SAMPLES_PER_PIXEL: Final = 0x00280002
PHOTOMETRIC_INTERPRETATION: Final = 0x00280004
PLANAR_CONFIGURATION: Final = 0x00280006
NUMBER_OF_FRAMES: Final = 0x00280008
ROWS: Final = 0x00280010
COLUMNS: Final = 0x00280011
BITS_ALLOCATED: Final = 0x00280100
BITS_STORED: Final = 0x00280101
PIXEL_REPRESENTATION: Final = 0x00280103

# Decoders hold a frame several times over, OpenJPEG in 32 bits a sample: more does not fit into their memory limit.
MAX_FRAME_BYTES: Final = 256 * 1024 * 1024
# Lengths are 32 bits, even, and 0xFFFFFFFF is taken.
MAX_VALUE_BYTES: Final = 0xFFFFFFFE


class Image(Struct, frozen=True):
    """What the attributes promise. Sizes are Python's integers: nothing wraps.

    frames, rows, columns: at least 1; samples: 1 or 3; bits_allocated: 1, 8, 16, 32 or 64
    """

    frames: int
    rows: int
    columns: int
    samples: int
    bits_allocated: int
    bits_stored: int
    signed: bool
    photometric: str
    by_plane: bool

    @property
    def frame_samples(self) -> int:
        return self.rows * self.columns * self.samples

    @property
    def frame_bits(self) -> int:
        return self.frame_samples * self.bits_allocated

    @property
    def native_bytes(self) -> int:
        """All frames uncompressed, behind each other to the bit, without padding (PS3.5 8.1.1)."""
        return (self.frames * self.frame_bits + 7) // 8


def read_image(
    number: Callable[[int], int | None], text: Callable[[int], str], *, whole: bool = True
) -> Image:
    """Check the attributes of a data set.

    number, text: look a value up in it by tag; None, "" if it is not there
    whole:        all frames are wanted uncompressed in one element
    raises:       CannotTranscode if they are missing, impossible, or promise more than our limits
    """
    bits_allocated = number(BITS_ALLOCATED) or 0
    image = Image(
        frames=_frames(text(NUMBER_OF_FRAMES)),
        rows=number(ROWS) or 0,
        columns=number(COLUMNS) or 0,
        samples=number(SAMPLES_PER_PIXEL) or 1,
        bits_allocated=bits_allocated,
        bits_stored=number(BITS_STORED) or bits_allocated,
        signed=number(PIXEL_REPRESENTATION) == 1,
        photometric=text(PHOTOMETRIC_INTERPRETATION),
        by_plane=number(PLANAR_CONFIGURATION) == 1,
    )
    if not image.rows or not image.columns:
        raise CannotTranscode("Rows or Columns are missing")
    if image.samples not in (1, 3):
        raise CannotTranscode(f"Samples per Pixel is {image.samples}")
    if image.bits_allocated not in (1, 8, 16, 32, 64) or not 0 < image.bits_stored <= image.bits_allocated:
        raise CannotTranscode(f"Bits Allocated is {image.bits_allocated}, Bits Stored {image.bits_stored}")
    if image.bits_allocated == 1 and image.samples != 1:
        raise CannotTranscode("colour of one bit")
    if image.frame_bits > MAX_FRAME_BYTES * 8:
        raise CannotTranscode(f"frames of {image.rows} x {image.columns} are beyond our limits")
    if whole and image.native_bytes > MAX_VALUE_BYTES:
        raise CannotTranscode(f"{image.frames} uncompressed frames do not fit into one element")
    return image


def _frames(text: str) -> int:
    if not text:
        return 1
    if not (text.isascii() and text.isdecimal() and len(text) <= 12 and int(text)):
        raise CannotTranscode("Number of Frames is no number")
    return int(text)
