"""P-DATA-TF (PS3.8 9.3.5, annex E): the layouts that the link parses in place, and helpers for slow paths.

"Maximum length" counts what follows the 6-byte PDU header, so a PDU holds at most ``max_pdu_bytes - 6`` bytes
of one message.
"""

from __future__ import annotations

from struct import Struct as Layout
from typing import Final

from msgspec import Struct

from protocols.errors import Misuse, PeerError
from protocols.ul.model import MAX_ASSOCIATE_BYTES, MIN_ASSOCIATE_BYTES, AbortReason, PduType

PDU_HEADER: Final = Layout(">BxI")
"""PDU type, reserved, length of what follows."""
PDV_HEADER: Final = Layout(">IBB")
"""Length of what follows, presentation context, message control header."""
PDU_HEADER_BYTES: Final = PDU_HEADER.size
PDV_HEADER_BYTES: Final = PDV_HEADER.size
MIN_PDV_LENGTH: Final = 2
"""A PDV counts its context identifier and message control header."""
COMMAND: Final = 1
LAST: Final = 2

DEFAULT_PDU_BYTES: Final = 128 * 1024
"""Maximum length that we offer, and the most we send, unless told otherwise."""
MIN_PEER_PDU_BYTES: Final = 128
"""Smallest maximum length that we send to: below it, one message becomes a flood of PDUs."""

PDATA_HEADER: Final = Layout(">BxIIBB")
"""A PDU header and the header of the one PDV in it: what comes before a fragment that fills a PDU."""


class Pdv(Struct, frozen=True):
    """One presentation data value (PS3.8 9.3.5.1, E.2)."""

    context_id: int
    is_command: bool
    is_last: bool
    data: bytes


def check_header(pdu_type: int, length: int, max_pdu_bytes: int) -> None:
    """Refuse a PDU by its header alone, before a byte of it is kept.

    max_pdu_bytes:  what we offered for P-DATA-TF
    raises:         PeerError for an unknown type or a length that the type cannot have
    """
    if pdu_type == PduType.DATA:
        fits = PDV_HEADER_BYTES <= length <= max_pdu_bytes
    elif pdu_type in (PduType.ASSOCIATE_REQUEST, PduType.ASSOCIATE_ACCEPT):
        fits = MIN_ASSOCIATE_BYTES <= length <= MAX_ASSOCIATE_BYTES
    elif 0 < pdu_type <= PduType.ABORT:
        fits = length == 4
    else:
        raise PeerError(
            f"PDU type {pdu_type:02X}H", section="PS3.8 9.3.1", abort_reason=AbortReason.UNRECOGNIZED_PDU
        )
    if not fits:
        raise PeerError(
            f"PDU type {pdu_type:02X}H of {length} bytes",
            section="PS3.8 9.3.1",
            abort_reason=AbortReason.INVALID_PARAMETER_VALUE,
        )


def pdata_header(context_id: int, length: int, *, command: bool, last: bool) -> bytes:
    """The 12 bytes in front of one PDV of ``length`` bytes that fills a PDU alone."""
    return PDATA_HEADER.pack(PduType.DATA, length + 6, length + 2, context_id, command | last << 1)


def encode_message(context_id: int, data: bytes, *, command: bool, max_pdu_bytes: int) -> bytes:
    """A whole command set or data set as P-DATA-TF PDUs, in one piece for one write.

    max_pdu_bytes:  what the peer takes, at least ``MIN_PEER_PDU_BYTES``
    raises:         Misuse below that
    """
    if max_pdu_bytes < MIN_PEER_PDU_BYTES:
        raise Misuse(f"PDUs of {max_pdu_bytes} bytes")
    room = max_pdu_bytes - PDV_HEADER_BYTES
    if len(data) <= room:
        return pdata_header(context_id, len(data), command=command, last=True) + data
    parts: list[bytes] = []
    for at in range(0, len(data), room):
        piece = data[at : at + room]
        last = at + room >= len(data)
        parts += pdata_header(context_id, len(piece), command=command, last=last), piece
    return b"".join(parts)


def pdvs(body: bytes | bytearray | memoryview) -> list[Pdv]:
    """The PDVs of one P-DATA-TF PDU without its header. For tests and slow paths.

    raises:  PeerError if there is none or a length lies
    """
    data = bytes(body)
    found: list[Pdv] = []
    at, end = 0, len(data)
    while at < end or not found:
        if end - at < PDV_HEADER_BYTES:
            raise _invalid("a PDV header is missing or cut short")
        length, context_id, control = PDV_HEADER.unpack_from(data, at)
        start = at + PDV_HEADER_BYTES
        at += 4 + length
        if length < MIN_PDV_LENGTH or at > end:
            raise _invalid(f"a PDV of {length} bytes in a PDU of {end}")
        found.append(Pdv(context_id, bool(control & COMMAND), bool(control & LAST), data[start:at]))
    return found


def _invalid(what: str) -> PeerError:
    return PeerError(what, section="PS3.8 9.3.5", abort_reason=AbortReason.INVALID_PARAMETER_VALUE)
