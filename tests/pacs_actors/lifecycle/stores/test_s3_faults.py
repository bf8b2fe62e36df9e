"""An S3 server that is down, overloaded, slow, cuts off, loses or damages: a typed error or the truth, never a false success."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from config.stores import LifecycleStoreSettings
from pacs_actors.lifecycle.stores.errors import CopyMissing, StoreDenied, StoreError, StoreUnavailable
from pacs_actors.lifecycle.stores.interface import ByteStream
from pacs_actors.lifecycle.stores.s3 import S3Store
from tests.pacs_actors.lifecycle.stores.helpers import (
    all_keys,
    key_of,
    prefix_of,
    put,
    read,
    some_bytes,
    stream,
)
from tests.pacs_actors.lifecycle.stores.misbehaving import Fault, Misbehaving, misbehaving
from tests.seaweed import SECRET_KEY, Seaweed, running
from tests.system.server import free_port

SMALL, LARGE = 50_000, 11 * 1024**2
PUT = r"PUT .*\.dcm$"
PART = r"PUT .*partNumber="
COMPLETE = r"POST .*uploadId="
HEAD = "HEAD "
GET = "GET .*\\.dcm"


@pytest.fixture
async def proxy(seaweed: Seaweed) -> AsyncIterator[Misbehaving]:
    async with misbehaving(seaweed.port) as opened:
        yield opened


@pytest.fixture
def settings(seaweed: Seaweed, proxy: Misbehaving, request: pytest.FixtureRequest) -> LifecycleStoreSettings:
    return seaweed.settings(
        endpoint=proxy.endpoint,
        prefix=prefix_of(request.node.name),
        part_bytes=5 * 1024**2,
        connections=3,
        attempts=4,
    )


@pytest.fixture
async def store(settings: LifecycleStoreSettings) -> AsyncIterator[S3Store]:
    async with S3Store("cold", settings) as opened:
        yield opened


@pytest.fixture
def plain(seaweed: Seaweed, settings: LifecycleStoreSettings) -> Plain:
    return Plain(seaweed.client(), settings)


class Plain:
    """What is really there."""

    def __init__(self, client: Any, settings: LifecycleStoreSettings) -> None:
        self._client, self._settings = client, settings

    def sizes(self) -> list[int]:
        found = self._client.list_objects_v2(Bucket=self._settings.bucket, Prefix=self._settings.prefix)
        return [each["Size"] for each in found.get("Contents", [])]

    def uploads(self) -> int:
        found = self._client.list_multipart_uploads(
            Bucket=self._settings.bucket, Prefix=self._settings.prefix
        )
        return len(found.get("Uploads", []))


def with_sizes(*faults: Fault) -> list[Any]:
    """Every fault with both sizes; what is large and not peculiar to it is for the long campaigns."""
    often = {(SMALL, fault) for fault in faults} | {(LARGE, "unanswered"), (LARGE, "cut")}
    marks = {True: (), False: (pytest.mark.slow,)}
    return [
        pytest.param(fault, size, marks=marks[(size, fault) in often])
        for fault in faults
        for size in (SMALL, LARGE)
    ]


@pytest.mark.parametrize(
    ("fault", "size"), with_sizes("500", "503", "refuse", "unanswered", "cut", "damaged request")
)
@pytest.mark.parametrize("first", [True, False])
async def test_a_put_survives_what_passes(
    store: S3Store, proxy: Misbehaving, plain: Plain, fault: Fault, size: int, first: bool
) -> None:
    """Its first kind of request, or its last one."""
    pattern = (PUT if first else HEAD) if size == SMALL else (PART if first else COMPLETE)
    if (fault == "damaged request" and pattern in (HEAD, COMPLETE)) or (
        fault == "cut" and pattern != COMPLETE
    ):
        pytest.skip("there is no body, or the signature covers it")
    proxy.times(fault, 2, pattern)
    copy = await put(store, some_bytes(size))
    assert proxy.asked(pattern) >= 2
    assert await store.verify(copy)
    assert plain.sizes() == [size] and plain.uploads() == 0


@pytest.mark.parametrize(("fault", "size"), with_sizes("500", "503", "refuse", "unanswered", "cut"))
async def test_a_read_survives_what_passes(
    store: S3Store, proxy: Misbehaving, fault: Fault, size: int
) -> None:
    content = some_bytes(size)
    copy = await put(store, content)
    proxy.times(fault, 2, GET)
    assert await read(store, copy.key) == content


@pytest.mark.parametrize("fault", ["500", "refuse", "cut"])
async def test_a_read_that_stays_cut_off_says_so(store: S3Store, proxy: Misbehaving, fault: Fault) -> None:
    copy = await put(store, some_bytes(LARGE))
    got = 0
    with pytest.raises(StoreUnavailable) as failure:
        async with store.get(copy.key) as pieces:
            proxy.always(fault, GET)
            async for piece in pieces:
                got += len(piece)
    assert failure.value.retry and 0 < got < LARGE


@pytest.mark.parametrize("size", [SMALL, LARGE])
async def test_attempts_are_bounded_and_nothing_is_left(
    store: S3Store, proxy: Misbehaving, plain: Plain, size: int
) -> None:
    pattern = PUT if size == SMALL else PART
    proxy.always("503", pattern)
    with pytest.raises(StoreUnavailable) as failure:
        await put(store, some_bytes(size))
    assert failure.value.retry
    parts = 1 if size == SMALL else 3
    assert store.settings.attempts <= proxy.asked(pattern) <= parts * store.settings.attempts
    assert plain.sizes() == [] and plain.uploads() == 0
    proxy.plan = lambda method, target: None
    assert await store.verify(await put(store, some_bytes(size)))


@pytest.mark.parametrize("size", [SMALL, LARGE])
async def test_what_was_acknowledged_and_lost_is_no_success(
    store: S3Store, proxy: Misbehaving, plain: Plain, size: int
) -> None:
    proxy.always("lost", PUT if size == SMALL else PART)
    with pytest.raises(StoreError):
        await put(store, some_bytes(size))
    assert plain.sizes() == [] and plain.uploads() == 0


async def test_what_is_lost_later_is_missing(store: S3Store, seaweed: Seaweed) -> None:
    copy = await put(store, some_bytes(SMALL))
    seaweed.client().delete_object(Bucket=store.settings.bucket, Key=store.settings.prefix + copy.key)
    with pytest.raises(CopyMissing):
        await store.confirm(copy)


async def test_damage_on_the_way_there_is_never_stored(
    store: S3Store, proxy: Misbehaving, plain: Plain
) -> None:
    for size, pattern in ((SMALL, PUT), (LARGE, PART)):
        proxy.always("damaged request", pattern)
        with pytest.raises(StoreUnavailable):
            await put(store, some_bytes(size))
    assert plain.sizes() == [] and plain.uploads() == 0


async def test_damage_on_the_way_back_is_found_by_verify(store: S3Store, proxy: Misbehaving) -> None:
    copy = await put(store, some_bytes(SMALL))
    proxy.always("damaged answer", GET)
    assert not await store.verify(copy)
    proxy.plan = lambda method, target: None
    assert await store.verify(copy)


@pytest.mark.parametrize("pattern", [PUT, HEAD, GET, "list-type", "POST .*delete"])
async def test_a_server_that_says_nothing_is_not_waited_for(
    settings: LifecycleStoreSettings, proxy: Misbehaving, pattern: str
) -> None:
    from msgspec.structs import replace

    hasty = replace(settings, request_timeout_s=0.3, attempts=2)
    proxy.always("hang", pattern)
    with trio.fail_after(60):
        async with S3Store("cold", hasty) as store:
            with pytest.raises(StoreUnavailable) as failure:
                await put(store, b"some")
                await read(store, key_of(b"some"))
                await all_keys(store)
                await store.remove(key_of(b"some"))
    assert failure.value.retry


async def test_a_server_that_is_not_there_is_unavailable(settings: LifecycleStoreSettings) -> None:
    from msgspec.structs import replace

    away = replace(settings, endpoint=f"http://127.0.0.1:{free_port()}", attempts=2)
    async with S3Store("cold", away) as store:
        for attempt in (
            put(store, b"x"),
            read(store, key_of(b"x")),
            all_keys(store),
            store.remove(key_of(b"x")),
        ):
            with pytest.raises(StoreUnavailable) as failure:
                await attempt
            assert failure.value.retry


async def test_a_wrong_key_is_denied_at_once_and_not_repeated(
    settings: LifecycleStoreSettings, proxy: Misbehaving
) -> None:
    from msgspec.structs import replace

    async with S3Store("cold", replace(settings, secret_key="planted-wrong-key")) as store:
        for attempt in (put(store, b"x"), read(store, key_of(b"x")), all_keys(store)):
            with pytest.raises(StoreDenied) as failure:
                await attempt
            assert "planted" not in repr(failure.value)
    assert len(proxy.seen) == 3


async def test_a_bucket_that_is_not_there_is_not_a_missing_copy(settings: LifecycleStoreSettings) -> None:
    from msgspec.structs import replace

    async with S3Store("cold", replace(settings, bucket="no-such-bucket")) as store:
        for attempt in (store.size(key_of(b"x")), read(store, key_of(b"x")), put(store, b"x")):
            with pytest.raises(StoreUnavailable) as failure:
                await attempt
            assert not failure.value.retry


async def test_no_secret_is_in_what_is_logged_or_said(
    settings: LifecycleStoreSettings, proxy: Misbehaving, capfd: pytest.CaptureFixture[str]
) -> None:
    proxy.always("500")
    async with S3Store("cold", settings) as store:
        with pytest.raises(StoreUnavailable) as failure:
            await put(store, b"x")
    said = capfd.readouterr()
    assert SECRET_KEY not in f"{failure.value!r} {failure.value} {said.out} {said.err}"


async def test_a_multipart_put_that_is_cancelled_is_aborted(
    store: S3Store, proxy: Misbehaving, plain: Plain
) -> None:
    proxy.always("hang", "partNumber=2")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(put, store, some_bytes(LARGE))
        while not proxy.asked("partNumber=2"):
            await trio.sleep(0.01)
        nursery.cancel_scope.cancel()
    assert plain.sizes() == [] and plain.uploads() == 0


async def test_what_a_killed_process_left_is_swept(store: S3Store, seaweed: Seaweed, plain: Plain) -> None:
    name = store.settings.prefix + key_of(b"left")
    seaweed.client().create_multipart_upload(Bucket=store.settings.bucket, Key=name)
    seaweed.client().create_multipart_upload(
        Bucket=store.settings.bucket, Key=store.settings.prefix + "Foreign"
    )
    assert await store.sweep(3600) == 0 and plain.uploads() == 2
    assert await store.sweep(-3600) == 1 and plain.uploads() == 1


async def test_what_is_not_ours_is_not_listed_and_not_in_the_way(store: S3Store, seaweed: Seaweed) -> None:
    copy = await put(store, some_bytes(SMALL))
    for name in ("readme.txt", "Other/thing", "ab/UPPER"):
        seaweed.client().put_object(Bucket=store.settings.bucket, Key=store.settings.prefix + name, Body=b"x")
    assert await all_keys(store) == [copy.key]


async def test_more_keys_than_a_page_are_listed(store: S3Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pacs_actors.lifecycle.stores.s3.PAGE_KEYS", 3)
    copies = [await put(store, some_bytes(10 + n), instance=n, study=n % 2) for n in range(8)]
    pages = [page async for page in store.keys()]  # noqa: SIM118
    assert max(len(page) for page in pages) == 3
    assert [key for page in pages for key in page] == sorted(copy.key for copy in copies)


@pytest.mark.slow
async def test_a_killed_server_comes_back_and_has_what_it_acknowledged(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        async with S3Store("cold", server.settings(attempts=2, part_bytes=5 * 1024**2)) as store:
            kept = [await put(store, some_bytes(size), instance=size) for size in (SMALL, LARGE)]
            server.stop()
            with pytest.raises(StoreUnavailable):
                await store.put(key_of(b"x"), stream(b"x"))
            await trio.to_thread.run_sync(server.start)
            for copy in kept:
                assert await store.verify(copy)
            assert await store.verify(await put(store, b"x"))


async def test_a_source_is_read_no_faster_than_parts_are_taken(store: S3Store, proxy: Misbehaving) -> None:
    """Memory is bounded by connections times part size, however large the copy."""
    piece, given = bytes(1024**2), 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal given
        for _ in range(10_000):
            given += len(piece)
            yield piece

    proxy.always("hang", PART)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(store.put, key_of(b"large"), ByteStream(endless(), 10_000 * 1024**2))
        with trio.fail_after(60):
            while proxy.asked(PART) < store.settings.connections:
                await trio.sleep(0.01)
        await trio.testing.wait_all_tasks_blocked(0.1)
        assert given <= (store.settings.connections + 1) * store.settings.part_bytes
        nursery.cancel_scope.cancel()


async def test_a_reader_that_is_slow_has_two_windows_and_no_more(store: S3Store, proxy: Misbehaving) -> None:
    copy = await put(store, some_bytes(3 * LARGE))
    before = proxy.asked(GET)
    async with store.get(copy.key) as pieces:
        await anext(aiter(pieces))
        with trio.fail_after(60):
            while proxy.asked(GET) < before + 2:
                await trio.sleep(0.01)
        await trio.testing.wait_all_tasks_blocked(0.1)
        assert proxy.asked(GET) == before + 2
