"""Bodies of pieces: read, grouped and sent from files, whatever the kernel has in memory; clients that stop or leave."""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from pathlib import Path
from typing import Any

import pytest
import trio

from pacs_actors.archive.conversions import Opened
from pacs_actors.people.rights import Action
from pacs_actors.threads import NativePool
from tests.fakes.people import ADMINISTRATOR, FixedAuthenticator
from tests.web.serving import site
from web.dicomweb.pieces import CHUNK_BYTES, FileSpan, ObjectShort, Piece, PieceReader, length_of
from web.http.answer import Answer
from web.http.front import Front
from web.http.gate import Gate
from web.http.request import Request
from web.http.routes import Route

SIZE = 5 * CHUNK_BYTES + 1234


@pytest.fixture
async def reader() -> AsyncIterator[PieceReader]:
    async with NativePool(2, "pieces") as native:
        yield PieceReader(native)


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pieces") / "object"
    path.write_bytes(os.urandom(SIZE))
    return path


def opened(path: Path) -> Opened:
    return Opened(os.open(path, os.O_RDONLY), 0, path.stat().st_size, "1.2", b"", 0)


def forget(path: Path) -> None:
    """The kernel has nothing of the file in memory any more."""
    fd = os.open(path, os.O_RDONLY)
    os.fsync(fd)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(fd)


def some(file: Opened) -> list[Piece]:
    """Spans small and large, between bytes."""
    return [
        b"first", FileSpan(file, 10, 100), FileSpan(file, 0, SIZE), b"", FileSpan(file, SIZE - 7, 7),
        b"between", FileSpan(file, 77, CHUNK_BYTES), b"last",
    ]  # fmt: skip


def expected(path: Path) -> bytes:
    data = path.read_bytes()
    return b"".join(
        (b"first", data[10:110], data, data[SIZE - 7 :], b"between", data[77 : 77 + CHUNK_BYTES], b"last")
    )


async def each(pieces: Iterable[Piece]) -> AsyncGenerator[Piece, None]:
    for piece in pieces:
        yield piece


@pytest.mark.parametrize("cold", [False, True])
async def test_chunks_are_the_whole(reader: PieceReader, content: Path, cold: bool) -> None:
    if cold:
        forget(content)
    with opened(content) as file:
        chunks = [chunk async for chunk in reader.chunks(each(some(file)))]
        assert b"".join(chunks) == expected(content)
        assert len(chunks) > 1
        assert length_of(some(file)) == len(expected(content))
        assert await reader.whole(some(file)) == expected(content)
        assert await reader.body_of([b"ab", FileSpan(file, 0, 3)]) == b"ab" + content.read_bytes()[:3]


async def test_a_file_that_is_too_short_is_an_error_and_never_a_short_answer(
    reader: PieceReader, content: Path
) -> None:
    with opened(content) as file:
        for length in (SIZE + 1, SIZE + 2 * CHUNK_BYTES):
            with pytest.raises(ObjectShort):
                await reader.whole([FileSpan(file, 0, length)])
        with pytest.raises(ObjectShort):
            await reader.whole([FileSpan(file, SIZE - 3, 4)])


async def test_an_object_is_closed_when_nobody_refers_to_it(content: Path) -> None:
    file = opened(content)
    fd, body = file.fd, each([FileSpan(file, 0, 10)])
    os.fstat(fd)
    del file, body  # an answer whose client left before it began
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)


class Files:
    """Serves a file at /x in pieces, as DICOMweb does."""

    def __init__(self, reader: PieceReader, path: Path, missing: int = 0) -> None:
        self.reader, self.path, self.missing = reader, path, missing

    async def serve(self, _: Request) -> Answer:
        file = opened(self.path)
        pieces: list[Piece] = [b"before", FileSpan(file, 0, SIZE + self.missing), b"behind"]
        body = await self.reader.body_of(pieces)
        return Answer(200, (("content-length", str(length_of(pieces))),), body)

    def front(self) -> dict[str, Any]:
        route = Route(method="GET", path="/x", access=Action.VIEW, handler=self.serve, summary="a file")
        return {"/x": Front([route], Gate(FixedAuthenticator(ADMINISTRATOR)))}


def ask(port: int) -> socket.socket:
    client = socket.create_connection(("127.0.0.1", port), timeout=10)
    client.sendall(b"GET /x HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    return client


def received(client: socket.socket, length: int) -> bytes:
    data = b""
    while len(data) < length and (more := client.recv(1 << 20)):
        data += more
    return data


@pytest.mark.parametrize("cold", [False, True])
async def test_files_go_from_the_kernels_memory_to_the_client(
    reader: PieceReader, content: Path, cold: bool
) -> None:
    async with site(bare=Files(reader, content).front()) as served:
        for _ in range(2):
            if cold:
                forget(content)
            client = await trio.to_thread.run_sync(ask, served.port)
            for _ in range(2):  # the second on the same connection
                head = b""
                while not head.endswith(b"\r\n\r\n"):
                    head += await trio.to_thread.run_sync(client.recv, 1)
                assert head.startswith(b"HTTP/1.1 200")
                body = await trio.to_thread.run_sync(received, client, SIZE + len(b"beforebehind"))
                assert body == b"before" + content.read_bytes() + b"behind"
                client.sendall(b"GET /x HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            client.close()


async def test_a_file_that_is_too_short_ends_the_connection(reader: PieceReader, content: Path) -> None:
    async with site(bare=Files(reader, content, missing=100).front()) as served:
        client = await trio.to_thread.run_sync(ask, served.port)
        data = await trio.to_thread.run_sync(received, client, 1 << 30)
        assert data.startswith(b"HTTP/1.1 200")
        assert not data.endswith(b"behind")
        client.close()


async def test_a_client_that_reads_nothing_is_closed_and_others_are_served(
    reader: PieceReader, content: Path
) -> None:
    async with site(bare=Files(reader, content).front(), write_deadline_s=0.5) as served:
        stuck = [await trio.to_thread.run_sync(ask, served.port) for _ in range(4)]
        client = await trio.to_thread.run_sync(ask, served.port)
        data = await trio.to_thread.run_sync(received, client, SIZE)
        assert len(data) >= SIZE
        with trio.fail_after(10):
            while served_descriptors(content) > 0:
                await trio.sleep(0.02)
        for each_one in (*stuck, client):
            each_one.close()


def served_descriptors(path: Path) -> int:
    found = 0
    for entry in Path("/proc/self/fd").iterdir():
        try:
            found += entry.readlink() == path
        except OSError:
            continue
    return found
