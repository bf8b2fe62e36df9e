"""Storage Commitment Push Model as SCP: N-ACTION (PS3.4 J.3.2).

The request is in the database before the answer goes out; the commitment agent does the rest.
"""

from __future__ import annotations

from pacs_actors.dicom.access import Right
from pacs_actors.dicom.association import NOT_AUTHORIZED, Association
from pacs_actors.dicom.commitment_agent import Asked
from pacs_actors.dicom.link import Incoming
from protocols.dimse.commitment import ACTION_REQUEST_COMMITMENT, InvalidArgument, decode_request
from protocols.errors import Unavailable
from protocols.ul.sop_classes import STORAGE_COMMITMENT_PUSH_MODEL, STORAGE_COMMITMENT_PUSH_MODEL_INSTANCE

SUCCESS = 0x0000
PROCESSING_FAILURE = 0x0110
NO_SUCH_SOP_INSTANCE = 0x0112
NO_SUCH_SOP_CLASS = 0x0118
NO_SUCH_ACTION = 0x0123
MISSING_ATTRIBUTE = 0x0120
_LARGEST_REQUEST_BYTES = 16 * 1024 * 1024


async def serve(association: Association, incoming: Incoming) -> None:
    association.doing = "N-ACTION"
    command, context, facilities = incoming.command, association.context(incoming), association.facilities
    data = b""
    if command.has_data_set:
        data = await association.link.receive_identifier(
            incoming.context_id, limit_bytes=_LARGEST_REQUEST_BYTES
        )
    refusal = _refusal(association, incoming)
    if refusal is None and not data:
        refusal = MISSING_ATTRIBUTE, "no action information"
    if refusal is not None:
        await association.respond(incoming, refusal[0], comment=refusal[1])
        return
    try:
        request = await facilities.native.run(decode_request, data, context.transfer_syntax)
        number = await facilities.commitments.book.write(
            association.calling_ae, request, association.grant.scope
        )
    except InvalidArgument as error:
        await association.respond(incoming, error.dimse_status, comment=str(error))
        return
    except Unavailable as unavailable:
        await association.respond(incoming, PROCESSING_FAILURE, comment=str(unavailable))
        return
    await facilities.audit.retrieved(
        association, "commit", (request.transaction_uid,), {"references": len(request.references)}, "success"
    )
    await association.respond(incoming, SUCCESS)
    facilities.commitments.look(number, Asked(association, incoming.context_id, context.transfer_syntax))


def _refusal(association: Association, incoming: Incoming) -> tuple[int, str] | None:
    command = incoming.command
    if not association.grant.allows(Right.COMMIT):
        return NOT_AUTHORIZED, "no right to commit"
    if command.requested_sop_class_uid != STORAGE_COMMITMENT_PUSH_MODEL:
        return NO_SUCH_SOP_CLASS, "not the storage commitment push model"
    if command.requested_sop_instance_uid != STORAGE_COMMITMENT_PUSH_MODEL_INSTANCE:
        return NO_SUCH_SOP_INSTANCE, "not the well-known SOP instance"
    if command.action_type_id != ACTION_REQUEST_COMMITMENT:
        return NO_SUCH_ACTION, "unknown action type"
    return None
