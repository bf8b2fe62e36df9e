"""Objects are put back where they were, whichever layout they come from."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pacs_actors.archive.objects.implanting import Implanter
from pacs_actors.archive.objects.keys import ObjectMissing, quarantine_key
from pacs_actors.archive.objects.local import LocalObjectStore
from tests.pacs_actors.archive.objects import helpers
from tests.pacs_actors.archive.objects.helpers import data_set, open_store, put
from tests.stored_objects import FILES, SEGMENTS


def content(store: LocalObjectStore, key: str) -> bytes:
    file = store.open(key)
    try:
        return os.pread(file.fd, file.size_bytes, file.start)
    finally:
        os.close(file.fd)


@pytest.mark.parametrize("each", [FILES, SEGMENTS])
async def test_a_store_made_of_what_another_one_had_has_the_same_objects(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, each: str
) -> None:
    monkeypatch.setattr(helpers, "LAYOUT", each)
    sizes = (100, 5000, 1_500_000, 70_000)
    async with open_store(tmp_path / "old") as old:
        keys = [(await put(old, f"1.2.{n}", data_set(f"1.2.{n}", n))).stored.key for n in sizes]
        with Implanter(tmp_path / "new") as implanter:
            for key in reversed(keys):
                bytes_ = content(old, key)
                assert implanter.put(key, [bytes_[:200], bytes_[200:]]) == len(bytes_)
            implanter.sync()
        async with open_store(tmp_path / "new") as new:
            assert sorted(key for batch in new.batches(0) for key in new.keys(0, batch)) == sorted(keys)
            for key in keys:
                assert content(new, key) == content(old, key)
                assert await new.verify(key)


async def test_what_was_copied_out_of_a_segment_fits_in_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(helpers, "LAYOUT", SEGMENTS)
    async with open_store(tmp_path / "old") as old:
        key = (await put(old, "1.2.3", data_set("1.2.3"))).stored.key
        packed = content(old, key)
        await old.set_aside(key)
        aside = content(old, quarantine_key(key, "deleted"))
        assert aside[128:] == packed[128:]
    with Implanter(tmp_path / "new") as implanter:
        implanter.put(key, [aside])
        implanter.sync()
    async with open_store(tmp_path / "new") as new:
        assert content(new, key) == packed


def test_what_is_there_stays(tmp_path: Path) -> None:
    key = "0/00000001/" + "a" * 32 + ".dcm"
    with Implanter(tmp_path) as implanter:
        implanter.put(key, [b"first"])
        implanter.put(key, [b"second"])
    assert next(tmp_path.rglob("*.dcm")).read_bytes() == b"first"


def test_a_string_that_is_no_key_becomes_no_path(tmp_path: Path) -> None:
    with Implanter(tmp_path / "root") as implanter:
        for wrong in ("../x", "/etc/passwd", "quarantine/deleted/../../x.dcm", "", "0/0/0"):
            with pytest.raises(ObjectMissing):
                implanter.put(wrong, [b"x"])
    assert list(tmp_path.iterdir()) == []
