"""Bytes of a PDU to data. Whatever the bytes are, the answer is a PDU or ``PeerError``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from struct import Struct as Layout
from typing import Any, Final, TypeVar

from protocols.errors import PeerError
from protocols.ul.model import (
    MAX_ASSOCIATE_BYTES,
    MIN_ASSOCIATE_BYTES,
    Abort,
    AbortReason,
    AcceptedContext,
    AssociateAccept,
    AssociateReject,
    AssociateRequest,
    CommonExtended,
    Pdu,
    PduType,
    ProposedContext,
    ReleaseReply,
    ReleaseRequest,
    Role,
    UserIdentity,
)

_ASSOCIATE: Final = Layout(">H2x16s16s32x").unpack_from
_ITEM: Final = Layout(">BxH").unpack_from
_U16: Final = Layout(">H").unpack_from
_U32: Final = Layout(">I").unpack_from
_TWO_U16: Final = Layout(">HH").unpack_from

_UID_CHARACTERS: Final = "0123456789."

_Span = tuple[int, int]
C = TypeVar("C", ProposedContext, AcceptedContext)


def decode(pdu_type: int, body: bytes | bytearray | memoryview) -> Pdu:
    """The PDU whose 6-byte header said ``pdu_type`` and the length of ``body``.

    Unknown items and sub-items are skipped (PS3.8 9.3.1).

    raises:  PeerError, and nothing else. P-DATA-TF is read by ``protocols.ul.pdata``, not here.
    """
    reader = _READERS.get(pdu_type)
    if reader is None:
        known = pdu_type == PduType.DATA
        reason = AbortReason.UNEXPECTED_PDU if known else AbortReason.UNRECOGNIZED_PDU
        raise PeerError(f"PDU type {pdu_type:02X}H", section="PS3.8 9.3.1", abort_reason=reason)
    if len(body) > MAX_ASSOCIATE_BYTES:
        raise _invalid(f"PDU of {len(body)} bytes", "PS3.8 9.3")
    return reader(bytes(body))


def _invalid(what: str, section: str) -> PeerError:
    return PeerError(what, section=section, abort_reason=AbortReason.INVALID_PARAMETER_VALUE)


def _items(data: bytes, at: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Type, first byte and end of each item between ``at`` and ``end`` (PS3.8 9.3.1)."""
    while at < end:
        if end - at < 4:
            raise _invalid("an item header is cut short", "PS3.8 9.3.1")
        item_type, length = _ITEM(data, at)
        start = at + 4
        at = start + length
        if at > end:
            raise _invalid(f"item {item_type:02X}H is longer than what holds it", "PS3.8 9.3.1")
        yield item_type, start, at


def _text(data: bytes, start: int, end: int) -> str:
    """A UID or a name. Trailing NULs and spaces are padding that some peers add."""
    return data[start:end].decode("latin-1").rstrip("\0 ")


def _counted(data: bytes, at: int, end: int, section: str) -> _Span:
    """Where the field lies whose 2-byte length stands at ``at``."""
    if end - at < 2:
        raise _invalid("a length field is cut short", section)
    start = at + 2
    stop: int = start + _U16(data, at)[0]
    if stop > end:
        raise _invalid("a field is longer than its sub-item", section)
    return start, stop


def _ae_title(field: bytes) -> str:
    """Leading and trailing spaces mean nothing (PS3.8 table 9-11)."""
    return field.decode("latin-1").rstrip("\0 ").lstrip(" ")


def _associate_items(
    data: bytes, context_item: int
) -> tuple[int, str, str, str, list[_Span], dict[str, Any]]:
    """What -RQ and -AC share: version, AE titles, application context, contexts, user information."""
    if len(data) < MIN_ASSOCIATE_BYTES:
        raise _invalid(f"A-ASSOCIATE of {len(data)} bytes", "PS3.8 9.3.2")
    version, called, calling = _ASSOCIATE(data)
    application_context: str | None = None
    contexts: list[_Span] = []
    user: dict[str, Any] | None = None
    for item_type, start, end in _items(data, MIN_ASSOCIATE_BYTES, len(data)):
        if item_type == context_item:
            contexts.append((start, end))
        elif item_type == 0x10:
            if application_context is not None:
                raise _invalid("two application contexts", "PS3.8 9.3.2.1")
            application_context = _text(data, start, end)
            if application_context.strip(_UID_CHARACTERS):
                raise _invalid("the application context is no UID", "PS3.8 9.3.2.1")
        elif item_type == 0x50:
            if user is not None:
                raise _invalid("two user information items", "PS3.8 9.3.2.3")
            user = _user_information(data, start, end)
    return version, _ae_title(called), _ae_title(calling), application_context or "", contexts, user or {}


def _request(data: bytes) -> AssociateRequest:
    version, called, calling, application_context, spans, user = _associate_items(data, 0x20)
    user.pop("user_identity_response", None)
    return AssociateRequest(
        called_ae=called,
        calling_ae=calling,
        contexts=_contexts(data, spans, _proposed),
        application_context=application_context,
        protocol_version=version,
        **user,
    )


def _accept(data: bytes) -> AssociateAccept:
    version, called, calling, application_context, spans, user = _associate_items(data, 0x21)
    user.pop("user_identity", None)
    user.pop("common_extended", None)
    return AssociateAccept(
        called_ae=called,
        calling_ae=calling,
        contexts=_contexts(data, spans, _accepted),
        application_context=application_context,
        protocol_version=version,
        **user,
    )


def _contexts(data: bytes, spans: list[_Span], read: Callable[[bytes, int, int], C]) -> tuple[C, ...]:
    """All contexts. Identifiers are odd and unique, so there are at most 128 (PS3.8 9.3.2.2)."""
    contexts: dict[int, C] = {}
    for start, end in spans:
        if end - start < 4:
            raise _invalid("a presentation context is cut short", "PS3.8 9.3.2.2")
        context_id = data[start]
        if not context_id & 1 or context_id in contexts:
            raise _invalid(f"presentation context {context_id} is even or repeated", "PS3.8 9.3.2.2")
        contexts[context_id] = read(data, start, end)
    return tuple(contexts.values())


def _proposed(data: bytes, start: int, end: int) -> ProposedContext:
    abstract_syntax: str | None = None
    transfer_syntaxes: list[str] = []
    for item_type, first, last in _items(data, start + 4, end):
        if item_type == 0x40:
            transfer_syntaxes.append(_text(data, first, last))
        elif item_type == 0x30:
            if abstract_syntax is not None:
                raise _invalid("two abstract syntaxes in one context", "PS3.8 9.3.2.2")
            abstract_syntax = _text(data, first, last)
    return ProposedContext(data[start], abstract_syntax or "", tuple(transfer_syntaxes))


def _accepted(data: bytes, start: int, end: int) -> AcceptedContext:
    transfer_syntax = ""
    for item_type, first, last in _items(data, start + 4, end):
        if item_type == 0x40:
            transfer_syntax = _text(data, first, last)
    return AcceptedContext(data[start], data[start + 2], transfer_syntax)


def _user_information(data: bytes, start: int, end: int) -> dict[str, Any]:
    """Fields of the user information item (PS3.8 annex D, PS3.7 annex D)."""
    found: dict[str, Any] = {}
    roles: dict[str, Role] = {}
    extended: dict[str, bytes] = {}
    common_extended: dict[str, CommonExtended] = {}
    for item_type, first, last in _items(data, start, end):
        if item_type == 0x51:
            _at_least(4, first, last, "PS3.8 D.1.1")
            found["max_pdu_bytes"] = _U32(data, first)[0]
        elif item_type == 0x52:
            found["implementation_class_uid"] = _text(data, first, last)
        elif item_type == 0x55:
            found["implementation_version_name"] = _text(data, first, last)
        elif item_type == 0x53:
            _at_least(4, first, last, "PS3.7 D.3.3.3")
            found["asynchronous_window"] = _TWO_U16(data, first)
        elif item_type == 0x54:
            uid_start, uid_end = _counted(data, first, last, "PS3.7 D.3.3.4")
            _at_least(2, uid_end, last, "PS3.7 D.3.3.4")
            roles[_text(data, uid_start, uid_end)] = Role(data[uid_end] == 1, data[uid_end + 1] == 1)
        elif item_type == 0x56:
            uid_start, uid_end = _counted(data, first, last, "PS3.7 D.3.3.5")
            extended[_text(data, uid_start, uid_end)] = data[uid_end:last]
        elif item_type == 0x57:
            uid, item = _common_extended(data, first, last)
            common_extended[uid] = item
        elif item_type == 0x58:
            found["user_identity"] = _user_identity(data, first, last)
        elif item_type == 0x59:
            span = _counted(data, first, last, "PS3.7 D.3.3.7")
            found["user_identity_response"] = data[slice(*span)]
    return found | {"roles": roles, "extended": extended, "common_extended": common_extended}


def _at_least(needed: int, start: int, end: int, section: str) -> None:
    if end - start < needed:
        raise _invalid("a sub-item is cut short", section)


def _common_extended(data: bytes, start: int, end: int) -> tuple[str, CommonExtended]:
    section = "PS3.7 D.3.3.6"
    uid = _counted(data, start, end, section)
    service = _counted(data, uid[1], end, section)
    related: list[str] = []
    if service[1] < end:
        at, stop = _counted(data, service[1], end, section)
        while at < stop:
            one = _counted(data, at, stop, section)
            related.append(_text(data, *one))
            at = one[1]
    return _text(data, *uid), CommonExtended(_text(data, *service), tuple(related))


def _user_identity(data: bytes, start: int, end: int) -> UserIdentity:
    section = "PS3.7 D.3.3.7"
    _at_least(2, start, end, section)
    primary = _counted(data, start + 2, end, section)
    secondary = _counted(data, primary[1], end, section)
    return UserIdentity(data[start], data[start + 1] == 1, data[slice(*primary)], data[slice(*secondary)])


def _four_bytes(data: bytes, section: str) -> bytes:
    if len(data) != 4:
        raise _invalid(f"a PDU of {len(data)} bytes that has 4", section)
    return data


def _reject(data: bytes) -> AssociateReject:
    fields = _four_bytes(data, "PS3.8 9.3.4")
    return AssociateReject(fields[1], fields[2], fields[3])


def _release_request(data: bytes) -> ReleaseRequest:
    _four_bytes(data, "PS3.8 9.3.6")
    return ReleaseRequest()


def _release_reply(data: bytes) -> ReleaseReply:
    _four_bytes(data, "PS3.8 9.3.7")
    return ReleaseReply()


def _abort(data: bytes) -> Abort:
    fields = _four_bytes(data, "PS3.8 9.3.8")
    return Abort(fields[2], fields[3])


_READERS: Final[dict[int, Callable[[bytes], Pdu]]] = {
    PduType.ASSOCIATE_REQUEST: _request,
    PduType.ASSOCIATE_ACCEPT: _accept,
    PduType.ASSOCIATE_REJECT: _reject,
    PduType.RELEASE_REQUEST: _release_request,
    PduType.RELEASE_REPLY: _release_reply,
    PduType.ABORT: _abort,
}
