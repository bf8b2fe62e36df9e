"""Objects on their way from a request's body into the archive: the same writers, limits and durability as C-STORE has.

The bytes of a part go from the socket straight into a staged object; while one is made durable the next is received. What is
complete when the client leaves is stored; of what is not, nothing stays.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing, suppress
from typing import Any, Final

import trio
from msgspec import Struct, structs

from pacs_actors.archive.objects.interface import Staging
from pacs_actors.archive.stored_first import first_copies
from pacs_actors.dicom.facilities import Facilities
from pacs_actors.dicom.services.storage import is_uid
from pacs_actors.operations import logs
from pacs_actors.people.rights import Principal
from protocols.dataset.elements import NeedMore
from protocols.dataset.part10 import MAX_META_BYTES, PREAMBLE_BYTES, parse_prefix
from protocols.dataset.scan import scan
from protocols.dicomweb.store_response import (
    CANNOT_UNDERSTAND,
    DUPLICATE_INSTANCE,
    OUT_OF_RESOURCES,
    SOP_CLASS_NOT_SUPPORTED,
    TRANSFER_SYNTAX_NOT_SUPPORTED,
    Item,
    NotStored,
    StoredInstance,
)
from protocols.errors import CannotUnderstand, PacsError, Refusal, Unavailable
from protocols.messages.archive import StoreObject
from protocols.ul.sop_classes import ALL_TRANSFER_SYNTAXES
from web.http.request import BadRequest, Request

MAX_HEAD_BYTES: Final = PREAMBLE_BYTES + 4 + MAX_META_BYTES
_IN_FLIGHT: Final = 16
_WRITE_WITHIN_S: Final = 120.0
_PARK_AFTER_S: Final = 0.5  # a buffer is lent to who sends, not to who is silent
_RATE_GRACE_S: Final = 30.0
_TOLD_WITHIN_S: Final = 5.0
_MOST_REFUSALS_TOLD: Final = 50
_SYNTAXES: Final = frozenset(ALL_TRANSFER_SYNTAXES)


class Named(Struct, frozen=True):
    """What an object says it is. data_offset: where its data set begins"""

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    data_offset: int = 0


def look(head: bytes | bytearray | memoryview, *, complete: bool) -> Named | None:
    """What the beginning of a Part 10 file says; None: it has to be seen with more of what follows.

    A file whose meta information lacks the UIDs is named by its data set. raises: CannotUnderstand, DataSetMismatch
    """
    try:
        with memoryview(head) as view:
            file = parse_prefix(view)
    except CannotUnderstand:
        if complete or len(head) >= MAX_HEAD_BYTES:
            raise
        return None
    # Behind the meta information so much has to be seen that it is certain to end there.
    if not complete and len(head) < file.data_offset + 8:
        return None
    syntax = file.transfer_syntax_uid
    if file.sop_class_uid and file.sop_instance_uid:
        return Named(file.sop_class_uid, file.sop_instance_uid, syntax, file.data_offset)
    try:
        with memoryview(head)[file.data_offset :] as data_set:
            scanned = scan(data_set, syntax, complete=complete)
    except NeedMore:
        if complete or len(head) >= MAX_HEAD_BYTES:
            raise CannotUnderstand("the header ends nowhere within our limits") from None
        return None
    return Named(scanned.sop_class_uid, scanned.sop_instance_uid, syntax, file.data_offset)


class Inflow:
    """A request's body, and how long we have waited for the client to send it.

    waiting_since: set while we wait
    """

    def __init__(self, request: Request, minimum_rate_bytes_s: int) -> None:
        self._request, self._rate = request, minimum_rate_bytes_s
        self.waiting_since: float | None = None
        self._waited_s = 0.0
        self._received = 0

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """raises: BadRequest when it breaks off, is silent for too long or trickles (408)"""
        chunks: Any = self._request.chunks()
        async with aclosing(chunks):
            while True:
                self.waiting_since = began = trio.current_time()
                try:
                    chunk = await anext(chunks, None)
                finally:
                    self.waiting_since = None
                if chunk is None:
                    return
                self._waited_s += trio.current_time() - began
                self._received += len(chunk)
                if self._waited_s > _RATE_GRACE_S and self._received < self._rate * self._waited_s:
                    raise BadRequest("The body comes too slowly.", 408)
                yield chunk


class Intake:
    """Takes the objects of one request.

    study:  the study that they have to be of; "": of any
    items:  what became of each, in the order of their beginning
    """

    def __init__(self, archive: Facilities, request: Request, inflow: Inflow, study: str) -> None:
        self._archive, self._inflow, self._study = archive, inflow, study
        self._by, self._source = request.actor, source_of(request.who)
        self._places = trio.Semaphore(_IN_FLIGHT)
        self._turn = trio.Lock()
        self._receiving: Staging | None = None
        self._outcomes: list[Item | None] = []
        self._counts: Counter[tuple[str, str, str]] = Counter()
        self._refusals: list[tuple[str, str]] = []
        self._watching = trio.CancelScope()

    async def run(self, read: Callable[[Intake], Awaitable[None]]) -> None:
        """Take what ``read`` hands in; at the end all that was begun is settled, and audited.

        raises: what ``read`` raises; what was complete before is stored all the same
        """
        failure: PacsError | None = None
        try:
            async with trio.open_nursery() as self._nursery:
                self._nursery.start_soon(self._park_when_silent)
                try:
                    await read(self)
                except PacsError as error:
                    failure = error
                finally:
                    self._watching.cancel()
        finally:
            with trio.move_on_after(_TOLD_WITHIN_S, shield=True):
                await self._tell_audit()
        if failure is not None:
            raise failure

    @property
    def items(self) -> list[Item]:
        return [item for item in self._outcomes if item is not None]

    async def take(self, pieces: AsyncIterator[bytes | memoryview]) -> None:
        """A Part 10 file. Returns when it is received, not yet stored. raises: what the iterator raises"""
        place = self._place()
        try:
            named, head = await _head(pieces)
        except Refusal as refusal:
            if isinstance(refusal, BadRequest):
                raise
            self._refuse(place, Named("", "", ""), refusal.dimse_status, str(refusal))
            await trio.lowlevel.checkpoint()  # thousands of them may be in one chunk
            return
        with memoryview(head)[named.data_offset :] as first:
            async with aclosing(_behind(first, pieces)) as data_set:
                await self.put(named, data_set, place)

    async def put(
        self, named: Named, data_set: AsyncIterator[bytes | memoryview], place: int | None = None
    ) -> None:
        """A data set, in the transfer syntax that it says. Returns when it is received, not yet stored.

        raises: what the iterator raises
        """
        place = self._place() if place is None else place
        named = structs.replace(named, data_offset=0)
        if refusal := self._refusal(named):
            self._refuse(place, named, *refusal)
            await trio.lowlevel.checkpoint()
            return
        if not self._place_taken():
            await self._places.acquire()
        handed_on = False
        try:
            staging = await self._receive(place, named, data_set)
            if staging is not None:
                self._nursery.start_soon(self._store, staging, place, named)
                handed_on = True
        finally:
            if not handed_on:
                self._places.release()

    def fail(self, named: Named, reason: int, why: str) -> None:
        """Something that cannot even be received."""
        self._refuse(self._place(), named, reason, why)

    async def judged(self) -> list[Item]:
        """The items, those marked whose SOP Instance UID has been taken by other content: they went to quarantine."""
        stored = [item for item in self.items if isinstance(item, StoredInstance)]
        try:
            first = await first_copies(self._archive.catalogue.database, stored)
        except Unavailable:
            return self.items  # they are stored all the same
        return [
            structs.replace(item, warning=DUPLICATE_INSTANCE)
            if isinstance(item, StoredInstance)
            and first.get(item.sop_instance_uid, item.digest) != item.digest
            else item
            for item in self.items
        ]

    def _place_taken(self) -> bool:
        """Whether there is a place right now: no turn of the loop for what need not wait."""
        try:
            self._places.acquire_nowait()
        except trio.WouldBlock:
            return False
        return True

    async def _receive(
        self, place: int, named: Named, data_set: AsyncIterator[bytes | memoryview]
    ) -> Staging | None:
        """The data set as a staged object; None if it was refused."""
        limit_bytes = self._archive.settings.dicom.max_object_bytes
        staging: Staging | None = None
        complete = False
        try:
            staging = self._receiving = await self._archive.store.stage(
                named.sop_class_uid, named.sop_instance_uid, named.transfer_syntax_uid, self._source
            )
            async for piece in data_set:
                limit_bytes -= len(piece)
                if limit_bytes < 0:
                    self._refuse(place, named, OUT_OF_RESOURCES, "the data set is larger than we take")
                    return None
                end = staging.position + len(piece)
                if end <= len(staging.view) and not self._turn.locked():
                    staging.view[staging.position : end] = piece
                    staging.position = end
                    continue
                async with self._turn:
                    await staging.resume()
                    await staging.write(piece)
            complete = True
            return staging
        except Refusal as refusal:
            if refusal.dimse_status != OUT_OF_RESOURCES:
                raise
            self._refuse(place, named, refusal.dimse_status, str(refusal))
            return None
        finally:
            if self._turn.locked():  # it is being parked
                with trio.CancelScope(shield=True):
                    await self._turn.acquire()
                self._turn.release()
            self._receiving = None
            if staging is not None and not complete:
                staging.discard()

    async def _store(self, staging: Staging, place: int, named: Named) -> None:
        order = StoreObject(
            staging,
            named.sop_class_uid,
            named.sop_instance_uid,
            named.transfer_syntax_uid,
            self._source,
            self._by.address,
            self._study,
        )
        try:
            with staging:
                await staging.resume()  # it may have ended while it was parked
                done = await self._archive.ingest.ask(order, within_s=_WRITE_WITHIN_S)
        except Refusal as refusal:
            self._refuse(place, named, refusal.dimse_status, str(refusal))
            return
        except Unavailable as unavailable:
            self._refuse(place, named, OUT_OF_RESOURCES, str(unavailable))
            return
        finally:
            self._places.release()
        self._outcomes[place] = StoredInstance(
            named.sop_class_uid,
            named.sop_instance_uid,
            done.series_instance_uid,
            done.study_instance_uid,
            done.digest,
        )
        self._counts[done.study_instance_uid, done.patient_id, named.sop_class_uid] += 1

    async def _park_when_silent(self) -> None:
        with self._watching:
            while True:
                await trio.sleep(_PARK_AFTER_S)
                if self._silent():
                    async with self._turn:
                        if self._receiving is not None and self._silent():
                            with suppress(PacsError):  # whoever writes on hears of it
                                await self._receiving.park()

    def _silent(self) -> bool:
        since = self._inflow.waiting_since
        return since is not None and trio.current_time() - since >= _PARK_AFTER_S

    def _place(self) -> int:
        self._outcomes.append(None)
        return len(self._outcomes) - 1

    def _refusal(self, named: Named) -> tuple[int, str] | None:
        """What is wrong with what the object says it is."""
        if not (is_uid(named.sop_instance_uid) and is_uid(named.sop_class_uid)):
            return CANNOT_UNDERSTAND, "not a SOP Class UID or SOP Instance UID"
        if named.sop_class_uid not in self._archive.storage_classes:
            return SOP_CLASS_NOT_SUPPORTED, "not a SOP class that is stored here"
        if named.transfer_syntax_uid not in _SYNTAXES:
            return TRANSFER_SYNTAX_NOT_SUPPORTED, "not a transfer syntax that is stored here"
        return None

    def _refuse(self, place: int, named: Named, reason: int, why: str) -> None:
        sop_class, uid = (
            text if is_uid(text) else "" for text in (named.sop_class_uid, named.sop_instance_uid)
        )
        self._outcomes[place] = NotStored(sop_class, uid, reason)
        self._refusals.append((uid, why))
        logs.warning("store_refused", uid=uid, status=f"{reason:04X}", why=why)

    async def _tell_audit(self) -> None:
        audit, by = self._archive.audit, self._by
        await audit.transferred(by, self._counts)
        for uid, why in self._refusals[:_MOST_REFUSALS_TOLD]:
            await audit.store_refused(by, uid, why)
        more = len(self._refusals) - _MOST_REFUSALS_TOLD
        if more > 0:
            await audit.store_refused(by, "", f"and {more} more of the same request")


def source_of(who: Principal) -> str:
    """What stands for an AE title where an object keeps its source: at most 16 ASCII characters of the name."""
    kept = "".join(character for character in who.name if character.isascii() and character.isprintable())
    return kept[:16].strip() or who.via.value


async def _head(pieces: AsyncIterator[bytes | memoryview]) -> tuple[Named, bytearray | memoryview]:
    """What a Part 10 file says it is, and the beginning of it that was seen for that: mostly the first piece itself.

    raises: CannotUnderstand, DataSetMismatch, and what the iterator raises
    """
    head: bytearray | memoryview = bytearray()
    seen = 0
    async for piece in pieces:
        if not head:
            head = memoryview(piece)
        else:
            head = bytearray(head) if isinstance(head, memoryview) else head
            head += piece
        # Looked at each time it has doubled: a head that comes in single bytes costs no more than another.
        if len(head) >= 2 * seen or len(head) >= MAX_HEAD_BYTES:
            seen = len(head)
            if (named := look(head, complete=False)) is not None:
                return named, head
    named = look(head, complete=True)
    assert named is not None, "all of it was seen"
    return named, head


async def _behind(
    first: memoryview, rest: AsyncIterator[bytes | memoryview]
) -> AsyncGenerator[bytes | memoryview, None]:
    yield first
    async for piece in rest:
        yield piece
