"""What the tests of the link share: two ends of a connection, messages as bytes, a place for data sets."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from struct import pack

from pacs_actors.dicom.link import DicomLink
from pacs_actors.dicom.wire import Wire
from protocols.dimse.commands import DATA_SET, Command, CommandField, encode_command
from protocols.ul.association import Event, Side, UpperLayer
from protocols.ul.negotiation import Context, Negotiated

CT = "1.2.840.10008.5.1.4.1.1.2"
VERIFICATION = "1.2.840.10008.1.1"
EXPLICIT_LE = "1.2.840.10008.1.2.1"
CONTEXT, OTHER_CONTEXT = 1, 3


def negotiated(peer_max_pdu: int = 16384) -> Negotiated:
    """Two accepted contexts."""
    contexts = {number: Context(number, CT, EXPLICIT_LE, True, True) for number in (CONTEXT, OTHER_CONTEXT)}
    return Negotiated(contexts, peer_max_pdu, {}, "PACS", "PEER", "1.2.3", "PEER")


def established() -> UpperLayer:
    """An acceptor's state machine in Sta6."""
    upper_layer = UpperLayer(Side.ACCEPTOR)
    for event in (Event.TRANSPORT_INDICATED, Event.ASSOCIATE_REQUEST_PDU, Event.ACCEPT):
        upper_layer.fire(event)
    return upper_layer


@contextmanager
def connected(
    *, max_pdu_bytes: int = 131072, peer_max_pdu: int = 16384, minimum_rate_bytes_s: int = 0
) -> Iterator[tuple[DicomLink, Wire]]:
    """An established link and its peer's end. Needs a Trio loop."""
    ours, theirs = socket.socketpair()
    link = DicomLink(
        Wire(ours, patience_s=30.0),
        established(),
        max_pdu_bytes=max_pdu_bytes,
        minimum_rate_bytes_s=minimum_rate_bytes_s,
    )
    link.negotiated, link.peer_max_pdu_bytes = negotiated(peer_max_pdu), peer_max_pdu
    peer = Wire(theirs, patience_s=30.0)
    try:
        yield link, peer
    finally:
        link.wire.close_now()
        peer.close_now()


def pdv(data: bytes, *, command: bool = False, last: bool = False, context_id: int = CONTEXT) -> bytes:
    return pack(">IBB", len(data) + 2, context_id, command | last << 1) + data


def pdu(*pdvs: bytes, kind: int = 4) -> bytes:
    body = b"".join(pdvs)
    return pack(">BxI", kind, len(body)) + body


def message_bytes(
    command: bytes,
    data_set: bytes | None = None,
    *,
    fragment_bytes: int = 16000,
    fragments_a_pdu: int = 1,
    context_id: int = CONTEXT,
) -> bytes:
    """A whole message in fragments of a size, several of which may share a PDU, command and data set included."""
    fragments: list[bytes] = []
    for data, is_command in ((command, True), (data_set, False)):
        if data is None:
            continue
        starts = range(0, max(1, len(data)), fragment_bytes)
        fragments += [
            pdv(
                data[at : at + fragment_bytes],
                command=is_command,
                last=at == starts[-1],
                context_id=context_id,
            )
            for at in starts
        ]
    return b"".join(
        pdu(*fragments[at : at + fragments_a_pdu]) for at in range(0, len(fragments), fragments_a_pdu)
    )


def store_request(message_id: int = 1, uid: str = "1.2.3") -> bytes:
    return encode_command(
        Command(
            command_field=CommandField.C_STORE_RQ,
            message_id=message_id,
            affected_sop_class_uid=CT,
            affected_sop_instance_uid=uid,
            priority=0,
            data_set_type=DATA_SET,
        )
    )


def echo_request(message_id: int = 1) -> bytes:
    return encode_command(
        Command(
            command_field=CommandField.C_ECHO_RQ, message_id=message_id, affected_sop_class_uid=VERIFICATION
        )
    )


class Sink:
    """A small buffer, emptied into ``data`` by ``spill`` and ``park``; the head room is kept as a header would be."""

    def __init__(self, buffer_bytes: int = 64) -> None:
        self._buffer = bytearray(buffer_bytes)
        self.view = memoryview(self._buffer)
        self.position = 0
        self.taken = bytearray()
        self.spills = self.parkings = self.resumptions = 0

    @property
    def data(self) -> bytes:
        return bytes(self.taken + self._buffer[: self.position])

    async def spill(self) -> None:
        self.spills += 1
        self._empty()

    async def park(self) -> None:
        self.parkings += 1
        self._empty()
        self.view = memoryview(b"")

    async def resume(self) -> None:
        self.resumptions += 1
        self.view = memoryview(self._buffer)

    def _empty(self) -> None:
        self.taken += self._buffer[: self.position]
        # A byte that arrives where it does not belong has to be seen.
        self._buffer[:] = b"\xee" * len(self._buffer)
        self.position = 0
