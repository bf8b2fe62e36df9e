"""Pictures of stored objects, for the web front end.

Receives descriptors of stored objects, sends the picture's bytes. The work is done by the processes of a pixel pool; what is not
large is kept for a while: lists, previews that play, and several who look at one study ask for the same again and again.
"""

from __future__ import annotations

import contextlib
import os
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

import msgspec
from msgspec import Struct
from xxhash import xxh3_128_hexdigest

from pacs_actors.archive.objects.interface import ObjectFile
from pacs_actors.archive.transcoding.messages import PASSING, Refused
from pacs_actors.pixels.pool import Fate, JobFailed, PixelPool
from pacs_actors.rendering.messages import (
    CannotRender,
    Look,
    Picture,
    RenderJob,
    State,
    Why,
    decode_answer,
    encode,
)
from protocols.dataset.transfer_syntax import DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN
from protocols.errors import PacsError, Unavailable

# Changes with every change of how pictures look: what browsers keep is not valid any longer then.
_VERSION: Final = b"1"
_DEADLINE_S: Final = 30.0
_CACHED_BYTES: Final = 128 * 1024


class RenderingFailed(PacsError):
    """The process that made the picture died of it: our bug, or the decoder's."""

    def __str__(self) -> str:
        return "The rendering of this object failed."


class StoredPixels(Struct, frozen=True):
    """An object to render.

    open:    opens it for reading
    offset, length: of its data set in the Part 10 file; syntax: its Transfer Syntax UID
    digest:  identifies its bytes
    state:   a presentation state to apply
    """

    open: Callable[[], ObjectFile]
    offset: int
    length: int
    syntax: str
    digest: bytes
    state: StoredPixels | None = None


class Image(Struct, frozen=True):
    """frames: how many the object has; 0: there are no pixels, this is a placeholder."""

    data: bytes
    picture: Picture
    frames: int


class Renderer:
    """pool: does the work; cache_bytes: for small pictures; deadline_s: of one rendering, the wait for a process not included."""

    def __init__(
        self, pool: PixelPool, *, cache_bytes: int = 16 * 1024 * 1024, deadline_s: float = _DEADLINE_S
    ) -> None:
        self._pool, self._deadline_s = pool, deadline_s
        self._cache_bytes, self._cached = cache_bytes, 0
        self._cache: OrderedDict[str, Image] = OrderedDict()

    @property
    def at_once(self) -> int:
        """Renderings that are worth having under way for one caller."""
        return self._pool.processes

    @staticmethod
    def tag(stored: StoredPixels, look: Look, placeholder: str = "") -> str:
        """Identifies a picture before it is made: the same tag, the same bytes."""
        parts = [_VERSION, stored.digest, encode(look), placeholder.encode()]
        if stored.state is not None:
            parts.append(stored.state.digest)
        return xxh3_128_hexdigest(b"\0".join(parts))

    def known(self, tag: str) -> Image | None:
        """A picture that was made before and kept."""
        image = self._cache.get(tag)
        if image is not None:
            self._cache.move_to_end(tag)
        return image

    async def render(
        self, stored: StoredPixels, look: Look, *, placeholder: str = "", keep: bool = False
    ) -> Image:
        """Make a picture.

        placeholder: letters to draw if there is nothing to show
        keep:        remember it if it is small
        raises:      CannotRender; RenderingFailed; Unavailable when too many wait or it takes too long; ObjectMissing
        """
        tag = self.tag(stored, look, placeholder)
        if keep and (known := self.known(tag)) is not None:
            return known
        async with self._pool.slot():
            image = await self._made(stored, look, placeholder)
        if keep:
            self._remember(tag, image)
        return image

    async def _made(self, stored: StoredPixels, look: Look, placeholder: str) -> Image:
        with contextlib.ExitStack() as stack:
            source = stored.open()
            stack.callback(os.close, source.fd)
            made = _memory(stack)
            more = [_memory(stack)] if stored.syntax == DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN else []
            state = None
            if (given := stored.state) is not None:
                opened = given.open()
                stack.callback(os.close, opened.fd)
                more.append(opened.fd)
                state = State(opened.start + given.offset, given.length, given.syntax)
            job = RenderJob(
                source.start + stored.offset,
                stored.length,
                stored.syntax,
                look,
                placeholder,
                state,
                cpu_s=int(self._deadline_s) + 1,
            )
            try:
                message = await self._pool.work(
                    encode(job), (source.fd, made, *more), deadline_s=self._deadline_s
                )
                answer = decode_answer(message)
            except JobFailed as failure:
                if failure.fate is Fate.DIED:
                    raise RenderingFailed from failure
                raise Unavailable(f"no rendering: {failure.reason}") from failure
            except msgspec.MsgspecError as failure:
                raise RenderingFailed from failure
            if isinstance(answer, Refused) and answer.kind == PASSING:
                raise Unavailable(f"no rendering: {answer.reason}")
            if isinstance(answer, Refused):
                raise CannotRender(answer.reason, Why(answer.kind))
            return Image(os.pread(made, answer.length, 0), answer.picture, answer.frames)

    def _remember(self, tag: str, image: Image) -> None:
        if len(image.data) > _CACHED_BYTES or tag in self._cache:
            return
        self._cache[tag] = image
        self._cached += len(image.data)
        while self._cached > self._cache_bytes:
            _, oldest = self._cache.popitem(last=False)
            self._cached -= len(oldest.data)


def _memory(stack: contextlib.ExitStack) -> int:
    """A file in memory, gone with its last descriptor. raises: Unavailable"""
    try:
        fd = os.memfd_create("picture", os.MFD_CLOEXEC)
    except OSError as failure:
        raise Unavailable(f"no rendering: {failure.strerror}") from failure
    stack.callback(os.close, fd)
    return fd
