"""Query as SCP: C-FIND (PS3.4 C.4.1). Asks the query responders page by page and sends the answers as they come."""

from __future__ import annotations

from pacs_actors.archive.matching import FindQuery, Root, find_query
from pacs_actors.archive.query_responder import FindMatches, next_page
from pacs_actors.dicom.access import Right
from pacs_actors.dicom.association import NOT_AUTHORIZED, Association
from pacs_actors.dicom.link import Incoming
from protocols.dataset.attributes import BY_TAG
from protocols.dataset.identifier import Identifier, decode_identifier
from protocols.dimse.commands import CommandField, find_pending
from protocols.errors import PeerError, Refusal, Unavailable
from protocols.ul.negotiation import QuerySupport
from protocols.ul.sop_classes import (
    PATIENT_ROOT_FIND,
    PATIENT_STUDY_ONLY_FIND,
    STUDY_ROOT_FIND,
)

SUCCESS = 0x0000
OUT_OF_RESOURCES = 0xA700
IDENTIFIER_MISMATCH = 0xA900
UNABLE_TO_PROCESS = 0xC001
CANCELLED = 0xFE00
PENDING = 0xFF00
PENDING_UNSUPPORTED_KEYS = 0xFF01
ROOTS = {
    PATIENT_ROOT_FIND: Root.PATIENT,
    STUDY_ROOT_FIND: Root.STUDY,
    PATIENT_STUDY_ONLY_FIND: Root.PATIENT_STUDY_ONLY,
}
_PAGE_ROWS = 400
_SLACK_S = 30.0


async def serve(association: Association, incoming: Incoming) -> None:
    association.doing = "C-FIND"
    context = association.context(incoming)
    if not incoming.command.has_data_set:
        await association.respond(incoming, IDENTIFIER_MISMATCH, comment="no identifier")
        return
    data = await association.link.receive_identifier(incoming.context_id)
    root = ROOTS.get(context.abstract_syntax)
    if not association.grant.allows(Right.FIND) or root is None:
        await association.respond(incoming, NOT_AUTHORIZED, comment="no right to find")
        return
    matches, identifier = 0, None
    try:
        identifier = decode_identifier(data, context.transfer_syntax)
        agreed = QuerySupport.agreed(association.negotiated.extended.get(context.abstract_syntax, b""))
        query = find_query(
            identifier,
            root,
            relational=agreed.relational,
            combined_datetime=agreed.combined_datetime,
            fuzzy=agreed.fuzzy,
            limit=_PAGE_ROWS,
            scope=association.grant.scope,
        )
        status, matches = await _answer(association, incoming, query, context.transfer_syntax)
        comment = "more matches than this server gives" if status == OUT_OF_RESOURCES else None
    except Refusal as refusal:
        status, comment = refusal.dimse_status, str(refusal)
    except Unavailable as unavailable:
        status, comment = OUT_OF_RESOURCES, str(unavailable)
    await association.respond(incoming, status, comment=comment)
    await _audit(association, identifier, status, matches)


async def _answer(
    association: Association, incoming: Incoming, query: FindQuery, transfer_syntax_uid: str
) -> tuple[int, int]:
    """Send all pages; the final status, and how many matches were sent."""
    facilities = association.facilities
    within_s = facilities.settings.database.call_timeout_s + facilities.settings.index.catch_up_s + _SLACK_S
    pending: bytes | None = None
    sent = 0
    while True:
        matches = await facilities.queries.ask(FindMatches(query, transfer_syntax_uid), within_s=within_s)
        if pending is None:
            pending = find_pending(
                incoming.command, PENDING_UNSUPPORTED_KEYS if matches.unsupported else PENDING
            )
        room = facilities.settings.dicom.max_find_results - sent
        data_sets = matches.data_sets[:room]
        if data_sets:
            await association.link.send_messages(
                incoming.context_id, [(pending, data_set) for data_set in data_sets]
            )
            sent += len(data_sets)
        if len(data_sets) < len(matches.data_sets):
            return OUT_OF_RESOURCES, sent
        if matches.after is None:
            return SUCCESS, sent
        if await _cancelled(association, incoming):
            return CANCELLED, sent
        query = next_page(query, matches.after)


async def _cancelled(association: Association, incoming: Incoming) -> bool:
    """Whether a C-CANCEL for this request has come. One for another request is ignored (PS3.7 9.3.2.3)."""
    while association.link.pending_message():
        incoming_now = await association.link.receive_message()
        if await association.takes_response(incoming_now):
            continue
        other = incoming_now.command
        if other.command_field != CommandField.C_CANCEL_RQ:
            raise PeerError(
                "a request while another is being served", section="PS3.7 D.3.3.3", abort_reason=2
            )
        if other.message_id_responded_to == incoming.command.message_id:
            return True
    return False


async def _audit(association: Association, identifier: Identifier | None, status: int, matches: int) -> None:
    """Which keys were asked for, by name; of their values only UIDs and numbers of patients, never names."""
    details: dict[str, str | int] = {"status": f"{status:04X}"}
    if identifier is not None:
        asked = [tag for tag, value in identifier.keys.items() if value]
        details["keys"] = " ".join(
            BY_TAG[tag].keyword if tag in BY_TAG else f"{tag:08X}" for tag in asked[:32]
        )
        for tag in (0x00100020, 0x00080050, 0x0020000D):
            if identifier.keys.get(tag):
                details[BY_TAG[tag].keyword] = identifier.keys[tag][:200]
    level = identifier.level[:16] if identifier is not None else ""
    outcome = "success" if status in (SUCCESS, CANCELLED) else "failure"
    await association.facilities.audit.queried(association, level, details, matches, outcome)
