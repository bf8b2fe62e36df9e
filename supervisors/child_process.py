"""Child processes without threads: started from the caller's thread, awaited through a pidfd.

Trio's own helpers start children from a cached thread. A child that asks for a signal when its parent dies
(PR_SET_PDEATHSIG) gets it when that *thread* ends, so such children have to be started here.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Final

import trio
from msgspec import Struct

from pacs_actors import cores

MAX_OUTPUT_BYTES: Final = 64 * 1024
MAX_LINE_BYTES: Final = 8 * 1024
_CHUNK_BYTES: Final = 16 * 1024


class Finished(Struct, frozen=True):
    """code: exit code, negative for a signal; output: the last MAX_OUTPUT_BYTES of stdout and stderr."""

    code: int
    output: str


def spawn(
    argv: Sequence[str], *, environment: Mapping[str, str], feed: bytes = b""
) -> subprocess.Popen[bytes]:
    """Start a program in a session of its own, so that a terminal's Ctrl-C does not reach it.

    feed:   its whole standard input; at most what a pipe holds (64 KiB)
    raises: OSError
    """
    with cores.roaming():
        process = subprocess.Popen(
            argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=dict(environment),
            start_new_session=True,
        )
    assert process.stdin is not None and process.stdout is not None
    os.set_blocking(process.stdout.fileno(), False)
    with contextlib.suppress(BrokenPipeError):
        process.stdin.write(feed)
        process.stdin.close()
    return process


async def finish(
    argv: Sequence[str], *, environment: Mapping[str, str], feed: bytes = b"", limit_s: float
) -> Finished:
    """Run a program to its end. It is killed after limit_s seconds (code -9) or when we are cancelled."""
    process = spawn(argv, environment=environment, feed=feed)
    output = bytearray()
    try:
        with trio.move_on_after(limit_s):
            async for chunk in _chunks(process):
                output += chunk
                del output[:-MAX_OUTPUT_BYTES]
            await wait_exit(process)
    finally:
        end_now(process)
    return Finished(process.returncode, output.decode(errors="replace"))


def end_now(process: subprocess.Popen[bytes]) -> None:
    """Kill it if it still runs, and reap it."""
    if process.poll() is None:
        process.kill()
        process.wait()
    if process.stdout is not None:
        process.stdout.close()


async def wait_exit(process: subprocess.Popen[bytes]) -> int:
    """Wait for a child of ours; its exit code."""
    await wait_gone(process.pid)
    return process.wait()


async def wait_gone(pid: int) -> None:
    """Wait until a process, anybody's child, has ended (a zombie has)."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        await trio.lowlevel.wait_readable(pidfd)
    finally:
        trio.lowlevel.notify_closing(pidfd)
        os.close(pidfd)


async def wait_gone_within(pid: int, limit_s: float) -> bool:
    with trio.move_on_after(limit_s):
        await wait_gone(pid)
        return True
    return False


def tell(pid: int, number: signal.Signals) -> None:
    """Send a signal to a process that may have gone meanwhile."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


async def lines(process: subprocess.Popen[bytes]) -> AsyncIterator[str]:
    """What it says, line by line; a line longer than MAX_LINE_BYTES comes in pieces."""
    rest = b""
    async for chunk in _chunks(process):
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            yield line.decode(errors="replace")
        if len(rest) > MAX_LINE_BYTES:
            yield rest.decode(errors="replace")
            rest = b""
    if rest:
        yield rest.decode(errors="replace")


async def _chunks(process: subprocess.Popen[bytes]) -> AsyncIterator[bytes]:
    assert process.stdout is not None
    fd = process.stdout.fileno()
    while True:
        try:
            chunk = os.read(fd, _CHUNK_BYTES)
        except BlockingIOError:
            await trio.lowlevel.wait_readable(fd)
            continue
        if not chunk:
            return
        yield chunk
        await trio.lowlevel.checkpoint()
