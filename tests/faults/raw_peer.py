"""A peer on a bare socket, for what no well-behaved client does: to stop, to vanish, to flood, to listen to nothing."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable
from typing import Final

from pacs_actors.dicom.client_identifiers import Keys, encode_identifier
from protocols.dimse.commands import DATA_SET, Command, CommandField, decode_command, encode_command
from protocols.ul.model import AssociateAccept, Role
from protocols.ul.negotiation import interpret, request
from protocols.ul.pdu import PduType, decode, encode
from tests.faults.images import CT_IMAGE, EXPLICIT_VR_LITTLE_ENDIAN, Image
from tests.system.server import Server

_FRAGMENT: Final = struct.Struct(">BxIIBB")
_FRAGMENT_BYTES: Final = 16_000
_PATIENCE_S: Final = 20.0


class RawPeer:
    """One connection. ``associate`` proposes each abstract syntax in Explicit VR Little Endian.

    receive_buffer_bytes:  of the socket, for a peer that does not read
    """

    def __init__(self, server: Server, *, receive_buffer_bytes: int = 0) -> None:
        self.server = server
        self.sock = socket.socket()
        if receive_buffer_bytes:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
        self.sock.settimeout(_PATIENCE_S)
        self.sock.connect(("127.0.0.1", server.dicom_port))
        self.contexts: dict[str, int] = {}

    def __enter__(self) -> RawPeer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- association ---------------------------------------------------------------------------------------------------------
    def association_request(self, *abstract_syntaxes: str) -> bytes:
        self._ask = request(
            [(uid, (EXPLICIT_VR_LITTLE_ENDIAN,)) for uid in abstract_syntaxes],
            calling_ae="RAWPEER",
            called_ae=self.server.aet,
            roles={CT_IMAGE: Role(scu=True, scp=True)} if CT_IMAGE in abstract_syntaxes else None,
        )
        return encode(self._ask)

    def associate(self, *abstract_syntaxes: str) -> None:
        self.sock.sendall(self.association_request(*abstract_syntaxes))
        answer = decode(*self.read_pdu())
        assert isinstance(answer, AssociateAccept), answer
        contexts = interpret(self._ask, answer).contexts
        self.contexts = {context.abstract_syntax: number for number, context in contexts.items()}

    def reset(self) -> None:
        """As a cable that comes back: the server gets a RST."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def close(self) -> None:
        self.sock.close()

    # -- messages ------------------------------------------------------------------------------------------------------------
    def store_request(self, image: Image, message_id: int = 1) -> tuple[bytes, bytes]:
        """Command and data set of a C-STORE, as bytes for the wire."""
        command = Command(
            command_field=CommandField.C_STORE_RQ, message_id=message_id, affected_sop_class_uid=CT_IMAGE,
            affected_sop_instance_uid=image.uid, priority=0, data_set_type=DATA_SET,
        )  # fmt: skip
        context = self.contexts[CT_IMAGE]
        return fragments(context, encode_command(command), kind=1), fragments(context, image.data_set, kind=0)

    def query(
        self,
        field: int,
        sop_class_uid: str,
        keys: Keys,
        *,
        level: str,
        message_id: int,
        destination: str | None = None,
    ) -> bytes:
        """A C-FIND, C-MOVE or C-GET request, as bytes for the wire."""
        command = Command(
            command_field=field, message_id=message_id, affected_sop_class_uid=sop_class_uid, priority=0,
            data_set_type=DATA_SET, move_destination=destination,
        )  # fmt: skip
        identifier = encode_identifier(keys, EXPLICIT_VR_LITTLE_ENDIAN, level=level)
        context = self.contexts[sop_class_uid]
        return fragments(context, encode_command(command), kind=1) + fragments(context, identifier, kind=0)

    def cancel(self, sop_class_uid: str, message_id: int) -> bytes:
        command = Command(command_field=CommandField.C_CANCEL_RQ, message_id_responded_to=message_id)
        return fragments(self.contexts[sop_class_uid], encode_command(command), kind=1)

    # -- reading -------------------------------------------------------------------------------------------------------------
    def read_pdu(self) -> tuple[int, bytes]:
        kind, length = struct.unpack(">BxI", self._read(6))
        return kind, self._read(length)

    def read_command(self) -> Command:
        """The next command set; data sets before it are skipped."""
        while True:
            kind, body = self.read_pdu()
            assert kind == PduType.DATA, f"PDU type {kind:02X}H"
            if body[5] & 1:
                return decode_command(body[6:])

    def read_final(self) -> Command:
        """The next response that is not pending."""
        while (response := self.read_command()).status in (0xFF00, 0xFF01):
            continue
        return response

    def _read(self, length: int) -> bytes:
        data = bytearray()
        while len(data) < length:
            more = self.sock.recv(length - len(data))
            assert more, "closed by the server"
            data += more
        return bytes(data)


def fragments(context_id: int, data: bytes, *, kind: int) -> bytes:
    """PDUs with one fragment each; kind: 1 for a command set, 0 for a data set (PS3.8 annex E.2)."""
    return b"".join(_fragment(context_id, data, at, kind) for at in range(0, len(data), _FRAGMENT_BYTES))


def _fragment(context_id: int, data: bytes, at: int, kind: int) -> bytes:
    piece = data[at : at + _FRAGMENT_BYTES]
    last = 2 if at + _FRAGMENT_BYTES >= len(data) else 0
    return _FRAGMENT.pack(PduType.DATA, len(piece) + 6, len(piece) + 2, context_id, kind | last) + piece


def end_all(peers: Iterable[RawPeer]) -> None:
    for peer in peers:
        peer.close()
