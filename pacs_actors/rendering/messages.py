"""What is asked of a rendering, and what comes of it. Plain data, for the server and the pixel processes."""

from __future__ import annotations

from enum import Enum
from typing import Final

import msgspec
from msgspec import Struct

from pacs_actors.archive.transcoding.messages import Refused
from protocols.errors import PacsError

MAX_VIEWPORT: Final = 8192
MAX_ANIMATED_FRAMES: Final = 1000
MAX_RENDERED_BYTES: Final = 256 * 1024 * 1024
MAX_STATE_BYTES: Final = 64 * 1024 * 1024


class Why(Enum):
    """Why there is no picture."""

    NO_PIXELS = "no pixels"
    NO_FRAME = "no such frame"
    DAMAGED = ""


class CannotRender(PacsError):
    """There is no picture of this; ``reason`` names no patient data."""

    def __init__(self, reason: str, why: Why = Why.DAMAGED) -> None:
        super().__init__(reason, why)
        self.reason, self.why = reason, why

    def __str__(self) -> str:
        return self.reason


class Function(Enum):
    """VOI LUT Functions (PS3.3 C.11.2.1.2, C.11.2.1.3) as the window parameter names them (PS3.18 8.3.5.1.4)."""

    LINEAR = "linear"
    LINEAR_EXACT = "linear-exact"
    SIGMOID = "sigmoid"


class Window(Struct, frozen=True):
    """centre, width: in units of what the modality LUT gives; width: at least 1 for LINEAR, more than 0 for the others"""

    centre: float
    width: float
    function: Function = Function.LINEAR


class Viewport(Struct, frozen=True):
    """PS3.18 8.3.5.1.3: a region of the source, scaled to fit into ``width`` x ``height`` pixels with its aspect kept.

    left, top: of the region; region_width, region_height: 0: up to the edge; negative: mirrored
    enlarge:   False: never more pixels than the source has
    relative:  the region is in shares of the source's width and height (PS3.18 9.1.2.2.5)
    """

    width: int
    height: int
    left: float = 0
    top: float = 0
    region_width: float = 0
    region_height: float = 0
    enlarge: bool = True
    relative: bool = False


class Profile(Enum):
    """Colour profiles of the result (PS3.18 8.3.5.1.5); the values are the query's."""

    NO = "no"
    YES = "yes"
    SRGB = "srgb"
    ADOBE_RGB = "adobergb"


class Picture(Enum):
    """What comes out; the values are media types. HTML is for documents."""

    JPEG = "image/jpeg"
    PNG = "image/png"
    GIF = "image/gif"
    WEBP = "image/webp"
    HTML = "text/html"


class Look(Struct, frozen=True):
    """How a picture looks.

    frames:  numbers from 1 on; more than one only for GIF; empty: the representative frame, for GIF all
    middle:  without a representative frame the middle one is taken, otherwise the first
    quality: 1 to 100, of JPEG and WebP
    window:  instead of the data set's own
    """

    picture: Picture = Picture.JPEG
    frames: tuple[int, ...] = ()
    middle: bool = False
    quality: int = 90
    viewport: Viewport | None = None
    window: Window | None = None
    profile: Profile = Profile.NO


class State(Struct, frozen=True, forbid_unknown_fields=True):
    """A presentation state: ``length`` bytes at ``offset`` of a descriptor, in the transfer syntax ``source``; not deflated."""

    offset: int
    length: int
    source: str
    max_bytes: int = MAX_STATE_BYTES


class RenderJob(Struct, frozen=True, tag="render", forbid_unknown_fields=True):
    """Render the data set of ``length`` bytes at ``offset`` of the first descriptor into the second, which is empty.

    source:      its transfer syntax UID; deflated: the third descriptor is an empty file
    placeholder: drawn where there are no pixels: some letters; "": refuse then
    state:       applied to the image; the last descriptor holds it
    max_bytes:   the output may have; cpu_s: the work may take
    """

    offset: int
    length: int
    source: str
    look: Look
    placeholder: str = ""
    state: State | None = None
    max_bytes: int = MAX_RENDERED_BYTES
    cpu_s: int = 30


class Rendered(Struct, frozen=True, tag=True, forbid_unknown_fields=True):
    """length: bytes in the second descriptor; picture: what they are; frames: how many the object has."""

    length: int
    picture: Picture
    frames: int = 1


RenderAnswer = Rendered | Refused

encode: Final = msgspec.json.Encoder().encode
decode_answer: Final = msgspec.json.Decoder[RenderAnswer](RenderAnswer).decode
