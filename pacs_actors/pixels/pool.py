"""A few processes that work on pixels, and the queue in front of them.

Receives a job's message and descriptors, sends the answer's message. Decoders are large programs in C that read what
strangers sent, so they run where a crash, a loop or a greed for memory ends one job and nothing else. The processes are forked
from a template, which starts with ``prepare`` or the first job and stays; they leave by themselves when there has been no job
for a while. After one has crashed, the next come from a new template: all of one have the same addresses, and nobody is to find
out by trying where things lie.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from enum import Enum
from types import TracebackType
from typing import Final

import trio

from pacs_actors.operations import logs
from pacs_actors.pixels.process import PixelProcess, Silent, Template
from protocols.errors import Misuse, PacsError, Unavailable

_LEAVING_S: Final = 2.0
# Most jobs take some milliseconds: a process whose client has left is worth waiting for.
_ABANDONED_S: Final = 0.5


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
        self._template: Template | None = None
        self._alive: list[PixelProcess] = []
        self._idle: list[PixelProcess] = []
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
        for process in self._alive:
            process.kill()
        while self._alive:
            await self._end(self._alive[-1])
        if self._template is not None:
            await self._template.end()

    def prepare(self) -> None:
        """Have what the processes need loaded before there is a job, so that the first does not wait for it."""
        with contextlib.suppress(OSError):  # the first job says so
            self._ready_template()

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
        process = await self._forked(patience_s)
        try:
            return await self._do_with(process, message, descriptors, patience_s)
        except _Left:
            raise JobFailed("the pixel process left at once", Fate.NO_PROCESS) from None

    def _ready_template(self) -> Template:
        """raises: OSError"""
        if self._template is not None and not self._template.usable:
            self._template.discard()
            self._template = None
        if self._template is None:
            self._template = Template(memory_bytes=self._memory_bytes, idle_s=self._idle_s)
        return self._template

    async def _forked(self, patience_s: float) -> PixelProcess:
        """raises: JobFailed, Unavailable"""
        try:
            template = self._ready_template()
        except OSError as failure:
            raise JobFailed(f"no pixel process: {failure.strerror}", Fate.NO_PROCESS) from failure
        try:
            with trio.fail_after(patience_s):
                process = await template.fork()
        except (Silent, trio.TooSlowError) as failure:
            if not self._open:
                raise Unavailable("the pool is closed") from None
            if isinstance(failure, trio.TooSlowError):
                await self._retire(template)
            raise JobFailed("no pixel process could be made", Fate.NO_PROCESS) from None
        self.starts += 1
        self._alive.append(process)
        if not self._open:
            await self._end(process)
            raise Unavailable("the pool is closed")
        return process

    async def _do_with(
        self, process: PixelProcess, message: bytes, descriptors: tuple[int, ...], patience_s: float
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
        except Silent:
            code = await self._end(process, grace_s=_LEAVING_S)
            if not self._open:
                raise Unavailable("the pool is closed") from None
            if code == 0:
                raise _Left from None
            logs.error("pixel_process_died", code=code)
            if code is None:  # its template was ended: nobody knows whether it was the job's fault
                raise JobFailed("the pixel process has gone", Fate.NO_PROCESS) from None
            await self._retire(process.template)
            raise JobFailed("the process died of it", Fate.DIED) from None
        except BaseException:
            await self._abandon(process, asked=asked)
            raise
        await self._keep(process)
        return answer

    async def _abandon(self, process: PixelProcess, *, asked: bool) -> None:
        """Nobody waits for the answer any more: take it if it comes soon, so that the process can go on."""
        if asked and self._open:
            with (
                trio.CancelScope(shield=True),
                trio.move_on_after(_ABANDONED_S),
                contextlib.suppress(Silent),
            ):
                await process.answer()
                await self._keep(process)
                return
        await self._end(process)

    async def _keep(self, process: PixelProcess) -> None:
        if self._open and not process.template.retired:
            self._idle.append(process)
        else:
            await self._end(process)

    async def _retire(self, template: Template) -> None:
        """The next processes come from another. It goes when those from it have done what they are at."""
        template.retired = True
        if self._template is template:
            self._template = None
        idle = [process for process in self._idle if process.template is template]
        self._idle = [process for process in self._idle if process.template is not template]
        for process in idle:
            await self._end(process)
        if not template.children:
            await template.end()

    async def _end(self, process: PixelProcess, *, grace_s: float = 0.0) -> int | None:
        """Its exit code."""
        if process in self._alive:
            self._alive.remove(process)
        code = await process.end(grace_s=grace_s)
        if process.template.retired and not process.template.children:
            await process.template.end()
        return code


class _Left(Exception):
    """The process had left before the job came: it was idle for too long, or has done enough."""
