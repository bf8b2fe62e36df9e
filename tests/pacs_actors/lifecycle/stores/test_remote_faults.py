"""A remote store that is down, overloaded, slow, cuts off, loses or damages: a typed error or the truth, never a false success."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from msgspec.structs import replace

from pacs_actors.lifecycle.stores.errors import CopyMissing, StoreDenied, StoreError, StoreUnavailable
from pacs_actors.lifecycle.stores.interface import ByteStream, TierStore
from pacs_actors.lifecycle.stores.opening import make_store
from tests.azure_server import Azurite
from tests.pacs_actors.lifecycle.stores.helpers import all_keys, key_of, put, read, some_bytes, stream
from tests.pacs_actors.lifecycle.stores.misbehaving import Fault
from tests.pacs_actors.lifecycle.stores.sites import GET, HEAD, PUT, AzureSite, Site
from tests.seaweed import Seaweed
from tests.system.server import free_port

SMALL, LARGE = 50_000, 11 * 1024**2


def some(*cases: tuple[Any, ...], rest: tuple[tuple[Any, ...], ...] = ()) -> list[Any]:
    """``rest``: what is large and not peculiar to it, for the long campaigns."""
    return [*cases, *(pytest.param(*case, marks=pytest.mark.slow) for case in rest)]


@pytest.mark.parametrize(
    ("request_", "fault", "size"),
    some(
        *(("put", fault, SMALL) for fault in ("500", "503", "refuse", "unanswered", "damaged request")),
        *(("head", fault, SMALL) for fault in ("500", "503", "refuse", "unanswered")),
        ("part", "unanswered", LARGE), ("finish", "unanswered", LARGE), ("finish", "cut", LARGE),
        rest=(
            *(("part", fault, LARGE) for fault in ("500", "503", "refuse", "damaged request")),
            *(("finish", fault, LARGE) for fault in ("500", "503", "refuse")),
        ),
    ),
)  # fmt: skip
async def test_a_put_survives_what_passes(
    remote: TierStore, site: Site, request_: str, fault: Fault, size: int
) -> None:
    pattern = site.pattern(request_)
    if fault == "cut" and isinstance(site, AzureSite):
        pytest.skip("the answer has no body")
    site.proxy.times(fault, 2, pattern)
    copy = await put(remote, some_bytes(size))
    assert site.proxy.asked(pattern) >= 2
    assert await remote.verify(copy)
    assert site.sizes() == [size] and site.unfinished() == 0


@pytest.mark.parametrize(
    ("fault", "size"),
    some(
        *((fault, SMALL) for fault in ("500", "503", "refuse", "unanswered")),
        ("unanswered", LARGE), ("cut", LARGE),
        rest=(("cut", SMALL), ("500", LARGE), ("503", LARGE), ("refuse", LARGE)),
    ),
)  # fmt: skip
async def test_a_read_survives_what_passes(remote: TierStore, site: Site, fault: Fault, size: int) -> None:
    content = some_bytes(size)
    copy = await put(remote, content)
    site.proxy.times(fault, 2, GET)
    assert await read(remote, copy.key) == content


@pytest.mark.parametrize("fault", ["500", "refuse", "cut"])
async def test_a_read_that_stays_cut_off_says_so_after_as_many_attempts_as_the_settings_say(
    site: Site, fault: Fault
) -> None:
    """The libraries' own attempts would make three of each."""
    got, attempts = 0, 2
    async with make_store("cold", replace(site.settings, attempts=attempts)) as store:
        copy = await put(store, some_bytes(LARGE))
        with pytest.raises(StoreUnavailable) as failure:
            async with store.get(copy.key) as pieces:
                await trio.testing.wait_all_tasks_blocked()
                before = site.proxy.asked(GET)
                site.proxy.always(fault, GET)
                async for piece in pieces:
                    got += len(piece)
    assert failure.value.retry and 0 < got < LARGE
    # What was prefetched is one attempt more; a connection that was kept and has ended is no answer, and no attempt.
    times = 2 if fault == "refuse" else 1
    assert site.proxy.asked(GET) - before <= (attempts + 1) * times


@pytest.mark.parametrize(
    ("request_", "size"),
    [("put", SMALL), ("part", LARGE), ("finish", LARGE)],
)
async def test_attempts_are_bounded_and_nothing_is_left(
    remote: TierStore, site: Site, request_: str, size: int
) -> None:
    pattern, attempts = site.pattern(request_), site.settings.attempts
    site.proxy.always("503", pattern)
    with pytest.raises(StoreUnavailable) as failure:
        await put(remote, some_bytes(size))
    assert failure.value.retry
    assert attempts <= site.proxy.asked(pattern) <= attempts * (3 if request_ == "part" else 1)
    assert site.sizes() == [] and site.unfinished() == 0
    site.proxy.plan = lambda method, target: None
    assert await remote.verify(await put(remote, some_bytes(size)))


@pytest.mark.parametrize(("request_", "size"), [("put", SMALL), ("part", LARGE), ("finish", LARGE)])
async def test_what_was_acknowledged_and_lost_is_no_success(
    remote: TierStore, site: Site, request_: str, size: int
) -> None:
    site.proxy.always("lost", site.pattern(request_))
    with pytest.raises(StoreError):
        await put(remote, some_bytes(size))
    assert site.sizes() == []
    if request_ != "finish":  # else it has said that the upload ended
        assert site.unfinished() == 0


async def test_what_is_lost_later_is_missing(remote: TierStore, site: Site) -> None:
    copy = await put(remote, some_bytes(SMALL))
    site.delete(copy.key)
    with pytest.raises(CopyMissing):
        await remote.confirm(copy)


async def test_damage_on_the_way_there_is_never_stored(remote: TierStore, site: Site) -> None:
    for size, pattern in ((SMALL, PUT), (LARGE, site.part)):
        site.proxy.always("damaged request", pattern)
        with pytest.raises(StoreUnavailable):
            await put(remote, some_bytes(size))
    assert site.sizes() == [] and site.unfinished() == 0


async def test_damage_on_the_way_back_is_found_by_verify(remote: TierStore, site: Site) -> None:
    copy = await put(remote, some_bytes(SMALL))
    site.proxy.always("damaged answer", GET)
    assert not await remote.verify(copy)
    site.proxy.plan = lambda method, target: None
    assert await remote.verify(copy)


@pytest.mark.parametrize("request_", ["put", "head", "get", "listing", "removal"])
async def test_a_server_that_says_nothing_is_not_waited_for(site: Site, request_: str) -> None:
    pattern = {"put": PUT, "head": HEAD, "get": GET, "listing": site.listing, "removal": site.removal}
    site.proxy.always("hang", pattern[request_])
    with trio.fail_after(60):
        async with make_store("cold", replace(site.settings, request_timeout_s=0.3, attempts=2)) as store:
            with pytest.raises(StoreUnavailable) as failure:
                await put(store, b"some")
                await read(store, key_of(b"some"))
                await all_keys(store)
                await store.remove(key_of(b"some"))
    assert failure.value.retry


async def test_a_server_that_is_not_there_is_unavailable(site: Site) -> None:
    away = replace(site.settings, endpoint=site.endpoint(free_port()), attempts=2)
    async with make_store("cold", away) as store:
        for attempt in (
            put(store, b"x"),
            read(store, key_of(b"x")),
            all_keys(store),
            store.remove(key_of(b"x")),
        ):
            with pytest.raises(StoreUnavailable) as failure:
                await attempt
            assert failure.value.retry


async def test_a_wrong_key_is_denied_at_once_and_not_repeated(site: Site) -> None:
    async with make_store("cold", replace(site.settings, secret_key=site.wrong_key)) as store:
        for attempt in (put(store, b"x"), read(store, key_of(b"x")), all_keys(store)):
            with pytest.raises(StoreDenied) as failure:
                await attempt
            assert site.wrong_key not in repr(failure.value)
    assert len(site.proxy.seen) == 3


async def test_a_bucket_that_is_not_there_is_not_a_missing_copy(site: Site) -> None:
    async with make_store("cold", replace(site.settings, bucket="no-such-bucket")) as store:
        for attempt in (store.size(key_of(b"x")), read(store, key_of(b"x")), put(store, b"x")):
            with pytest.raises(StoreUnavailable) as failure:
                await attempt
            assert not failure.value.retry


async def test_no_secret_is_in_what_is_logged_or_said(
    remote: TierStore, site: Site, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    site.proxy.always("500")
    with pytest.raises(StoreUnavailable) as failure:
        await put(remote, b"x")
    said = capfd.readouterr()
    everything = f"{failure.value!r} {failure.value} {said.out} {said.err} {caplog.text}"
    assert not [secret for secret in site.secrets if secret in everything]


@pytest.mark.parametrize("request_", ["part", "finish"])
async def test_a_put_in_parts_that_is_cancelled_leaves_nothing(
    remote: TierStore, site: Site, request_: str
) -> None:
    pattern = site.pattern(request_)
    site.proxy.always("hang", pattern)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(put, remote, some_bytes(LARGE))
        with trio.fail_after(60):
            while not site.proxy.asked(pattern):
                await trio.sleep(0.01)
        nursery.cancel_scope.cancel()
    assert site.sizes() == [] and site.unfinished() == 0
    assert await remote.sweep(-3600) == 0
    site.proxy.plan = lambda method, target: None
    assert await remote.verify(await put(remote, some_bytes(LARGE)))


async def test_what_is_not_ours_is_not_listed_and_not_in_the_way(remote: TierStore, site: Site) -> None:
    copy = await put(remote, some_bytes(SMALL))
    for name in ("readme.txt", "Other/thing", "ab/UPPER"):
        site.upload(name, b"x")
    assert await all_keys(remote) == [copy.key]


async def test_more_keys_than_a_page_are_listed_and_removed(
    remote: TierStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"{type(remote).__module__}.PAGE_KEYS", 3)
    copies = [await put(remote, some_bytes(10 + n), instance=n, study=n % 2) for n in range(8)]
    keys = sorted(copy.key for copy in copies)
    pages = [page async for page in remote.keys()]  # noqa: SIM118
    assert max(len(page) for page in pages) == 3
    assert [key for page in pages for key in page] == keys
    assert await all_keys(remote, after=keys[4]) == keys[5:]
    await remote.remove(*keys)
    assert await all_keys(remote) == []


async def test_a_source_is_read_no_faster_than_parts_are_taken(remote: TierStore, site: Site) -> None:
    """Memory is bounded by connections times part size, however large the copy."""
    piece, given = bytes(1024**2), 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal given
        for _ in range(10_000):
            given += len(piece)
            yield piece

    site.proxy.always("hang", site.part)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(remote.put, key_of(b"large"), ByteStream(endless(), 10_000 * 1024**2))
        with trio.fail_after(60):
            while site.proxy.asked(site.part) < site.settings.connections:
                await trio.sleep(0.01)
        await trio.testing.wait_all_tasks_blocked(0.1)
        assert given <= (site.settings.connections + 1) * site.settings.part_bytes
        nursery.cancel_scope.cancel()


@pytest.mark.slow
@pytest.mark.parametrize("kind", [Seaweed, Azurite])
async def test_a_server_that_was_away_comes_back_and_has_what_it_acknowledged(
    tmp_path: Path, kind: type[Seaweed] | type[Azurite]
) -> None:
    with kind.running(tmp_path) as server:
        async with make_store("cold", server.settings(attempts=2, part_bytes=5 * 1024**2)) as store:
            kept = [await put(store, some_bytes(size), instance=size) for size in (SMALL, LARGE)]
            server.stop()
            with pytest.raises(StoreUnavailable):
                await store.put(key_of(b"x"), stream(b"x"))
            await trio.to_thread.run_sync(server.start)
            for copy in kept:
                assert await store.verify(copy)
            assert await store.verify(await put(store, b"x"))
