"""Pixel processes as the server sees them: the template that they are forked from, and the link to each."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Final

import trio

import pacs_actors
from pacs_actors import cores
from pacs_actors.pixels.notices import MAX_MESSAGE_BYTES, read_notice

_PROGRAM: Final = "pacs_actors.pixels"
_ROOT: Final = Path(pacs_actors.__file__).resolve().parents[1]
# Of a process that was killed; the kernel may take a while to free a large one.
_ENDING_S: Final = 10.0
# Where Python keeps what it has compiled.
_COMPILED: Final = ("PYTHONDONTWRITEBYTECODE", "PYTHONPYCACHEPREFIX")


class Silent(Exception):
    """The process closed its end without an answer."""


class Template:
    """A process that has all libraries in its memory and is forked for each pixel process; those share that memory.

    children: how many of them are there; retired: no more are made
    """

    def __init__(self, *, memory_bytes: int, idle_s: float) -> None:
        """Start it from this very thread: the kernel ends it with the thread that started it. Raises OSError."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            with theirs, cores.roaming():
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
        self._orders = trio.socket.from_stdlib_socket(ours)
        self.pid = self._process.pid
        self.children = 0
        self.retired = False

    @property
    def usable(self) -> bool:
        return not self.retired and self._process.poll() is None

    async def fork(self) -> PixelProcess:
        """A new process, as soon as the template has loaded what it needs. raises: Silent"""
        try:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        except OSError as failure:
            raise Silent from failure
        process = PixelProcess(self, ours)
        try:
            with theirs:
                rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, theirs.fileno().to_bytes(4, sys.byteorder))
                await self._orders.sendmsg([b"\0"], [rights])
            await process.begin()
        except BaseException as failure:
            process.close()
            if isinstance(failure, OSError | trio.ClosedResourceError):
                raise Silent from failure
            raise
        return process

    async def end(self) -> None:
        """Kill it, and with it what was forked from it."""
        self.discard()
        if self._process.poll() is not None:
            return
        self._process.kill()
        with trio.CancelScope(shield=True), trio.move_on_after(_ENDING_S):
            await _wait_for_end(self.pid)
        self._process.poll()

    def discard(self) -> None:
        """Ask nothing of it any more; it ends by itself if it still can."""
        self.retired = True
        self._orders.close()


class PixelProcess:
    """One process and the link to it. code: its exit code once it has ended, negative for a signal"""

    def __init__(self, template: Template, link: socket.socket) -> None:
        self.template = template
        self._link = trio.socket.from_stdlib_socket(link)
        # Whoever ends a process listens beside the one who waits for its answer.
        self._listening = trio.Lock()
        self._pidfd = -1
        self.pid = 0
        self.code: int | None = None
        self._closed = False

    async def begin(self) -> None:
        """Hear that it is there. raises: Silent"""
        try:
            message, ancillary, _, _ = await self._link.recvmsg(MAX_MESSAGE_BYTES, socket.CMSG_LEN(4))
        except (OSError, trio.ClosedResourceError) as failure:
            raise Silent from failure
        number = read_notice(message)
        if number is None or not ancillary:
            raise Silent
        self.pid = number
        self.template.children += 1
        self._pidfd = int.from_bytes(ancillary[0][2][:4], sys.byteorder)

    async def ask(self, message: bytes, descriptors: tuple[int, ...]) -> None:
        """raises: Silent"""
        rights = (
            socket.SOL_SOCKET,
            socket.SCM_RIGHTS,
            b"".join(fd.to_bytes(4, sys.byteorder) for fd in descriptors),
        )
        try:
            await self._link.sendmsg([message], [rights])
        except (OSError, trio.ClosedResourceError) as failure:
            raise Silent from failure

    async def answer(self) -> bytes:
        """raises: Silent"""
        message = await self._heard()
        if not message:
            raise Silent
        return message

    def kill(self) -> None:
        if self._pidfd >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)

    async def end(self, *, grace_s: float = 0.0) -> int | None:
        """Kill it unless it ends by itself; its exit code, None if nobody was left to tell."""
        with trio.CancelScope(shield=True):
            with trio.move_on_after(grace_s):
                await self._until_ended()
            if self.code is None:
                self.kill()
                with trio.move_on_after(_ENDING_S):
                    await self._until_ended()
        self.close()
        return self.code

    def close(self) -> None:
        """A process whose link is closed leaves when it has no work."""
        if self._closed:
            return
        self._closed = True
        self._link.close()
        if self._pidfd >= 0:
            self.template.children -= 1
            os.close(self._pidfd)
            self._pidfd = -1

    async def _until_ended(self) -> None:
        while await self._heard():
            pass

    async def _heard(self) -> bytes:
        """The next answer; b"" when there will be none."""
        async with self._listening:
            while self.code is None:
                try:
                    message = await self._link.recv(MAX_MESSAGE_BYTES)
                except ConnectionResetError:
                    continue  # it left with a job unread; what was said before is still to come
                except (OSError, trio.ClosedResourceError):
                    return b""
                number = read_notice(message)
                if not message or number is None:
                    return bytes(message)
                self.code = number
            return b""


async def _wait_for_end(pid: int) -> None:
    """Of a process that nobody else waits for, without blocking the loop."""
    pidfd = os.pidfd_open(pid)
    try:
        await trio.lowlevel.wait_readable(pidfd)
    finally:
        trio.lowlevel.notify_closing(pidfd)
        os.close(pidfd)


def _environment() -> dict[str, str]:
    """No secrets; one thread each, since more only help one job at the cost of all else, and forking wants one."""
    paths = [str(_ROOT), os.environ.get("PYTHONPATH", "")]
    ours = {
        "PATH": os.defpath,
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "MALLOC_ARENA_MAX": "2",
    }
    compiled = {name: os.environ[name] for name in _COMPILED if name in os.environ}
    return ours | compiled
