"""A web client that takes its time over an answer."""

from __future__ import annotations

import socket
import time

from tests.system.server import Server

_PIECE_BYTES = 64 * 1024


class SlowReader:
    """Asks as the administrator. received: bytes of the body so far; length: of the whole body, as the answer says"""

    def __init__(self, server: Server, path: str, accept: str) -> None:
        plain = socket.socket()
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        plain.settimeout(30)
        plain.connect(("127.0.0.1", server.web_port))
        tls = server.tls
        self._sock = plain if tls is None else tls.wrap_socket(plain, server_hostname="127.0.0.1")
        headers = [
            f"GET {path} HTTP/1.1", f"Host: 127.0.0.1:{server.web_port}", f"Accept: {accept}",
            f"Authorization: Bearer {server.token}",
        ]  # fmt: skip
        self._sock.sendall("\r\n".join([*headers, "", ""]).encode())
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += self._sock.recv(4096)
        told, _, begun = answer.partition(b"\r\n\r\n")
        lines = told.decode().lower().split("\r\n")
        assert lines[0].split()[1] == "200", lines
        self.length = int(dict(line.split(": ", 1) for line in lines[1:])["content-length"])
        self.received = len(begun)

    def read(self, for_s: float = 0.0) -> None:
        """What comes, evenly over at least so long; the rest at once."""
        pieces = max(1, (self.length - self.received) // _PIECE_BYTES)
        while self.received < self.length:
            data = self._sock.recv(_PIECE_BYTES)
            if not data:
                return
            self.received += len(data)
            time.sleep(for_s * len(data) / _PIECE_BYTES / pieces)

    def close(self) -> None:
        self._sock.close()
