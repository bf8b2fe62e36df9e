"""What every retrieval shares: finding the objects that a path names, the transfer syntax they are given in, the audit.

Made once a worker, and handed to the files that serve a resource each.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import lru_cache
from secrets import token_hex
from typing import Final, TypeVar

import trio

from pacs_actors.archive.conversions import Conversions, Opened
from pacs_actors.archive.objects.keys import ObjectMissing
from pacs_actors.archive.transcoder import CannotTranscode, compressible, convertible
from pacs_actors.archive.transcoding.syntaxes import COMPRESSED_TARGETS
from pacs_actors.archive.web_locate import ServedInstance, WebLocator
from pacs_actors.lifecycle.recaller import BeingRecalled
from pacs_actors.operations import logs
from pacs_actors.people.rights import Principal
from protocols.dataset.transfer_syntax import (
    EXPLICIT_VR_BIG_ENDIAN,
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
)
from protocols.dicomweb.accept import AS_STORED, Chosen, NotAcceptable, Offer, negotiate
from protocols.dicomweb.multipart import MultipartWriter
from protocols.messages.audit import Actor
from web.context import WebContext
from web.dicomweb.paths import is_uid
from web.dicomweb.pieces import Piece, PieceReader, length_of
from web.dicomweb.ranges import asked_range, cut, is_known
from web.http.answer import Answer
from web.http.request import NotFound, Request

T = TypeVar("T")

_VIEW_EVERY_S: Final = 60.0
_MOST_VIEWS: Final = 10_000
# Not for DICOMweb, as the standard has it (PS3.18 8.7.3.5.2): what is stored so is given as Explicit VR Little Endian.
_NOT_GIVEN: Final = frozenset({IMPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_BIG_ENDIAN})


class WebObjects:
    """raises, all of it: NotFound for what is not there or not for the caller; Unavailable"""

    def __init__(self, context: WebContext) -> None:
        archive = context.archive
        self.locator = WebLocator(
            archive.catalogue, archive.progress, catch_up_s=context.settings.index.catch_up_s
        )
        self.conversions = Conversions(archive.store, archive.transcoder)
        self.native = archive.native
        self.reader = PieceReader(archive.native)
        self.audit = archive.audit
        self._recaller = archive.recaller
        self._views: OrderedDict[tuple[str, str], float] = OrderedDict()

    async def located(self, request: Request) -> ServedInstance:
        """The instance that the path names."""
        values = request.values
        return await self.instance(request, values["study"], values["series"], values["instance"])

    async def instance(self, request: Request, study: str, series: str, instance: str) -> ServedInstance:
        if not (is_uid(study) and is_uid(series) and is_uid(instance)):
            raise NotFound
        found = await self.locator.instance(request.who.scope, study, series, instance)
        if found is None:
            raise NotFound
        return found

    async def stored(self, instance: ServedInstance) -> Opened:
        """The object as it is stored."""
        try:
            return self.conversions.stored(instance)
        except ObjectMissing:
            return await self.recalled(instance, self._stored)

    async def _stored(self, instance: ServedInstance) -> Opened:
        return self.conversions.stored(instance)

    async def reached(self, instance: ServedInstance, use: Callable[[ServedInstance], Awaitable[T]]) -> T:
        """What ``use`` makes of an instance whose object it opens, wherever the object is."""
        try:
            return await use(instance)
        except ObjectMissing:
            return await self.recalled(instance, use)

    async def recalled(self, instance: ServedInstance, use: Callable[[ServedInstance], Awaitable[T]]) -> T:
        """The same once its object, which is elsewhere or lost here, is back. raises: BeingRecalled"""
        try:
            return await use(await self._recaller.recalled(instance))
        except ObjectMissing as missing:
            logs.error("object_missing", key=missing.key, uid=instance.sop_instance_uid)
            raise NotFound from None

    async def at_hand(self, instances: Sequence[ServedInstance]) -> None:
        """Before a body of many objects is begun. raises: BeingRecalled if some are in slow stores only; their recall is ordered"""
        if studies := await self._recaller.slow(instances):
            raise BeingRecalled(studies[0])

    async def opened(self, instance: ServedInstance, asked: str) -> Opened:
        """The object in the transfer syntax that was asked for, see ``given_syntax``. raises: NotAcceptable"""
        syntax = given_syntax(asked, instance.transfer_syntax_uid)
        try:
            return await self.reached(instance, lambda one: self.conversions.given(one, syntax))
        except CannotTranscode as failure:
            if asked == syntax:
                raise NotAcceptable(f"It cannot be given in {syntax}: {failure}.") from None
        # Who named no syntax takes it as it is rather than not at all.
        return await self.stored(instance)

    async def answer(self, pieces: list[Piece], *headers: tuple[str, str], status: int = 200) -> Answer:
        """A body of pieces: a small one is read before the answer begins, a large one while it is sent."""
        body = await self.reader.body_of(pieces)
        if isinstance(body, bytes):
            return Answer(status, headers, body)
        return Answer(status, (*headers, ("content-length", str(length_of(pieces)))), body)

    async def ranged(
        self, request: Request, pieces: list[Piece], etag: str, *headers: tuple[str, str]
    ) -> Answer:
        """A body of which a client may have a part, or which it may have already. raises: NotSatisfiable"""
        known = (*headers, ("etag", etag), ("accept-ranges", "bytes"))
        if is_known(request, etag):
            return Answer(304, known)
        size = length_of(pieces)
        part = asked_range(request, size, etag)
        if part is None:
            return await self.answer(pieces, *known)
        begins, ends = part
        told = ("content-range", f"bytes {begins}-{ends - 1}/{size}")
        return await self.answer(cut(pieces, begins, ends), *known, told, status=206)

    async def viewed(self, request: Request, instance: ServedInstance) -> None:
        await self.viewed_study(request, instance.study_instance_uid, instance.patient_id)

    async def viewed_study(self, request: Request, study: str, patient_id: str) -> None:
        """Note that the caller looks at the study: once a minute, for a viewer asks for thousands of frames."""
        who, now = request.who, trio.current_time()
        key = (f"{who.via.value} {who.name} {request.address}", study)
        if self._views.get(key, 0.0) > now:
            return
        self._views[key] = now + _VIEW_EVERY_S
        self._views.move_to_end(key)
        if len(self._views) > _MOST_VIEWS:
            self._views.popitem(last=False)
        self._recaller.used(study)
        await self.audit.viewed(actor(who, request.address), study, patient_id)

    async def downloaded(self, request: Request, instances: Iterable[ServedInstance], form: str) -> None:
        """Note that objects leave; before they do, because nobody knows how much of a broken-off answer arrived."""
        taken = list(instances)
        by = actor(request.who, request.address)
        studies = dict.fromkeys(one.study_instance_uid for one in taken)
        size = sum(one.size_bytes for one in taken)
        await self.audit.downloaded(
            by, studies, taken[0].patient_id, instances=len(taken), size_bytes=size, form=form
        )


def actor(who: Principal, address: str) -> Actor:
    return Actor(who.name, who.via.value, address)


def chosen_for(request: Request, offered: tuple[Offer, ...]) -> Chosen:
    """raises: NotAcceptable"""
    parameters = [value for name, value in request.query if name == "accept"]
    return negotiate(request.headers.get("accept"), ", ".join(parameters) or None, offered)


def multipart_writer() -> MultipartWriter:
    """With a boundary that nobody could put into an image before."""
    return MultipartWriter(token_hex(16))


def given_syntax(asked: str, stored: str) -> str:
    """The transfer syntax that an object is given in.

    asked: a Transfer Syntax UID; ``*``: as it is stored, if that is one for DICOMweb; "": the default, which is Explicit VR
           Little Endian for all that can be had so (PS3.18 8.7.3.4)
    """
    if asked == AS_STORED:
        return EXPLICIT_VR_LITTLE_ENDIAN if stored in _NOT_GIVEN else stored
    if asked:
        return asked
    return EXPLICIT_VR_LITTLE_ENDIAN if convertible(stored, EXPLICIT_VR_LITTLE_ENDIAN) else stored


@lru_cache(maxsize=256)
def given_syntaxes(stored: str) -> frozenset[str]:
    """Those in which a whole object can be had; the compressed ones if it is an image."""
    compressed = (uid for uid in COMPRESSED_TARGETS if compressible(stored, uid))
    return frozenset({stored, *(uid for uid in _TARGETS if convertible(stored, uid)), *compressed})


_TARGETS: Final = (EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN, "1.2.840.10008.1.2.1.99")
