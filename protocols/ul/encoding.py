"""PDUs to bytes. What we are asked to send is our own: anything the standard forbids is ``Misuse``."""

from __future__ import annotations

from collections.abc import Iterable
from struct import Struct as Layout
from typing import Final

from protocols.errors import Misuse
from protocols.ul.model import (
    MAX_AE_TITLE_BYTES,
    MAX_ASSOCIATE_BYTES,
    MAX_CONTEXTS,
    MAX_UID_BYTES,
    Abort,
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

_PDU: Final = Layout(">BxI").pack
_ITEM: Final = Layout(">BxH").pack
_ASSOCIATE: Final = Layout(">H2x16s16s32x").pack
_U16: Final = Layout(">H").pack
_U32: Final = Layout(">I").pack
_TWO_U16: Final = Layout(">HH").pack

RELEASE_REQUEST_BYTES: Final = _PDU(PduType.RELEASE_REQUEST, 4) + bytes(4)
RELEASE_REPLY_BYTES: Final = _PDU(PduType.RELEASE_REPLY, 4) + bytes(4)


def encode(pdu: Pdu) -> bytes:
    """The whole PDU, its 6-byte header included (PS3.8 9.3).

    raises:  Misuse if a field does not fit what the standard gives it
    """
    match pdu:
        case AssociateRequest():
            return _associate(
                PduType.ASSOCIATE_REQUEST, pdu, [_proposed(context) for context in pdu.contexts]
            )
        case AssociateAccept():
            return _associate(PduType.ASSOCIATE_ACCEPT, pdu, [_accepted(context) for context in pdu.contexts])
        case AssociateReject(result, source, reason):
            return _PDU(PduType.ASSOCIATE_REJECT, 4) + bytes((0, result, source, reason))
        case ReleaseRequest():
            return RELEASE_REQUEST_BYTES
        case ReleaseReply():
            return RELEASE_REPLY_BYTES
        case Abort(source, reason):
            return _PDU(PduType.ABORT, 4) + bytes((0, 0, source, reason))


def _associate(pdu_type: int, pdu: AssociateRequest | AssociateAccept, contexts: list[bytes]) -> bytes:
    identifiers = {context.context_id for context in pdu.contexts}
    if len(identifiers) != len(contexts) or len(contexts) > MAX_CONTEXTS:
        raise Misuse(f"{len(contexts)} presentation contexts with {len(identifiers)} identifiers")
    parts = [
        _ASSOCIATE(pdu.protocol_version, _ae_title(pdu.called_ae), _ae_title(pdu.calling_ae)),
        _item(0x10, _uid(pdu.application_context)),
        *contexts,
        _item(0x50, b"".join(_user_information(pdu))),
    ]
    length = sum(map(len, parts))
    if length > MAX_ASSOCIATE_BYTES:
        raise Misuse(f"an A-ASSOCIATE of {length} bytes")
    return b"".join((_PDU(pdu_type, length), *parts))


def _item(item_type: int, content: bytes) -> bytes:
    if len(content) > 0xFFFF:
        raise Misuse(f"item {item_type:02X}H of {len(content)} bytes")
    return _ITEM(item_type, len(content)) + content


def _ae_title(title: str) -> bytes:
    encoded = title.encode("latin-1", "replace")
    if len(encoded) > MAX_AE_TITLE_BYTES:
        raise Misuse(f"AE title {title!r} is longer than 16")
    return encoded.ljust(MAX_AE_TITLE_BYTES)


def _uid(uid: str) -> bytes:
    if len(uid) > MAX_UID_BYTES or not uid.isascii():
        raise Misuse(f"UID {uid!r}")
    return uid.encode("ascii")


def _counted(content: bytes) -> bytes:
    if len(content) > 0xFFFF:
        raise Misuse(f"a field of {len(content)} bytes")
    return _U16(len(content)) + content


def _context_id(context: ProposedContext | AcceptedContext) -> int:
    if not (context.context_id & 1 and 1 <= context.context_id <= 255):
        raise Misuse(f"presentation context identifier {context.context_id}")
    return context.context_id


def _proposed(context: ProposedContext) -> bytes:
    transfer_syntaxes = (_item(0x40, _uid(uid)) for uid in context.transfer_syntaxes)
    head = bytes((_context_id(context), 0, 0, 0))
    return _item(0x20, b"".join((head, _item(0x30, _uid(context.abstract_syntax)), *transfer_syntaxes)))


def _accepted(context: AcceptedContext) -> bytes:
    head = bytes((_context_id(context), 0, context.result, 0))
    return _item(0x21, head + _item(0x40, _uid(context.transfer_syntax)))


def _user_information(pdu: AssociateRequest | AssociateAccept) -> Iterable[bytes]:
    """Sub-items in ascending order of their type, as PS3.7 D.3.3 lists them."""
    yield _item(0x51, _U32(pdu.max_pdu_bytes))
    yield _item(0x52, _uid(pdu.implementation_class_uid))
    if pdu.asynchronous_window is not None:
        yield _item(0x53, _TWO_U16(*pdu.asynchronous_window))
    for uid, role in pdu.roles.items():
        yield _role(uid, role)
    if pdu.implementation_version_name:
        yield _item(0x55, _version_name(pdu.implementation_version_name))
    for uid, information in pdu.extended.items():
        yield _item(0x56, _counted(_uid(uid)) + information)
    if isinstance(pdu, AssociateAccept):
        if pdu.user_identity_response is not None:
            yield _item(0x59, _counted(pdu.user_identity_response))
        return
    for uid, common in pdu.common_extended.items():
        yield _common_extended(uid, common)
    if pdu.user_identity is not None:
        yield _user_identity(pdu.user_identity)


def _version_name(name: str) -> bytes:
    if len(name) > 16 or not name.isascii():
        raise Misuse(f"implementation version name {name!r}")
    return name.encode("ascii")


def _role(uid: str, role: Role) -> bytes:
    return _item(0x54, _counted(_uid(uid)) + bytes((role.scu, role.scp)))


def _common_extended(uid: str, common: CommonExtended) -> bytes:
    related = b"".join(_counted(_uid(each)) for each in common.related)
    return _item(0x57, _counted(_uid(uid)) + _counted(_uid(common.service_class_uid)) + _counted(related))


def _user_identity(identity: UserIdentity) -> bytes:
    head = bytes((identity.kind, identity.response_requested))
    return _item(0x58, head + _counted(identity.primary) + _counted(identity.secondary))
