"""Gives stored data sets in another transfer syntax, for peers that do not take the one they are stored in.

Receives descriptors of stored objects, sends descriptors of unnamed files. Owns a few processes: decoders are large programs
in C that read what strangers sent, so they run where a crash, a loop or a greed for memory ends one conversion and nothing
else. They start with the first conversion and leave by themselves when there has been none for a while.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Final

import msgspec
import trio

import pacs_actors
from pacs_actors.archive.transcoding.messages import (
    MAX_MESSAGE_BYTES,
    Answer,
    CannotTranscode,
    Job,
    Refused,
    decode_answer,
    encode,
)
from pacs_actors.archive.transcoding.syntaxes import convertible
from pacs_actors.operations import logs
from protocols.dataset.transfer_syntax import DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN
from protocols.errors import Misuse, Unavailable

__all__ = ["CannotTranscode", "Transcoder", "convertible"]

_PACKAGE: Final = "pacs_actors.archive.transcoding"
_LEAVING_S: Final = 2.0
_ROOT: Final = Path(pacs_actors.__file__).resolve().parents[1]


class Transcoder:
    """Processes that convert. Use as an async context manager; leaving it ends them.

    starts: how many processes were started so far
    """

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
        """folder:       for what is converted, unnamed files; none: the system's folder for temporary files
        processes:    conversions at once; queue: conversions that may wait
        deadline_s:   of one conversion, the wait for a process not included
        idle_s:       a process leaves after so long without work
        memory_bytes: of one process, mapped files not included; max_bytes: of one converted data set
        """
        if processes < 1 or queue < 0:
            raise Misuse(f"{processes} transcoding processes with a queue of {queue}")
        self._folder = tempfile.gettempdir() if folder is None else folder
        self._slots = trio.CapacityLimiter(processes)
        self._queue, self._deadline_s, self._idle_s = queue, deadline_s, idle_s
        self._memory_bytes, self._max_bytes = memory_bytes, max_bytes
        self._alive: list[_Process] = []
        self._idle: list[_Process] = []
        self._open = True
        self.starts = 0

    @property
    def pids(self) -> list[int]:
        """Of the processes that we know of; one that is idle may have left already."""
        return [process.pid for process in self._alive]

    async def __aenter__(self) -> Transcoder:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open = False
        while self._alive:
            await self._end(self._alive[-1])

    async def convert(
        self, fd: int, *, offset: int, length: int, source: str, target: str
    ) -> tuple[int, int]:
        """Convert the data set at ``offset`` of a file.

        fd:      ours from now on: it is closed in any case
        source:  Transfer Syntax UID of the data set; target: the one that is wanted
        returns: a descriptor that the caller closes, positioned nowhere in particular, of a file that holds the
                 converted data set and nothing else; its length in bytes
        raises:  CannotTranscode; Unavailable when too many wait
        """
        with contextlib.ExitStack() as stack:
            stack.callback(os.close, fd)
            if not convertible(source, target):
                raise CannotTranscode(f"{source} cannot be given as {target}")
            if self._slots.statistics().tasks_waiting >= self._queue:
                raise Unavailable("too many conversions wait")
            async with self._slots:
                if not self._open:
                    raise Unavailable("the transcoder is closed")
                made = self._unnamed(stack)
                scratch = [self._unnamed(stack)] if source == DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN else []
                job = Job(offset, length, source, target, self._max_bytes, int(self._deadline_s) + 1)
                answer = await self._do(job, (fd, made, *scratch))
                if isinstance(answer, Refused):
                    raise CannotTranscode(answer.reason)
                if answer.length != os.fstat(made).st_size:
                    raise CannotTranscode("a transcoding process miscounted")
                return os.dup(made), answer.length

    def _unnamed(self, stack: contextlib.ExitStack) -> int:
        """A file without a name: it is gone with its last descriptor."""
        try:
            return stack.enter_context(tempfile.TemporaryFile(dir=self._folder, buffering=0)).fileno()
        except OSError as failure:
            raise CannotTranscode(f"no temporary file: {failure.strerror}") from failure

    async def _do(self, job: Job, descriptors: tuple[int, ...]) -> Answer:
        """Have a process do a job. One that left because it was idle did not take it: the next one does."""
        while self._idle:
            process = self._idle.pop()
            with contextlib.suppress(_Left):
                return await self._do_with(process, job, descriptors)
        try:
            process = _Process(memory_bytes=self._memory_bytes, idle_s=self._idle_s)
        except OSError as failure:
            raise CannotTranscode(f"no transcoding process: {failure.strerror}") from failure
        self.starts += 1
        self._alive.append(process)
        try:
            return await self._do_with(process, job, descriptors)
        except _Left:
            raise CannotTranscode("the transcoding process left at once") from None

    async def _do_with(self, process: _Process, job: Job, descriptors: tuple[int, ...]) -> Answer:
        try:
            with trio.fail_after(self._deadline_s):
                answer = await process.ask(job, descriptors)
        except trio.TooSlowError:
            await self._end(process)
            raise CannotTranscode(f"it takes longer than {self._deadline_s} s") from None
        except _Silent:
            code = await self._end(process, grace_s=_LEAVING_S)
            if not self._open:
                raise Unavailable("the transcoder is closed") from None
            if code == 0:
                raise _Left from None
            logs.error("transcoding_process_died", code=code, source=job.source, target=job.target)
            raise CannotTranscode("the transcoding process died of it") from None
        except BaseException:
            await self._end(process)
            raise
        if self._open:
            self._idle.append(process)
        else:
            await self._end(process)
        return answer

    async def _end(self, process: _Process, *, grace_s: float = 0.0) -> int:
        if process in self._alive:
            self._alive.remove(process)
        return await process.end(grace_s=grace_s)


class _Silent(Exception):
    """The process closed its end without an answer, or said what is none."""


class _Left(Exception):
    """The process had left before the job came."""


class _Process:
    """One process and the socket to it."""

    def __init__(self, *, memory_bytes: int, idle_s: float) -> None:
        """Start it from this very thread: the kernel ends it with the thread that started it. Raises OSError."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            with theirs:
                self._process = subprocess.Popen(
                    [sys.executable, "-P", "-m", _PACKAGE, str(os.getpid()), str(memory_bytes), str(idle_s)],
                    stdin=theirs.fileno(),
                    stdout=subprocess.DEVNULL,
                    # The decoders complain there in their own words.
                    stderr=subprocess.DEVNULL,
                    env=_environment(),
                    start_new_session=True,
                )
        except BaseException:
            ours.close()
            raise
        self._link = trio.socket.from_stdlib_socket(ours)
        self.pid = self._process.pid

    async def ask(self, job: Job, descriptors: tuple[int, ...]) -> Answer:
        """raises: _Silent"""
        rights = (
            socket.SOL_SOCKET,
            socket.SCM_RIGHTS,
            b"".join(fd.to_bytes(4, sys.byteorder) for fd in descriptors),
        )
        try:
            await self._link.sendmsg([encode(job)], [rights])
            data = await self._link.recv(MAX_MESSAGE_BYTES)
            answer: Answer = decode_answer(data)
        except (OSError, trio.ClosedResourceError, msgspec.MsgspecError) as failure:
            raise _Silent from failure
        return answer

    async def end(self, *, grace_s: float = 0.0) -> int:
        """Kill it unless it ends by itself, and reap it; its exit code, negative for a signal."""
        self._link.close()
        try:
            pidfd = os.pidfd_open(self.pid)
        except OSError:  # reaped already, or no descriptor left to wait with
            self._process.kill()
        else:
            await self._gone(pidfd, grace_s)
        code: int = self._process.wait()
        return code

    async def _gone(self, pidfd: int, grace_s: float) -> None:
        """Wait for its end without blocking the loop; the kernel may take a while to free a large process."""
        with trio.CancelScope(shield=True):
            try:
                with trio.move_on_after(grace_s):
                    await trio.lowlevel.wait_readable(pidfd)
                self._process.kill()
                await trio.lowlevel.wait_readable(pidfd)
            finally:
                trio.lowlevel.notify_closing(pidfd)
                os.close(pidfd)


def _environment() -> dict[str, str]:
    """No secrets; one thread each, since more only help one conversion at the cost of all else."""
    paths = [str(_ROOT), os.environ.get("PYTHONPATH", "")]
    return {
        "PATH": os.defpath,
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        "PYTHONDONTWRITEBYTECODE": "1",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "MALLOC_ARENA_MAX": "2",
    }
