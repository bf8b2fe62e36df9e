"""A few processes that work on pixels, and the queue in front of them.

Receives a job's message and descriptors, sends the answer's message. Decoders are large programs in C that read what
strangers sent, so they run where a crash, a loop or a greed for memory ends one job and nothing else. The processes start
with the first job and leave by themselves when there has been none for a while.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from enum import Enum
from pathlib import Path
from types import TracebackType
from typing import Final

import trio

import pacs_actors
from pacs_actors.operations import logs
from protocols.errors import Misuse, PacsError, Unavailable

MAX_MESSAGE_BYTES: Final = 16384
_PROGRAM: Final = "pacs_actors.pixels"
_LEAVING_S: Final = 2.0
# Most jobs take some milliseconds: a process whose client has left is worth waiting for.
_ABANDONED_S: Final = 0.5
_ROOT: Final = Path(pacs_actors.__file__).resolve().parents[1]


class Fate(Enum):
    """Why a job has no answer."""

    DIED = "the process died of it"
    SLOW = "it took too long"
    NO_PROCESS = "no process"


class JobFailed(PacsError):
    """There is no answer to a job; ``reason`` names no patient data."""

    def __init__(self, reason: str, fate: Fate) -> None:
        super().__init__(reason, fate)
        self.reason, self.fate = reason, fate

    def __str__(self) -> str:
        return self.reason


class PixelPool:
    """Processes that work on pixels. Use as an async context manager; leaving it ends them.

    starts: how many processes were started so far
    """

    def __init__(
        self,
        *,
        processes: int = 1,
        queue: int = 256,
        deadline_s: float = 120.0,
        idle_s: float = 60.0,
        memory_bytes: int = 2 * 1024**3,
    ) -> None:
        """processes:    jobs at once; queue: jobs that may wait
        deadline_s:   of one job, the wait for a process not included
        idle_s:       a process leaves after so long without work
        memory_bytes: of one process, mapped files not included
        """
        if processes < 1 or queue < 0:
            raise Misuse(f"{processes} pixel processes with a queue of {queue}")
        self._slots = trio.CapacityLimiter(processes)
        self._queue, self._deadline_s, self._idle_s = queue, deadline_s, idle_s
        self._memory_bytes = memory_bytes
        self._alive: list[_Process] = []
        self._idle: list[_Process] = []
        self._open = True
        self.starts = 0

    @property
    def pids(self) -> list[int]:
        """Of the processes that we know of; one that is idle may have left already."""
        return [process.pid for process in self._alive]

    @property
    def processes(self) -> int:
        """Jobs at once."""
        return int(self._slots.total_tokens)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open = False
        while self._alive:
            await self._end(self._alive[-1])

    @contextlib.asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """Wait for a place among the jobs at work. raises: Unavailable when too many wait, or the pool is closed"""
        if self._slots.statistics().tasks_waiting >= self._queue:
            raise Unavailable("too many conversions wait")
        async with self._slots:
            if not self._open:
                raise Unavailable("the pool is closed")
            yield

    async def work(
        self, message: bytes, descriptors: tuple[int, ...], *, deadline_s: float | None = None
    ) -> bytes:
        """Have a process do a job; only inside ``slot``.

        A job whose caller is cancelled gets a moment to end; then its process is killed.

        descriptors: stay the caller's
        raises:      JobFailed; Unavailable when the pool is closed meanwhile
        """
        patience_s = self._deadline_s if deadline_s is None else min(deadline_s, self._deadline_s)
        while self._idle:
            process = self._idle.pop()
            with contextlib.suppress(_Left):
                return await self._do_with(process, message, descriptors, patience_s)
        try:
            process = _Process(memory_bytes=self._memory_bytes, idle_s=self._idle_s)
        except OSError as failure:
            raise JobFailed(f"no pixel process: {failure.strerror}", Fate.NO_PROCESS) from failure
        self.starts += 1
        self._alive.append(process)
        try:
            return await self._do_with(process, message, descriptors, patience_s)
        except _Left:
            raise JobFailed("the pixel process left at once", Fate.NO_PROCESS) from None

    async def _do_with(
        self, process: _Process, message: bytes, descriptors: tuple[int, ...], patience_s: float
    ) -> bytes:
        asked = False
        try:
            with trio.fail_after(patience_s):
                await process.ask(message, descriptors)
                asked = True
                answer = await process.answer()
        except trio.TooSlowError:
            await self._end(process)
            raise JobFailed(f"it takes longer than {patience_s} s", Fate.SLOW) from None
        except _Silent:
            code = await self._end(process, grace_s=_LEAVING_S)
            if not self._open:
                raise Unavailable("the pool is closed") from None
            if code == 0:
                raise _Left from None
            logs.error("pixel_process_died", code=code)
            raise JobFailed("the process died of it", Fate.DIED) from None
        except BaseException:
            await self._abandon(process, asked=asked)
            raise
        await self._keep(process)
        return answer

    async def _abandon(self, process: _Process, *, asked: bool) -> None:
        """Nobody waits for the answer any more: take it if it comes soon, so that the process can go on."""
        if asked and self._open:
            with (
                trio.CancelScope(shield=True),
                trio.move_on_after(_ABANDONED_S),
                contextlib.suppress(_Silent),
            ):
                await process.answer()
                await self._keep(process)
                return
        await self._end(process)

    async def _keep(self, process: _Process) -> None:
        if self._open:
            self._idle.append(process)
        else:
            await self._end(process)

    async def _end(self, process: _Process, *, grace_s: float = 0.0) -> int:
        if process in self._alive:
            self._alive.remove(process)
        return await process.end(grace_s=grace_s)


class _Silent(Exception):
    """The process closed its end without an answer."""


class _Left(Exception):
    """The process had left before the job came: it was idle for too long, or has done enough."""


class _Process:
    """One process and the socket to it."""

    def __init__(self, *, memory_bytes: int, idle_s: float) -> None:
        """Start it from this very thread: the kernel ends it with the thread that started it. Raises OSError."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            with theirs:
                self._process = subprocess.Popen(
                    [sys.executable, "-P", "-m", _PROGRAM, str(os.getpid()), str(memory_bytes), str(idle_s)],
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

    async def ask(self, message: bytes, descriptors: tuple[int, ...]) -> None:
        """raises: _Silent"""
        rights = (
            socket.SOL_SOCKET,
            socket.SCM_RIGHTS,
            b"".join(fd.to_bytes(4, sys.byteorder) for fd in descriptors),
        )
        try:
            await self._link.sendmsg([message], [rights])
        except (OSError, trio.ClosedResourceError) as failure:
            raise _Silent from failure

    async def answer(self) -> bytes:
        """raises: _Silent"""
        try:
            data: bytes = await self._link.recv(MAX_MESSAGE_BYTES)
        except (OSError, trio.ClosedResourceError) as failure:
            raise _Silent from failure
        if not data:
            raise _Silent
        return data

    async def end(self, *, grace_s: float = 0.0) -> int:
        """Kill it unless it ends by itself, and reap it; its exit code, negative for a signal."""
        self._link.close()
        if self._process.returncode is not None:
            return self._process.returncode  # reaped already: its number may be somebody else's by now
        try:
            pidfd = os.pidfd_open(self.pid)
        except OSError:  # no descriptor left to wait with
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
    """No secrets; one thread each, since more only help one job at the cost of all else."""
    paths = [str(_ROOT), os.environ.get("PYTHONPATH", "")]
    return {
        "PATH": os.defpath,
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        "PYTHONDONTWRITEBYTECODE": "1",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "MALLOC_ARENA_MAX": "2",
    }
