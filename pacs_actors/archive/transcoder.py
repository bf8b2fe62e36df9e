"""Gives stored data sets in another transfer syntax, for peers that do not take the one they are stored in.

Receives descriptors of stored objects, sends descriptors of unnamed files. The work is done by the processes of a pixel pool.
"""

from __future__ import annotations

import contextlib
import os
import tempfile

import msgspec

from pacs_actors.archive.transcoding.messages import (
    PASSING,
    CannotTranscode,
    CannotTranscodeNow,
    Job,
    Refused,
    decode_answer,
    encode,
)
from pacs_actors.archive.transcoding.syntaxes import compressible, convertible
from pacs_actors.pixels.pool import Fate, JobFailed, PixelPool
from protocols.dataset.transfer_syntax import DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN

__all__ = ["CannotTranscode", "CannotTranscodeNow", "Transcoder", "compressible", "convertible"]


class Transcoder(PixelPool):
    """A pixel pool that converts data sets."""

    def __init__(
        self,
        *,
        folder: str | os.PathLike[str] | None = None,
        processes: int = 1,
        queue: int = 256,
        deadline_s: float = 120.0,
        idle_s: float = 60.0,
        memory_bytes: int = 2 * 1024**3,
        max_bytes: int = 4 * 1024**3,
    ) -> None:
        """folder:    for what is converted, unnamed files; none: the system's folder for temporary files
        max_bytes: of one converted data set; the others: see ``PixelPool``
        """
        super().__init__(
            processes=processes, queue=queue, deadline_s=deadline_s, idle_s=idle_s, memory_bytes=memory_bytes
        )
        self._folder = tempfile.gettempdir() if folder is None else folder
        self._max_bytes = max_bytes

    async def __aenter__(self) -> Transcoder:
        return self

    async def convert(
        self, fd: int, *, offset: int, length: int, source: str, target: str
    ) -> tuple[int, int]:
        """Convert the data set at ``offset`` of a file.

        fd:      ours from now on: it is closed in any case
        source:  Transfer Syntax UID of the data set; target: the one that is wanted
        returns: a descriptor that the caller closes, positioned nowhere in particular, of a file that holds the
                 converted data set and nothing else; its length in bytes
        raises:  CannotTranscode, CannotTranscodeNow if it may go well another time; Unavailable when too many wait
        """
        with contextlib.ExitStack() as stack:
            stack.callback(os.close, fd)
            if not (convertible(source, target) or compressible(source, target)):
                raise CannotTranscode(f"{source} cannot be given as {target}")
            async with self.slot():
                made = self._unnamed(stack)
                scratch = [self._unnamed(stack)] if source == DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN else []
                job = Job(offset, length, source, target, self._max_bytes, int(self._deadline_s) + 1)
                try:
                    answer = decode_answer(await self.work(encode(job), (fd, made, *scratch)))
                except JobFailed as failure:
                    died = failure.fate is Fate.DIED
                    raise (CannotTranscode if died else CannotTranscodeNow)(failure.reason) from failure
                except msgspec.MsgspecError as failure:
                    raise CannotTranscode("a pixel process gave no sense") from failure
                if isinstance(answer, Refused):
                    passing = answer.kind == PASSING
                    raise (CannotTranscodeNow if passing else CannotTranscode)(answer.reason)
                if answer.length != os.fstat(made).st_size:
                    raise CannotTranscode("a pixel process miscounted")
                return os.dup(made), answer.length

    def _unnamed(self, stack: contextlib.ExitStack) -> int:
        """A file without a name: it is gone with its last descriptor."""
        try:
            return stack.enter_context(tempfile.TemporaryFile(dir=self._folder, buffering=0)).fileno()
        except OSError as failure:
            raise CannotTranscodeNow(f"no temporary file: {failure.strerror}") from failure
