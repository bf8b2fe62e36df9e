"""Run by test_compare: enters a private network, prints the interfaces that are up, talks to itself."""

from __future__ import annotations

import socket

from bench import private_network


def main() -> None:
    if not private_network.entered():
        private_network.enter("tests.bench.interfaces", [])
        print("refused")
        return
    private_network.raise_loopback()
    for _, name in socket.if_nameindex():
        if private_network.is_up(name):
            print(name)
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as client:
        client.connect(server.getsockname())
        accepted, _ = server.accept()
        with accepted:
            client.sendall(b"x")
            print("echoed" if accepted.recv(1) == b"x" else "lost")


if __name__ == "__main__":
    main()
