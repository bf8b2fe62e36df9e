"""What a backup is told of other nodes' folders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import trio

from pacs_actors.lifecycle.backup.archive_objects import ArchiveObjects
from tests.pacs_actors.archive.conftest import dsn, migrated
from tests.pacs_actors.lifecycle.moving import open_archive

__all__ = ["dsn", "migrated"]
UIDS = ("1.2.3.1", "1.2.3.2", "1.2.3.3", "1.2.3.4")


async def test_other_nodes_have_the_folders_in_which_something_is_online(tmp_path: Path, dsn: str) -> None:
    async with open_archive(tmp_path, dsn) as archive:
        await archive.store(*UIDS)
        for uid, batch in zip(UIDS, (3, 3, 9, 12), strict=True):
            await archive.sql(
                "UPDATE instances SET slot = 100, batch = $2::integer, object_key = '100/' || lpad(to_hex($2::integer), 8, '0') || "
                "substr(object_key, strpos(object_key, '/') + 9) WHERE sop_instance_uid = $1",
                uid, batch,
            )  # fmt: skip
        await archive.sql("UPDATE instances SET availability = 'NEARLINE' WHERE batch = 9")
        nothing: Any = None
        objects = ArchiveObjects(archive.online, 0, archive.database, {}, nothing)
        found = await trio.to_thread.run_sync(
            lambda: [objects.batches(100, least) for least in (0, 3, 4, 13)]
        )
        assert found == [[3, 12], [3, 12], [12], []]
        assert await trio.to_thread.run_sync(objects.batches, 200) == []
        assert len(await trio.to_thread.run_sync(objects.keys, 100, 3)) == 2
