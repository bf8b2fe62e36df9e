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
            assert Path(f"/proc/{pid}").exists(), "the process has ended already"
            pytest.skip(f"strace may not trace here: {tracer.stderr.read().decode(errors='replace').strip()}")
        yield
    finally:
        _end(tracer, deadly=any("signal=KILL" in one for one in inject))


def _end(tracer: subprocess.Popen[bytes], *, deadly: bool) -> None:
    """After a kill it ends by itself; told to end while its process is dying, it may wait for ever."""
    try:
        if deadly:
            tracer.communicate(timeout=20)
        else:
            tracer.send_signal(signal.SIGINT)
            tracer.communicate(timeout=20)
    finally:
        tracer.kill()
        tracer.wait()


def _is_traced(pid: int, tracer: int, threads: bool) -> bool:
    tasks = Path(f"/proc/{pid}/task").iterdir() if threads else [Path(f"/proc/{pid}")]
    return all(f"TracerPid:\t{tracer}\n" in (task / "status").read_text() for task in tasks)
