"""What a pixel process gives up before it reads anybody's bytes."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
from typing import Final

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_NO_NEW_PRIVS: Final = 38
# Address space that the decoders' code takes.
_LIBRARIES_BYTES: Final = 512 * 1024**2
# Images that come in are more urgent than copies that go out.
_NICENESS: Final = 5


def renounce(parent: int) -> None:
    """Die with the process ``parent``, gain no rights, write no core, be less urgent; so do all that are forked from here.

    But to die with their parent they have to ask anew. raises: SystemExit if the parent has died already
    """
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    os.nice(_NICENESS)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # A file that becomes too large is an error to report, not a signal to die of.
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    die_with(parent)


def die_with(parent: int) -> None:
    """raises: SystemExit if the parent has died already"""
    _prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))
    if os.getppid() != parent:
        raise SystemExit(1)


def limit_descriptors(count: int) -> None:
    """How many descriptors there may be, from now on and for ever."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (count, count))


def _prctl(option: int, value: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")


def confine(*, memory_bytes: int, mapped_bytes: int, file_bytes: int, cpu_s: int) -> None:
    """The limits of one job; beyond the last the kernel kills us.

    memory_bytes: of our own; mapped_bytes: of files that may be mapped besides
    """
    used = resource.getrusage(resource.RUSAGE_SELF)
    _soften(resource.RLIMIT_DATA, memory_bytes)
    _soften(resource.RLIMIT_AS, memory_bytes + mapped_bytes + _LIBRARIES_BYTES)
    _soften(resource.RLIMIT_FSIZE, file_bytes)
    _soften(resource.RLIMIT_CPU, int(used.ru_utime + used.ru_stime) + 1 + cpu_s)


def _soften(limit: int, value: int) -> None:
    _, hard = resource.getrlimit(limit)
    resource.setrlimit(limit, (value if hard == resource.RLIM_INFINITY else min(value, hard), hard))
