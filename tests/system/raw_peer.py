"""A peer that says what it likes: a plain socket, PDUs by hand, no manners. And what the server's processes take meanwhile."""

from __future__ import annotations

import os
import socket
import struct
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import TracebackType

from protocols.dimse.commands import DATA_SET, Command, CommandField, decode_command, encode_command
from protocols.ul.model import Abort, AssociateAccept, AssociateReject, Role
from protocols.ul.negotiation import request
from protocols.ul.pdata import encode_message, pdvs
from protocols.ul.pdu import Pdu, ReleaseReply, ReleaseRequest, decode, encode
from tests.system.server import Server

VERIFICATION = "1.2.840.10008.1.1"
CT = "1.2.840.10008.5.1.4.1.1.2"
FIND = "1.2.840.10008.5.1.4.1.2.2.1"
GET = "1.2.840.10008.5.1.4.1.2.2.3"
MOVE = "1.2.840.10008.5.1.4.1.2.2.2"
COMMIT = "1.2.840.10008.1.20.1"
IMPLICIT_LE, EXPLICIT_LE = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
ECHO_CONTEXT, STORE_CONTEXT, FIND_CONTEXT = 1, 3, 5
CONTEXTS = ((VERIFICATION, (IMPLICIT_LE,)), (CT, (EXPLICIT_LE,)), (FIND, (IMPLICIT_LE,)))


def association_request(
    *,
    calling: str = "HOSTILE",
    called: str = "PACS",
    contexts: Iterable[tuple[str, tuple[str, ...]]] = CONTEXTS,
    max_pdu_bytes: int = 131072,
    roles: Mapping[str, Role] | None = None,
) -> bytes:
    return encode(
        request(contexts, calling_ae=calling, called_ae=called, max_pdu_bytes=max_pdu_bytes, roles=roles)
    )


def echo_request(message_id: int = 1) -> bytes:
    command = Command(
        command_field=CommandField.C_ECHO_RQ, message_id=message_id, affected_sop_class_uid=VERIFICATION
    )
    return encode_message(ECHO_CONTEXT, encode_command(command), command=True, max_pdu_bytes=16384)


def store_request(uid: str, message_id: int = 1) -> bytes:
    command = Command(
        command_field=CommandField.C_STORE_RQ,
        message_id=message_id,
        affected_sop_class_uid=CT,
        affected_sop_instance_uid=uid,
        priority=0,
        data_set_type=DATA_SET,
    )
    return encode_message(STORE_CONTEXT, encode_command(command), command=True, max_pdu_bytes=16384)


def data_pdu(
    data: bytes, *, context_id: int = STORE_CONTEXT, command: bool = False, last: bool = True
) -> bytes:
    """One P-DATA-TF with one fragment, of any length."""
    return struct.pack(">BxIIBB", 4, len(data) + 6, len(data) + 2, context_id, command | last << 1) + data


def ct_data_set(uid: str, payload_bytes: int = 1000) -> bytes:
    """A CT of one study, Explicit VR Little Endian, by hand."""

    def element(tag: int, vr: bytes, value: bytes) -> bytes:
        value += (b"\0" if vr == b"UI" else b" ") * (len(value) % 2)
        head = struct.pack("<HH2s", tag >> 16, tag & 0xFFFF, vr)
        return (
            head
            + (b"\0\0" + struct.pack("<I", len(value)) if vr == b"OW" else struct.pack("<H", len(value)))
            + value
        )

    return b"".join(
        (
            element(0x00080016, b"UI", CT.encode()),
            element(0x00080018, b"UI", uid.encode()),
            element(0x00080060, b"CS", b"CT"),
            element(0x00100010, b"PN", b"Planted^Name"),
            element(0x00100020, b"LO", b"PLANTED-ID"),
            element(0x0020000D, b"UI", b"1.2.826.0.1.3680043.9.1"),
            element(0x0020000E, b"UI", b"1.2.826.0.1.3680043.9.1.1"),
            element(0x7FE00010, b"OW", bytes(payload_bytes + payload_bytes % 2)),
        )
    )


class RawPeer:
    """A connection to the server.

    within_s:  the longest that anything may take; then TimeoutError
    source:    our own address, to look like another peer
    """

    def __init__(
        self, port: int, *, host: str = "127.0.0.1", source: str | None = None, within_s: float = 10.0
    ) -> None:
        self.sock = socket.create_connection((host, port), within_s, (source, 0) if source else None)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._rest = b""

    def __enter__(self) -> RawPeer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.sock.close()

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def send_what_is_taken(self, data: bytes) -> None:
        """As much as the server takes before it hangs up."""
        try:
            self.sock.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            return

    def receive_pdu(self) -> tuple[int, bytes] | None:
        """Type and body of the next PDU; None at the end of the stream, however it came."""
        try:
            header = self._exactly(6)
            if header is None:
                return None
            kind, length = struct.unpack(">BxI", header)
            body = self._exactly(length)
        except ConnectionResetError:
            return None
        return None if body is None else (kind, body)

    def _exactly(self, length: int) -> bytes | None:
        while len(self._rest) < length:
            more = self.sock.recv(1 << 16)
            if not more:
                return None
            self._rest += more
        found, self._rest = self._rest[:length], self._rest[length:]
        return found

    def receive(self) -> Pdu | None:
        """The next PDU that is not P-DATA, decoded; None at the end."""
        while (pdu := self.receive_pdu()) is not None:
            if pdu[0] != 4:
                return decode(*pdu)
        return None

    def receive_command(self) -> Command:
        """The command set of the next message; an answer's data set is skipped later as one without a command."""
        parts = b""
        while True:
            pdu = self.receive_pdu()
            assert pdu is not None, "closed instead of an answer"
            assert pdu[0] == 4, f"{decode(*pdu)} instead of an answer"
            for one in pdvs(pdu[1]):
                if one.is_command:
                    parts += one.data
                    if one.is_last:
                        return decode_command(parts)

    def ended(self) -> bool:
        """True once the server has closed; whatever else it said is skipped."""
        while self.receive_pdu() is not None:
            continue
        return True

    def associate(self, **options: object) -> AssociateAccept | AssociateReject | Abort:
        self.send(association_request(**options))  # type: ignore[arg-type]
        answer = self.receive()
        assert isinstance(answer, AssociateAccept | AssociateReject | Abort), "closed without an answer"
        return answer

    def established(self, **options: object) -> RawPeer:
        answer = self.associate(**options)
        assert isinstance(answer, AssociateAccept), answer
        return self

    def echo(self, message_id: int = 1) -> int | None:
        self.send(echo_request(message_id))
        answer = self.receive_command()
        assert answer.message_id_responded_to == message_id
        return answer.status

    def store(self, uid: str, data_set: bytes, message_id: int = 1) -> int | None:
        self.send(
            store_request(uid, message_id)
            + encode_message(STORE_CONTEXT, data_set, command=False, max_pdu_bytes=16384)
        )
        return self.receive_command().status

    def release(self) -> None:
        self.send(encode(ReleaseRequest()))
        assert isinstance(self.receive(), ReleaseReply)
        assert self.ended()


def well(port: int, *, calling: str = "MODALITY", source: str | None = None) -> bool:
    """Whether a well-behaved peer is served: association, C-ECHO, release. False when it is rejected."""
    with RawPeer(port, source=source) as peer:
        if not isinstance(peer.associate(calling=calling), AssociateAccept):
            return False
        assert peer.echo() == 0
        peer.release()
    return True


def eventually(condition: Callable[[], object], *, within_s: float = 30.0, what: str = "") -> None:
    """Wait until a condition holds."""
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {within_s} s: {what or condition}"
        time.sleep(0.02)


def memory_bytes(pids: Iterable[int]) -> int:
    """Resident memory of its own (not of files) of some processes together."""
    total = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("RssAnon:"):
                total += int(line.split()[1]) * 1024
    return total


def descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))  # noqa: PTH208  # a number, not paths


def unfinished(server: Server) -> list[Path]:
    """Temporary files of incoming objects; each worker keeps a lock beside its own."""
    return [path for path in server.temporary() if path.suffix != ".lock"]
