"""A syslog receiver over TLS (RFC 5425) that believes nothing: it takes frames apart by their length, and can fall over."""

from __future__ import annotations

import re
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from tests.pacs_actors.audit.audit_schema import problems
from tests.system.certificates import Authority, Certificate

HEADER = re.compile(
    rb"<(\d{1,3})>1 (\S+) (\S{1,255}) (\S{1,48}) (\S{1,128}) (\S{1,32}) (-) \xef\xbb\xbf(.*)", re.DOTALL
)


class Receiver:
    """frames: what came; connections: how many there were

    falls_after:  frames after which each connection is torn down, with whatever lies unread in it; None: never
    """

    def __init__(
        self, authority: Authority, own: Certificate, *, port: int = 0, mutual: bool = False, falls_after: int | None = None
    ) -> None:  # fmt: skip
        self.context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=authority.file)
        self.context.load_cert_chain(own.certificate, own.key)
        if mutual:
            self.context.verify_mode = ssl.CERT_REQUIRED
        self.port, self.falls_after = port, falls_after
        self.frames: list[bytes] = []
        self.connections = 0

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[int]:
        async with trio.open_nursery() as nursery:
            listeners = await trio.open_tcp_listeners(self.port, host="127.0.0.1")
            self.port = listeners[0].socket.getsockname()[1]
            nursery.start_soon(trio.serve_listeners, self._serve, listeners)
            yield self.port
            nursery.cancel_scope.cancel()

    async def _serve(self, plain: trio.SocketStream) -> None:
        stream = trio.SSLStream(plain, self.context, server_side=True, https_compatible=True)
        buffer, taken = b"", 0
        self.connections += 1
        try:
            while True:
                more = await stream.receive_some(65536)
                if not more:
                    return
                buffer += more
                while (frame := _split(buffer)) is not None:
                    message, buffer = frame
                    self.frames.append(message)
                    taken += 1
                    if taken == self.falls_after:
                        return
        except (trio.BrokenResourceError, ssl.SSLError):
            return
        finally:
            await trio.aclose_forcefully(plain)


def _split(buffer: bytes) -> tuple[bytes, bytes] | None:
    """MSG-LEN SP SYSLOG-MSG (RFC 5425 4.3)."""
    digits, space, rest = buffer.partition(b" ")
    assert len(digits) <= 7, "no length"
    if not space:
        return None
    assert re.fullmatch(rb"[1-9]\d*", digits)
    length = int(digits)
    return (rest[:length], rest[length:]) if len(rest) >= length else None


def row_of(frame: bytes) -> int:
    """The number of the row in a frame; the whole of it is checked."""
    from xml.etree.ElementTree import fromstring

    header = HEADER.fullmatch(frame)
    assert header is not None, frame[:200]
    assert int(header[1]) >> 3 == 10, "facility authpriv"
    message = fromstring(header[8])
    assert problems(message) == []
    (itself,) = (
        each
        for each in message.iter("ParticipantObjectIdentification")
        if each[0].get("csd-code") == "AuditRow"
    )
    return int(str(itself.get("ParticipantObjectID")))
