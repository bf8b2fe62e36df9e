"""hypercorn's HTTP/1.1 and websockets, for every request that is not plain: h11 judges it, and answers what it refuses.

Without upgrades to HTTP/2, and websockets are never compressed: that would cost memory and time per client, and an inflated
message could not be bounded before it is inflated.
"""

from __future__ import annotations

from typing import cast

import h11
from hypercorn.events import Closed, Event, RawData
from hypercorn.protocol.events import Body, EndBody, Response
from hypercorn.protocol.events import Event as StreamEvent
from hypercorn.protocol.h11 import H11Protocol
from hypercorn.protocol.ws_stream import WSStream


class Fallback(H11Protocol):
    """The head of a response waits for what follows it, so that a small answer is one send and one packet."""

    _head = b""

    @property
    def is_websocket(self) -> bool:
        return isinstance(self.stream, WSStream)

    @property
    def at_rest(self) -> bool:
        """Between requests, and with nothing of the next one."""
        connection = self.connection
        return (
            self.stream is None
            and isinstance(connection, h11.Connection)
            and connection.our_state is h11.IDLE
            and connection.their_state is h11.IDLE
            and connection.trailing_data == (b"", False)
        )

    async def _check_protocol(self, event: h11.Request) -> None:
        """Take every request as HTTP/1.1, as RFC 9110 section 7.8 allows."""

    async def stream_send(self, event: StreamEvent) -> None:
        if isinstance(event, Response) and event.status_code >= 200:
            headers = [*event.headers, *self.config.response_headers("h11")]
            self._head = self._made(h11.Response(headers=headers, status_code=event.status_code))
        elif isinstance(event, Body):
            await self._send_with_head(self._made(h11.Data(data=event.data)))
        elif isinstance(event, EndBody):
            await self._send_with_head(self._made(h11.EndOfMessage()))
        else:
            await super().stream_send(event)

    def _made(self, event: h11.Response | h11.Data | h11.EndOfMessage) -> bytes:
        """An event as bytes; none to a client that has broken the protocol meanwhile."""
        try:
            return cast(h11.Connection, self.connection).send(event) or b""
        except h11.LocalProtocolError:
            if self.connection.their_state != h11.ERROR:
                raise
            return b""

    async def _send_with_head(self, data: bytes) -> None:
        head, self._head = self._head, b""
        if made := head + data:
            await self.send(cast(Event, RawData(made)))

    async def _create_stream(self, request: h11.Request) -> None:
        names = {name for name, _ in request.headers}
        if {
            b"content-length",
            b"transfer-encoding",
        } <= names:  # an attempt at smuggling (RFC 9112 section 6.3)
            await self._send_error_response(400)
            await self.send(cast(Event, Closed()))
            return
        headers = [(name, value) for name, value in request.headers if name != b"sec-websocket-extensions"]
        await super()._create_stream(
            h11.Request(
                method=request.method,
                headers=headers,
                target=request.target,
                http_version=request.http_version,
            )
        )
