"""A network namespace with nothing but loopback, so that peers that listen on every address reach nobody.

Orthanc and DCMTK cannot be told to bind to 127.0.0.1. The program starts itself again under
``unshare --net``, as root or in a user namespace of its own.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
import struct
import subprocess
import sys
from collections.abc import Sequence
from typing import Final

_MARK: Final = "BENCH_PRIVATE_NETWORK"
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 0x1


def entered() -> bool:
    """Whether this process already runs in its own namespace."""
    return _MARK in os.environ


def enter(module: str, arguments: Sequence[str]) -> None:
    """Start ``python -m module`` again in a private network; returns only where the system refuses that."""
    command = ["unshare", "--net"]
    if os.geteuid() != 0:
        command += ["--user", "--map-root-user"]
    if shutil.which("unshare") is None:
        return
    if subprocess.run([*command, "true"], capture_output=True, check=False).returncode:
        return
    os.environ[_MARK] = "1"
    sys.stdout.flush()
    os.execvp(command[0], [*command, sys.executable, "-m", module, *arguments])


def raise_loopback() -> None:
    """Bring ``lo`` up (a new namespace has it down). Raises RuntimeError if any other interface is."""
    # Tunnel devices, which some kernels add to every namespace, are down and harmless.
    if up := [name for _, name in socket.if_nameindex() if name != "lo" and is_up(name)]:
        raise RuntimeError(f"not a private network: {', '.join(up)}")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        request = struct.pack("16sh14x", b"lo", _flags("lo") | _IFF_UP)
        fcntl.ioctl(control, _SIOCSIFFLAGS, request)


def is_up(name: str) -> bool:
    """Whether an interface of this namespace is up."""
    return bool(_flags(name) & _IFF_UP)


def _flags(name: str) -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        answer = fcntl.ioctl(control, _SIOCGIFFLAGS, struct.pack("16sh14x", name.encode(), 0))
    return int(struct.unpack("16sh14x", answer)[1])
