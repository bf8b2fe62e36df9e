"""One blocking HTTP/1.1 connection that is kept alive: requests are bytes, bodies are counted and thrown away (RFC 9112)."""

from __future__ import annotations

import contextlib
import io
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from bench.wire import PeerFailed

_SCRATCH_BYTES: Final = 1 << 20
_MOST_FIELDS: Final = 200


@dataclass(frozen=True, slots=True)
class Site:
    """A DICOMweb service. path: what its resources begin with, as in /dicom-web; fields: of every request, by name."""

    host: str
    port: int
    path: str = ""
    fields: tuple[tuple[str, str], ...] = ()
    timeout_s: float = 60.0

    def request(self, method: str, target: str, fields: Sequence[tuple[str, str]] = ()) -> bytes:
        """The head of a request for ``path`` + ``target``."""
        lines = [f"{method} {self.path}{target} HTTP/1.1", f"Host: {self.host}:{self.port}"]
        lines += [f"{name}: {value}" for name, value in (*self.fields, *fields)]
        return "\r\n".join([*lines, "", ""]).encode("ascii")

    @contextlib.contextmanager
    def connect(self) -> Iterator[HttpLink]:
        """A connection to it; raises PeerFailed."""
        with contextlib.closing(HttpLink(self)) as link:
            link.open()
            yield link


@dataclass(frozen=True, slots=True)
class Answer:
    """size_bytes: of the body as it was sent. body: empty unless it was to be kept."""

    status: int
    size_bytes: int
    body: bytes = b""


class HttpLink:
    """Made by ``Site.connect``. Where an answer ends with its connection, the next request makes another."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._plain: socket.socket | None = None
        self._scratch = memoryview(bytearray(_SCRATCH_BYTES))

    def open(self) -> None:
        """Connect, unless that is done; raises PeerFailed."""
        if self._plain is not None:
            return
        address = (self._site.host, self._site.port)
        try:
            self._plain = socket.create_connection(address, self._site.timeout_s)
        except OSError as error:
            raise PeerFailed(f"no connection to {address[0]}:{address[1]}: {error}") from error
        self._plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._reader = io.BufferedReader(self._plain.makefile("rb", buffering=0), 1 << 18)

    def close(self) -> None:
        """Idempotent."""
        if self._plain is not None:
            self._reader.close()
            self._plain.close()
            self._plain = None

    def ask(self, *parts: bytes | bytearray | memoryview, keep: bool = False) -> Answer:
        """Send a request, head and body in parts, and read its answer; raises PeerFailed."""
        self.open()
        assert self._plain is not None
        try:
            for part in parts:
                self._plain.sendall(part)
            status, fields = self._head()
            kept: list[bytes] | None = [] if keep else None
            if fields.get("transfer-encoding", "").lower() == "chunked":
                size = self._chunks(kept)
            elif "content-length" in fields or status in {204, 304}:
                size = self._bytes(int(fields.get("content-length", "0")), kept)
            else:
                size = self._rest(kept)
                self.close()
            if fields.get("connection", "").lower() == "close":
                self.close()
        except (OSError, ValueError) as error:
            raise PeerFailed(f"no answer by HTTP: {error}") from error
        return Answer(status, size, b"".join(kept or ()))

    def _line(self) -> str:
        line = self._reader.readline(65536)
        if not line.endswith(b"\r\n"):
            raise PeerFailed("the peer closed the connection instead of answering")
        return line[:-2].decode("latin-1")

    def _head(self) -> tuple[int, dict[str, str]]:
        version, _, rest = self._line().partition(" ")
        if not version.startswith("HTTP/1."):
            raise PeerFailed("this is not HTTP/1.1")
        fields: dict[str, str] = {}
        for _ in range(_MOST_FIELDS):
            if not (line := self._line()):
                return int(rest[:3]), fields
            name, _, value = line.partition(":")
            fields[name.lower()] = value.strip()
        raise PeerFailed("an answer with too many fields")

    def _bytes(self, size: int, kept: list[bytes] | None) -> int:
        left = size
        while left:
            got = self._reader.readinto(self._scratch[: min(left, _SCRATCH_BYTES)])
            if not got:
                raise PeerFailed(f"the peer closed the connection {left} bytes before the end")
            if kept is not None:
                kept.append(bytes(self._scratch[:got]))
            left -= got
        return size

    def _rest(self, kept: list[bytes] | None) -> int:
        """A body without a length ends with its connection (RFC 9112 6.3)."""
        total = 0
        while got := self._reader.readinto(self._scratch):
            if kept is not None:
                kept.append(bytes(self._scratch[:got]))
            total += got
        return total

    def _chunks(self, kept: list[bytes] | None) -> int:
        total = 0
        while size := int(self._line().partition(";")[0], 16):
            total += self._bytes(size, kept)
            self._line()
        while self._line():
            pass
        return total
