"""DIMSE messages on a wire: what both ends of an association share.

Receives commands and data sets, sends them, and is the only place that knows how P-DATA fragments lie in a stream. A C-STORE's
data set goes straight into the buffer from which it is written to disk: no byte of it is copied in user space. Who may
send what when is the state table's business (``protocols/ul/association.py``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

import trio
from msgspec import Struct

from pacs_actors.dicom.wire import PeerGone, PeerSilent, Wire
from protocols.dimse.commands import Command, decode_command
from protocols.errors import PacsError, PeerError
from protocols.ul.association import UpperLayer
from protocols.ul.negotiation import Negotiated
from protocols.ul.pdata import PDU_HEADER, PDV_HEADER, check_header, encode_message
from protocols.ul.pdu import Abort, AbortReason, Pdu, PduType, decode, encode

LARGEST_COMMAND_BYTES: Final = 64 * 1024
LARGEST_IDENTIFIER_BYTES: Final = 1024 * 1024
_CONTROL_BYTES: Final = 8192
_AHEAD: Final = 12  # the next PDU header and PDV header, received together with the payload before them
_RATE_GRACE_S: Final = 5.0
_PARK_AFTER_S: Final = 0.25


class Released(PacsError):
    """The peer asked for the release of the association, which is its right between messages."""


class Aborted(PacsError):
    """The peer aborted the association."""

    def __init__(self, source: int, reason: int) -> None:
        super().__init__(f"aborted by the {'peer' if source == 0 else 'provider'}, reason {reason}")
        self.source, self.reason = source, reason


class Incoming(Struct, frozen=True):
    """A command that has come; its data set, if it has one, is still on the wire or in ``data``."""

    context_id: int
    command: Command


class Sink(Protocol):
    """Where a received data set goes: ``view[position:]`` is free; ``spill`` makes room when it is full.

    ``park`` gives the buffer back while the peer is slow, ``resume`` gets one again.
    """

    view: memoryview
    position: int

    async def spill(self) -> None: ...

    async def park(self) -> None: ...

    async def resume(self) -> None: ...


class DicomLink:
    """One association's stream of PDUs, after or before its establishment.

    max_pdu_bytes:      what we offered; a longer PDU is refused from its 6-byte header
    peer_max_pdu_bytes: what the peer takes
    """

    def __init__(
        self, wire: Wire, upper_layer: UpperLayer, *, max_pdu_bytes: int, minimum_rate_bytes_s: int = 0
    ) -> None:
        self.wire, self.upper_layer = wire, upper_layer
        self.max_pdu_bytes, self.minimum_rate_bytes_s = max_pdu_bytes, minimum_rate_bytes_s
        self.peer_max_pdu_bytes = 16384
        self.negotiated: Negotiated | None = None
        self.message_timeout_s = 30.0
        self.idle_timeout_s = 60.0
        self._control = memoryview(bytearray(_CONTROL_BYTES))
        self._start = self._end = 0
        self._pdu_left = 0  # bytes of the current P-DATA-TF not yet looked at
        self._pdv_left = 0  # bytes of the current fragment not yet taken
        self._pdv_context = self._pdv_flags = 0
        self._message_began: float | None = None
        self._message_bytes = 0

    # -- receiving ----------------------------------------------------------------------------------------------------------
    async def receive_message(self) -> Incoming:
        """The next command. Raises Released, Aborted, PeerError, PeerGone or PeerSilent."""
        command, context_id = bytearray(), -1
        self.wire.patience_s = self.idle_timeout_s
        self._message_began = None
        if self._start == self._end:
            await self._fill(1)
        # From its first byte on: a header that trickles holds the association just as well.
        self._begin_message()
        while True:
            if not self._pdv_left:
                await self._next_fragment()
            if not self._pdv_flags & 1:
                raise _unexpected("a data set before its command set")
            if context_id < 0:
                context_id = self._pdv_context
            elif self._pdv_context != context_id:
                raise PeerError("a command set over two contexts", section="PS3.8 annex E.2", abort_reason=6)
            if len(command) + self._pdv_left > LARGEST_COMMAND_BYTES:
                raise PeerError("a command set over 64 KiB", section="PS3.7 6.3", abort_reason=6)
            last = self._pdv_flags & 2
            fragment = await self._take_fragment()
            if last and not command:
                return Incoming(context_id, decode_command(fragment))
            command += fragment
            if last:
                return Incoming(context_id, decode_command(command))

    async def receive_identifier(
        self, context_id: int, *, limit_bytes: int = LARGEST_IDENTIFIER_BYTES
    ) -> bytes:
        """The data set that follows a command, in one piece: for identifiers, not for images."""
        # Never a list of fragments: many small ones take several times the room of what is in them.
        data_set = bytearray()
        while True:
            if not self._pdv_left:
                await self._next_fragment()
            self._check_data_fragment(context_id)
            if len(data_set) + self._pdv_left > limit_bytes:
                raise PeerError(f"a data set over {limit_bytes} bytes", section="PS3.7 9.1", abort_reason=6)
            last = self._pdv_flags & 2
            fragment = await self._take_fragment()
            if last and not data_set:
                return fragment
            data_set += fragment
            if last:
                return bytes(data_set)

    async def receive_data_set(self, context_id: int, sink: Sink, *, limit_bytes: int) -> int:
        """The data set that follows a C-STORE-RQ, into the sink; its length in bytes.

        Raises PeerError for one over the limit, besides what ``receive_message`` and ``Sink.spill`` raise.
        """
        total = 0
        while True:
            if not self._pdv_left:
                await self._next_fragment()
            self._check_data_fragment(context_id)
            last = self._pdv_flags & 2
            total += self._pdv_left
            if total > limit_bytes:
                raise PeerError(f"a data set over {limit_bytes} bytes", section="PS3.7 9.1.1", abort_reason=6)
            while self._pdv_left:
                if sink.position == len(sink.view):
                    await sink.spill()
                await self._receive_payload(sink, last=bool(last))
            if last:
                return total

    async def skip_data_set(self, context_id: int) -> None:
        """Read past a data set that we refuse."""
        while True:
            if not self._pdv_left:
                await self._next_fragment()
            self._check_data_fragment(context_id)
            last = self._pdv_flags & 2
            while self._pdv_left:
                if self._start == self._end:
                    await self._fill(1)
                taken = min(self._end - self._start, self._pdv_left)
                self._start += taken
                self._pdv_left -= taken
            if last:
                return

    def has_bytes(self) -> bool:
        """As ``pending_message``, but does not ask the kernel, which right after an answer is in vain."""
        return self._start < self._end or (self.wire.holds_back and self.pending_message())

    def pending_message(self) -> bool:
        """True when bytes of a next message are already here: a C-CANCEL, a release or an abort."""
        if self._start < self._end:
            return True
        self._start = self._end = 0
        got = self.wire.receive_nowait(self._control)
        if got < 0:
            return False
        if got == 0:
            raise PeerGone("closed by the peer")
        self._end = got
        return True

    async def wait_message(self, *, within_s: float = float("inf")) -> None:
        """Until ``pending_message``. Raises PeerSilent."""
        patience_s, self.wire.patience_s = self.wire.patience_s, within_s
        try:
            while not self.pending_message():
                await self.wire.wait_readable()
        finally:
            self.wire.patience_s = patience_s

    async def receive_control(self) -> tuple[int, bytes]:
        """Type and body of the next PDU that is not P-DATA, whole; its length is capped from its header."""
        kind, length = PDU_HEADER.unpack(await self._take(6))
        check_header(kind, length, 0)
        body = bytearray(length)
        view = memoryview(body)
        got = min(length, self._end - self._start)
        view[:got] = self._control[self._start : self._start + got]
        self._start += got
        while got < length:
            more = await self.wire.receive_into(view[got:])
            if not more:
                raise PeerGone("closed in the middle of a PDU")
            got += more
        return kind, bytes(body)

    async def _next_fragment(self) -> None:
        """Go to the next fragment (PDV), across PDU borders; control PDUs end the wait by an exception."""
        while not self._pdu_left:
            if self._end - self._start < 6:
                await self._fill(6)
            kind, length = PDU_HEADER.unpack_from(self._control, self._start)
            if kind != PduType.DATA:
                await self._control_pdu()
                continue
            if not self.upper_layer.established:
                self.upper_layer.received(kind)
                raise _unexpected("P-DATA outside an association")
            if not 6 <= length <= self.max_pdu_bytes:
                raise _invalid(f"a P-DATA-TF of {length} bytes")
            self._start += 6
            self._pdu_left = length
        if self._pdu_left < 6:
            raise _invalid("a fragment cut off by its PDU")
        if self._end - self._start < 6:
            await self._fill(6)
        length, self._pdv_context, self._pdv_flags = PDV_HEADER.unpack_from(self._control, self._start)
        self._start += 6
        if not 2 <= length <= self._pdu_left - 4:
            raise _invalid(f"a fragment of {length} bytes in a PDU that has {self._pdu_left - 4}")
        self._pdv_left = length - 2
        self._pdu_left -= length + 4
        if self.negotiated is None or self._pdv_context not in self.negotiated.contexts:
            raise _invalid(f"presentation context {self._pdv_context} was not accepted")

    async def _control_pdu(self) -> None:
        """A PDU other than P-DATA inside an association: release, abort, or nonsense, which is refused from its header."""
        kind, length = PDU_HEADER.unpack_from(self._control, self._start)
        check_header(kind, length, 0)
        if kind not in (PduType.RELEASE_REQUEST, PduType.ABORT):
            raise _unexpected(f"PDU type {kind:02X}H")
        kind, body = await self.receive_control()
        self.upper_layer.received(kind)
        pdu = decode(kind, body)
        if isinstance(pdu, Abort):
            raise Aborted(pdu.source, pdu.reason)
        raise Released

    def _check_data_fragment(self, context_id: int) -> None:
        if self._pdv_flags & 1:
            raise _unexpected("a command set where a data set was announced")
        if self._pdv_context != context_id:
            raise _invalid("a data set in another context than its command")

    async def _take_fragment(self) -> bytes:
        """The rest of the current fragment, copied: command sets and identifiers only."""
        length, self._pdv_left = self._pdv_left, 0
        if length <= self._end - self._start:
            data = bytes(self._control[self._start : self._start + length])
            self._start += length
            return data
        whole = bytearray(length)
        view = memoryview(whole)
        got = 0
        while got < length:
            if self._start == self._end:
                await self._fill(1)
            taken = min(self._end - self._start, length - got)
            view[got : got + taken] = self._control[self._start : self._start + taken]
            self._start += taken
            got += taken
        return bytes(whole)

    async def _receive_payload(self, sink: Sink, *, last: bool) -> None:
        """Some of the current fragment into the sink."""
        position, view = sink.position, sink.view
        room = len(view) - position
        here = self._end - self._start
        if here:  # came with the command: at most a few KB
            taken = min(here, self._pdv_left, room)
            view[position : position + taken] = self._control[self._start : self._start + taken]
            self._start += taken
        else:
            want = min(self._pdv_left, room)
            ahead = (
                _AHEAD
                if want == self._pdv_left and not last and not self._pdu_left and room - want >= _AHEAD
                else 0
            )
            got = self.wire.receive_nowait(view[position : position + want + ahead])
            if got < 0:
                await self._wait_payload(sink)
                return
            if not got:
                raise PeerGone("closed by the peer")
            self._message_bytes += got
            taken = min(got, want)
            if got > want:
                extra = got - want
                self._control[:extra] = view[position + want : position + got]
                self._start, self._end = 0, extra
        sink.position = position + taken
        self._pdv_left -= taken
        await self.wire.give_way()

    async def _wait_payload(self, sink: Sink) -> None:
        """Until more is there. A peer that makes us wait long does so without one of our buffers."""
        self._check_rate()
        with trio.move_on_after(_PARK_AFTER_S) as short:
            await self.wire.until_readable()
        if short.cancelled_caught:
            await sink.park()
            await self.wire.wait_readable()
            await sink.resume()

    async def _take(self, length: int) -> memoryview:
        if self._end - self._start < length:
            await self._fill(length)
        self._start += length
        return self._control[self._start - length : self._start]

    async def _fill(self, length: int) -> None:
        """Have at least ``length`` bytes (a few) in the control buffer; never waits for more than that."""
        if self._start:
            here = self._end - self._start
            self._control[:here] = self._control[self._start : self._end]
            self._start, self._end = 0, here
        while self._end < length:
            self._end += await self._receive(self._control[self._end :])

    async def _receive(self, view: memoryview) -> int:
        await self.wire.give_way()
        got = self.wire.receive_nowait(view)
        if got < 0:
            self._check_rate()
            if self._message_began is not None:
                self.wire.acknowledge_at_once()
            got = await self.wire.receive_into(view)
        if not got:
            raise PeerGone("closed by the peer")
        self._message_bytes += got
        return got

    def _begin_message(self) -> None:
        if self._message_began is None:
            self.wire.patience_s = self.message_timeout_s
            self._message_began = trio.current_time()
            self._message_bytes = self._end - self._start

    def _check_rate(self) -> None:
        """A peer that trickles must not hold its place for ever (slow-loris)."""
        if self._message_began is not None and self.minimum_rate_bytes_s:
            elapsed_s = trio.current_time() - self._message_began
            if elapsed_s > _RATE_GRACE_S and self._message_bytes < self.minimum_rate_bytes_s * elapsed_s:
                raise PeerSilent(f"{self._message_bytes} bytes in {elapsed_s:.0f} s")

    # -- sending ------------------------------------------------------------------------------------------------------------
    async def send_pdu(self, pdu: Pdu) -> None:
        await self.wire.send([encode(pdu)])

    async def send_message(self, context_id: int, command: bytes, data_set: bytes | None = None) -> None:
        """A command set and, if given, its data set, in one write."""
        message = self.encoded(context_id, command, command=True)
        if data_set is not None:
            message += self.encoded(context_id, data_set, command=False)
        self.wire.patience_s = self.message_timeout_s
        await self.wire.send([message])

    async def send_messages(self, context_id: int, messages: Sequence[tuple[bytes, bytes]]) -> None:
        """Many commands with their data sets (the answers of a C-FIND), in one write."""
        parts: list[bytes] = []
        for command, data_set in messages:
            parts.append(self.encoded(context_id, command, command=True))
            parts.append(self.encoded(context_id, data_set, command=False))
        self.wire.patience_s = self.message_timeout_s
        await self.wire.send([b"".join(parts)])

    def encoded(self, context_id: int, data: bytes, *, command: bool) -> bytes:
        """A command set or data set as P-DATA-TF PDUs no longer than the peer takes."""
        return encode_message(context_id, data, command=command, max_pdu_bytes=self.peer_max_pdu_bytes)


def _invalid(what: str) -> PeerError:
    return PeerError(what, section="PS3.8 9.3.5", abort_reason=AbortReason.INVALID_PARAMETER_VALUE)


def _unexpected(what: str) -> PeerError:
    return PeerError(what, section="PS3.8 table 9-10", abort_reason=AbortReason.UNEXPECTED_PDU)
