"""Stored objects opened for reading, as they are or in another transfer syntax; what was converted is kept for a while.

Owns the files of recent conversions, which have no names, so that the frames of one object cost one conversion.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from typing import Final

import trio
from msgspec import Struct

from pacs_actors.archive.objects.interface import ObjectStore
from pacs_actors.archive.transcoder import CannotTranscode, CannotTranscodeNow, Transcoder
from pacs_actors.archive.web_locate import ServedInstance
from protocols.dataset.part10 import PREAMBLE_BYTES, file_meta
from protocols.errors import Unavailable

_MOST_FILES: Final = 64
_MOST_BYTES: Final = 512 * 1024 * 1024
_KEPT_S: Final = 60.0


class Opened:
    """An object that is open for reading; it is closed with ``close``, or when nobody refers to it any more.

    offset, length: of the data set in the file
    syntax:         Transfer Syntax UID of the data set
    prefix:         what goes before the rest of the file to make it a Part 10 file that tells nothing about us
    rest:           where that rest begins
    """

    def __init__(self, fd: int, offset: int, length: int, syntax: str, prefix: bytes, rest: int) -> None:
        self.fd, self.offset, self.length, self.syntax = fd, offset, length, syntax
        self.prefix, self.rest = prefix, rest

    @property
    def part10_bytes(self) -> int:
        return len(self.prefix) + self.offset - self.rest + self.length

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def __enter__(self) -> Opened:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()


class _Kept(Struct, frozen=True):
    """fd: -1 if it could not be converted"""

    fd: int
    length: int
    why: str
    until: float


class _Attempt:
    """A conversion under way. failed_now: why it may go well another time, once it is done"""

    def __init__(self) -> None:
        self.done = trio.Event()
        self.failed_now = ""


class Conversions:
    """Opens objects. Two who want the same conversion wait for one."""

    def __init__(self, store: ObjectStore, transcoder: Transcoder) -> None:
        self._store, self._transcoder = store, transcoder
        self._kept: OrderedDict[tuple[str, str], _Kept] = OrderedDict()
        self._kept_bytes = 0
        self._under_way: dict[tuple[str, str], _Attempt] = {}

    def stored(self, instance: ServedInstance) -> Opened:
        """As it is stored. Blocks for some microseconds. raises: ObjectMissing"""
        self._expire()
        file = self._store.open(instance.key)
        length = instance.size_bytes - instance.data_offset
        syntax, start = instance.transfer_syntax_uid, file.start
        return Opened(
            file.fd,
            start + instance.data_offset,
            length,
            syntax,
            bytes(PREAMBLE_BYTES),
            start + PREAMBLE_BYTES,
        )

    async def given(self, instance: ServedInstance, syntax: str) -> Opened:
        """In this transfer syntax. raises: ObjectMissing, CannotTranscode, Unavailable"""
        if syntax == instance.transfer_syntax_uid:
            return self.stored(instance)
        key = (instance.key, syntax)
        while True:
            self._expire()
            kept = self._kept.get(key)
            if kept is not None:
                break
            attempt = self._under_way.get(key)
            if attempt is None:
                attempt = await self._convert(instance, key)
            else:
                await attempt.done.wait()
            if attempt.failed_now:
                raise Unavailable(attempt.failed_now)
        if kept.fd < 0:
            raise CannotTranscode(kept.why)
        prefix = bytes(PREAMBLE_BYTES) + file_meta(instance.sop_class_uid, instance.sop_instance_uid, syntax)
        return Opened(os.dup(kept.fd), 0, kept.length, syntax, prefix, 0)

    def close(self) -> None:
        while self._kept:
            self._drop(next(iter(self._kept)))

    def __del__(self) -> None:
        self.close()

    async def _convert(self, instance: ServedInstance, key: tuple[str, str]) -> _Attempt:
        attempt = self._under_way[key] = _Attempt()
        try:
            file = self._store.open(instance.key)
            fd, length = await self._transcoder.convert(
                file.fd,
                offset=file.start + instance.data_offset,
                length=instance.size_bytes - instance.data_offset,
                source=instance.transfer_syntax_uid,
                target=key[1],
            )
            self._keep(key, _Kept(fd, length, "", trio.current_time() + _KEPT_S))
        except CannotTranscodeNow as failure:
            attempt.failed_now = failure.reason
        except CannotTranscode as failure:
            # The same object fails again: not every frame of it has to find that out.
            self._keep(key, _Kept(-1, 0, failure.reason, trio.current_time() + _KEPT_S))
        finally:
            del self._under_way[key]
            attempt.done.set()
        return attempt

    def _expire(self) -> None:
        """Whoever opens anything gives back what has had its time; all are kept equally long, so the oldest end first."""
        now = trio.current_time()
        while self._kept and next(iter(self._kept.values())).until <= now:
            self._drop(next(iter(self._kept)))

    def _keep(self, key: tuple[str, str], kept: _Kept) -> None:
        """At least the newest is kept, however large."""
        self._kept[key] = kept
        self._kept_bytes += kept.length
        while len(self._kept) > 1 and (self._kept_bytes > _MOST_BYTES or len(self._kept) > _MOST_FILES):
            self._drop(next(iter(self._kept)))

    def _drop(self, key: tuple[str, str]) -> None:
        kept = self._kept.pop(key)
        self._kept_bytes -= kept.length
        if kept.fd >= 0:
            os.close(kept.fd)
