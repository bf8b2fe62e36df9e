"""The socket of one connection with TLS.

Encrypts between memory and the socket, so that receiving and sending never wait for each other, and the deadline of a send
counts the bytes that leave.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Sequence
from typing import Final

import trio

from web.serving.wire import RECEIVE_BYTES, Piece, Wire

_HANDSHAKE_S: Final = 10.0
_ENCRYPTED_BYTES: Final = 256 * 1024  # encrypted, then sent: what a slow reader costs


class TlsWire(Wire):
    scheme = "https"
    sends_files = False

    def __init__(self, sock: socket.socket, write_deadline_s: float, context: ssl.SSLContext) -> None:
        super().__init__(sock, write_deadline_s)
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._finished = False

    async def shake_hands(self) -> str | None:
        """The protocol that was agreed on (ALPN); None if they speak no TLS of ours, or are too slow."""
        with trio.move_on_after(_HANDSHAKE_S):
            while not self.closed:
                try:
                    self._tls.do_handshake()
                except ssl.SSLWantReadError:
                    await self._flush()
                    if not await self._fill():
                        return None
                except ssl.SSLError:
                    await self._flush()  # the alert that says what is wrong
                    return None
                else:
                    await self._flush()
                    return self._tls.selected_alpn_protocol() or "http/1.1"
        return None

    async def receive(self, most_bytes: int = RECEIVE_BYTES) -> bytes:
        await trio.lowlevel.checkpoint_if_cancelled()
        while not self.closed and not self._finished:
            try:
                data = self._tls.read(most_bytes)
            except ssl.SSLWantReadError:
                await self._flush()  # TLS answers some of its messages itself
                if not await self._fill():
                    return b""
            except ssl.SSLError:  # the end, or damage: both end the connection
                return b""
            else:
                await trio.lowlevel.cancel_shielded_checkpoint()
                return data
        return await self._take(most_bytes)  # encrypted, for nobody reads it

    async def finish(self) -> None:
        """Say that nothing more comes, so that nobody takes a connection that breaks for the end of an answer."""
        self._finished = True
        try:
            self._tls.unwrap()
        except ssl.SSLError:
            pass
        await self._flush()
        await super().finish()

    async def _fill(self) -> bool:
        data = await self._take(RECEIVE_BYTES)
        if data:
            self._incoming.write(data)
        return bool(data)

    async def _flush(self) -> None:
        if self._outgoing.pending:
            await self._patiently(())

    def _at_once(self, data: bytes) -> tuple[bytes, ...]:
        return (data,)

    async def _send_each(self, pieces: Sequence[Piece], scope: trio.CancelScope) -> None:
        """raises: OSError, trio.ClosedResourceError"""
        await self._send_encrypted(scope)
        for piece in pieces:
            if not isinstance(piece, bytes):
                raise TypeError("no part of a file can be encrypted on its way")
            for at in range(0, len(piece), _ENCRYPTED_BYTES):
                self._tls.write(piece[at : at + _ENCRYPTED_BYTES])
                await self._send_encrypted(scope)

    async def _send_encrypted(self, scope: trio.CancelScope) -> None:
        if self._outgoing.pending:
            await self._send_memory([memoryview(self._outgoing.read())], scope)
