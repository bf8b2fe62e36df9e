"""A null Storage SCP: takes all, keeps none, counts. Destination of C-MOVE; shows the generator's limit.

``python -m bench.sink --port 11190`` runs one until interrupted.
"""

from __future__ import annotations

import argparse
import multiprocessing
import socket
import threading
from multiprocessing.sharedctypes import Synchronized
from typing import Final, Self

from bench import wire
from bench.link import Link
from bench.wire import PeerFailed

_FORK: Final = multiprocessing.get_context("fork")


class Sink:
    """Listens on loopback; ``processes`` accept from the same socket. Use as a context manager.

    instances, size_bytes: answered so far, across all processes
    """

    def __init__(self, port: int = 0, *, processes: int = 2, timeout_s: float = 60.0) -> None:
        self._listener = socket.create_server(("127.0.0.1", port), backlog=128)
        self.port = int(self._listener.getsockname()[1])
        self._timeout_s = timeout_s
        self._instances: Synchronized[int] = _FORK.Value("Q", 0)
        self._bytes: Synchronized[int] = _FORK.Value("Q", 0)
        self._workers = [_FORK.Process(target=self._accept, daemon=True) for _ in range(processes)]

    @property
    def instances(self) -> int:
        return self._instances.value

    @property
    def size_bytes(self) -> int:
        return self._bytes.value

    def __enter__(self) -> Self:
        for worker in self._workers:
            worker.start()
        return self

    def __exit__(self, *exc: object) -> None:
        for worker in self._workers:
            worker.terminate()
            worker.join()
        self._listener.close()

    def _accept(self) -> None:
        while True:
            sock, _ = self._listener.accept()
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        try:
            with Link(sock, timeout_s=self._timeout_s) as link:
                answer_association(link)
                while (message := link.read_message()) is not None:
                    if wire.number(message.command, wire.COMMAND_FIELD) == wire.C_STORE:
                        with self._instances:
                            self._instances.value += 1
                        with self._bytes:
                            self._bytes.value += message.size_bytes
                    link.send_message(message.context_id, response_to(message.command))
                link.send(wire.RELEASE_RESPONSE)
        except PeerFailed:
            return  # the peer's side reports it; a sink only counts


def answer_association(link: Link) -> None:
    """Accept every context with its first transfer syntax; raises PeerFailed."""
    kind, body = link.read_pdu()
    if kind != wire.ASSOCIATE_RQ:
        raise PeerFailed(f"PDU type {kind} instead of an A-ASSOCIATE-RQ")
    asked = wire.read_request(bytes(body))
    chosen = {context_id: syntaxes[0] for context_id, (_, syntaxes) in asked.contexts.items() if syntaxes}
    link.accepted = wire.Accepted(chosen, asked.max_pdu_bytes)
    link.send(wire.associate_accept(asked, chosen))


def response_to(request: dict[int, bytes]) -> bytes:
    """The success response to a C-STORE-RQ or C-ECHO-RQ (PS3.7 9.3.1.2, 9.3.5.2)."""
    fields: dict[int, int | str] = {
        wire.AFFECTED_CLASS: _text(request, wire.AFFECTED_CLASS),
        wire.COMMAND_FIELD: wire.number(request, wire.COMMAND_FIELD) | wire.RESPONSE,
        wire.RESPONDED_ID: wire.number(request, wire.MESSAGE_ID),
        wire.DATA_SET_TYPE: wire.NO_DATA_SET,
        wire.STATUS: 0,
    }
    if wire.AFFECTED_INSTANCE in request:
        fields[wire.AFFECTED_INSTANCE] = _text(request, wire.AFFECTED_INSTANCE)
    return wire.command_set(fields)


def _text(fields: dict[int, bytes], element: int) -> str:
    return fields.get(element, b"").decode("ascii", "replace").rstrip("\0 ")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--port", type=int, default=11190, help="port on 127.0.0.1 (default %(default)s)")
    parser.add_argument("--processes", type=int, default=2, help="accepting processes (default %(default)s)")
    options = parser.parse_args()
    with Sink(options.port, processes=options.processes) as sink:
        print(f"null Storage SCP on 127.0.0.1:{sink.port}; Ctrl-C ends it", flush=True)
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            print(f"{sink.instances} instances, {sink.size_bytes / 1e6:.0f} MB")


if __name__ == "__main__":
    main()
