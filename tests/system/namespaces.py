"""A network of our own: a switch, and machines on it with addresses of their own, as network namespaces of this kernel.

Who runs the tests sits at the switch; nothing outside of it is reached or changed. Needs to be root, and ``ip``.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

_CLONE_NEWNET = 0x4000_0000
_NET = "10.77.0"
SWITCH = f"{_NET}.1"
"""The address of whoever runs the tests."""


class Machine:
    """address: of it; wrapper: before a command that is to run there"""

    def __init__(self, name: str, number: int) -> None:
        self.name, self.address = name, f"{_NET}.{number}"
        self.wrapper = ("nsenter", f"--net=/run/netns/{name}", "--")


class Network:
    def __init__(self) -> None:
        self._prefix = f"pacs{os.getpid()}"
        self._switch = f"{self._prefix}-s"
        self._machines: list[Machine] = []

    def open(self) -> None:
        """Skips the test where the kernel, or whoever started us, does not allow it."""
        if os.geteuid() != 0 or any(shutil.which(tool) is None for tool in ("ip", "nsenter")):
            pytest.skip("network namespaces need root, and ip and nsenter")
        try:
            _ip("netns", "add", self._switch)
            self._inside(self._switch, "link", "set", "lo", "up")
            self._inside(self._switch, "link", "add", "switch", "type", "bridge")
            self._inside(self._switch, "addr", "add", f"{SWITCH}/24", "dev", "switch")
            self._inside(self._switch, "link", "set", "switch", "up")
        except subprocess.CalledProcessError as refused:
            self.close()
            pytest.skip(f"no network namespaces here: {refused.stderr.strip()}")

    def machine(self, number: int) -> Machine:
        """One more. number: its address's last"""
        made = Machine(f"{self._prefix}-{number}", number)
        port = f"port{number}"
        _ip("netns", "add", made.name)
        self._machines.append(made)
        _ip(
            "-n", self._switch, "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", made.name
        )  # fmt: skip
        self._inside(self._switch, "link", "set", port, "master", "switch", "up")
        self._inside(made.name, "link", "set", "lo", "up")
        self._inside(made.name, "addr", "add", f"{made.address}/24", "dev", "eth0")
        self._inside(made.name, "link", "set", "eth0", "up")
        return made

    def cut_off(self, machine: Machine, *, cut: bool = True) -> None:
        """Pull its cable out, or put it in again: neither end is told."""
        port = f"port{machine.address.rsplit('.', 1)[1]}"
        self._inside(
            self._switch, "link", "set", port, "nomaster" if cut else "master", *(() if cut else ("switch",))
        )

    @contextmanager
    def entered(self) -> Iterator[None]:
        """This thread, and those that it starts, are at the switch."""
        libc = ctypes.CDLL(None, use_errno=True)

        def go(to: int) -> None:
            if libc.setns(to, _CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), "setns")

        home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        there = os.open(f"/run/netns/{self._switch}", os.O_RDONLY)
        try:
            go(there)
            yield
        finally:
            go(home)
            os.close(there)
            os.close(home)

    def close(self) -> None:
        """Everything goes, whatever still runs there."""
        for name in [*(one.name for one in self._machines), self._switch]:
            if Path(f"/run/netns/{name}").exists():
                with suppress(subprocess.CalledProcessError):
                    _ip("netns", "del", name)

    def _inside(self, name: str, *words: str) -> None:
        _ip("-n", name, *words)


@contextmanager
def network() -> Iterator[Network]:
    made = Network()
    try:
        made.open()
        with made.entered():
            yield made
    finally:
        made.close()


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], capture_output=True, text=True, timeout=20, check=True)
