"""Storage service as SCP: C-STORE (PS3.4 annex B), the hot way in.

The data set goes from the socket into a staged object; an ingest writer makes it durable; only then the answer goes out.
"""

from __future__ import annotations

from pacs_actors.dicom.access import Right
from pacs_actors.dicom.association import NOT_AUTHORIZED, Association
from pacs_actors.dicom.link import Incoming
from pacs_actors.operations import logs
from protocols.dimse.commands import store_response
from protocols.errors import Refusal, Unavailable
from protocols.messages.archive import StoreObject

SUCCESS = 0x0000
OUT_OF_RESOURCES = 0xA700
PROCESSING_FAILURE = 0x0110
SOP_CLASS_NOT_SUPPORTED = 0x0122
INVALID_SOP_INSTANCE = 0x0117
DATA_SET_MISSING = 0x0120
_WRITE_WITHIN_S = 120.0


async def serve(association: Association, incoming: Incoming) -> None:
    command, context = incoming.command, association.context(incoming)
    association.doing = "C-STORE"
    sop_class_uid = command.affected_sop_class_uid or ""
    sop_instance_uid = command.affected_sop_instance_uid or ""
    if not command.has_data_set:
        await association.respond(incoming, DATA_SET_MISSING, comment="no data set")
        return
    refusal = _refusal(association, sop_class_uid, sop_instance_uid, context.abstract_syntax)
    if refusal is not None:
        await association.link.skip_data_set(incoming.context_id)
        await association.facilities.audit.store_refused(association, sop_instance_uid, refusal[1])
        await association.respond(incoming, refusal[0], comment=refusal[1])
        return
    status, comment = await _store(
        association, incoming, sop_class_uid, sop_instance_uid, context.transfer_syntax
    )
    if status == SUCCESS:
        association.stored += 1
        await association.link.send_message(incoming.context_id, store_response(command, status))
    else:
        logs.warning("store_refused", uid=sop_instance_uid, status=f"{status:04X}", why=comment)
        await association.facilities.audit.store_refused(association, sop_instance_uid, comment)
        await association.respond(incoming, status, comment=comment)


def _refusal(
    association: Association, sop_class_uid: str, sop_instance_uid: str, abstract_syntax: str
) -> tuple[int, str] | None:
    """What is wrong with the command set alone."""
    if not association.grant.allows(Right.STORE):
        return NOT_AUTHORIZED, "no right to store"
    if sop_class_uid != abstract_syntax:
        return SOP_CLASS_NOT_SUPPORTED, "not the SOP class of this presentation context"
    if not is_uid(sop_instance_uid):
        return INVALID_SOP_INSTANCE, "not a SOP Instance UID"
    return None


def is_uid(text: str) -> bool:
    """Digits in components divided by dots, up to 64 characters (PS3.5 9.1); leading zeros are let pass."""
    return 0 < len(text) <= 64 and all(part.isascii() and part.isdigit() for part in text.split("."))


async def _store(
    association: Association,
    incoming: Incoming,
    sop_class_uid: str,
    sop_instance_uid: str,
    transfer_syntax_uid: str,
) -> tuple[int, str]:
    """Receive and store one object: the status to answer, and why if it is not success."""
    facilities, link = association.facilities, association.link
    received = False
    try:
        staging = await facilities.store.stage(
            sop_class_uid, sop_instance_uid, transfer_syntax_uid, association.calling_ae
        )
        with staging:
            await link.receive_data_set(
                incoming.context_id, staging, limit_bytes=facilities.settings.dicom.max_object_bytes
            )
            received = True
            order = StoreObject(
                staging,
                sop_class_uid,
                sop_instance_uid,
                transfer_syntax_uid,
                association.calling_ae,
                association.address,
            )
            done = await facilities.ingest.ask(order, within_s=_WRITE_WITHIN_S)
            association.transfers[done.study_instance_uid, done.patient_id, sop_class_uid] += 1
            return SUCCESS, ""
    except Refusal as refusal:
        status, comment = refusal.dimse_status, str(refusal)
    except Unavailable as unavailable:
        status, comment = OUT_OF_RESOURCES, str(unavailable)
    if not received:
        await link.skip_data_set(incoming.context_id)
    return status, comment
