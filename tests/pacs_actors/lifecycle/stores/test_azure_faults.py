"""A service of Azure Blob Storage that is down, overloaded, slow, cuts off, loses or damages: never a false success."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from msgspec.structs import replace

from config.stores import LifecycleStoreSettings
from pacs_actors.lifecycle.stores.azure import AzureStore
from pacs_actors.lifecycle.stores.errors import (
    CopyDiffers,
    CopyMissing,
    StoreDenied,
    StoreError,
    StoreUnavailable,
)
from pacs_actors.lifecycle.stores.interface import ByteStream
from tests.azure_server import ACCOUNT, ACCOUNT_KEY, CONTAINER, Azurite, running
from tests.pacs_actors.lifecycle.stores.helpers import (
    all_keys,
    digest_of,
    key_of,
    prefix_of,
    put,
    read,
    some_bytes,
    stream,
)
from tests.pacs_actors.lifecycle.stores.misbehaving import Fault, Misbehaving, misbehaving
from tests.system.server import free_port

SMALL, LARGE = 50_000, 11 * 1024**2
PUT = r"PUT .*\.dcm$"
BLOCK = r"PUT .*comp=block&"
COMMIT = r"PUT .*comp=blocklist"
HEAD = "HEAD "
GET = r"GET .*\.dcm"


@pytest.fixture
async def proxy(azurite: Azurite) -> AsyncIterator[Misbehaving]:
    async with misbehaving(azurite.port) as opened:
        yield opened


@pytest.fixture
def settings(azurite: Azurite, proxy: Misbehaving, request: pytest.FixtureRequest) -> LifecycleStoreSettings:
    return azurite.settings(
        endpoint=f"{proxy.endpoint}/{ACCOUNT}",
        prefix=prefix_of(request.node.name),
        part_bytes=5 * 1024**2,
        connections=3,
        attempts=4,
    )


@pytest.fixture
async def store(settings: LifecycleStoreSettings) -> AsyncIterator[AzureStore]:
    async with AzureStore("cold", settings) as opened:
        yield opened


@pytest.fixture
def plain(azurite: Azurite, settings: LifecycleStoreSettings) -> Plain:
    return Plain(azurite.container(), settings)


class Plain:
    """What is really there."""

    def __init__(self, container: Any, settings: LifecycleStoreSettings) -> None:
        self.container, self.prefix = container, settings.prefix

    def sizes(self) -> list[int]:
        return [each.size for each in self.container.list_blobs(name_starts_with=self.prefix)]

    def md5(self, key: str) -> bytes:
        told = self.container.get_blob_client(self.prefix + key).get_blob_properties()
        return bytes(told.content_settings.content_md5)


@pytest.mark.parametrize(
    ("fault", "pattern", "size"),
    [
        ("500", PUT, SMALL), ("503", PUT, SMALL), ("refuse", PUT, SMALL), ("unanswered", PUT, SMALL),
        ("damaged request", PUT, SMALL), ("lost", PUT, SMALL), ("refuse", HEAD, SMALL),
        ("unanswered", BLOCK, LARGE), ("unanswered", COMMIT, LARGE),
        *(pytest.param(fault, pattern, LARGE, marks=pytest.mark.slow) for fault, pattern in (
            ("503", BLOCK), ("damaged request", BLOCK), ("500", COMMIT), ("refuse", COMMIT),
        )),
    ],
)  # fmt: skip
async def test_a_put_survives_what_passes(
    store: AzureStore, proxy: Misbehaving, plain: Plain, fault: Fault, pattern: str, size: int
) -> None:
    proxy.times(fault, 2, pattern)
    copy = await put(store, some_bytes(size))
    assert proxy.asked(pattern) >= 2
    assert await store.verify(copy)
    assert plain.sizes() == [size]


@pytest.mark.parametrize(
    ("fault", "size"), [("500", SMALL), ("refuse", SMALL), ("unanswered", LARGE), ("cut", LARGE)]
)
async def test_a_read_survives_what_passes(
    store: AzureStore, proxy: Misbehaving, fault: Fault, size: int
) -> None:
    content = some_bytes(size)
    copy = await put(store, content)
    proxy.times(fault, 2, GET)
    assert await read(store, copy.key) == content


async def test_a_read_that_stays_cut_off_says_so_after_as_many_attempts_as_the_settings_say(
    store: AzureStore, proxy: Misbehaving
) -> None:
    """The library's own attempts would make three of each."""
    copy = await put(store, some_bytes(LARGE))
    got, before = 0, 0
    with pytest.raises(StoreUnavailable) as failure:
        async with store.get(copy.key) as pieces:
            await trio.testing.wait_all_tasks_blocked()
            before = proxy.asked(GET)
            proxy.always("cut", GET)
            async for piece in pieces:
                got += len(piece)
    assert failure.value.retry and 0 < got < LARGE
    # What was prefetched is one attempt more.
    assert proxy.asked(GET) - before <= store.settings.attempts + 1


@pytest.mark.parametrize(
    ("pattern", "size"),
    [(PUT, SMALL), (COMMIT, LARGE), pytest.param(BLOCK, LARGE, marks=pytest.mark.slow)],
)
async def test_attempts_are_bounded_and_no_blob_is_left(
    store: AzureStore, proxy: Misbehaving, plain: Plain, pattern: str, size: int
) -> None:
    proxy.always("503", pattern)
    with pytest.raises(StoreUnavailable) as failure:
        await put(store, some_bytes(size))
    assert failure.value.retry
    blocks = 3 if pattern == BLOCK else 1
    assert store.settings.attempts <= proxy.asked(pattern) <= blocks * store.settings.attempts
    assert plain.sizes() == []
    proxy.plan = lambda method, target: None
    assert await store.verify(await put(store, some_bytes(size)))


@pytest.mark.parametrize(
    ("pattern", "size"),
    [(PUT, SMALL), (COMMIT, LARGE), pytest.param(BLOCK, LARGE, marks=pytest.mark.slow)],
)
async def test_what_was_acknowledged_and_lost_is_no_success(
    store: AzureStore, proxy: Misbehaving, plain: Plain, pattern: str, size: int
) -> None:
    proxy.always("lost", pattern)
    with pytest.raises(StoreError):
        await put(store, some_bytes(size))
    assert plain.sizes() == []


async def test_damage_on_the_way_there_is_never_stored(
    store: AzureStore, proxy: Misbehaving, plain: Plain
) -> None:
    for size, pattern in ((SMALL, PUT), (LARGE, BLOCK)):
        proxy.always("damaged request", pattern)
        with pytest.raises(StoreUnavailable):
            await put(store, some_bytes(size))
    assert plain.sizes() == []


async def test_damage_on_the_way_back_is_found_by_verify(store: AzureStore, proxy: Misbehaving) -> None:
    copy = await put(store, some_bytes(SMALL))
    proxy.always("damaged answer", GET)
    assert not await store.verify(copy)
    proxy.plan = lambda method, target: None
    assert await store.verify(copy)


async def test_the_service_keeps_the_md5_and_the_digest(store: AzureStore, plain: Plain) -> None:
    from hashlib import md5

    content = some_bytes(SMALL)
    copy = await put(store, content)
    assert plain.md5(copy.key) == md5(content).digest()
    large = await put(store, some_bytes(LARGE), instance=2)  # a stream that says no digest before
    assert await store.confirm(large)


async def test_a_copy_that_changes_while_it_is_read_is_not_mixed(store: AzureStore, plain: Plain) -> None:
    copy = await put(store, some_bytes(LARGE))
    other = some_bytes(LARGE, seed=1)
    with pytest.raises(StoreUnavailable, match="changed while it was read"):
        async with store.get(copy.key) as pieces:
            plain.container.upload_blob(plain.prefix + copy.key, other, overwrite=True)
            async for _ in pieces:
                pass


async def test_other_bytes_that_another_writer_put_first_are_not_replaced(
    store: AzureStore, proxy: Misbehaving, plain: Plain
) -> None:
    """They come between the blocks of a put and its end."""
    content, other = some_bytes(LARGE), some_bytes(100, seed=1)
    name = plain.prefix + key_of(content)

    async def late() -> AsyncIterator[bytes]:
        yield content[:-1]
        plain.container.upload_blob(name, other)
        yield content[-1:]

    with pytest.raises(CopyDiffers):
        await store.put(key_of(content), ByteStream(late(), LARGE))
    assert plain.container.download_blob(name).readall() == other


async def test_two_that_put_the_same_large_copy_at_once_both_succeed(
    store: AzureStore, settings: LifecycleStoreSettings
) -> None:
    content = some_bytes(LARGE)
    async with AzureStore("other", settings) as other, trio.open_nursery() as nursery:
        nursery.start_soon(put, store, content)
        nursery.start_soon(put, other, content)
    assert await all_keys(store) == [key_of(content)]
    assert await read(store, key_of(content)) == content


async def test_what_is_lost_later_is_missing(store: AzureStore, plain: Plain) -> None:
    copy = await put(store, some_bytes(SMALL))
    plain.container.delete_blob(plain.prefix + copy.key)
    with pytest.raises(CopyMissing):
        await store.confirm(copy)


@pytest.mark.parametrize("pattern", [PUT, HEAD, GET, "comp=list", "DELETE "])
async def test_a_server_that_says_nothing_is_not_waited_for(
    settings: LifecycleStoreSettings, proxy: Misbehaving, pattern: str
) -> None:
    hasty = replace(settings, request_timeout_s=0.3, attempts=2)
    proxy.always("hang", pattern)
    with trio.fail_after(60):
        async with AzureStore("cold", hasty) as store:
            with pytest.raises(StoreUnavailable) as failure:
                await put(store, b"some")
                await read(store, key_of(b"some"))
                await all_keys(store)
                await store.remove(key_of(b"some"))
    assert failure.value.retry


async def test_a_server_that_is_not_there_is_unavailable(settings: LifecycleStoreSettings) -> None:
    away = replace(settings, endpoint=f"http://127.0.0.1:{free_port()}/{ACCOUNT}", attempts=2)
    async with AzureStore("cold", away) as store:
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
    wrong = "cGxhbnRlZC13cm9uZy1rZXktcGxhbnRlZA=="
    async with AzureStore("cold", replace(settings, secret_key=wrong)) as store:
        for attempt in (put(store, b"x"), read(store, key_of(b"x")), all_keys(store)):
            with pytest.raises(StoreDenied) as failure:
                await attempt
            assert wrong not in repr(failure.value)
    assert len(proxy.seen) == 3


async def test_a_shared_access_signature_opens_it_too(settings: LifecycleStoreSettings) -> None:
    from azure.storage.blob import ContainerSasPermissions, generate_container_sas

    signature = generate_container_sas(
        ACCOUNT,
        CONTAINER,
        ACCOUNT_KEY,
        permission=ContainerSasPermissions(read=True, write=True, delete=True, list=True),
        expiry=datetime.now(UTC) + timedelta(hours=1),
    )
    async with AzureStore("cold", replace(settings, access_key=None, secret_key=signature)) as store:
        copy = await put(store, some_bytes(SMALL))
        assert await store.verify(copy) and await all_keys(store) == [copy.key]
    reading = generate_container_sas(
        ACCOUNT,
        CONTAINER,
        ACCOUNT_KEY,
        permission=ContainerSasPermissions(read=True, list=True),
        expiry=datetime.now(UTC) + timedelta(hours=1),
    )
    async with AzureStore("cold", replace(settings, access_key=None, secret_key=reading)) as store:
        assert await store.verify(copy)
        with pytest.raises(StoreDenied) as failure:
            await put(store, b"x")
        assert "sig=" not in repr(failure.value)


async def test_a_container_that_is_not_there_is_not_a_missing_copy(settings: LifecycleStoreSettings) -> None:
    async with AzureStore("cold", replace(settings, bucket="no-such-container")) as store:
        for attempt in (store.size(key_of(b"x")), read(store, key_of(b"x")), put(store, b"x")):
            with pytest.raises(StoreUnavailable) as failure:
                await attempt
            assert not failure.value.retry


async def test_no_secret_is_in_what_is_logged_or_said(
    settings: LifecycleStoreSettings,
    proxy: Misbehaving,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("DEBUG")
    proxy.always("500")
    async with AzureStore("cold", settings) as store:
        with pytest.raises(StoreUnavailable) as failure:
            await put(store, b"x")
    said = capfd.readouterr()
    everything = f"{failure.value!r} {failure.value} {said.out} {said.err} {caplog.text}"
    assert ACCOUNT_KEY not in everything and "SharedKey " not in everything


async def test_a_put_that_is_cancelled_between_its_blocks_leaves_no_blob(
    store: AzureStore, proxy: Misbehaving, plain: Plain
) -> None:
    proxy.always("hang", COMMIT)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(put, store, some_bytes(LARGE))
        while not proxy.asked(COMMIT):
            await trio.sleep(0.01)
        nursery.cancel_scope.cancel()
    assert plain.sizes() == []
    assert await store.sweep(-3600) == 0
    proxy.plan = lambda method, target: None
    assert await store.verify(await put(store, some_bytes(LARGE)))


async def test_what_is_not_ours_is_not_listed_and_not_in_the_way(store: AzureStore, plain: Plain) -> None:
    copy = await put(store, some_bytes(SMALL))
    for name in ("readme.txt", "Other/thing", "ab/UPPER"):
        plain.container.upload_blob(plain.prefix + name, b"x")
    assert await all_keys(store) == [copy.key]


async def test_more_keys_than_a_page_are_listed_and_removed(
    store: AzureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pacs_actors.lifecycle.stores.azure.PAGE_KEYS", 3)
    copies = [await put(store, some_bytes(10 + n), instance=n, study=n % 2) for n in range(8)]
    keys = sorted(copy.key for copy in copies)
    pages = [page async for page in store.keys()]  # noqa: SIM118
    assert max(len(page) for page in pages) == 3
    assert [key for page in pages for key in page] == keys
    assert await all_keys(store, after=keys[4]) == keys[5:]
    await store.remove(*keys)
    assert await all_keys(store) == []


async def test_a_source_is_read_no_faster_than_blocks_are_taken(
    store: AzureStore, proxy: Misbehaving
) -> None:
    """Memory is bounded by connections times part size, however large the copy."""
    piece, given = bytes(1024**2), 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal given
        for _ in range(10_000):
            given += len(piece)
            yield piece

    proxy.always("hang", BLOCK)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(store.put, key_of(b"large"), ByteStream(endless(), 10_000 * 1024**2))
        with trio.fail_after(60):
            while proxy.asked(BLOCK) < store.settings.connections:
                await trio.sleep(0.01)
        await trio.testing.wait_all_tasks_blocked(0.1)
        assert given <= (store.settings.connections + 1) * store.settings.part_bytes
        nursery.cancel_scope.cancel()


@pytest.mark.slow
async def test_a_server_that_was_away_is_used_again_when_it_comes_back(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        async with AzureStore("cold", server.settings(attempts=2, part_bytes=5 * 1024**2)) as store:
            kept = [await put(store, some_bytes(size), instance=size) for size in (SMALL, LARGE)]
            assert kept[0].digest == digest_of(some_bytes(SMALL))
            server.stop()
            with pytest.raises(StoreUnavailable):
                await store.put(key_of(b"x"), stream(b"x"))
            await trio.to_thread.run_sync(server.start)
            for copy in kept:
                assert await store.verify(copy)
            assert await store.verify(await put(store, b"x"))
