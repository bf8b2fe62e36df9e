"""Retrieval as SCP: C-GET and C-MOVE (PS3.4 C.4.2, C.4.3).

Both find the instances, then send them one C-STORE sub-operation after the other: C-GET on the association that asked, C-MOVE
on one of our own to a known AE. Pending responses tell how far it is, about twice a second. A C-CANCEL is heeded between two
sub-operations.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

import trio

from pacs_actors.archive.catalogue import LocatedInstance
from pacs_actors.archive.matching import Root
from pacs_actors.archive.progress import wait_until_indexed
from pacs_actors.dicom.access import KnownAe, Right
from pacs_actors.dicom.association import NOT_AUTHORIZED, Association
from pacs_actors.dicom.link import Aborted, Incoming
from pacs_actors.dicom.outlet import BrokenOff, Outlet, open_outlet
from pacs_actors.dicom.sub_operations import CANCELLED, PENDING, SubOperations
from pacs_actors.dicom.wire import PeerGone, PeerSilent
from pacs_actors.operations import logs
from protocols.dataset.identifier import IdentifierEncoder, decode_identifier
from protocols.dimse.commands import CommandField, encode_command
from protocols.errors import PacsError, PeerError, Refusal, Unavailable
from protocols.ul.sop_classes import (
    GET,
    MOVE,
    PATIENT_ROOT_GET,
    PATIENT_ROOT_MOVE,
    PATIENT_STUDY_ONLY_GET,
    PATIENT_STUDY_ONLY_MOVE,
    STUDY_ROOT_GET,
    STUDY_ROOT_MOVE,
)

ROOTS = {
    PATIENT_ROOT_GET: Root.PATIENT,
    STUDY_ROOT_GET: Root.STUDY,
    PATIENT_STUDY_ONLY_GET: Root.PATIENT_STUDY_ONLY,
    PATIENT_ROOT_MOVE: Root.PATIENT,
    STUDY_ROOT_MOVE: Root.STUDY,
    PATIENT_STUDY_ONLY_MOVE: Root.PATIENT_STUDY_ONLY,
}
UNABLE_TO_CALCULATE = 0xA701
MOVE_DESTINATION_UNKNOWN = 0xA801
FAILED_SOP_INSTANCE_UID_LIST = 0x00080058
_PENDING_EVERY_S = 0.5
_RECALLED_WITHIN_S = 1800.0
_LOOK_EVERY_S = 1.0


class Retrieval:
    """One C-GET or C-MOVE request at work.

    cancelled: the peer asked to stop
    ended:     what ended the association that asked, while a C-MOVE was going on elsewhere
    """

    def __init__(
        self, association: Association, incoming: Incoming, located: Sequence[LocatedInstance]
    ) -> None:
        self.association, self.incoming, self.located = association, incoming, located
        self.counts = SubOperations(len(located))
        self.response_field = incoming.command.command_field | 0x8000
        self.cancelled = False
        self.ended: PacsError | None = None
        self._told_at = trio.current_time()

    async def run(self, outlet: Outlet) -> None:
        """Send everything through the outlet; stop when cancelled or when the outlet is gone."""
        for index, instance in enumerate(self.located):
            if self.cancelled:
                return
            if outlet.link is self.association.link:
                await self._tell_pending()
            try:
                status = await outlet.store(instance)
            except (PeerGone, PeerSilent, Aborted, PeerError, BrokenOff) as gone:
                if outlet.link is self.association.link:
                    raise  # C-GET: there is nobody left to answer
                logs.warning("sub_association_lost", to=outlet.name, why=str(gone))
                self.counts.give_up([one.sop_instance_uid for one in self.located[index:]])
                return
            self.counts.count(instance.sop_instance_uid, status)
            if outlet.cancel_asked:
                self.cancelled = True

    async def recall(self) -> None:
        """Have what is in slow stores on its way back before anything is sent: no destination waits for a tape.

        What is not there in time fails for itself.
        """
        recaller = self.association.facilities.recaller
        until = trio.current_time() + _RECALLED_WITHIN_S
        while not self.cancelled and trio.current_time() < until:
            try:
                if not await recaller.slow(self.located):
                    return
            except Unavailable as away:
                logs.warning("recall_waits", why=str(away))
            if self.response_field == CommandField.C_GET_RSP:  # of a C-MOVE somebody else does it
                await self._tell_pending()
            await trio.sleep(_LOOK_EVERY_S)

    async def _tell_pending(self) -> None:
        now = trio.current_time()
        if now - self._told_at >= _PENDING_EVERY_S:
            self._told_at = now
            await self._respond(PENDING)

    async def tell_now_and_then(self) -> None:
        """Of a C-MOVE: its destination may take minutes over one instance, and the requester must not take that for silence."""
        while True:
            await trio.sleep(_PENDING_EVERY_S)
            with trio.CancelScope(shield=True):  # the final response cannot follow half a pending one
                await self._respond(PENDING)

    async def finish(self) -> None:
        """The final response, with the list of what failed. The audit first: nobody has it all without a trace."""
        counts = self.counts
        status = CANCELLED if self.cancelled and counts.remaining else counts.final_status()
        outcome = "success" if not counts.failed else "warning" if counts.completed else "failure"
        await self._tell(outcome, status=f"{status:04X}")
        await self._respond(status)

    @asynccontextmanager
    async def told(self) -> AsyncIterator[None]:
        """What has left by then is in the audit if it ends before it is finished."""
        try:
            yield
        except BaseException:
            with trio.CancelScope(shield=True):
                done = self.counts.completed + self.counts.warning
                await self._tell(
                    "warning" if done else "failure", why="broken off", remaining=self.counts.remaining
                )
            raise

    async def _tell(self, outcome: str, **more: str | int) -> None:
        counts = self.counts
        how = "retrieve" if self.incoming.command.command_field == CommandField.C_GET_RQ else "move"
        studies = tuple(sorted({one.study_instance_uid for one in self.located}))[:50]
        details: dict[str, str | int] = {
            "completed": counts.completed,
            "failed": counts.failed,
            "warning": counts.warning,
            **more,
        }
        if self.incoming.command.move_destination:
            details["destination"] = self.incoming.command.move_destination
        await self.association.facilities.audit.retrieved(self.association, how, studies, details, outcome)

    async def _respond(self, status: int) -> None:
        command = self.counts.response(self.incoming.command, self.response_field, status)
        data_set = None
        if command.has_data_set:
            syntax = self.association.context(self.incoming).transfer_syntax
            encoder = IdentifierEncoder((FAILED_SOP_INSTANCE_UID_LIST,), syntax)
            data_set = encoder.encode(("\\".join(self.counts.failed_uids),))
        await self.association.link.send_message(self.incoming.context_id, encode_command(command), data_set)


async def serve_get(association: Association, incoming: Incoming) -> None:
    association.doing = "C-GET"
    located = await _begin(association, incoming, Right.GET, GET)
    if located is None:
        return
    retrieval = Retrieval(association, incoming, located)
    outlet = Outlet(
        association.link,
        association.negotiated,
        association.facilities,
        association.calling_ae,
        preferred=association.grant.transfer_syntaxes,
        answered_message_id=incoming.command.message_id,
        takes=association.takes_response,
    )
    async with retrieval.told():
        await retrieval.recall()
        async with outlet:
            await retrieval.run(outlet)
    await retrieval.finish()


async def serve_move(association: Association, incoming: Incoming) -> None:
    association.doing = "C-MOVE"
    located = await _begin(association, incoming, Right.MOVE, MOVE)
    if located is None:
        return
    facilities, command = association.facilities, incoming.command
    name = (command.move_destination or "").strip()
    destination = facilities.access().destination(name)
    if destination is None or not association.grant.allows_destination(name):
        why = "move destination unknown" if destination is None else "move destination not allowed"
        await facilities.audit.retrieved(
            association, "move", (), {"destination": name[:16], "why": why}, "refused"
        )
        await association.respond(incoming, MOVE_DESTINATION_UNKNOWN, comment=why)
        return
    retrieval = Retrieval(association, incoming, located)
    async with retrieval.told():
        async with trio.open_nursery() as nursery:
            for task in (_watch_for_cancel, Retrieval.tell_now_and_then):
                nursery.start_soon(_beside, task, retrieval, nursery.cancel_scope)
            if located:
                await _move(retrieval, destination)
            nursery.cancel_scope.cancel()
        if retrieval.ended is not None:
            raise retrieval.ended
    await retrieval.finish()


async def _move(retrieval: Retrieval, destination: KnownAe) -> None:
    association, command = retrieval.association, retrieval.incoming.command
    await retrieval.recall()
    try:
        outlet = await open_outlet(
            association.facilities,
            destination,
            retrieval.located,
            originator=(association.calling_ae, command.message_id or 0),
        )
    except PacsError as failure:
        logs.warning("move_destination_failed", to=destination.ae_title, why=str(failure))
        retrieval.counts.give_up([one.sop_instance_uid for one in retrieval.located])
        return
    async with outlet:
        await retrieval.run(outlet)


async def _beside(
    task: Callable[[Retrieval], Awaitable[None]], retrieval: Retrieval, move: trio.CancelScope
) -> None:
    """While a C-MOVE goes on elsewhere, the association that asked may end: that stops the move."""
    try:
        await task(retrieval)
    except PacsError as ended:
        # Not raised here: the nursery would wrap it, and the association would take it for a bug of ours.
        retrieval.ended = ended
        move.cancel()


async def _watch_for_cancel(retrieval: Retrieval) -> None:
    """Until the association ends. A C-CANCEL of another request is ignored (PS3.7 9.3.2.3)."""
    association, asked = retrieval.association, retrieval.incoming.command.message_id
    while True:
        await association.link.wait_message()
        with trio.CancelScope(shield=True):  # the end of the move must not leave half of it unread
            incoming = await association.link.receive_message()
            if await association.takes_response(incoming):
                continue
        command = incoming.command
        if command.command_field != CommandField.C_CANCEL_RQ:
            raise PeerError(
                "a request while another is being served", section="PS3.7 D.3.3.3", abort_reason=2
            )
        if command.message_id_responded_to == asked:
            retrieval.cancelled = True


async def _begin(
    association: Association, incoming: Incoming, right: Right, classes: frozenset[str]
) -> list[LocatedInstance] | None:
    """Read the identifier and find the instances; None if the request was answered with a failure."""
    facilities, context = association.facilities, association.context(incoming)
    if not incoming.command.has_data_set:
        await association.respond(incoming, 0xA900, comment="no identifier")
        return None
    data = await association.link.receive_identifier(incoming.context_id)
    if not association.grant.allows(right) or incoming.command.affected_sop_class_uid not in classes:
        await association.respond(incoming, NOT_AUTHORIZED, comment=f"no right to {right.value}")
        return None
    try:
        identifier = decode_identifier(data, context.transfer_syntax)
        relational = association.negotiated.extended.get(context.abstract_syntax, b"")[:1] == b"\x01"
        if not await wait_until_indexed(facilities.progress, within_s=facilities.settings.index.catch_up_s):
            raise Unavailable("the index has not caught up")
        return await facilities.catalogue.locate(
            identifier,
            root=ROOTS[context.abstract_syntax],
            relational=relational,
            scope=association.grant.scope,
        )
    except Refusal as refusal:
        status, why = refusal.dimse_status, str(refusal)
    except Unavailable as unavailable:
        status, why = UNABLE_TO_CALCULATE, str(unavailable)
    await association.respond(incoming, status, comment=why)
    return None
