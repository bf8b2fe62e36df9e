"""Syslog sender: sends the audit to a syslog receiver over TLS (RFC 5425), every row at least once, in order.

Receives nothing; reads ``Trail``, which is the spool: a row that the receiver lacks waits in its table, however long. How far
the receiver is stands in ``audit_deliveries``; of several nodes on one database, who holds that row sends.

Syslog has no acknowledgement. A row counts as delivered some seconds after the receiver's machine has acknowledged its bytes,
with the connection still standing. After a broken connection what does not count yet is sent again.
"""

from __future__ import annotations

import fcntl
import os
import ssl
import struct
import termios
from collections import deque
from typing import Final

import trio

from config.settings import AuditSettings
from pacs_actors.audit import dicom_xml, syslog
from pacs_actors.audit.dicom_xml import Source
from pacs_actors.audit.trail import Trail
from pacs_actors.mail import Ready
from pacs_actors.operations import logs
from protocols.errors import ConfigError, Unavailable
from protocols.messages.audit import AuditRow

_BATCH: Final = 200
_LOOK_EVERY_S: Final = 0.5
_SETTLED_AFTER_S: Final = 5.0
_HELD_FOR_S: Final = 30.0
_CONNECT_WITHIN_S: Final = 10.0
_SEND_WITHIN_S: Final = 30.0
_CLOSE_WITHIN_S: Final = 1.0
_FIRST_RETRY_S, _LONGEST_RETRY_S = 0.5, 60.0
_POLL_S: Final = 0.01

_FAILURES: Final = (
    OSError, ssl.SSLError, trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError, Unavailable,
)  # fmt: skip


class _Gone(OSError):
    """The receiver closed the connection."""


class SyslogSender:
    """lag: rows that the receiver may lack; connected: whether there is a connection; sent: rows since the start, repeats too

    holder: our name among the nodes of this database, the same after a restart
    raises: ConfigError when a file cannot be used
    """

    def __init__(self, settings: AuditSettings, trail: Trail, source: Source, holder: str) -> None:
        assert settings.syslog_host is not None
        self.settings, self.trail, self.source, self.holder = settings, trail, source, holder
        self.host, self.port = settings.syslog_host, settings.syslog_port
        self.receiver = f"syslog {self.host}:{self.port}"
        self.context = _context(settings)
        self.lag = self.sent = 0
        self.connected = False
        self._retry_s = _FIRST_RETRY_S
        self._troubled = False  # that it is away is said once, not at every attempt

    async def run(self, *, task_status: Ready = trio.TASK_STATUS_IGNORED) -> None:
        task_status.started()
        while True:
            try:
                delivered = await self._hold()
                if delivered is not None:
                    await self._deliver(delivered)
            except* _FAILURES as failures:
                self.connected = False
                why = _first(failures)
                tell = logs.debug if self._troubled else logs.warning
                tell(
                    "audit_syslog_away",
                    receiver=self.receiver,
                    why=f"{type(why).__name__}: {why}",
                    lag=self.lag,
                )
                self._troubled = True
            await trio.sleep(self._retry_s)
            self._retry_s = min(self._retry_s * 2, _LONGEST_RETRY_S)

    async def _hold(self) -> int | None:
        self.lag = await self.trail.lag(self.receiver)
        return await self.trail.hold_delivery(self.receiver, self.holder, _HELD_FOR_S)

    async def _deliver(self, delivered: int) -> None:
        """The life of one connection; ends by raising."""
        with trio.fail_after(_CONNECT_WITHIN_S):
            plain = await trio.open_tcp_stream(self.host, self.port)
            stream = trio.SSLStream(plain, self.context, server_hostname=self.host, https_compatible=False)
            try:
                await stream.do_handshake()
            except BaseException:
                await trio.aclose_forcefully(plain)
                raise
        self.connected = True
        logs.event("audit_syslog_connected", receiver=self.receiver, lag=self.lag)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_until_closed, stream)
                await self._send_all(stream, plain, delivered)
        finally:
            self.connected = False
            with trio.CancelScope(shield=True, deadline=trio.current_time() + _CLOSE_WITHIN_S):
                await stream.aclose()

    async def _send_all(
        self, stream: trio.SSLStream[trio.SocketStream], plain: trio.SocketStream, sent: int
    ) -> None:
        settling: deque[tuple[float, int]] = deque()  # when a batch was acknowledged, and its last row
        held_at = trio.current_time()
        while True:
            rows = await self.trail.after(sent, _BATCH)
            if rows:
                with trio.fail_after(_SEND_WITHIN_S):
                    await stream.send_all(b"".join(map(self._frame, rows)))
                    await _until_acknowledged(plain)
                sent = rows[-1].id
                self.sent += len(rows)
                self._retry_s, self._troubled = _FIRST_RETRY_S, False
                settling.append((trio.current_time(), sent))
            now = trio.current_time()
            settled = None
            while settling and now - settling[0][0] >= _SETTLED_AFTER_S:
                settled = settling.popleft()[1]
            if settled is not None:
                await self.trail.delivered(self.receiver, self.holder, settled)
            self.lag = await self.trail.lag(self.receiver)
            if now - held_at > _HELD_FOR_S / 3:
                if await self._hold() is None:
                    raise Unavailable("another node sends the audit now")
                held_at = now
            if len(rows) < _BATCH:
                await trio.sleep(_LOOK_EVERY_S)

    def _frame(self, row: AuditRow) -> bytes:
        return syslog.frame(
            dicom_xml.message(row, self.source),
            at=row.at,
            outcome=row.outcome,
            host=self.source.host,
            process=str(os.getpid()),
            message_id=self.settings.syslog_message_id,
        )


async def _until_closed(stream: trio.SSLStream[trio.SocketStream]) -> None:
    """A receiver has nothing to say; what it says is thrown away, and its goodbye ends the connection."""
    while await stream.receive_some(4096):
        pass
    raise _Gone("the receiver closed the connection")


async def _until_acknowledged(plain: trio.SocketStream) -> None:
    """Until nothing that we sent is unacknowledged by the other machine (Linux: SIOCOUTQ)."""
    while True:
        (unsent,) = struct.unpack("i", fcntl.ioctl(plain.socket.fileno(), termios.TIOCOUTQ, bytes(4)))
        if unsent == 0:
            return
        await trio.sleep(_POLL_S)


def _context(settings: AuditSettings) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=settings.syslog_ca)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"audit.syslog_ca: cannot use {settings.syslog_ca}: {error}") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if settings.syslog_certificate is not None:
        try:
            context.load_cert_chain(settings.syslog_certificate, settings.syslog_key)
        except (OSError, ssl.SSLError) as error:
            what = f"cannot use {settings.syslog_certificate} with {settings.syslog_key}: {error}"
            raise ConfigError(f"audit.syslog_certificate: {what}") from error
    return context


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
