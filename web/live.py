"""The live view's fan-out: one actor looks at the node, encodes what changed once, hands it to every client.
every client.

Receives nothing but viewers that take a seat; sends text messages; owns the last state and the seats.

A client first gets a snapshot, then changes, numbered without gaps::

    {"n": 7, "kind": "snapshot", "resync": false, "state": {...}}
    {"n": 8, "kind": "change", "changes": {...}}         a JSON Merge Patch (RFC 7396) on the state

A client that falls behind its queue loses what was in it and gets a snapshot with ``"resync": true`` instead.
Nobody ever waits for it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import msgspec
import trio

from config.settings import WebSettings
from pacs_actors.mail import Ready
from protocols.errors import Refusal
from protocols.messages.status import NodeStatus
from web.changes import State, changes, state_of
from web.status import StatusSource
from web.studies import RecentStudies

_ENCODER: Final = msgspec.json.Encoder()


class Seat:
    """One client's place: a bounded queue of encoded messages."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._waiting: deque[str] = deque()
        self._news = trio.Event()
        self._closed = False
        self.resynchronised = 0

    def offer(self, message: str) -> bool:
        """Queue a message; False if there is no room for it."""
        if len(self._waiting) >= self._capacity:
            return False
        self._waiting.append(message)
        self._news.set()
        return True

    def start_over(self, snapshot: str) -> None:
        """Replace everything that waits by a snapshot."""
        self._waiting.clear()
        self.resynchronised += 1
        self.offer(snapshot)

    def close(self) -> None:
        self._closed = True
        self._news.set()

    async def next(self) -> str | None:
        """The next message; None once the live view has closed, even if something still waits."""
        while not self._waiting and not self._closed:
            self._news = trio.Event()
            await self._news.wait()
        return None if self._closed else self._waiting.popleft()


class LiveFanOut:
    """The actor. It looks at the node only while somebody watches."""

    def __init__(self, source: StatusSource, settings: WebSettings, studies: RecentStudies) -> None:
        self._source, self._settings, self._studies = source, settings, studies
        self._seats: set[Seat] = set()
        self._occupied = trio.Event()
        self._state: State | None = None
        self._encoded: bytes | None = None
        self._number = 0
        self._closed = False

    async def run(self, *, task_status: Ready = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled."""
        task_status.started()
        try:
            while True:
                await self._occupied.wait()
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._studies.keep_fresh)
                    while self._seats:
                        self.tick()
                        await trio.sleep(self._settings.live_interval_s)
                    nursery.cancel_scope.cancel()
        finally:  # nobody would feed them: let them connect again
            self._dismiss()

    @property
    def clients(self) -> int:
        """How many watch now."""
        return len(self._seats)

    def close(self) -> None:
        """Send every client away and take no new ones (drain)."""
        self._closed = True
        self._dismiss()

    def _dismiss(self) -> None:
        for seat in self._seats:
            seat.close()

    @contextmanager
    def seat(self) -> Iterator[Seat]:
        """A place to watch from.

        raises: Refusal when all places are taken, or while draining
        """
        if self._closed or len(self._seats) >= self._settings.max_clients:
            what = "The server is going down." if self._closed else "Too many live views are open."
            raise Refusal(what, dimse_status=0x0122, http_status=503)
        seat = Seat(self._settings.client_queue)
        self._seats.add(seat)
        if self._state is not None:
            seat.offer(self._snapshot(resync=False))
        self._occupied.set()
        try:
            yield seat
        finally:
            self._seats.discard(seat)
            if not self._seats:
                self._occupied = trio.Event()
                self._state = self._encoded = None

    def tick(self) -> None:
        """Look at the node once and tell every client what changed."""
        node = msgspec.structs.replace(
            self._source.node(), last_studies=self._studies.rows, studies_as_of=self._studies.as_of
        )
        self._tell(node)

    def _tell(self, node: NodeStatus) -> None:
        state, before = state_of(node), self._state
        self._state, self._encoded = state, None
        self._number += 1
        if before is None:
            message = self._snapshot(resync=False)
        else:
            patch = _ENCODER.encode(changes(before, state)).decode()
            message = f'{{"n":{self._number},"kind":"change","changes":{patch}}}'
        for seat in self._seats:
            if not seat.offer(message):
                seat.start_over(self._snapshot(resync=True))

    def _snapshot(self, *, resync: bool) -> str:
        if self._encoded is None:
            self._encoded = _ENCODER.encode(self._state)
        flag = "true" if resync else "false"
        return f'{{"n":{self._number},"kind":"snapshot","resync":{flag},"state":{self._encoded.decode()}}}'
