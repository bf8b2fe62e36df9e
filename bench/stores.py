"""An S3 store beside a plain client: the same server, sizes and number at once, turn by turn.

``python -m bench.stores`` starts SeaweedFS in a folder of its own. The plain client is boto3 with threads: put_object and
get_object, upload_fileobj and download_fileobj for large objects. Each turn puts and gets new objects; figures are medians.
"""

from __future__ import annotations

import argparse
import io
import os
import tempfile
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import Final

import trio
from boto3.s3.transfer import TransferConfig  # type: ignore[import-untyped]
from msgspec import Struct

from pacs_actors.archive.objects.interface import ObjectFile
from pacs_actors.lifecycle.stores.copy_keys import object_key
from pacs_actors.lifecycle.stores.s3 import S3Store
from tests.seaweed import BUCKET, Seaweed

MIB: Final = 1024 * 1024
AT_ONCE: Final = 8


class Rung(Struct, frozen=True):
    name: str
    size_bytes: int
    objects: int
    at_once: int


RUNGS: Final = (
    Rung("CT, 512 KiB", 512 * 1024, 48, AT_ONCE),
    Rung("8 MiB", 8 * MIB, 6, 3),
    Rung("64 MiB", 64 * MIB, 1, 1),
)


class Plain:
    """boto3 and threads."""

    def __init__(self, server: Seaweed, content: bytes) -> None:
        self._client, self._content = server.client(), content
        self._transfer = TransferConfig(
            multipart_threshold=8 * MIB + 1, multipart_chunksize=8 * MIB, max_concurrency=AT_ONCE
        )

    def put(self, name: str) -> None:
        if len(self._content) <= 8 * MIB:
            self._client.put_object(Bucket=BUCKET, Key=name, Body=self._content)
        else:
            self._client.upload_fileobj(io.BytesIO(self._content), BUCKET, name, Config=self._transfer)

    def get(self, name: str) -> None:
        into = io.BytesIO()
        self._client.download_fileobj(BUCKET, name, into, Config=self._transfer)
        assert into.getbuffer().nbytes == len(self._content)


def plain_turn(rung: Rung, each: Callable[[str], None], turn: int) -> float:
    names = [f"plain/{turn}/{rung.size_bytes}-{number}" for number in range(rung.objects)]
    with ThreadPoolExecutor(rung.at_once) as threads:
        began = time.perf_counter()
        list(threads.map(each, names))
        return time.perf_counter() - began


async def our_turn(rung: Rung, each: Callable[[str], Awaitable[None]], turn: int) -> float:
    limit = trio.CapacityLimiter(rung.at_once)

    async def one(number: int) -> None:
        async with limit:
            await each(object_key(f"1.{turn}", f"1.{rung.size_bytes}.{number}", bytes(16)))

    began = time.perf_counter()
    async with trio.open_nursery() as nursery:
        for number in range(rung.objects):
            nursery.start_soon(one, number)
    return time.perf_counter() - began


async def measure(server: Seaweed, rung: Rung, turns: int, folder: Path) -> dict[str, list[float]]:
    """Seconds a turn, of what and whom."""
    content = os.urandom(rung.size_bytes)
    (folder / "source").write_bytes(content)
    fd = os.open(folder / "source", os.O_RDONLY)
    plain, found = (
        Plain(server, content),
        {name: list[float]() for name in ("plain put", "our put", "plain get", "our get")},
    )
    async with S3Store("bench", server.settings(prefix="ours/", connections=AT_ONCE)) as store:

        async def put(key: str) -> None:
            await store.put(key, ObjectFile(fd, 0, rung.size_bytes))

        async def get(key: str) -> None:
            got = 0
            async with store.get(key) as pieces:
                async for piece in pieces:
                    got += len(piece)
            assert got == rung.size_bytes

        for turn in range(turns + 1):
            for what in ("put", "get"):
                for who in ("plain", "our") if turn % 2 else ("our", "plain"):
                    if who == "plain":
                        each = plain.put if what == "put" else plain.get
                        seconds = await trio.to_thread.run_sync(plain_turn, rung, each, turn)
                    else:
                        seconds = await our_turn(rung, put if what == "put" else get, turn)
                    if turn:  # the first one warms up
                        found[f"{who} {what}"].append(seconds)
    os.close(fd)
    return found


async def report(server: Seaweed, turns: int, folder: Path) -> None:
    for rung in RUNGS:
        found = await measure(server, rung, turns, folder)
        rate = {
            name: rung.size_bytes * rung.objects / MIB / median(seconds) for name, seconds in found.items()
        }
        there_and_back = {
            who: sum(median(found[f"{who} {what}"]) for what in ("put", "get")) for who in ("plain", "our")
        }
        print(
            f"{rung.name:<12} put {rate['our put']:6.0f} of {rate['plain put']:6.0f} MiB/s, "
            f"get {rate['our get']:6.0f} of {rate['plain get']:6.0f} MiB/s; "
            f"both {100 * there_and_back['plain'] / there_and_back['our']:.0f} % of the plain client",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--turns", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, Seaweed.running(Path(name)) as server:
        trio.run(report, server, options.turns, Path(name))


if __name__ == "__main__":
    main()
