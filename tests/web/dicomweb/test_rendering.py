"""What a query says of a picture, and what may be read out of a wrapped PDF or video."""

from __future__ import annotations

import os
import struct
from typing import Any

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate

from pacs_actors.archive.conversions import Opened
from pacs_actors.rendering.messages import Function, Look, Picture, Profile, Viewport, Window
from pacs_actors.threads import NativePool
from protocols.dicomweb.accept import NotAcceptable
from protocols.errors import Unavailable
from tests.pacs_actors.archive.transcoding_data import EXPLICIT, encode
from web.dicomweb.passthrough import NothingInside, document, video, video_type
from web.dicomweb.placeholders import letters_for
from web.dicomweb.rendered_query import Asked, asked_of, asked_of_uri
from web.dicomweb.rendering import Rendering
from web.http.request import BadRequest, Request

MPEG_2, MPEG_4, HEVC = (f"1.2.840.10008.1.2.4.{number}" for number in (100, 102, 107))
PDF = b"%PDF-1.7 of an odd length"


class Shown(Rendering):
    """Each look's quality says what becomes of it."""

    def __init__(self) -> None:
        pass

    def _stored(self, instance: Any) -> Any:
        return None

    async def _rendered(self, instance: Any, stored: Any, look: Look, **_: Any) -> Any:
        await trio.lowlevel.checkpoint()
        if look.quality == 1:
            raise NotAcceptable("no picture")
        if look.quality == 2:
            raise Unavailable("too many wait")
        if look.quality == 3:
            await trio.sleep_forever()
        return look.quality


def looks(*qualities: int) -> Any:
    return [(None, Look(Picture.JPEG, quality=quality)) for quality in qualities]


async def test_pictures_made_at_once_come_in_order_and_without_those_that_are_none() -> None:
    assert await Shown()._at_once(looks(90, 1, 80)) == [90, 80]


async def test_what_ends_all_pictures_comes_out_as_itself_and_in_no_group() -> None:
    with pytest.raises(Unavailable, match="too many wait"):
        await Shown()._at_once(looks(90, 3, 2))


def request(query: str) -> Request:
    scope: Any = {
        "method": "GET",
        "path": "/",
        "scheme": "http",
        "headers": [],
        "query_string": query.encode(),
        "client": ("127.0.0.1", 1),
    }

    async def nothing() -> Any:
        return
        yield b""

    return Request(scope, nothing)


def test_nothing_said() -> None:
    assert asked_of(request("")) == Asked()
    assert asked_of(request("viewport=&window=&quality=&iccprofile=&annotation=")) == Asked()


def test_everything_said() -> None:
    asked = asked_of(
        request(
            "quality=40&viewport=512,256,,8,-30.5,40&window=-600,1500,sigmoid&iccprofile=srgb&annotation=technique"
        )
    )
    assert asked.viewport == Viewport(512, 256, 0.0, 8.0, -30.5, 40.0)
    assert asked.window == Window(-600.0, 1500.0, Function.SIGMOID)
    assert (asked.quality, asked.profile) == (40, Profile.SRGB) and asked.warning.startswith("299 - ")


def test_the_function_of_a_window_may_be_left_out() -> None:
    assert asked_of(request("window=1e2,.5e1")).window == Window(100.0, 5.0, Function.LINEAR)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(["quality", "viewport", "window", "iccprofile", "annotation"]), st.text(max_size=40))
def test_any_text_is_understood_within_our_limits_or_refused(name: str, text: str) -> None:
    asked_for = request("")
    asked_for.query = [(name, text)]
    try:
        asked = asked_of(asked_for)
    except BadRequest as refusal:
        assert refusal.http_status == 400
        return
    assert 1 <= asked.quality <= 100
    if asked.viewport is not None:
        assert 1 <= asked.viewport.width <= 8192 and abs(asked.viewport.region_width) < 1e120


def test_the_words_of_wado_uri() -> None:
    asked, frames = asked_of_uri(
        request(
            "rows=100&columns=50&region=0.25,0,0.75,0.5&windowCenter=40&windowWidth=400&imageQuality=7&frameNumber=3"
        )
    )
    assert asked.viewport == Viewport(50, 100, 0.25, 0.0, 0.5, 0.5, relative=True)
    assert (asked.window, asked.quality, frames) == (Window(40, 400), 7, (3,))
    assert asked_of_uri(request("")) == (Asked(), ())
    with_state, _ = asked_of_uri(request("presentationUID=1.2&presentationSeriesUID=1.3"))
    assert with_state.state == ("1.3", "1.2") and "not drawn" in with_state.warning


@pytest.mark.parametrize(
    "query",
    [
        "windowCenter=1",
        "region=0,0,2,1",
        "region=0,0,x,1",
        "presentationUID=1.2",
        "presentationUID=x&presentationSeriesUID=1.2",
        "presentationUID=1.2&presentationSeriesUID=1.3&windowCenter=1&windowWidth=2",
        "presentationUID=1.2&presentationSeriesUID=1.3&region=0,0,1,1",
        "frameNumber=1.5",
        "rows=9999999",
    ],
)
def test_wrong_words_of_wado_uri(query: str) -> None:
    with pytest.raises(BadRequest):
        asked_of_uri(request(query))


@pytest.mark.parametrize(
    ("uid", "letters"),
    [
        ("88.33", "SR"),
        ("88.59", "KO"),
        ("11.1", "PR"),
        ("104.1", "PDF"),
        ("9.1.1", "ECG"),
        ("481.3", "RTSTRUCT"),
        ("2", "DICOM"),
    ],
)
def test_letters(uid: str, letters: str) -> None:
    assert letters_for(f"1.2.840.10008.5.1.4.1.1.{uid}") == letters
    assert letters_for("1.2.3<script>") == "DICOM" and letters_for("1.2", is_video=True) == "VIDEO"


def test_which_syntaxes_are_video() -> None:
    assert [video_type(uid) for uid in (MPEG_2, MPEG_4, f"{MPEG_4}.1", HEVC)] == [
        "video/mpeg", "video/mp4", "video/mp4", "video/H265",
    ]  # fmt: skip
    assert not any(map(video_type, (EXPLICIT, "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.109", "")))


def opened(data: bytes, syntax: str, *, said: int | None = None) -> Opened:
    fd = os.memfd_create("object")
    os.write(fd, bytes(200) + data)
    return Opened(fd, 200, len(data) if said is None else said, syntax, b"", 200)


async def content(what: Any, given: Opened) -> tuple[str, bytes]:
    async with NativePool(1, "passthrough") as native:
        found = await what(native, given)
    return found.media_type, b"".join(os.pread(given.fd, span.length, span.offset) for span in found.spans)


def paper(value: bytes, **attributes: Any) -> bytes:
    data_set = Dataset()
    data_set.MIMETypeOfEncapsulatedDocument = "application/pdf"
    data_set.EncapsulatedDocument = value
    for keyword, each in attributes.items():
        setattr(data_set, keyword, each)
    return encode(data_set)


async def test_a_pdf_has_the_length_that_the_object_says() -> None:
    data = paper(PDF + b"\0", EncapsulatedDocumentLength=len(PDF))
    assert await content(document, opened(data, EXPLICIT)) == ("application/pdf", PDF)
    for wrong in (0, 10**6):
        data = paper(PDF + b"\0", EncapsulatedDocumentLength=wrong)
        assert await content(document, opened(data, EXPLICIT)) == ("application/pdf", PDF + b"\0")


@pytest.mark.parametrize(
    "data",
    [
        paper(b"<html>"), paper(PDF, MIMETypeOfEncapsulatedDocument="text/html"), paper(PDF)[:-9], b"\xff" * 9,
        struct.pack("<HHI", 0xFFFE, 0xE000, 4), encode(Dataset()) or b"\0",
    ],
)  # fmt: skip
async def test_what_is_no_pdf_is_not_given_as_one(data: bytes) -> None:
    with pytest.raises(NothingInside):
        await content(document, opened(data, EXPLICIT))


async def test_an_object_that_was_cut_short() -> None:
    for what in (document, video):
        with pytest.raises(NothingInside, match="shorter"):
            await content(what, opened(paper(PDF), MPEG_4, said=10**6))


def film(stream: list[bytes]) -> bytes:
    return (
        b"\xe0\x7f\x10\0OB\0\0\xff\xff\xff\xff"
        + encapsulate(stream, has_bot=False)
        + b"\xfe\xff\xdd\xe0\0\0\0\0"
    )


@pytest.mark.parametrize(
    ("beginning", "syntax", "media_type"),
    [
        (b"\0\0\0\x18ftypmp42", HEVC, "video/mp4"), (b"\x47@\0\x10", MPEG_4, "video/mp2t"), (b"\0\0\1\xba", MPEG_2, "video/mpeg"),
        (b"\x47@\0\x10", MPEG_2, "video/mpeg"), (b"\0\0\0\1", MPEG_4, "video/mp4"),
    ],
)  # fmt: skip
async def test_a_video_is_called_what_it_is(beginning: bytes, syntax: str, media_type: str) -> None:
    pieces = [beginning.ljust(20, b"a"), b"b" * 30]
    assert await content(video, opened(film(pieces), syntax)) == (media_type, b"".join(pieces))


@pytest.mark.parametrize("data", [paper(PDF), film([]), film([b"abcd"])[:-16]])
async def test_what_holds_no_video(data: bytes) -> None:
    with pytest.raises(NothingInside):
        await content(video, opened(data, MPEG_4))
