"""strace as a saboteur: it makes a process's N-th system call of a kind fail, or kills the process there."""

from __future__ import annotations

import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.faults.load import wait_until


@contextmanager
def traced(
    pid: int, log: Path, *, calls: Sequence[str], inject: Sequence[str] = (), threads: bool = True
) -> Iterator[None]:
    """Trace a process, or with ``threads`` False one thread of it, for the length of a block.

    calls:   names of the system calls that are looked at
    inject:  what happens at them, in strace's words: ``fdatasync:error=EIO:when=2``; each thread counts for itself
    """
    deadly = any("signal=KILL" in one for one in inject)
    program = shutil.which("strace")
    if program is None:
        pytest.skip("strace is not installed")
    words = [word for one in inject for word in ("-e", f"inject={one}")]
    follow = ["-f"] if threads else []
    tracer = subprocess.Popen(
        [program, *follow, "-qq", "-o", str(log), "-e", f"trace={','.join(calls)}", *words, "-p", str(pid)],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        wait_until(
            lambda: tracer.poll() is not None or _is_traced(pid, tracer.pid, threads),
            20,
            "strace is attached",
        )
        if tracer.poll() is not None:
            assert tracer.stderr is not None
            why = tracer.stderr.read().decode(errors="replace").strip()
            # A busy process may meet its call, and be dead, before anybody could see that it was traced.
            if not (deadly and log.read_bytes()):
                assert Path(f"/proc/{pid}").exists(), f"the process has ended already: {why}"
                pytest.skip(f"strace may not trace here: {why}")
        yield
    finally:
        _end(tracer, deadly=deadly)


def _end(tracer: subprocess.Popen[bytes], *, deadly: bool) -> None:
    """After a kill it ends by itself; told to end while its process is dying, it may wait for ever."""
    try:
        if deadly:
            tracer.wait(timeout=20)
        else:
            tracer.send_signal(signal.SIGINT)
            tracer.communicate(timeout=20)
    finally:
        tracer.kill()
        tracer.wait()


def _is_traced(pid: int, tracer: int, threads: bool) -> bool:
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir()) if threads else [Path(f"/proc/{pid}")]
        return bool(tasks) and all(
            f"TracerPid:\t{tracer}\n" in (task / "status").read_text() for task in tasks
        )
    except (FileNotFoundError, ProcessLookupError):
        return False  # a thread that has ended, or all of them
