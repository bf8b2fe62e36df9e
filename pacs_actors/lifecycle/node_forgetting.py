"""Forgetting a node that is gone for good: what it had is served from copies, what nobody has a copy of is named.

Plain asyncpg coroutines: run them through ``Database.run``, or from the command line. Forgetting is done in steps, each whole in
itself; whoever was interrupted begins again, and nothing is done twice.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Final

import asyncpg
from msgspec import Struct

from pacs_actors.archive import availability
from pacs_actors.archive.deletions import OPEN
from pacs_actors.archive.objects.keys import SLOTS_OF_A_NODE
from pacs_actors.audit import events, trail
from pacs_actors.audit.audit import made
from pacs_actors.lifecycle.moves import ONLINE, POLICY_PRIORITY, REHOMING, Order, write_orders
from pacs_actors.nodes import ALIVE_S
from protocols.errors import ConfigError
from protocols.messages.audit import Actor, Details

_AT_ONCE: Final = 1000


class CannotForget(ConfigError):
    """There is no such node, it is alive, or nobody is left to take its part."""


class Settled(Struct, frozen=True):
    """Some of a node's instances.

    copied: of them are had from copies from now on
    lost:   SOP Instance UIDs of those that have no copy in any store
    """

    copied: int
    lost: list[str]


async def begin(connection: asyncpg.Connection, node: int, by: Actor) -> int:
    """Take a node out of the archive, with its part of what is open; the number of the one that does it instead.

    From here on it can neither come back nor index anything. raises: CannotForget
    """
    async with connection.transaction():
        nodes = await connection.fetch(
            "SELECT node, seen_at > now() - make_interval(secs => $1) AS alive, forgotten_at, seen_at FROM archive_nodes "
            "ORDER BY node FOR UPDATE",
            ALIVE_S,
        )
        own = next((row for row in nodes if row["node"] == node), None)
        if own is None:
            raise CannotForget(f"there is no node {node}")
        if own["alive"] and own["forgotten_at"] is None:
            raise CannotForget(f"node {node} is alive: it was seen just now. Stop it first")
        others = [row for row in nodes if row["node"] != node and row["forgotten_at"] is None]
        if not others:
            raise CannotForget(f"node {node} is the only one: start another first")
        successor: int = max(others, key=lambda row: (row["alive"], row["seen_at"]))["node"]
        await connection.execute(
            "UPDATE archive_nodes SET forgotten_at = coalesce(forgotten_at, now()), successor = $2 "
            "WHERE node = $1 OR successor = $1",
            node, successor,
        )  # fmt: skip
        await _hand_over(connection, node, successor)
        if own["forgotten_at"] is None:
            told: Details = {"what": "node_forgotten", "node": node, "successor": successor}
            await trail.append(connection, made(events.STORAGE_ASKED, by, told))
    # A batch of its indexer that was under way, and not refused, is in the index before anybody looks what there is of the node.
    async with connection.transaction():
        await connection.execute("LOCK TABLE ingest_mark IN SHARE MODE")
    return successor


async def _hand_over(connection: asyncpg.Connection, node: int, successor: int) -> None:
    first, last = _slots(node)
    await connection.execute("DELETE FROM object_removals WHERE slot BETWEEN $1 AND $2", first, last)
    await connection.execute("DELETE FROM replication WHERE slot BETWEEN $1 AND $2", first, last)
    await connection.execute("UPDATE tier_moves SET for_node = NULL WHERE for_node = $1", node)
    await connection.execute(
        "UPDATE integrity_runs SET ended_at = now(), problem = 'the node was forgotten' WHERE node = $1 AND ended_at IS NULL",
        node,
    )
    # What was found on its disk is as gone as the rest; what is lost by that is noted below.
    await connection.execute(
        "UPDATE integrity_findings SET settled_at = now(), settled = 'gone' "
        "WHERE node = $1 AND settled_at IS NULL AND kind <> 'lost'",
        node,
    )
    await connection.execute(
        """UPDATE deletions SET leased_until = '-infinity',
            nodes_left = array_append(array_remove(array_remove(nodes_left, $1::smallint), $2::smallint), $2::smallint)
        WHERE $1::smallint = ANY (nodes_left)""",
        node, successor,
    )  # fmt: skip


async def settle(
    connection: asyncpg.Connection, node: int, quick_stores: Sequence[str], *, rehome: bool
) -> AsyncIterator[Settled]:
    """What the index says of each instance that lay on a forgotten node, some at a time; each is committed when it is given.

    quick_stores: those of the tier nearline
    rehome:       have the studies brought back to nodes that there are; else whoever asks for them does
    """
    after = (-1, -1, "")
    while True:
        async with connection.transaction():
            rows = await connection.fetch(
                """SELECT sop_instance_uid, slot, batch, object_key FROM instances WHERE slot BETWEEN $1 AND $2
                AND (slot, batch) >= ($3, $4) AND (slot, batch, object_key) > ($3, $4, $5)
                AND availability IN ('ONLINE', 'UNAVAILABLE') ORDER BY slot, batch, object_key LIMIT $6""",
                *_slots(node), *after, _AT_ONCE,
            )  # fmt: skip
            if not rows:
                return
            after = (rows[-1][1], rows[-1][2], rows[-1][3])
            found = await _settle_some(connection, node, rows, quick_stores, rehome=rehome)
        yield found


async def _settle_some(
    connection: asyncpg.Connection,
    node: int,
    rows: Sequence[asyncpg.Record],
    quick_stores: Sequence[str],
    *,
    rehome: bool,
) -> Settled:
    uids = [row["sop_instance_uid"] for row in rows]
    await availability.lock_series(connection, uids)
    # Whoever was stored anew meanwhile has another key.
    settled = await connection.fetch(
        """UPDATE instances i SET availability = CASE
            WHEN EXISTS (SELECT FROM object_copies c WHERE c.sop_instance_uid = i.sop_instance_uid
                AND c.object_digest = i.digest AND c.store = ANY ($3::text[])) THEN 'NEARLINE'
            WHEN EXISTS (SELECT FROM object_copies c WHERE c.sop_instance_uid = i.sop_instance_uid
                AND c.object_digest = i.digest) THEN 'OFFLINE'
            ELSE 'UNAVAILABLE' END
        FROM unnest($1::text[], $2::text[]) AS gone (uid, key)
        WHERE i.sop_instance_uid = gone.uid AND i.object_key = gone.key
        RETURNING i.sop_instance_uid, i.object_key, i.series, i.availability = 'UNAVAILABLE' AS lost""",
        uids, [row["object_key"] for row in rows], list(quick_stores),
    )  # fmt: skip
    await availability.settle(connection, sorted({row["series"] for row in settled}))
    lost = sorted((row["sop_instance_uid"], row["object_key"]) for row in settled if row["lost"])
    await connection.execute(
        """INSERT INTO integrity_findings (kind, subject, sop_instance_uid, detail, found_by, indexed, node)
        SELECT 'lost', key, uid, $3, 'reconcile', true, $4 FROM unnest($1::text[], $2::text[]) AS l (uid, key)
        ON CONFLICT (kind, subject) WHERE settled_at IS NULL
            DO UPDATE SET seen_at = now(), detail = excluded.detail, indexed = true, node = excluded.node""",
        [uid for uid, _ in lost], [key for _, key in lost], f"node {node} was forgotten, and no store has a copy", node,
    )  # fmt: skip
    copied = [row["series"] for row in settled if not row["lost"]]
    if rehome and copied:
        studies = await connection.fetch(
            "SELECT DISTINCT s.study_instance_uid FROM series e JOIN studies s ON s.id = e.study WHERE e.id = ANY ($1::bigint[]) "
            "ORDER BY 1",
            copied,
        )
        await write_orders(
            connection, [Order(row[0], "", ONLINE, REHOMING, priority=POLICY_PRIORITY) for row in studies]
        )
    return Settled(len(copied), [uid for uid, _ in lost])


async def lost_deletions(connection: asyncpg.Connection, node: int) -> list[str]:
    """SOP Instance UIDs of what was deleted, could still be brought back, and cannot be any more."""
    rows = await connection.fetch(
        """SELECT x.sop_instance_uid FROM deleted_instances x JOIN deletions d ON d.id = x.deletion
        WHERE x.slot BETWEEN $1 AND $2 AND d.state = ANY ($3::text[]) AND NOT EXISTS (SELECT FROM object_copies c
            WHERE c.sop_instance_uid = x.sop_instance_uid AND c.object_digest = x.digest) ORDER BY 1""",
        *_slots(node), list(OPEN),
    )  # fmt: skip
    return [row[0] for row in rows]


async def rehomed(connection: asyncpg.Connection, study_instance_uid: str) -> None:
    """All of a study is on nodes that there are: that is no cache."""
    await connection.execute(
        "UPDATE study_storage SET recalled_at = NULL WHERE study_instance_uid = $1", study_instance_uid
    )


def _slots(node: int) -> tuple[int, int]:
    return node * SLOTS_OF_A_NODE, (node + 1) * SLOTS_OF_A_NODE - 1
