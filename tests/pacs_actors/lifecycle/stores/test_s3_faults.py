"""What can go wrong with S3 alone; what goes wrong with any server is in ``test_remote_faults``."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from pacs_actors.lifecycle.stores.interface import TierStore
from tests.pacs_actors.lifecycle.stores.helpers import key_of, put, some_bytes
from tests.pacs_actors.lifecycle.stores.sites import GET, S3Site

pytestmark = pytest.mark.parametrize("site", ["s3"], indirect=True)


async def test_what_a_killed_process_left_is_swept(remote: TierStore, site: S3Site) -> None:
    site.begin_upload(key_of(b"left"))
    site.begin_upload("Foreign")
    assert await remote.sweep(3600) == 0 and site.unfinished() == 2
    assert await remote.sweep(-3600) == 1 and site.unfinished() == 1


async def test_a_reader_that_is_slow_has_two_windows_and_no_more(remote: TierStore, site: S3Site) -> None:
    copy = await put(remote, some_bytes(33 * 1024**2))
    before = site.proxy.asked(GET)
    async with remote.get(copy.key) as pieces:
        await anext(aiter(pieces))
        with trio.fail_after(60):
            while site.proxy.asked(GET) < before + 2:
                await trio.sleep(0.01)
        await trio.testing.wait_all_tasks_blocked(0.1)
        assert site.proxy.asked(GET) == before + 2
