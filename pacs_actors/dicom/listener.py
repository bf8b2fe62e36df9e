"""Listener: accepts connections on an inherited socket and gives each an association handler of its own.

A worker that has more associations than its siblings waits a moment before it accepts, so that they share the load. A crash of one
association ends that association only. At the end of file descriptors accepting pauses.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Callable, Mapping

import trio

from pacs_actors.dicom.association import Association, Service
from pacs_actors.dicom.facilities import Facilities
from pacs_actors.dicom.wire import Wire
from pacs_actors.mail import Ready
from pacs_actors.node_page import ACCEPTING
from pacs_actors.operations import logs

_PAUSE_S = 0.5
_YIELD_S = 0.002
_IDLE_PER_ADDRESS = 64


class Listener:
    """associations: those open now, for the status page."""

    def __init__(
        self,
        sock: socket.socket,
        facilities: Facilities,
        services: Mapping[int, Service],
        *,
        tls: Callable[[], ssl.SSLContext] | None = None,
    ) -> None:
        self.sock, self.facilities, self.services, self.tls = sock, facilities, services, tls
        self.sock.setblocking(False)
        self.associations: set[Association] = set()
        self.accepted = self.turned_away = 0
        self._accepting = trio.CancelScope()
        self._draining = False

    async def run(self, *, task_status: Ready = trio.TASK_STATUS_IGNORED) -> None:
        """Accept until ``drain``; returns when the last association has ended."""
        async with trio.open_nursery() as nursery:
            task_status.started()
            with trio.CancelScope() as self._accepting:
                if self._draining:
                    return
                while True:
                    connection = await self._accept()
                    if connection is not None:
                        self._begin(nursery, *connection)

    def drain(self) -> None:
        """Accept no more; associations end when they fall idle."""
        self._draining = True
        self._accepting.cancel()
        for association in self.associations:
            association.drain()

    async def _accept(self) -> tuple[socket.socket, str] | None:
        await trio.lowlevel.wait_readable(self.sock)
        page = self.facilities.page
        if page.slot is not None and page.workers > 1:
            own = page.associations(page.slot)
            if any(
                page.associations(slot) < own and page.state(slot) == ACCEPTING
                for slot in range(page.workers)
            ):
                await trio.sleep(_YIELD_S)
        try:
            accepted, peer = self.sock.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return None
        except OSError as error:
            # No descriptors or memory left, or the network's trouble (accept(2)): neither is a reason to end associations.
            logs.warning("accept_pauses", why=error.strerror)
            await trio.sleep(_PAUSE_S)
            return None
        return accepted, str(peer[0])

    def _begin(self, nursery: trio.Nursery, accepted: socket.socket, address: str) -> None:
        """Give a connection a place. Idle ones make room: the oldest that has not asked for an association goes first."""
        idle = [one for one in self.associations if not one.established and one.address == address]
        if len(idle) >= _IDLE_PER_ADDRESS:
            self._evict(idle)
        place = self.facilities.page.enter(address)
        if place < 0 and (idle := [one for one in self.associations if not one.established]):
            self._evict(idle)
            place = self.facilities.page.enter(address)
        if place < 0:
            self.turned_away += 1
            logs.warning("connection_refused", address=address, why="no place left")
            accepted.close()
            return
        self.accepted += 1
        nursery.start_soon(self._serve, accepted, address, place)

    def _evict(self, idle: list[Association]) -> None:
        """Close the oldest; its place is free at once, for the connection that needs it."""
        oldest = min(idle, key=lambda one: one.began)
        self.turned_away += 1
        logs.warning("connection_evicted", address=oldest.address)
        oldest.evict()
        self._forget(oldest)

    def _forget(self, association: Association) -> None:
        if association in self.associations:
            self.associations.discard(association)
            self.facilities.page.leave(association.place)

    async def _serve(self, accepted: socket.socket, address: str, place: int) -> None:
        association: Association | None = None
        try:
            if self.tls is not None:
                accepted.setblocking(False)
                accepted = self.tls().wrap_socket(accepted, server_side=True, do_handshake_on_connect=False)
            wire = Wire(accepted, patience_s=self.facilities.settings.dicom.artim_s)
            association = Association(wire, address, self.facilities, self.services, place)
            self.associations.add(association)
            if self._draining:
                association.drain()
            await association.run()
        except OSError as error:
            # Gone before TLS began: not even its socket can be wrapped any more.
            logs.event("association_lost", address=address, why=str(error))
        except Exception as bug:
            logs.error("association_crashed", exception=bug, address=address)
        finally:
            with contextlib.suppress(OSError):
                accepted.close()
            if association is not None:
                self._forget(association)
            else:
                self.facilities.page.leave(place)
