"""Outlet: where a retrieval sends its instances: an association on which we are the Storage SCU."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from types import TracebackType

from pacs_actors.archive.locating import LocatedInstance
from pacs_actors.archive.objects.keys import ObjectMissing
from pacs_actors.archive.transcoder import convertible
from pacs_actors.dicom.access import KnownAe
from pacs_actors.dicom.client_association import Timeouts, abort, open_link, release
from pacs_actors.dicom.client_proposals import Proposal
from pacs_actors.dicom.facilities import Facilities
from pacs_actors.dicom.link import DicomLink, Incoming
from pacs_actors.dicom.sender import ObjectDamaged, ObjectSender, Outgoing
from pacs_actors.dicom.tls import client_context
from pacs_actors.operations import logs
from protocols.dimse.commands import CommandField
from protocols.errors import PacsError, PeerError, Unavailable
from protocols.ul.model import MAX_CONTEXTS
from protocols.ul.negotiation import Context, Negotiated
from protocols.ul.sop_classes import UNCOMPRESSED

PROCESSING_FAILURE = 0x0110
NO_CONTEXT = 0x0122
_MESSAGE_IDS = 0xFFFF
_RELEASE_WITHIN_S = 5.0
_TIMEOUTS = Timeouts(connect=10.0, association=15.0, response=60.0)


class NotAccepted(PacsError):
    """The peer takes the instance in no form that we can give it."""


class BrokenOff(PacsError):
    """We cannot send to its end what we have begun: nothing but an abort tells the peer so."""


class Outlet:
    """An association to store through. Use as an async context manager.

    link:           the association's; for C-GET it is the requester's own
    takes:          is offered what comes before the response to a C-STORE, and says whether it was for somebody else (C-GET)
    cancel_asked:   a C-CANCEL came while a response was waited for (C-GET)
    """

    def __init__(
        self,
        link: DicomLink,
        negotiated: Negotiated,
        facilities: Facilities,
        name: str,
        *,
        preferred: Sequence[str] = (),
        originator: tuple[str, int] | None = None,
        answered_message_id: int | None = None,
        own: bool = False,
        takes: Callable[[Incoming], Awaitable[bool]] | None = None,
    ) -> None:
        self.link, self.facilities, self.name, self.originator, self.own = (
            link,
            facilities,
            name,
            originator,
            own,
        )
        self.answered_message_id, self._takes = answered_message_id, takes
        self.cancel_asked = False
        self._preferred = tuple(preferred)
        self._contexts: dict[str, dict[str, Context]] = {}
        for context in negotiated.contexts.values():
            if context.scu:
                self._contexts.setdefault(context.abstract_syntax, {})[context.transfer_syntax] = context
        self._sender = ObjectSender(link, facilities.native, facilities.send_buffers)
        self._message_id = answered_message_id or 0

    async def __aenter__(self) -> Outlet:
        await self._sender.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._sender.__aexit__(kind, error, trace)
        if not self.own:
            return
        if error is None and self.link.upper_layer.established:
            await release(self.link, within_s=_RELEASE_WITHIN_S)
        else:
            await abort(self.link, error)

    async def store(self, instance: LocatedInstance) -> int:
        """Send one instance; the status of its sub-operation. What we cannot send is a failure of that instance alone.

        raises: PeerGone, PeerSilent, Aborted, PeerError or BrokenOff when the association is lost
        """
        try:
            context, outgoing = await self._chosen(instance)
        except (OSError, Unavailable) as failure:
            logs.error("object_unreadable", key=instance.key, why=str(failure))
            return PROCESSING_FAILURE
        except PacsError as failure:
            logs.warning(
                "sub_operation_failed", uid=instance.sop_instance_uid, to=self.name, why=str(failure)
            )
            return NO_CONTEXT
        try:
            await self._sender.prepare(outgoing, context.context_id)
        except (ObjectDamaged, OSError) as failure:
            self._sender.drop()
            logs.error("object_unreadable", key=instance.key, why=str(failure))
            return PROCESSING_FAILURE
        self._message_id = self._message_id % _MESSAGE_IDS + 1
        try:
            await self._sender.send(context.context_id, self._message_id, originator=self.originator)
        except (ObjectDamaged, OSError) as failure:
            logs.error("object_unreadable", key=instance.key, why=str(failure))
            raise BrokenOff(f"{instance.sop_instance_uid}: {failure}") from failure
        return await self._receive_status()

    async def _chosen(self, instance: LocatedInstance) -> tuple[Context, Outgoing]:
        """As ``_choose``, of an object that may have to be brought back first."""
        recaller = self.facilities.recaller
        recaller.used(instance.study_instance_uid)
        try:
            return await self._choose(instance)
        except ObjectMissing:
            pass
        return await self._choose(await recaller.recalled(instance))

    async def _choose(self, instance: LocatedInstance) -> tuple[Context, Outgoing]:
        """The context to send an instance in, as it is stored if the peer takes that, else transcoded."""
        contexts = self._contexts.get(instance.sop_class_uid, {})
        if not contexts:
            raise NotAccepted(f"{self.name} takes no {instance.sop_class_uid}")
        source = instance.transfer_syntax_uid
        feasible = [uid for uid in contexts if uid == source or convertible(source, uid)]
        wanted = next((uid for uid in self._preferred if uid in feasible), None)
        stored = contexts.get(source)
        if stored is not None and wanted in (None, source):
            file = self.facilities.store.open(instance.key)
            length = instance.size_bytes - instance.data_offset
            return stored, Outgoing(
                file.fd,
                file.start + instance.data_offset,
                length,
                instance.sop_class_uid,
                instance.sop_instance_uid,
            )
        target = wanted or next((uid for uid in UNCOMPRESSED if uid in feasible), None)
        if target is None:
            raise NotAccepted(f"{self.name} does not take {source}")
        file = self.facilities.store.open(instance.key)
        fd, length = await self.facilities.transcoder.convert(
            file.fd,
            offset=file.start + instance.data_offset,
            length=instance.size_bytes - instance.data_offset,
            source=source,
            target=target,
        )
        return contexts[target], Outgoing(fd, 0, length, instance.sop_class_uid, instance.sop_instance_uid)

    async def _receive_status(self) -> int:
        self.link.wire.acknowledge_at_once()
        while True:
            incoming = await self.link.receive_message()
            if self._takes is not None and await self._takes(incoming):
                continue
            command = incoming.command
            if command.command_field == CommandField.C_STORE_RSP:
                if command.message_id_responded_to != self._message_id:
                    raise PeerError("a response to another message", section="PS3.7 9.3.1.2", abort_reason=2)
                return command.status if command.status is not None else PROCESSING_FAILURE
            if command.command_field == CommandField.C_CANCEL_RQ and self.answered_message_id is not None:
                # One of another request is ignored (PS3.7 9.3.2.3).
                self.cancel_asked |= command.message_id_responded_to == self.answered_message_id
                continue
            raise PeerError("not the response to a C-STORE", section="PS3.7 9.3.1", abort_reason=2)


async def open_outlet(
    facilities: Facilities,
    destination: KnownAe,
    located: Sequence[LocatedInstance],
    *,
    originator: tuple[str, int],
) -> Outlet:
    """An association of our own to a destination, with contexts for all that is to be sent.

    raises: what ``open_link`` raises
    """
    settings = facilities.settings
    link = await open_link(
        destination.host,
        destination.port,
        called=destination.ae_title,
        calling=settings.dicom.ae_title,
        contexts=proposals(located, destination.transfer_syntaxes),
        tls=client_context(settings.tls) if destination.tls else None,
        max_pdu_bytes=settings.dicom.max_pdu_bytes,
        timeouts=_TIMEOUTS,
        certificate_name=destination.certificate_name,
    )
    assert link.negotiated is not None, "open_link gives an established link"
    return Outlet(
        link,
        link.negotiated,
        facilities,
        destination.ae_title,
        preferred=destination.transfer_syntaxes,
        originator=originator,
        own=True,
    )


def proposals(located: Iterable[LocatedInstance], preferred: Sequence[str]) -> list[Proposal]:
    """Contexts for these instances: each as it is stored, then what it can be converted to, as far as 128 contexts go.

    A context of its own for every transfer syntax leaves the choice to us, not to the acceptor.
    """
    pairs = dict.fromkeys((one.sop_class_uid, one.transfer_syntax_uid) for one in located)
    classes = dict.fromkeys(sop_class for sop_class, _ in pairs)
    wanted = dict(pairs)
    wanted.update(dict.fromkeys((sop_class, uid) for sop_class in classes for uid in preferred))
    wanted.update(dict.fromkeys((sop_class, uid) for uid in UNCOMPRESSED[:2] for sop_class in classes))
    return [Proposal(sop_class, (uid,)) for sop_class, uid in list(wanted)[:MAX_CONTEXTS]]
