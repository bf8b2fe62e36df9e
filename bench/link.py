"""One association over a blocking TCP socket: what both the load generator and the null SCP stand on."""

from __future__ import annotations

import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Self

from bench import wire
from bench.wire import PeerFailed

BUFFER_BYTES: Final = 4 * wire.OFFERED_PDU_BYTES
IDENTIFIER_LIMIT_BYTES: Final = 1024 * 1024


@dataclass(slots=True)
class Message:
    """A DIMSE message; ``data`` is kept only if the caller asked for it, ``size_bytes`` counts it always."""

    context_id: int
    command: dict[int, bytes]
    data: bytes
    size_bytes: int


class Link:
    """A connected socket with an in-place PDU parser. Not thread-safe: one thread, one link."""

    def __init__(self, sock: socket.socket, *, timeout_s: float) -> None:
        self.sock = sock
        # Kernel timeouts leave the socket blocking, so that one instance stays one system call.
        timeval = struct.pack("@ll", int(timeout_s), int(timeout_s % 1 * 1e6))
        sock.setblocking(True)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, timeval)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, timeval)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.accepted = wire.Accepted({}, 0)
        self._buffer = bytearray(BUFFER_BYTES)
        self._view = memoryview(self._buffer)
        self._start = self._end = 0
        self._rest = self._view[:0]

    @classmethod
    def connect(
        cls,
        address: tuple[str, int],
        calling: str,
        called: str,
        proposals: Sequence[wire.Proposal],
        *,
        timeout_s: float = 60.0,
    ) -> Self:
        """Open an association; raises PeerFailed if the peer says no."""
        try:
            sock = socket.create_connection(address, timeout=timeout_s)
        except OSError as error:
            raise PeerFailed(f"no connection to {address[0]}:{address[1]}: {error}") from error
        link = cls(sock, timeout_s=timeout_s)
        try:
            link.send(wire.associate_request(calling, called, proposals))
            kind, body = link.read_pdu()
            if kind == wire.ASSOCIATE_RJ:
                _, result, source, reason = bytes(body[:4]).ljust(4, b"\0")
                raise PeerFailed(f"association rejected: result {result}, source {source}, reason {reason}")
            if kind != wire.ASSOCIATE_AC:
                raise PeerFailed(f"PDU type {kind} in answer to an A-ASSOCIATE-RQ")
            link.accepted = wire.read_accept(bytes(body))
        except BaseException:
            sock.close()
            raise
        return link

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.sock.close()

    def context(self, index: int) -> int:
        """The context ID of the index-th proposal; raises PeerFailed if it was not accepted."""
        context_id = 2 * index + 1
        if context_id not in self.accepted.contexts:
            raise PeerFailed(f"presentation context {context_id} was not accepted")
        return context_id

    def send(self, *parts: bytes | bytearray | memoryview) -> None:
        """All parts in one sendmsg where the kernel takes them; raises PeerFailed."""
        try:
            sent = self.sock.sendmsg(parts)
            if sent == sum(map(len, parts)):
                return
            for part in parts:
                if sent < len(part):
                    self.sock.sendall(memoryview(part)[sent:])
                sent = max(0, sent - len(part))
        except OSError as error:
            raise PeerFailed(f"sending failed: {error}") from error

    def send_message(self, context_id: int, command: bytes, data: bytes | None = None) -> None:
        """A small message (no image) in one write."""
        limit = self.accepted.max_pdu_bytes
        pdus = wire.p_data(context_id, command, command=True, max_pdu_bytes=limit)
        if data is not None:
            pdus += wire.p_data(context_id, data, command=False, max_pdu_bytes=limit)
        self.send(pdus)

    def _fill(self, wanted: int) -> None:
        while self._end - self._start < wanted:
            if self._start and len(self._buffer) - self._start < wanted:
                held = self._end - self._start
                self._buffer[:held] = self._view[self._start : self._end]
                self._start, self._end = 0, held
            # Linux leaves quick-ack mode by itself, so it is asked for before each wait: see README, traps.
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
            try:
                got = self.sock.recv_into(self._view[self._end :])
            except OSError as error:
                raise PeerFailed(f"receiving failed: {error}") from error
            if not got:
                raise PeerFailed("the peer closed the connection")
            self._end += got

    def read_pdu(self) -> tuple[int, memoryview]:
        """Type and body of the next PDU; the view holds until the next call. Raises PeerFailed."""
        if self._start == self._end:
            self._start = self._end = 0
        self._fill(6)
        kind, length = struct.unpack_from(">BxI", self._buffer, self._start)
        if length > wire.OFFERED_PDU_BYTES:
            raise PeerFailed(f"a PDU of {length} bytes, more than the {wire.OFFERED_PDU_BYTES} that we take")
        self._fill(6 + length)
        body = self._view[self._start + 6 : self._start + 6 + length]
        self._start += 6 + length
        if kind == wire.ABORT:
            _, _, source, reason = bytes(body[:4]).ljust(4, b"\0")
            raise PeerFailed(f"the peer aborted: source {source}, reason {reason}")
        return kind, body

    def _read_pdv(self) -> tuple[int, int, memoryview] | None:
        """Context ID, control header and fragment of the next PDV; None when the peer asks for release."""
        while not self._rest:
            kind, body = self.read_pdu()
            if kind == wire.RELEASE_RQ:
                return None
            if kind != wire.P_DATA:
                raise PeerFailed(f"PDU type {kind} instead of P-DATA-TF")
            self._rest = body
        if len(self._rest) < 6:
            raise PeerFailed("a PDV without a header")
        length, context_id, control = struct.unpack_from(">IBB", self._rest)
        if length < 2 or 4 + length > len(self._rest):
            raise PeerFailed("a PDV runs past its PDU")
        fragment = self._rest[6 : 4 + length]
        self._rest = self._rest[4 + length :]
        return context_id, control, fragment

    def read_message(self, *, keep_data: bool = False) -> Message | None:
        """The next message, or None when the peer asks for release. Raises PeerFailed."""
        command, data = bytearray(), bytearray()
        fields: dict[int, bytes] = {}
        size_bytes = 0
        while (pdv := self._read_pdv()) is not None:
            context_id, control, fragment = pdv
            if control & 1:
                command += fragment
                if len(command) > wire.COMMAND_LIMIT_BYTES:
                    raise PeerFailed(f"a command set of more than {wire.COMMAND_LIMIT_BYTES} bytes")
                if control & 2:
                    fields = wire.read_command(bytes(command))
                    if wire.number(fields, wire.DATA_SET_TYPE) == wire.NO_DATA_SET:
                        return Message(context_id, fields, b"", 0)
                continue
            if not fields:
                raise PeerFailed("a data set without a command set")
            size_bytes += len(fragment)
            if keep_data:
                if size_bytes > IDENTIFIER_LIMIT_BYTES:
                    raise PeerFailed(f"an identifier of more than {IDENTIFIER_LIMIT_BYTES} bytes")
                data += fragment
            if control & 2:
                return Message(context_id, fields, bytes(data), size_bytes)
        if command:
            raise PeerFailed("a release request inside a message")
        return None

    def release(self) -> None:
        """Orderly end (PS3.8 7.2); a peer that closes first is forgiven."""
        try:
            self.send(wire.RELEASE_REQUEST)
            self.read_pdu()
        except PeerFailed:
            pass
        self.sock.close()
