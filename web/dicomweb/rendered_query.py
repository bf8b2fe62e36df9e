"""Query parameters of rendered resources (PS3.18 8.3.5), made of nothing but what the standard allows. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from pacs_actors.rendering.messages import MAX_VIEWPORT, Function, Profile, Viewport, Window
from web.dicomweb.paths import is_uid
from web.http.request import BadRequest, Request

_NUMBER: Final = re.compile(
    r"[+-]?(?:[0-9]{1,15}(?:\.[0-9]{0,15})?|\.[0-9]{1,15})(?:[eE][+-]?[0-9]{1,2})?", re.ASCII
)
_WHOLE: Final = re.compile(r"[0-9]{1,6}", re.ASCII)
_ANNOTATIONS: Final = ("patient", "technique")
_NOT_DRAWN: Final = '299 - "Graphic annotations and overlays of the presentation state are not drawn."'
_NOT_BURNT_IN: Final = '299 - "Annotations are not burned into the picture."'


class Asked(Struct, frozen=True):
    """What the query says of a picture.

    state:   Series and SOP Instance UID of a presentation state to apply, in the image's study
    warning: value of a Warning header, or ""
    """

    quality: int = 90
    viewport: Viewport | None = None
    window: Window | None = None
    profile: Profile = Profile.NO
    warning: str = ""
    state: tuple[str, str] | None = None


def asked_of(request: Request) -> Asked:
    """raises: BadRequest naming the parameter that is wrong"""
    quality = request.parameter("quality")
    viewport, window = request.parameter("viewport"), request.parameter("window")
    return Asked(
        quality=read_quality(quality) if quality else Asked().quality,
        viewport=read_viewport(viewport) if viewport else None,
        window=read_window(window.split(",")) if window else None,
        profile=_profile(request.parameter("iccprofile")),
        warning=read_annotation(request.parameter("annotation")),
    )


def asked_of_uri(request: Request) -> tuple[Asked, tuple[int, ...]]:
    """WADO-URI's words for the same (PS3.18 9.1.2.2), and the frame. raises: BadRequest"""
    frame, quality = request.parameter("frameNumber"), request.parameter("imageQuality")
    centre, width = request.parameter("windowCenter"), request.parameter("windowWidth")
    if bool(centre) is not bool(width):
        raise BadRequest("windowCenter and windowWidth come together.")
    state = _state(request)
    if state and (centre or request.parameter("region")):
        # The state says what is seen and how (PS3.18 9.1.2.2.4).
        raise BadRequest("A presentation state goes with neither window nor region.")
    number_of_frame = _whole("frameNumber", frame) if frame else None
    if number_of_frame == 0:
        raise BadRequest("Frames are counted from 1 on.")
    asked = Asked(
        quality=read_quality(quality) if quality else Asked().quality,
        viewport=_uri_viewport(
            request.parameter("rows"), request.parameter("columns"), request.parameter("region")
        ),
        window=read_window((centre, width)) if centre else None,
        warning=_NOT_DRAWN if state else read_annotation(request.parameter("annotation")),
        state=state,
    )
    return asked, () if number_of_frame is None else (number_of_frame,)


def _state(request: Request) -> tuple[str, str] | None:
    """raises: BadRequest"""
    series, uid = request.parameter("presentationSeriesUID"), request.parameter("presentationUID")
    if not (series or uid):
        return None
    if not (is_uid(series) and is_uid(uid)):
        raise BadRequest("presentationSeriesUID and presentationUID are UIDs and come together.")
    return series, uid


def _uri_viewport(rows: str, columns: str, region: str) -> Viewport | None:
    """rows, columns: the largest size; region: left, top, right, bottom as shares of the image."""
    if not (rows or columns or region):
        return None
    height = _whole("rows", rows) if rows else MAX_VIEWPORT
    width = _whole("columns", columns) if columns else MAX_VIEWPORT
    if not (1 <= width <= MAX_VIEWPORT and 1 <= height <= MAX_VIEWPORT):
        raise BadRequest(f"rows and columns go from 1 to {MAX_VIEWPORT}.")
    enlarge = bool(rows or columns)
    if not region:
        return Viewport(width, height, enlarge=enlarge)
    shares = [number("region", part) for part in region.split(",")]
    if len(shares) != 4 or not (0 <= shares[0] < shares[2] <= 1 and 0 <= shares[1] < shares[3] <= 1):
        raise BadRequest("region is left,top,right,bottom between 0 and 1.")
    left, top, right, bottom = shares
    return Viewport(width, height, left, top, right - left, bottom - top, enlarge=enlarge, relative=True)


def read_quality(text: str) -> int:
    """1 to 100. raises: BadRequest"""
    value = _whole("quality", text)
    if not 1 <= value <= 100:
        raise BadRequest("quality goes from 1 to 100.")
    return value


def read_viewport(text: str) -> Viewport:
    """``vw,vh`` or ``vw,vh,[sx],[sy],[sw],[sh]`` (PS3.18 8.3.5.1.3). raises: BadRequest"""
    parts = text.split(",")
    if len(parts) not in (2, 6):
        raise BadRequest("viewport is vw,vh or vw,vh,sx,sy,sw,sh.")
    width, height = _whole("viewport", parts[0]), _whole("viewport", parts[1])
    if not (1 <= width <= MAX_VIEWPORT and 1 <= height <= MAX_VIEWPORT):
        raise BadRequest(f"viewport goes from 1 to {MAX_VIEWPORT} pixels a side.")
    left, top, region_width, region_height = (
        number("viewport", part) if part else 0.0 for part in (*parts[2:], *[""] * (6 - len(parts)))
    )
    if left < 0 or top < 0:
        raise BadRequest("viewport: a region begins at 0 or behind.")
    return Viewport(width, height, left, top, region_width, region_height)


def read_window(parts: Sequence[str]) -> Window:
    """``centre,width[,function]`` (PS3.18 8.3.5.1.4). raises: BadRequest"""
    if len(parts) not in (2, 3):
        raise BadRequest("window is centre,width,function.")
    centre, width = number("window", parts[0]), number("window", parts[1])
    try:
        function = Function(parts[2]) if len(parts) == 3 else Function.LINEAR
    except ValueError:
        names = ", ".join(each.value for each in Function)
        raise BadRequest(f"window: the function is one of {names}.") from None
    # PS3.3 C.11.2.1.2.1: at least 1 for linear, above 0 for the others.
    if width < 1 if function is Function.LINEAR else width <= 0:
        raise BadRequest("window: the width is too small.")
    return Window(centre, width, function)


def read_annotation(text: str) -> str:
    """What is to be burned in; we burn in nothing, and say so. raises: BadRequest"""
    if not text:
        return ""
    if any(each not in _ANNOTATIONS for each in text.split(",")):
        raise BadRequest("annotation is patient, technique, or both.")
    return _NOT_BURNT_IN


def number(name: str, text: str) -> float:
    """A decimal number. raises: BadRequest"""
    if not _NUMBER.fullmatch(text):
        raise BadRequest(f"{name} is made of numbers.")
    return float(text)


def _whole(name: str, text: str) -> int:
    if not _WHOLE.fullmatch(text):
        raise BadRequest(f"{name} is made of whole numbers.")
    return int(text)


def _profile(text: str) -> Profile:
    try:
        return Profile(text or "no")
    except ValueError:
        raise BadRequest(f"iccprofile is one of {', '.join(each.value for each in Profile)}.") from None
