"""The template of the pixel processes: imports all that they need, once, and is forked for each of them.

``python -m pacs_actors.pixels PARENT MEMORY_BYTES IDLE_S``. Standard input is a SEQPACKET socket; each datagram brings one
descriptor, the link of a process to be made. The template tells on the link the new process's number, and its exit code when it
has ended. Exit code 0 of a pixel process means: no job was taken that is not answered.

A template never reads a job, so what comes out of it is as clean as on the first day; it has one thread, so that forking is
safe. It ends with the other end of its standard input, and its processes end with it.
"""

from __future__ import annotations

import gc
import os
import select
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Final, NoReturn

from msgspec import Struct

from pacs_actors.pixels.limits import die_with, limit_descriptors, renounce
from pacs_actors.pixels.notices import notice

_FIRST_DESCRIPTOR: Final = 3
_MOST_DESCRIPTORS: Final = 256
_OF_A_PROCESS: Final = 32

Serve = Callable[[socket.socket], None]


class _Child(Struct, frozen=True):
    """A process that was made. link: its own, held until its end can be told on it; pidfd: readable when it has ended"""

    pid: int
    link: socket.socket
    pidfd: int


class Template:
    """serve: what a process does with its link"""

    def __init__(self, orders: socket.socket, serve: Serve) -> None:
        self._orders, self._serve = orders, serve
        self._children: dict[int, _Child] = {}

    def run(self) -> None:
        """Until nobody can ask for processes any more."""
        waiting = select.poll()
        waiting.register(self._orders, select.POLLIN)
        while True:
            for fd, _ in waiting.poll():
                if fd in self._children:
                    waiting.unregister(fd)
                    self._bury(self._children.pop(fd))
                    continue
                data, descriptors, _, _ = socket.recv_fds(self._orders, 16, 1)
                if not data:
                    return
                for link in descriptors:
                    if (child := self._made(socket.socket(fileno=link))) is not None:
                        self._children[child.pidfd] = child
                        waiting.register(child.pidfd, select.POLLIN)

    def _made(self, link: socket.socket) -> _Child | None:
        """None if the system has no place for another process; the end of its link tells that."""
        parent = os.getpid()
        try:
            pid = os.fork()
        except OSError:
            link.close()
            return None
        if not pid:
            self._be_a_process(link, parent)
        try:
            child = _Child(pid, link, os.pidfd_open(pid))
        except OSError:  # no descriptor left to watch it with
            link.close()
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            return None
        with suppress(OSError):
            socket.send_fds(link, [notice(pid)], [child.pidfd], socket.MSG_DONTWAIT)
        return child

    def _be_a_process(self, link: socket.socket, template: int) -> NoReturn:
        """With no descriptors but its link and those that lead nowhere: the others' links are not its business."""
        code = 1
        try:
            die_with(template)
            os.dup2(link.fileno(), 0)
            link.detach()
            os.closerange(_FIRST_DESCRIPTOR, _MOST_DESCRIPTORS)
            limit_descriptors(_OF_A_PROCESS)
            with socket.socket(fileno=0) as own:
                self._serve(own)
            code = 0
        finally:
            os._exit(code)

    def _bury(self, child: _Child) -> None:
        _, status = os.waitpid(child.pid, 0)
        os.close(child.pidfd)
        with suppress(OSError):  # whoever asked for it has left
            child.link.send(notice(os.waitstatus_to_exitcode(status)), socket.MSG_DONTWAIT)
        child.link.close()


def main() -> None:
    parent, memory_bytes, idle_s = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    renounce(parent)
    limit_descriptors(_MOST_DESCRIPTORS)
    # Only now: the libraries are large.
    from pacs_actors.pixels import jobs  # noqa: PLC0415

    jobs.load_codecs()

    def serve(link: socket.socket) -> None:
        jobs.serve(link, memory_bytes=memory_bytes, idle_s=idle_s)

    # What was imported lives as long as we do: collecting it anew after every job would take longer than most jobs, and
    # its memory would be everyone's own.
    gc.collect()
    gc.freeze()
    with socket.socket(fileno=0) as orders:
        Template(orders, serve).run()


if __name__ == "__main__":
    main()
