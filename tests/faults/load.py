"""Senders under which a server breaks, and what they know of it afterwards: the ledger that it is judged by."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from threading import Event, Thread
from typing import Final

import trio
from msgspec import Struct

from pacs_actors.dicom.client import ASSOCIATION_ERRORS, Peer, Timeouts, associate, for_storage
from pacs_actors.threads import NativePool
from tests.faults.images import CT_IMAGE, EXPLICIT_VR_LITTLE_ENDIAN, Image, new_uid
from tests.system.server import Server

STORAGE: Final = for_storage([(CT_IMAGE, EXPLICIT_VR_LITTLE_ENDIAN)])
CALLING: Final = "FAULTS"
_TIMEOUTS: Final = Timeouts(connect=5.0, association=10.0, message=30.0, response=60.0, release=2.0)
# Mostly small, so that there are many; some larger than a receive buffer, so that they are spilled as they come.
_PIXEL_BYTES: Final = (2_000, 8_000, 8_000, 40_000, 40_000, 130_000, 530_000, 1_500_000)


class Sent(Struct, frozen=True):
    """What a sender knows of an image. ``digest``: SHA-256 of its data set."""

    study_uid: str
    digest: str


class Ledger:
    """What has been sent, by SOP Instance UID, and what has been answered.

    refused:  the statuses that were not 0000H
    """

    def __init__(self) -> None:
        self.sent: dict[str, Sent] = {}
        self.acknowledged: dict[str, Sent] = {}
        self.refused: list[int] = []
        self.interruptions = 0

    @property
    def studies(self) -> set[str]:
        return {one.study_uid for one in self.sent.values()}

    @property
    def unanswered(self) -> int:
        return len(self.sent) - len(self.acknowledged)


class Load:
    """Associations that store one image after the other, each its own study, on a thread of their own.

    A sender whose association ends opens another. Every second one sends the image again that was not answered, as modalities do;
    the others go on with the next, so that there are images which nobody ever asks for again.

    per_association:  images before a sender releases its association and opens the next; 0: no end
    images:           of each sender, then it ends; 0: no end
    """

    def __init__(
        self,
        server: Server,
        ledger: Ledger,
        *,
        senders: int = 4,
        seed: int = 0,
        per_association: int = 0,
        images: int = 0,
        pixel_bytes: tuple[int, ...] = _PIXEL_BYTES,
        pause_s: float = 0.0,
    ) -> None:
        self.server, self.ledger, self.senders, self.seed = server, ledger, senders, seed
        self.per_association, self.images, self.pixel_bytes, self.pause_s = (
            per_association,
            images,
            pixel_bytes,
            pause_s,
        )
        self._stop = Event()
        self._thread = Thread(target=self._run, name="load")
        self._crash: BaseException | None = None

    def __enter__(self) -> Load:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Each sender ends with the image that it is at."""
        self._stop.set()
        self._thread.join(90)
        assert not self._thread.is_alive(), "a sender hangs"
        if self._crash is not None:
            raise self._crash

    def join(self, within_s: float) -> None:
        """Until all senders have sent what they had to."""
        self._thread.join(within_s)
        assert not self._thread.is_alive(), f"the senders are not done within {within_s:g} s"

    @property
    def done(self) -> bool:
        return not self._thread.is_alive()

    def wait_acknowledged(self, more: int, within_s: float = 60.0) -> None:
        """Until so many more images are acknowledged than now."""
        wanted = len(self.ledger.acknowledged) + more
        wait_until(
            lambda: len(self.ledger.acknowledged) >= wanted or self._crash is not None,
            within_s,
            f"{more} acknowledgements",
        )
        if self._crash is not None:
            raise self._crash

    def wait_interrupted(self, within_s: float = 60.0) -> None:
        """Until another association has ended in disorder."""
        before = self.ledger.interruptions
        wait_until(
            lambda: self.ledger.interruptions > before or self._crash is not None, within_s, "an interruption"
        )

    def _run(self) -> None:
        try:
            trio.run(self._send_all)
        except BaseException as crash:
            self._crash = crash

    async def _send_all(self) -> None:
        async with NativePool(1, "load") as pool, trio.open_nursery() as nursery:
            for number in range(self.senders):
                nursery.start_soon(self._send, number, pool)

    async def _send(self, number: int, pool: NativePool) -> None:
        images = self._images(number)
        image = next(images, None)
        while image is not None and not self._stop.is_set():
            try:
                async with associate(
                    "127.0.0.1", self.server.dicom_port, called=self.server.aet, calling=CALLING, contexts=STORAGE,
                    timeouts=_TIMEOUTS, pool=pool,
                ) as peer:  # fmt: skip
                    left = self.per_association or 1 << 60
                    while image is not None and left and not self._stop.is_set():
                        if await self._store(peer, image) or number % 2:
                            image = next(images, None)
                        left -= 1
                        await trio.sleep(self.pause_s)
            except ASSOCIATION_ERRORS:
                self.ledger.interruptions += 1
                if number % 2 and image is not None and image.uid in self.ledger.sent:
                    image = next(images, None)
                await trio.sleep(0.02)

    async def _store(self, peer: Peer, image: Image) -> bool:
        sent = Sent(image.study_uid, image.digest)
        self.ledger.sent[image.uid] = sent
        result = await peer.store(image.part10)
        if result.status == 0:
            self.ledger.acknowledged[image.uid] = sent
            return True
        self.ledger.refused.append(result.status)
        return False

    def _images(self, number: int) -> Iterator[Image]:
        study, series = new_uid(), new_uid()
        chance = random.Random(f"{self.seed} {number}")
        at = 0
        while not self.images or at < self.images:
            at += 1
            yield Image(study, series, at, pixel_bytes=chance.choice(self.pixel_bytes))


def wait_until(condition: Callable[[], bool], within_s: float, what: str) -> float:
    """Look until it is so; how many seconds that took."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < within_s, f"not within {within_s:g} s: {what}"
        time.sleep(0.01)
    return time.monotonic() - began
