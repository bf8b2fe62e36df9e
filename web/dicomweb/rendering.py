"""Rendered resources and thumbnails (PS3.18 10.4.1.1.3, 10.4.1.1.4): stored objects as browsers show them.

An instance, a frame, a series and a study have one picture each; a list of frames, a series and a study also as a multipart of
all. What stands for a series or a study is the middle instance of its first series of images. Browsers may keep pictures but
ask each time whether they still may have them (``private, no-cache`` with an ETag): what a shared machine's browser has
kept is of no use after logging out, and a list of thumbnails that has not changed costs no rendering. ``no-store``, which all
else has, would make an ETag pointless.
"""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from functools import partial
from typing import Final

import msgspec
import trio

from pacs_actors.archive.conversions import Opened
from pacs_actors.archive.progress import wait_until_indexed
from pacs_actors.archive.web_locate import ServedInstance
from pacs_actors.dicom.facilities import Facilities
from pacs_actors.people.rights import Action
from pacs_actors.rendering.messages import CannotRender, Look, Picture, Viewport, Why
from pacs_actors.rendering.renderer import Image, Renderer, RenderingFailed, StoredPixels
from pacs_actors.rendering.representative import representative
from protocols.dataset.transfer_syntax import DEFLATED, EXPLICIT_VR_LITTLE_ENDIAN
from protocols.dicomweb.accept import MULTIPART, Chosen, NotAcceptable, Offer, negotiate
from web.dicomweb.instances import PATH as INSTANCE
from web.dicomweb.objects import WebObjects, chosen_for, multipart_writer
from web.dicomweb.passthrough import PDF, PDF_STORAGE, document, video, video_type
from web.dicomweb.paths import PREFIX, is_uid
from web.dicomweb.placeholders import letters_for
from web.dicomweb.ranges import is_known
from web.dicomweb.rendered_query import Asked, asked_of, asked_of_uri
from web.http.answer import Answer
from web.http.request import BadRequest, NotFound, Request
from web.http.routes import Handler, Route

STUDY: Final = f"{PREFIX}/studies/{{study}}"
SERIES: Final = f"{STUDY}/series/{{series}}"
CACHE_CONTROL: Final = "private, no-cache"
MAX_FRAMES: Final = 1000
THUMBNAIL: Final = Viewport(200, 200, enlarge=False)
_THUMBNAIL_QUALITY: Final = 80
_PRESENTATION_STATES: Final = ("1.2.840.10008.5.1.4.1.1.11.1", "1.2.840.10008.5.1.4.1.1.11.2")
_REPORTS: Final = "1.2.840.10008.5.1.4.1.1.88."
_LIST: Final = re.compile(r"[0-9]{1,9}(?:,[0-9]{1,9})*", re.ASCII)
_QUERY: Final = {
    "accept": "media type, before the Accept header",
    "viewport": "width,height[,left,top,width,height of the region]; a negative size mirrors",
    "window": "centre,width,linear|linear-exact|sigmoid",
    "quality": "1 to 100, of JPEG and WebP",
    "iccprofile": "no, yes, srgb or adobergb",
    "annotation": "patient, technique: not burned in, answered with a warning",
}
# What is opened in a page of ours or by itself; nothing in it may fetch or run anything.
_DOCUMENT_POLICY: Final = (
    "default-src 'none'; style-src 'unsafe-inline'; object-src 'self'; frame-ancestors 'self'"
)


class Rendering:
    """Answers for pictures. Made once a worker."""

    def __init__(self, archive: Facilities, objects: WebObjects) -> None:
        self._archive, self._objects = archive, objects
        self.renderer = Renderer(archive.transcoder)

    def routes(self) -> list[Route]:
        levels = (
            (STUDY, "A study"),
            (SERIES, "A series"),
            (INSTANCE, "An instance"),
            (f"{INSTANCE}/frames/{{frames}}", "Frames"),
        )
        found = []
        for path, name in levels:
            pictures = self._group if path in (STUDY, SERIES) else self._instance
            found += [
                _route(f"{path}/rendered", pictures, f"{name} as pictures, PDF or video"),
                _route(f"{path}/thumbnail", self._thumbnail, f"{name} as one small picture"),
            ]
        return found

    async def _instance(self, request: Request) -> Answer:
        """An instance or frames of it."""
        instance = await self._objects.located(request)
        frames = _frame_list(request)
        if (wrapped := await self._wrapped(request, instance)) is not None:
            return wrapped
        asked = asked_of(request)
        chosen = _chosen(request, instance, len(frames))
        look = _look(asked, chosen, frames)
        if chosen.multipart:
            each = [(instance, msgspec.structs.replace(look, frames=(frame,))) for frame in frames]
            looks = each or [(instance, look)]
            return await self._multipart(request, looks, chosen, asked)
        return await self.picture(request, instance, look, warning=asked.warning)

    async def of_uri(self, request: Request, instance: ServedInstance) -> Answer:
        """WADO-URI's picture of an instance that the caller may see (PS3.18 9.1.2.2); ``contentType`` is its Accept.

        raises: BadRequest, NotAcceptable, what ``picture`` raises
        """
        asked, frames = asked_of_uri(request)
        wanted = request.parameter("contentType") or None
        if (wrapped := await self._wrapped(request, instance, wanted)) is not None:
            return wrapped
        report = instance.sop_class_uid.startswith(_REPORTS)
        chosen = negotiate(None, wanted, _HTML if report else _PICTURES)
        state = None if asked.state is None else await self._state(request, instance, *asked.state)
        look = _look(asked, chosen, frames)
        return await self.picture(request, instance, look, state=state, warning=asked.warning)

    async def _group(self, request: Request) -> Answer:
        """A study or a series."""
        study, series = _path(request)
        middle = await self._representative(request, study, series)
        if (wrapped := await self._wrapped(request, middle)) is not None:
            return wrapped
        asked = asked_of(request)
        chosen = _chosen(request, middle)
        look = _look(asked, chosen, ())
        if not chosen.multipart:
            return await self.picture(
                request, middle, msgspec.structs.replace(look, middle=True), warning=asked.warning
            )
        every = await self._objects.locator.instances(request.who.scope, study, series)
        return await self._multipart(request, [(each, look) for each in every], chosen, asked)

    async def _thumbnail(self, request: Request) -> Answer:
        """Always a picture: letters where nothing can be shown."""
        frames = _frame_list(request)
        if "instance" in request.values:
            instance = await self._objects.located(request)
        else:
            instance = await self._representative(request, *_path(request))
        asked = asked_of(request)
        chosen = chosen_for(request, _PICTURES)
        look = Look(
            Picture(chosen.offer.name),
            frames[:1],
            middle=True,
            quality=asked.quality if request.parameter("quality") else _THUMBNAIL_QUALITY,
            viewport=THUMBNAIL if asked.viewport is None else asked.viewport,
            window=asked.window,
        )
        letters = letters_for(instance.sop_class_uid, is_video=bool(video_type(instance.transfer_syntax_uid)))
        return await self.picture(request, instance, look, placeholder=letters)

    async def picture(
        self,
        request: Request,
        instance: ServedInstance,
        look: Look,
        *,
        placeholder: str = "",
        state: StoredPixels | None = None,
        warning: str = "",
    ) -> Answer:
        """One picture of an instance that the caller may see, or 304 if the caller has it already.

        placeholder: letters for what cannot be shown; state: a presentation state to apply
        raises:      NotFound, NotAcceptable, RenderingFailed, Unavailable
        """
        stored = self._stored(instance, state)
        tag = Renderer.tag(stored, look, placeholder)
        etag = f'"{tag}"'
        headers = (("etag", etag), ("cache-control", CACHE_CONTROL), ("vary", "accept"))
        if is_known(request, etag):
            return Answer(304, headers)
        await self._objects.viewed(request, instance)
        image = self.renderer.known(tag)
        if image is None:
            render = partial(self._rendered, instance, stored, look, placeholder=placeholder, keep=True)
            image = await request.while_there(render)
        extra = (("warning", warning),) if warning else ()
        if image.picture is Picture.HTML:
            extra = (*extra, ("content-security-policy", _DOCUMENT_POLICY))
        return Answer(200, (("content-type", _content_type(image.picture)), *headers, *extra), image.data)

    async def _wrapped(
        self, request: Request, instance: ServedInstance, wanted: str | None = None
    ) -> Answer | None:
        """A PDF or a video, as it is; None for all else. wanted: media types, instead of what the request accepts"""

        def check(media_type: str) -> None:
            offered = (Offer(media_type),)
            _ = chosen_for(request, offered) if wanted is None else negotiate(None, wanted, offered)

        if instance.sop_class_uid == PDF_STORAGE:
            check(PDF)
            content = await document(self._archive.native, await self._readable(instance))
        elif video_type(instance.transfer_syntax_uid):
            content = await video(self._archive.native, await self._readable(instance))
            check(content.media_type)
        else:
            return None
        await self._objects.viewed(request, instance)
        headers = [("content-type", content.media_type), ("cache-control", CACHE_CONTROL)]
        if content.media_type == PDF:
            headers.append(("content-security-policy", _DOCUMENT_POLICY))
        return await self._objects.ranged(request, [*content.spans], f'"{instance.digest.hex()}"', *headers)

    async def _readable(self, instance: ServedInstance) -> Opened:
        """The object with its data set not deflated."""
        if instance.transfer_syntax_uid in DEFLATED:
            return await self._objects.opened(instance, EXPLICIT_VR_LITTLE_ENDIAN)
        return await self._objects.stored(instance)

    async def _multipart(
        self, request: Request, looks: Sequence[tuple[ServedInstance, Look]], chosen: Chosen, asked: Asked
    ) -> Answer:
        """Every picture that there is, in order. What cannot be shown is left out; if that is all, 406."""
        await self._objects.viewed(request, looks[0][0])
        pictures = self._pictures(looks)
        first = await anext(pictures, None)
        if first is None:
            raise NotAcceptable("Nothing here can be shown as a picture.")
        writer = multipart_writer()
        part = ("Content-Type", chosen.offer.part)

        async def body() -> AsyncIterator[bytes]:
            async with aclosing(pictures):  # type: ignore[type-var]
                yield writer.head(part) + first.data
                async for image in pictures:
                    yield writer.head(part) + image.data
                yield writer.end

        headers = [("content-type", writer.content_type(chosen.offer.part)), ("cache-control", CACHE_CONTROL)]
        if asked.warning:
            headers.append(("warning", asked.warning))
        return Answer(200, tuple(headers), body())

    async def _pictures(self, looks: Sequence[tuple[ServedInstance, Look]]) -> AsyncIterator[Image]:
        """In order, some at a time, so that all pixel processes have work and no more is held than is sent next."""
        step = self.renderer.at_once
        for start in range(0, len(looks), step):
            for image in await self._at_once(looks[start : start + step]):
                yield image

    async def _at_once(self, looks: Sequence[tuple[ServedInstance, Look]]) -> list[Image]:
        """Those that can be shown, in order. raises: what ends all of them, such as Unavailable"""
        made: dict[int, Image] = {}
        failed: list[Exception] = []

        async def one(place: int, instance: ServedInstance, look: Look) -> None:
            try:
                made[place] = await self._rendered(instance, self._stored(instance), look)
            except (NotAcceptable, NotFound, RenderingFailed):
                return  # the others are not to be lost with it
            except Exception as failure:
                failed.append(failure)  # raised outside: a nursery would wrap it in a group
                nursery.cancel_scope.cancel()

        async with trio.open_nursery() as nursery:
            for place, (instance, look) in enumerate(looks):
                nursery.start_soon(one, place, instance, look)
        if failed:
            raise failed[0]
        return [made[place] for place in sorted(made)]

    async def _rendered(
        self,
        instance: ServedInstance,
        stored: StoredPixels,
        look: Look,
        *,
        placeholder: str = "",
        keep: bool = False,
    ) -> Image:
        async def render(one: ServedInstance) -> Image:
            its = stored if one is instance else self._stored(one, stored.state)
            return await self.renderer.render(its, look, placeholder=placeholder, keep=keep)

        try:
            return await self._objects.reached(instance, render)
        except CannotRender as failure:
            if failure.why is Why.NO_FRAME:
                raise NotFound(f"No such frame: {failure.reason}.") from None
            raise NotAcceptable(f"This cannot be shown as a picture: {failure.reason}.") from None

    async def _state(
        self, request: Request, image: ServedInstance, series: str, instance: str
    ) -> StoredPixels:
        """A presentation state of the image's study. raises: NotFound, BadRequest"""
        state = await self._objects.instance(request, image.study_instance_uid, series, instance)
        if state.sop_class_uid not in _PRESENTATION_STATES:
            raise BadRequest("presentationUID names no greyscale or colour softcopy presentation state.")
        return await self._objects.reached(state, self._at_hand)

    async def _at_hand(self, instance: ServedInstance) -> StoredPixels:
        """raises: ObjectMissing"""
        stored = self._stored(instance)
        os.close(stored.open().fd)
        return stored

    def _stored(self, instance: ServedInstance, state: StoredPixels | None = None) -> StoredPixels:
        return StoredPixels(
            partial(self._archive.store.open, instance.key),
            instance.data_offset,
            instance.size_bytes - instance.data_offset,
            instance.transfer_syntax_uid,
            instance.digest,
            state,
        )

    async def _representative(self, request: Request, study: str, series: str | None) -> ServedInstance:
        await wait_until_indexed(self._archive.progress, within_s=self._archive.settings.index.catch_up_s)
        found = await representative(self._archive.catalogue, request.who.scope, study, series)
        if found is None:
            raise NotFound
        return found


def _route(path: str, handler: Handler, summary: str) -> Route:
    return Route(
        method="GET",
        path=path,
        access=Action.VIEW,
        handler=handler,
        summary=summary,
        query=_QUERY,
        objects=True,
        tag="WADO-RS",
    )


def _path(request: Request) -> tuple[str, str | None]:
    """Study and series of the path. raises: NotFound for what is no UID"""
    study, series = request.values["study"], request.values.get("series")
    if not is_uid(study) or not (series is None or is_uid(series)):
        raise NotFound
    return study, series


def _frame_list(request: Request) -> tuple[int, ...]:
    """Frame numbers of the path, () without. raises: BadRequest"""
    text = request.values.get("frames")
    if text is None:
        return ()
    if len(text) > 10 * MAX_FRAMES or not _LIST.fullmatch(text):
        raise BadRequest("Frames are numbers separated by commas.")
    numbers = tuple(int(number) for number in text.split(","))
    if len(numbers) > MAX_FRAMES or 0 in numbers:
        raise BadRequest(f"Frames are counted from 1 on; no more than {MAX_FRAMES} at once.")
    return numbers


def _chosen(request: Request, instance: ServedInstance, frames: int = 1) -> Chosen:
    """raises: NotAcceptable"""
    if instance.sop_class_uid.startswith(_REPORTS):
        return chosen_for(request, _HTML)
    # Making WebP takes ten times as long as JPEG: it is for those who ask for it by the parameter, or take nothing else.
    if frames < 2 and any(name == "accept" and "webp" in value for name, value in request.query):
        return chosen_for(request, (_WEBP, *_offers(frames)))
    try:
        return chosen_for(request, _offers(frames))
    except NotAcceptable:
        if frames > 1:
            raise
        return chosen_for(request, (_WEBP,))


def _offers(frames: int) -> tuple[Offer, ...]:
    """A list of frames is several items, and none of them may go alone."""
    return (*_SINGLES, *_PARTS) if frames < 2 else (*_PARTS, _ANIMATION)


_HTML: Final = (Offer(Picture.HTML.value),)
_WEBP: Final = Offer(Picture.WEBP.value)
_SINGLES: Final = tuple(Offer(picture.value) for picture in (Picture.JPEG, Picture.PNG, Picture.GIF))
_ANIMATION: Final = Offer(Picture.GIF.value)
_PARTS: Final = tuple(Offer(MULTIPART, picture.value) for picture in (Picture.JPEG, Picture.PNG))
_PICTURES: Final = (*_SINGLES, _WEBP)


def _look(asked: Asked, chosen: Chosen, frames: tuple[int, ...]) -> Look:
    picture = Picture(chosen.offer.part or chosen.offer.name)
    several = picture is Picture.GIF or chosen.multipart
    return Look(
        picture,
        frames if several else frames[:1],
        quality=asked.quality,
        viewport=asked.viewport,
        window=asked.window,
        profile=asked.profile,
    )


def _content_type(picture: Picture) -> str:
    return f"{picture.value}; charset=utf-8" if picture is Picture.HTML else picture.value
