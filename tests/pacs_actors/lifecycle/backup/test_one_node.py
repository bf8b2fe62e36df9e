"""A restored archive has one node: what others had gets places that its workers have not, and the index says so."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest

from config.settings import DatabaseSettings
from pacs_actors.archive.objects.keys import ObjectMissing
from pacs_actors.database import Database
from pacs_actors.lifecycle.backup import one_node
from protocols.errors import ConfigError
from tests.pacs_actors.archive.conftest import dsn, migrated
from tests.pacs_actors.lifecycle.moving import NEAR, Archive, open_archive

__all__ = ["dsn", "migrated"]
UIDS = ("1.2.3.1", "1.2.3.2", "1.2.3.3")


def test_what_one_node_had_stays_where_it_is() -> None:
    assert one_node.places([0, 1, 63], 0) == {}
    assert one_node.places([700, 701], 7) == {}


def test_what_other_nodes_had_gets_the_highest_places_that_are_free() -> None:
    assert one_node.places([0, 1, 97, 100, 101, 300], 0) == {100: 98, 101: 96, 300: 95}
    assert one_node.places([100, 101], 0) == {100: 98, 101: 97}
    many = list(range(100, 164)) + list(range(200, 235))
    assert len(set(one_node.places(many, 0).values())) == 99
    with pytest.raises(ConfigError, match="more than 99 workers"):
        one_node.places([0, *many], 0)


def test_keys_without_objects_stay_apart_from_those_with_some() -> None:
    assert one_node.places([0, 99, 100, 199, 299], 0) == {100: 98, 199: 99, 299: 99}


def test_a_key_keeps_all_but_its_slot() -> None:
    slots = {100: 98}
    assert one_node.moved("100/0000000a/00000001", slots) == "98/0000000a/00000001"
    assert one_node.moved(f"100/0000000a/{'ab' * 16}.dcm", slots) == f"98/0000000a/{'ab' * 16}.dcm"
    assert one_node.moved("1/0000000a/00000001", slots) == "1/0000000a/00000001"
    with pytest.raises(ObjectMissing):
        one_node.moved("../100/0000000a/00000001", slots)


@pytest.fixture
async def archive(tmp_path: Path, dsn: str) -> AsyncIterator[Archive]:
    """Three instances on node 1, the first with a copy in a store."""
    async with open_archive(tmp_path, dsn) as archive:
        await archive.store(*UIDS)
        await archive.moved("", NEAR)
        await archive.sql("DELETE FROM object_copies WHERE sop_instance_uid <> $1", UIDS[0])
        await archive.sql(
            "UPDATE instances SET slot = 100, object_key = '100' || substr(object_key, strpos(object_key, '/'))"
        )
        await archive.sql("INSERT INTO ingest_mark (slot, batch) VALUES (100, 7)")
        await archive.sql("INSERT INTO archive_nodes (node, folder) VALUES (0, 'aa'), (1, 'bb')")
        yield archive


async def test_the_index_says_where_everything_is_from_now_on(archive: Archive) -> None:
    slots = one_node.places(await archive.database.run(one_node.all_slots), 0)
    assert slots == {100: 98}
    await archive.database.run(partial(one_node.carry_over, node=0, slots=slots))
    rows = await archive.sql("SELECT slot, object_key FROM instances")
    assert len(rows) == 3 and all(slot == 98 and key.startswith("98/") for slot, key in rows)
    assert await archive.sql("SELECT slot, batch FROM ingest_mark") == [(98, 7)]
    assert await archive.sql("SELECT node FROM archive_nodes") == [(0,)]


async def test_what_has_no_mark_is_carried_over_too(archive: Archive) -> None:
    await archive.sql("UPDATE instances SET slot = 199 WHERE sop_instance_uid = $1", UIDS[0])
    await archive.sql(
        "INSERT INTO deletions (deleted_by, level, study_instance_uid, instances, size_bytes, undo_until) "
        "VALUES ('', 'study', '1', 1, 1, now())"
    )
    await archive.sql(
        "INSERT INTO deleted_instances SELECT id, '300/00000001/00000001', 300, 1, '1', '1', '1', 1, 'x' FROM deletions"
    )
    assert await archive.database.run(one_node.all_slots) == [100, 199, 300]


async def test_marks_of_slots_without_objects_do_not_get_into_each_others_way(archive: Archive) -> None:
    await archive.sql("INSERT INTO ingest_mark (slot, batch) VALUES (199, 1), (9999, 1)")
    slots = one_node.places(await archive.database.run(one_node.all_slots), 0)
    await archive.database.run(partial(one_node.carry_over, node=0, slots=slots))
    assert await archive.sql("SELECT slot, batch FROM ingest_mark") == [(98, 7)]


async def test_carrying_over_may_take_longer_than_other_statements_may(archive: Archive, dsn: str) -> None:
    await archive.sql(
        "CREATE FUNCTION linger() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.5); RETURN NULL; END $$"
    )
    await archive.sql(
        "CREATE TRIGGER linger AFTER UPDATE ON instances FOR EACH STATEMENT EXECUTE FUNCTION linger()"
    )
    async with Database(dsn, DatabaseSettings(connections=2, call_timeout_s=0.1)) as hasty:
        await hasty.run(partial(one_node.carry_over, node=0, slots={100: 98}), within_s=60)
    assert await archive.sql("SELECT DISTINCT slot FROM instances") == [(98,)]


async def test_what_is_not_in_the_backup_is_said_to_be_elsewhere_or_nowhere(archive: Archive) -> None:
    keys = [(await archive.held(uid)).key for uid in UIDS[:2]]
    await archive.database.run(partial(one_node.give_up, keys=[*keys, "100/0000ffff/00000001"]))
    rows = await archive.sql("SELECT availability FROM instances ORDER BY sop_instance_uid")
    assert [row[0] for row in rows] == ["NEARLINE", "UNAVAILABLE", "ONLINE"]
