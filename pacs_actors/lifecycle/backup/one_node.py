"""A restored archive has one node, whatever it was backed up from: what other nodes had gets keys of the one that is left.

Plain asyncpg coroutines, run on the restored index.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import asyncpg

from pacs_actors.archive import availability
from pacs_actors.archive.objects.keys import SLOTS_OF_A_NODE, node_of, parse_key
from protocols.errors import ConfigError

_AT_ONCE: Final = 10_000
_FOLDERS: Final = ("instances", "deleted_instances")


def places(slots: Sequence[int], node: int) -> dict[int, int]:
    """Slot -> slot of the node, for each of other nodes; the highest numbers, which workers have last. Keys that stand for no
    object stay among their like, in the slot that no worker has.

    raises: ConfigError if the node has not as many
    """
    own = {slot for slot in slots if node_of(slot) == node}
    others = sorted(set(slots) - own)
    first, bare = node * SLOTS_OF_A_NODE, (node + 1) * SLOTS_OF_A_NODE - 1
    free = [slot for slot in reversed(range(first, bare)) if slot not in own]
    workers = [slot for slot in others if _is_workers(slot)]
    if len(workers) > len(free):
        raise ConfigError(
            f"an archive of more than {SLOTS_OF_A_NODE - 1} workers cannot be restored to one node: restore its database as it "
            f"was, and serve it with the store that gets every object"
        )
    return dict.fromkeys(others, bare) | dict(zip(workers, free, strict=False))


def moved(key: str, slots: Mapping[int, int]) -> str:
    """The key that an object has from now on. raises: ObjectMissing if it is no key"""
    slot = parse_key(key).slot
    return f"{slots[slot]}/{key.split('/', 1)[1]}" if slot in slots else key


async def all_slots(connection: asyncpg.Connection) -> list[int]:
    """Those that have a mark, and those that anything has a key in: from slot to slot, not from row to row."""
    found = {row[0] for row in await connection.fetch("SELECT slot FROM ingest_mark")}
    for table in _FOLDERS:
        rows = await connection.fetch(
            f"""WITH RECURSIVE s (slot) AS (SELECT min(slot) FROM {table}
                UNION ALL SELECT (SELECT min(t.slot) FROM {table} t WHERE t.slot > s.slot) FROM s WHERE s.slot IS NOT NULL)
            SELECT slot FROM s WHERE slot IS NOT NULL"""  # noqa: S608 - our words
        )
        found |= {row[0] for row in rows}
    return sorted(found)


async def give_up(connection: asyncpg.Connection, keys: Sequence[str]) -> None:
    """Objects that are not in the backup: from a store, if it has them again; else they are not to be had."""
    for at in range(0, len(keys), _AT_ONCE):
        some = list(keys[at : at + _AT_ONCE])
        found = [parse_key(key) for key in some]
        rows = await connection.fetch(
            """SELECT i.sop_instance_uid FROM unnest($1::integer[], $2::bigint[], $3::text[]) AS k (slot, batch, object_key)
            JOIN instances i USING (slot, batch, object_key) WHERE i.availability = 'ONLINE'""",
            [place.slot for place in found], [place.batch for place in found], some,
        )  # fmt: skip
        uids = [row[0] for row in rows]
        await availability.lock_series(connection, uids)
        series = await connection.fetch(
            """UPDATE instances i SET availability = CASE WHEN EXISTS (SELECT FROM object_copies c
                WHERE c.sop_instance_uid = i.sop_instance_uid AND c.object_digest = i.digest)
                THEN 'NEARLINE' ELSE 'UNAVAILABLE' END
            WHERE i.sop_instance_uid = ANY ($1::text[]) RETURNING i.series""",
            uids,
        )
        await availability.settle(connection, sorted({row[0] for row in series}))


async def carry_over(connection: asyncpg.Connection, node: int, slots: Mapping[int, int]) -> None:
    """Give what other nodes had to the one that is left, with their part of what is open, however long that takes."""
    async with connection.transaction():
        await connection.execute("SET LOCAL statement_timeout TO 0")  # a statement is for all there is
        await _carry_over(connection, node, slots)


async def _carry_over(connection: asyncpg.Connection, node: int, slots: Mapping[int, int]) -> None:
    before, after = list(slots), list(slots.values())
    for table in _FOLDERS:
        await connection.execute(
            f"UPDATE {table} t SET slot = m.after, object_key = m.after || substr(t.object_key, strpos(t.object_key, '/')) "  # noqa: S608 - our words
            "FROM unnest($1::integer[], $2::integer[]) AS m (before, after) WHERE t.slot = m.before",
            before, after,
        )  # fmt: skip
    await connection.execute(
        "DELETE FROM ingest_mark WHERE slot = ANY ($1::integer[])",
        [slot for slot in before if not _is_workers(slot)],
    )
    await connection.execute(
        "UPDATE ingest_mark t SET slot = m.after FROM unnest($1::integer[], $2::integer[]) AS m (before, after) "
        "WHERE t.slot = m.before",
        before, after,
    )  # fmt: skip
    await connection.execute("DELETE FROM object_removals WHERE slot = ANY ($1::integer[])", before)
    await connection.execute("DELETE FROM replication WHERE slot = ANY ($1::integer[])", before)
    await connection.execute("UPDATE tier_moves SET for_node = NULL")
    await connection.execute(
        "UPDATE integrity_runs SET ended_at = now(), problem = 'the archive was restored from a backup' "
        "WHERE node <> $1 AND ended_at IS NULL",
        node,
    )
    await connection.execute(
        "UPDATE deletions SET nodes_left = ARRAY[$1::smallint] WHERE nodes_left <> '{}'", node
    )
    await connection.execute("DELETE FROM archive_nodes WHERE node <> $1", node)


def _is_workers(slot: int) -> bool:
    return (slot + 1) % SLOTS_OF_A_NODE != 0
