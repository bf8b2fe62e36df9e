"""Backups in a tier store: a folder's here, and a real S3 server's."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest
import trio

from config.stores import LifecycleStoreSettings
from pacs_actors.lifecycle.backup.containers import Containers, ContainerWriter, Writing
from pacs_actors.lifecycle.backup.frames import Broken
from pacs_actors.lifecycle.backup.manifest import Part
from pacs_actors.lifecycle.backup.store_place import StorePlace, bucket_settings, store_place
from tests.seaweed import Seaweed, seaweed

__all__ = ["seaweed"]
T = TypeVar("T")
OLD, NEW = "20201121T000000Z-full", "20991121T000000Z-incremental-2"
BODIES = [os.urandom(3_000_000), b"", b"small"]


def write(place: StorePlace, backup: str) -> tuple[list[Part], dict[str, int]]:
    place.begin(backup)
    with Writing(place, backup, None) as writing:
        writer = ContainerWriter(writing, "objects", 1)
        parts = [writer.part((body,)) for body in BODIES]
        writer.close()
        return parts, writing.sizes


def whole_life(place: StorePlace) -> None:
    """What a backup, its verification, a restore and the pruning ask of a place."""
    assert place.ids() == []
    parts, sizes = write(place, NEW)
    assert len(sizes) == 3
    assert place.get(NEW, "manifest") is None
    for content in (b"first", b"second", b"second"):
        place.put(NEW, "manifest", content)
        assert place.get(NEW, "manifest") == content
    with Containers(place, NEW, sizes, None) as containers:
        for part, body in zip(parts, BODIES, strict=True):
            assert b"".join(containers.pieces(part)) == body
    write(place, OLD)
    assert place.ids() == [OLD, NEW]
    assert (place.abandoned(OLD), place.abandoned(NEW)) == (True, False)
    with pytest.raises(FileExistsError):
        place.begin(NEW)
    place.remove(OLD)
    assert place.ids() == [NEW]
    for backup, name in (("..", "manifest"), (NEW, "../manifest"), (NEW, "passwd"), (NEW + "\n", "manifest")):
        with pytest.raises(Broken):
            place.get(backup, name)
    with pytest.raises(Broken, match="is not there"):
        place.open(NEW, "objects-00009")


async def in_store(settings: LifecycleStoreSettings, work: Callable[[StorePlace], T]) -> T:
    async with store_place("backups", settings) as place:
        return await trio.to_thread.run_sync(work, place)


async def test_a_store_keeps_backups_as_a_folder_does(tmp_path: Path) -> None:
    settings = LifecycleStoreSettings(kind="folder", path=str(tmp_path), reserve_bytes=0)
    await in_store(settings, whole_life)


async def test_a_bucket_keeps_backups(seaweed: Seaweed) -> None:
    settings = bucket_settings("copies", "backups/north", {"cold": seaweed.settings(prefix="tiers/")})
    assert settings.prefix == "backups/north/"
    await in_store(settings, whole_life)


def test_a_bucket_is_reached_as_its_table_says() -> None:
    cold = LifecycleStoreSettings(kind="s3", bucket="copies", endpoint="https://s3.example", prefix="tiers/")
    assert bucket_settings("copies", "", {"cold": cold}).endpoint == "https://s3.example"
    assert bucket_settings("copies", "/", {"cold": cold}).prefix == ""
    other = bucket_settings("others", "x", {"cold": cold})
    assert (other.endpoint, other.bucket, other.prefix) == (None, "others", "x/")
