"""The live view's fan-out: looks at each topic once for all who may see the same of it, encodes what changed once, hands it out.

Receives nothing but viewers that take a seat and say which topics they want; sends text messages as
``protocols.messages.live`` has them; owns the last states and the seats.

A client that falls behind its queue loses what was in it and gets snapshots with ``"resync": true`` instead. Nobody ever waits
for it; nor does a topic for another one that is slow to look at.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Final

import msgspec
import trio

from config.settings import WebSettings
from pacs_actors.archive.scope import EVERYTHING, StudyScope
from pacs_actors.mail import Ready
from pacs_actors.operations import logs
from protocols.errors import PacsError, Refusal
from protocols.messages.live import Refused, Topic
from web.changes import State, changes
from web.topics import LiveTopic

_ENCODER: Final = msgspec.json.Encoder()
_LEAST_PLACES: Final = len(Topic) + 3
_LOOK_WITHIN_S: Final = 5.0
# A topic that is slow to look at is looked at less often: it takes no more than this share of the time.
_MOST_SHARE: Final = 0.1


class Feed:
    """What is told of one topic to all who may see the same of it. number: of the state; the first one is 1"""

    def __init__(self, topic: Topic, scope: StudyScope) -> None:
        self.topic, self.scope = topic, scope
        self.seats: set[Seat] = set()
        self.state: State | None = None
        self.number = 0
        self.asked = False
        self._encoded: bytes | None = None

    def take(self, state: State) -> None:
        """Tell everybody how this state differs from the last one."""
        before, self.state = self.state, state
        if before is None:
            self.number, self._encoded = 1, None
            self._tell(self.snapshot())
        elif patch := changes(before, state):
            self.number, self._encoded = self.number + 1, None
            changed = _ENCODER.encode(patch).decode()
            self._tell(
                f'{{"topic":"{self.topic.value}","kind":"change","n":{self.number},"changes":{changed}}}'
            )

    def snapshot(self, *, resync: bool = False) -> str:
        if self._encoded is None:
            self._encoded = _ENCODER.encode(self.state)
        head = f'"topic":"{self.topic.value}","kind":"snapshot","n":{self.number}'
        return f'{{{head},"resync":{"true" if resync else "false"},"state":{self._encoded.decode()}}}'

    def _tell(self, message: str) -> None:
        for seat in self.seats:
            if not seat.offer(message):
                seat.start_over()


class Seat:
    """One client's place: a bounded queue of encoded messages. feeds: what it has subscribed to"""

    def __init__(self, capacity: int) -> None:
        self._capacity = max(capacity, _LEAST_PLACES)
        self._waiting: deque[str] = deque()
        self._news = trio.Event()
        self._closed = False
        self.feeds: dict[Topic, Feed] = {}
        self.resynchronised = 0

    def offer(self, message: str) -> bool:
        """Queue a message; False if there is no room for it."""
        if len(self._waiting) >= self._capacity:
            return False
        self._waiting.append(message)
        self._news.set()
        return True

    def start_over(self) -> None:
        """Replace everything that waits by snapshots."""
        self._waiting.clear()
        self.resynchronised += 1
        for feed in self.feeds.values():
            if feed.state is not None:
                self.offer(feed.snapshot(resync=True))

    def close(self) -> None:
        self._closed = True
        self._news.set()

    async def next(self) -> str | None:
        """The next message; None once the live view has closed, even if something still waits."""
        while not self._waiting and not self._closed:
            self._news = trio.Event()
            await self._news.wait()
        return None if self._closed else self._waiting.popleft()


class _Followed:
    """A topic, its feeds by scope, and the news that there is another one."""

    def __init__(self, topic: LiveTopic) -> None:
        self.topic = topic
        self.feeds: dict[StudyScope, Feed] = {}
        self.wanted = trio.Event()


class LiveFanOut:
    """The actor. It looks at a topic only while somebody watches.

    beside: what has to run as long as it does, such as who watches for alerts
    """

    def __init__(
        self, settings: WebSettings, topics: Iterable[LiveTopic], beside: Iterable[Callable[..., Any]] = ()
    ) -> None:
        self._settings, self._beside = settings, tuple(beside)
        self._topics = {topic.name: _Followed(topic) for topic in topics}
        self._seats: set[Seat] = set()
        self._closed = False

    async def run(self, *, task_status: Ready = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled."""
        try:
            async with trio.open_nursery() as nursery:
                for run in self._beside:
                    await nursery.start(run)
                for followed in self._topics.values():
                    nursery.start_soon(partial(self._follow, followed))
                task_status.started()
        finally:  # nobody would feed them: let them connect again
            self._dismiss()

    @property
    def clients(self) -> int:
        """How many watch now."""
        return len(self._seats)

    def topic(self, name: Topic) -> LiveTopic | None:
        followed = self._topics.get(name)
        return None if followed is None else followed.topic

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
        try:
            yield seat
        finally:
            self._seats.discard(seat)
            for topic in tuple(seat.feeds):
                self.unsubscribe(seat, topic)

    def subscribe(self, seat: Seat, name: Topic, scope: StudyScope) -> None:
        """Tell a client of a topic from now on, beginning with a snapshot: as soon as there is one."""
        followed = self._topics[name]
        seen = scope if followed.topic.scoped else EVERYTHING
        feed = followed.feeds.setdefault(seen, Feed(name, seen))
        if seat.feeds.get(name) is not feed:
            self.unsubscribe(seat, name)
        feed.seats.add(seat)
        seat.feeds[name] = feed
        if feed.state is None:
            followed.wanted.set()
        elif not seat.offer(feed.snapshot()):
            seat.start_over()

    def unsubscribe(self, seat: Seat, name: Topic) -> None:
        feed = seat.feeds.pop(name, None)
        if feed is None:
            return
        feed.seats.discard(seat)
        if not feed.seats:
            self._topics[name].feeds.pop(feed.scope, None)

    def refuse(self, seat: Seat, name: str, why: str) -> None:
        """Tell a client that a topic is not for it."""
        message = _ENCODER.encode(Refused(name, why)).decode()
        if not seat.offer(message):
            seat.start_over()
            seat.offer(message)

    async def _follow(self, followed: _Followed) -> None:
        due = trio.current_time()
        while True:
            if not followed.feeds:
                followed.wanted = trio.Event()
                await followed.wanted.wait()
            feeds = [feed for feed in followed.feeds.values() if not feed.asked]
            fresh = bool(feeds)
            if not fresh:
                if await self._news_before(followed, due):
                    continue
                feeds = list(followed.feeds.values())
            began = trio.current_time()
            for feed in feeds:
                await self._look(followed.topic, feed)
            now = trio.current_time()
            if not fresh or due <= now:
                every_s = followed.topic.every_s or self._settings.live_interval_s
                due = now + max(every_s, (now - began) / _MOST_SHARE)

    async def _news_before(self, followed: _Followed, due: float) -> bool:
        """Wait until it is time to look again; True if there is somebody new before that."""
        followed.wanted = trio.Event()
        with trio.move_on_at(due):
            await followed.wanted.wait()
            return True
        return not followed.feeds

    async def _look(self, topic: LiveTopic, feed: Feed) -> None:
        """A state that cannot be had is the last one."""
        failed = feed.asked and feed.state is None
        feed.asked = True
        try:
            with trio.move_on_after(_LOOK_WITHIN_S):
                state = await topic.look(feed.scope)
                if feed.seats:
                    feed.take(state)
        except PacsError as why:
            if not failed:
                logs.debug("live_topic_unanswered", topic=topic.name.value, why=str(why))
