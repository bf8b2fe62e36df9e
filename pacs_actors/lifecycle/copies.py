"""Where the objects of instances are besides the online store: all SQL on ``object_copies`` and on the columns
``availability``, by which the archive tells whoever asks how quickly an instance can be had.

Every method is one unit of work on ``Database`` and raises Unavailable when PostgreSQL is away or too slow.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

import asyncpg
from msgspec import Struct

from pacs_actors.archive import availability, object_removals, study_copies
from pacs_actors.archive.objects.keys import node_of, parse_key
from pacs_actors.database import Database
from pacs_actors.lifecycle import copy_removals
from pacs_actors.lifecycle.copy_removals import CopyRemovals
from pacs_actors.lifecycle.stores.interface import StoredCopy
from protocols.dataset.record import StoredObject
from protocols.errors import Unavailable

Form = Literal["plain", "gzip", "zstd", "lz4", "rle", "jpeg-ls", "jpeg-2000", "htj2k"]
Availability = Literal["ONLINE", "NEARLINE", "OFFLINE", "UNAVAILABLE"]
_WITHIN_S: Final = 120.0


class Held(Struct, frozen=True):
    """An instance of a study, and where its object is.

    key:     of the object in the online store; nothing is there if ``availability`` is not ONLINE
    digest:  of the object: xxh3-128 from byte 128 on
    copies:  by store
    """

    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    key: str
    size_bytes: int
    data_offset: int
    digest: bytes
    source: str
    availability: Availability
    copies: dict[str, Copy]

    @property
    def online(self) -> bool:
        return self.availability == "ONLINE"


class Copy(Struct, frozen=True):
    """A verified copy of an object in a store. syntax: the object's Transfer Syntax UID, whatever the copy is coded in"""

    form: Form
    syntax: str
    stored: StoredCopy


_HELD: Final = """
    SELECT i.sop_instance_uid, i.sop_class_uid, i.transfer_syntax_uid, i.object_key, i.size_bytes, i.data_offset, i.digest,
        i.source, i.availability,
        (SELECT array_agg((c.store, c.form, c.transfer_syntax_uid, c.key, c.stored_bytes, c.stored_digest)) FROM object_copies c
            WHERE c.sop_instance_uid = i.sop_instance_uid AND c.object_digest = i.digest)
    FROM instances i"""

_NOTE: Final = """
    INSERT INTO object_copies (sop_instance_uid, object_digest, store, key, form, transfer_syntax_uid, stored_bytes,
        stored_digest, verified_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, now())
    ON CONFLICT (sop_instance_uid, object_digest, store) DO UPDATE SET key = excluded.key, form = excluded.form,
        transfer_syntax_uid = excluded.transfer_syntax_uid, stored_bytes = excluded.stored_bytes,
        stored_digest = excluded.stored_digest, verified_at = excluded.verified_at"""

_REPLACED: Final = """
    SELECT c.sop_instance_uid, c.object_digest, c.store, c.key FROM object_copies c
    JOIN unnest($1::text[], $2::bytea[], $3::text[]) AS n (uid, digest, key)
        ON c.sop_instance_uid = n.uid AND c.object_digest = n.digest AND c.key <> n.key WHERE c.store = $4 FOR UPDATE OF c"""

_ANOTHER: Final = """EXISTS (SELECT FROM object_copies o WHERE o.sop_instance_uid = c.sop_instance_uid
    AND o.object_digest = c.object_digest AND o.store <> c.store)"""

_INCOMPLETE: Final = """
    DELETE FROM study_copies y USING unnest($1::text[], $2::text[]) AS gone (uid, store), instances i, series e, studies s
    WHERE i.sop_instance_uid = gone.uid AND e.id = i.series AND s.id = e.study
        AND y.study_instance_uid = s.study_instance_uid AND y.store = gone.store"""


class Copies:
    """removals: what is to go from the stores, and what is about to come"""

    def __init__(self, database: Database) -> None:
        self.database, self.removals = database, CopyRemovals(database)

    async def of_study(self, study_instance_uid: str, after: str, most: int) -> list[Held]:
        """Some of a study's instances by their UIDs, beginning behind one."""

        async def unit(connection: asyncpg.Connection) -> list[Held]:
            rows = await connection.fetch(
                f"{_HELD} JOIN series e ON e.id = i.series JOIN studies s ON s.id = e.study "
                "WHERE s.study_instance_uid = $1 AND i.sop_instance_uid > $2 ORDER BY i.sop_instance_uid LIMIT $3",
                study_instance_uid, after, most,
            )  # fmt: skip
            return [_held(row) for row in rows]

        return await self.database.run(unit, within_s=_WITHIN_S)

    async def of_instances(self, sop_instance_uids: Sequence[str]) -> list[Held]:
        async def unit(connection: asyncpg.Connection) -> list[Held]:
            rows = await connection.fetch(
                f"{_HELD} WHERE i.sop_instance_uid = ANY ($1::text[])", list(sop_instance_uids)
            )
            return [_held(row) for row in rows]

        return await self.database.run(unit)

    async def of_object(self, sop_instance_uid: str, digest: bytes) -> dict[str, Copy]:
        """The copies of an object, by store, whether the index has it or not."""

        async def unit(connection: asyncpg.Connection) -> dict[str, Copy]:
            rows = await connection.fetch(
                "SELECT store, form, transfer_syntax_uid, key, stored_bytes, stored_digest FROM object_copies "
                "WHERE sop_instance_uid = $1 AND object_digest = $2",
                sop_instance_uid, digest,
            )  # fmt: skip
            return {row[0]: Copy(row[1], row[2], StoredCopy(*row[3:])) for row in rows}

        return await self.database.run(unit)

    async def offline_studies(self, sop_instance_uids: Sequence[str]) -> list[str]:
        """Studies of which some of these instances are in slow stores only."""

        async def unit(connection: asyncpg.Connection) -> list[str]:
            rows = await connection.fetch(
                "SELECT DISTINCT s.study_instance_uid FROM instances i JOIN series e ON e.id = i.series "
                "JOIN studies s ON s.id = e.study WHERE i.sop_instance_uid = ANY ($1::text[]) AND i.availability = 'OFFLINE'",
                list(sop_instance_uids),
            )
            return [row[0] for row in rows]

        return await self.database.run(unit, within_s=_WITHIN_S)

    async def sizes(self, study_instance_uid: str) -> tuple[int, int]:
        """(instances, their bytes) of a study."""

        async def unit(connection: asyncpg.Connection) -> tuple[int, int]:
            row = await connection.fetchrow(
                "SELECT number_of_instances, size_bytes FROM studies WHERE study_instance_uid = $1",
                study_instance_uid,
            )
            return (row[0], row[1]) if row is not None else (0, 0)

        return await self.database.run(unit)

    async def add(self, store: str, copied: Sequence[tuple[Held, Copy]]) -> None:
        """Note copies that were announced, put, and found whole.

        raises: Unavailable if not all of them could be: of an instance that was deleted meanwhile, or removed meanwhile
        """
        rows = rows_of(store, copied)

        async def unit(connection: asyncpg.Connection) -> int:
            async with connection.transaction():
                # What is erased just now must not leave a copy behind: its row is locked by whoever deletes it, or gone.
                there = await connection.fetch(
                    "SELECT n.key FROM unnest($1::text[], $2::bytea[], $3::text[]) AS n (uid, digest, key) JOIN instances i "
                    "ON i.sop_instance_uid = n.uid AND i.digest = n.digest FOR KEY SHARE OF i SKIP LOCKED",
                    [row[0] for row in rows.values()], [row[1] for row in rows.values()], list(rows),
                )  # fmt: skip
                back = await copy_removals.take_back(connection, store, [row[0] for row in there])
                await copy_removals.hasten(connection, store, [key for key in rows if key not in back])
                noted = [row for key, row in rows.items() if key in back]
                await write_down(connection, store, noted)
                return len(noted)

        if await self.database.run(unit) < len(rows):
            raise Unavailable("some copies are not wanted any more, or were removed meanwhile")

    async def complete(self, study_instance_uid: str, store: str) -> bool:
        """Note that all of a study is in a store, if it is."""

        async def unit(connection: asyncpg.Connection) -> bool:
            return await study_copies.recount(connection, study_instance_uid, store)

        return await self.database.run(unit, within_s=_WITHIN_S)

    async def incomplete(self, study_instance_uid: str, store: str) -> None:
        """Nothing, or not all of a study is to be in a store any more."""
        await self._execute(
            "DELETE FROM study_copies WHERE study_instance_uid = $1 AND store = $2", study_instance_uid, store
        )

    async def released(self, study_instance_uid: str) -> None:
        """Nothing of a study is a cached copy any more, unless it has come again meanwhile."""

        async def unit(connection: asyncpg.Connection) -> None:
            async with connection.transaction():
                await study_copies.released(connection, study_instance_uid)

        await self.database.run(unit, within_s=_WITHIN_S)

    async def accessed(self, study_instance_uids: Sequence[str]) -> None:
        """Note that studies were retrieved or viewed just now."""
        await self._execute(
            "INSERT INTO study_storage (study_instance_uid, accessed_at) SELECT unnest($1::text[]), now() "
            "ON CONFLICT (study_instance_uid) DO UPDATE SET accessed_at = excluded.accessed_at",
            sorted(set(study_instance_uids)),
        )

    async def forget(self, store: str, held: Sequence[Held]) -> int:
        """Take copies out of the book and have them removed, where the index knows of another one now; how many."""
        return await self._forget(
            f"""DELETE FROM object_copies c USING unnest($1::text[], $2::bytea[]) AS gone (uid, digest)
            WHERE c.sop_instance_uid = gone.uid AND c.object_digest = gone.digest AND c.store = $3 AND ({_ANOTHER}
                OR EXISTS (SELECT FROM instances i WHERE i.sop_instance_uid = gone.uid AND i.digest = gone.digest
                    AND i.availability = 'ONLINE'))
            RETURNING c.sop_instance_uid, c.object_digest, c.store, c.key""",  # noqa: S608 - our words
            [one.sop_instance_uid for one in held], [one.digest for one in held], store,
        )  # fmt: skip

    async def forget_erased(self, objects: Sequence[tuple[str, bytes]]) -> int:
        """The same for objects (SOP Instance UID, digest) that were erased, in every store, unless they came again since, or
        another deletion of them can still be undone.
        """
        return await self._forget(
            """DELETE FROM object_copies c USING unnest($1::text[], $2::bytea[]) AS gone (uid, digest)
            WHERE c.sop_instance_uid = gone.uid AND c.object_digest = gone.digest AND NOT EXISTS (SELECT FROM instances i
                WHERE i.sop_instance_uid = gone.uid AND i.digest = gone.digest) AND NOT EXISTS (SELECT FROM deleted_instances x
                JOIN deletions d ON d.id = x.deletion WHERE x.sop_instance_uid = gone.uid AND x.digest = gone.digest
                AND d.state IN ('deleted', 'undoing'))
            RETURNING c.sop_instance_uid, c.object_digest, c.store, c.key""",
            [uid for uid, _ in objects], [digest for _, digest in objects],
        )  # fmt: skip

    async def _forget(self, statement: str, uids: Sequence[str], *arguments: object) -> int:
        async def unit(connection: asyncpg.Connection) -> int:
            async with connection.transaction():
                # As ``take_offline``: what lets the one go, and what lets the other go, must see each other.
                await availability.lock_series(connection, uids)
                rows = await connection.fetch(statement, list(uids), *arguments)
                await copy_removals.note(connection, rows)
                await connection.execute(_INCOMPLETE, [row[0] for row in rows], [row[2] for row in rows])
                return len(rows)

        return await self.database.run(unit)

    async def damaged(self, store: str, held: Held, *, online: bool) -> None:
        """A copy that is not what was put there, or not there at all: it is none, from now on. A replicator makes another.

        online: the instance has an object that is good. Without it, and if there is no other copy either, it stays: what is left
                of the last one is not ours to remove, and perhaps it was only read wrongly
        """
        gone = await self._forget(
            f"""DELETE FROM object_copies c USING unnest($1::text[]) AS gone (uid)
            WHERE c.sop_instance_uid = gone.uid AND c.object_digest = $2 AND c.store = $3 AND ({_ANOTHER}
                OR $4 AND EXISTS (SELECT FROM instances i WHERE i.sop_instance_uid = gone.uid AND i.object_key = $5
                    AND i.availability = 'ONLINE'))
            RETURNING c.sop_instance_uid, c.object_digest, c.store, c.key""",  # noqa: S608 - our words
            [held.sop_instance_uid], held.digest, store, online, held.key,
        )  # fmt: skip
        if gone and held.key:
            place = parse_key(held.key)
            await self._execute(
                "UPDATE replication SET batch = least(batch, $3) WHERE slot = $1 AND store = $2 AND NOT patrol",
                place.slot, store, place.batch,
            )  # fmt: skip

    async def settle_study(self, study_instance_uid: str, quick_stores: Sequence[str]) -> None:
        """After copies have come or gone: what is not online is NEARLINE if a quick store has it, else OFFLINE."""

        async def unit(connection: asyncpg.Connection) -> None:
            async with connection.transaction():
                series = [
                    row[0]
                    for row in await connection.fetch(
                        "SELECT e.id FROM series e JOIN studies s ON s.id = e.study "
                        "WHERE s.study_instance_uid = $1 AND e.availability <> 'ONLINE' ORDER BY e.id FOR UPDATE OF e",
                        study_instance_uid,
                    )
                ]
                await connection.execute(
                    """UPDATE instances i SET availability = CASE WHEN EXISTS (SELECT FROM object_copies c
                        WHERE c.sop_instance_uid = i.sop_instance_uid AND c.object_digest = i.digest
                            AND c.store = ANY ($2::text[])) THEN 'NEARLINE' ELSE 'OFFLINE' END
                    WHERE i.series = ANY ($1::bigint[]) AND i.availability IN ('NEARLINE', 'OFFLINE')""",
                    series, list(quick_stores),
                )  # fmt: skip
                await availability.settle(connection, series)

        await self.database.run(unit, within_s=_WITHIN_S)

    async def take_offline(
        self, held: Sequence[Held], to: Availability, stores: Sequence[str], node: int
    ) -> list[str]:
        """Let instances be elsewhere only; the keys of their objects on this node, which may go now. Other nodes find theirs in
        ``object_removals``.

        stores: those that can be asked
        Those that have no copy there, or were stored anew meanwhile, are left as they are.
        """

        async def unit(connection: asyncpg.Connection) -> list[str]:
            async with connection.transaction():
                return await let_go(connection, held, to, stores, node)

        return await self.database.run(unit, within_s=_WITHIN_S)

    async def bring_online(self, held: Held, stored: StoredObject) -> str | None:
        """Give an instance an object in the online store again; the key of the one that it has now.

        held:    as it was looked up; if it was online then, its object is known to be lost or damaged
        returns: None if the instance was deleted; another key than ``stored.key`` if somebody else was quicker
        """
        place = parse_key(stored.key)

        async def unit(connection: asyncpg.Connection) -> str | None:
            async with connection.transaction():
                await availability.lock_series(connection, [held.sop_instance_uid])
                row = await connection.fetchrow(
                    "SELECT object_key, availability, digest FROM instances WHERE sop_instance_uid = $1 FOR UPDATE",
                    held.sop_instance_uid,
                )
                if row is None or row[2] != held.digest:
                    return None
                key: str = row[0]
                if row[1] == "ONLINE" and not (held.online and key == held.key):
                    return key
                series = await connection.fetchval(
                    """UPDATE instances SET object_key = $2, slot = $3, batch = $4, data_offset = $5, availability = 'ONLINE'
                    WHERE sop_instance_uid = $1 RETURNING series""",
                    held.sop_instance_uid, stored.key, place.slot, place.batch, stored.data_offset,
                )  # fmt: skip
                await availability.settle(connection, [series])
                if row[1] in ("NEARLINE", "OFFLINE"):
                    await study_copies.note_recalled(connection, series)
                return stored.key

        return await self.database.run(unit, urgent=True)

    async def _execute(self, statement: str, *arguments: object) -> None:
        async def unit(connection: asyncpg.Connection) -> None:
            await connection.execute(statement, *arguments)

        await self.database.run(unit)


Row = tuple[str, bytes, str, str, Form, str, int, bytes]


def rows_of(store: str, copied: Sequence[tuple[Held, Copy]]) -> dict[str, Row]:
    """Of the book, by key, in the order in which they are written."""
    return {
        copy.stored.key: (
            held.sop_instance_uid, held.digest, store, copy.stored.key, copy.form, copy.syntax,
            copy.stored.size_bytes, copy.stored.digest,
        )
        for held, copy in sorted(copied, key=lambda one: one[0].sop_instance_uid)
    }  # fmt: skip


async def write_down(connection: asyncpg.Connection, store: str, rows: Sequence[Row]) -> None:
    """Write copies into the book, and have those removed that they take the place of."""
    replaced = await connection.fetch(
        _REPLACED, [row[0] for row in rows], [row[1] for row in rows], [row[3] for row in rows], store
    )
    await copy_removals.note(connection, replaced)
    await connection.executemany(_NOTE, rows)


async def let_go(
    connection: asyncpg.Connection, held: Sequence[Held], to: Availability, stores: Sequence[str], node: int
) -> list[str]:
    """As ``Copies.take_offline``, within a transaction."""
    await availability.lock_series(connection, [one.sop_instance_uid for one in held])
    rows = await connection.fetch(
        """UPDATE instances i SET availability = $3 FROM unnest($1::text[], $2::text[]) AS gone (uid, key)
        WHERE i.sop_instance_uid = gone.uid AND i.object_key = gone.key AND EXISTS (SELECT FROM object_copies c
            WHERE c.sop_instance_uid = i.sop_instance_uid AND c.object_digest = i.digest
                AND c.store = ANY ($4::text[]))
        RETURNING i.object_key, i.series, i.slot, i.batch, i.sop_instance_uid, i.digest""",
        [one.sop_instance_uid for one in held], [one.key for one in held], to, list(stores),
    )  # fmt: skip
    await availability.settle(connection, sorted({row[1] for row in rows}))
    for row in rows:
        if node_of(row[2]) != node:
            await object_removals.note(connection, row[0], row[4], row[5])
    return [row[0] for row in rows if node_of(row[2]) == node]


def _held(row: asyncpg.Record) -> Held:
    copies = {
        store: Copy(form, syntax, StoredCopy(key, size_bytes, digest))
        for store, form, syntax, key, size_bytes, digest in row[9] or ()
    }
    return Held(*(*row[:9], copies))
