"""What can go wrong with Azure Blob Storage alone; what goes wrong with any server is in ``test_remote_faults``."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from hashlib import md5
from typing import Any

import pytest
import trio
from msgspec.structs import replace

from pacs_actors.lifecycle.stores.errors import CopyDiffers, StoreDenied, StoreUnavailable
from pacs_actors.lifecycle.stores.interface import ByteStream, TierStore
from pacs_actors.lifecycle.stores.opening import make_store
from tests.azure_server import ACCOUNT, ACCOUNT_KEY, CONTAINER
from tests.pacs_actors.lifecycle.stores.helpers import all_keys, key_of, put, read, some_bytes
from tests.pacs_actors.lifecycle.stores.sites import PUT, AzureSite

pytestmark = pytest.mark.parametrize("site", ["azure"], indirect=True)
SMALL, LARGE = 50_000, 11 * 1024**2


async def test_a_put_that_is_twice_acknowledged_and_lost_is_sent_again(
    remote: TierStore, site: AzureSite
) -> None:
    site.proxy.times("lost", 2, PUT)
    copy = await put(remote, some_bytes(SMALL))
    assert await remote.verify(copy) and site.sizes() == [SMALL]


async def test_the_service_keeps_the_md5_and_the_digest(remote: TierStore, site: AzureSite) -> None:
    content = some_bytes(SMALL)
    copy = await put(remote, content)
    assert site.md5(copy.key) == md5(content).digest()
    large = await put(remote, some_bytes(LARGE), instance=2)  # a stream that says no digest before
    assert await remote.confirm(large)


async def test_a_copy_that_changes_while_it_is_read_is_not_mixed(remote: TierStore, site: AzureSite) -> None:
    copy = await put(remote, some_bytes(LARGE))
    with pytest.raises(StoreUnavailable, match="changed while it was read"):
        async with remote.get(copy.key) as pieces:
            site.upload(copy.key, some_bytes(LARGE, seed=1))
            async for _ in pieces:
                pass


async def test_other_bytes_that_another_writer_put_first_are_not_replaced(
    remote: TierStore, site: AzureSite
) -> None:
    """They come between the blocks of a put and its end."""
    content, other = some_bytes(LARGE), some_bytes(100, seed=1)
    key = key_of(content)

    async def late() -> AsyncIterator[bytes]:
        yield content[:-1]
        site.upload(key, other)
        yield content[-1:]

    with pytest.raises(CopyDiffers):
        await remote.put(key, ByteStream(late(), LARGE))
    assert site.download(key) == other


async def test_two_that_put_the_same_large_copy_at_once_both_succeed(
    remote: TierStore, site: AzureSite
) -> None:
    content = some_bytes(LARGE)
    async with make_store("other", site.settings) as other, trio.open_nursery() as nursery:
        nursery.start_soon(put, remote, content)
        nursery.start_soon(put, other, content)
    assert await all_keys(remote) == [key_of(content)]
    assert await read(remote, key_of(content)) == content


def signature_for(**may: bool) -> Any:
    from azure.storage.blob import ContainerSasPermissions, generate_container_sas

    return generate_container_sas(
        ACCOUNT,
        CONTAINER,
        ACCOUNT_KEY,
        permission=ContainerSasPermissions(**may),
        expiry=datetime.now(UTC) + timedelta(hours=1),
    )


async def test_a_shared_access_signature_opens_it_too(site: AzureSite) -> None:
    all_ = replace(
        site.settings,
        access_key=None,
        secret_key=signature_for(read=True, write=True, delete=True, list=True),
    )
    async with make_store("cold", all_) as store:
        copy = await put(store, some_bytes(SMALL))
        assert await store.verify(copy) and await all_keys(store) == [copy.key]
    async with make_store("cold", replace(all_, secret_key=signature_for(read=True, list=True))) as store:
        assert await store.verify(copy)
        with pytest.raises(StoreDenied) as failure:
            await put(store, b"x")
        assert "sig=" not in repr(failure.value)
