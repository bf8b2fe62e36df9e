"""Which copies are due to be read and compared, and what was found: all SQL on ``copy_checks`` and on ``object_copies.checked_at``.

Every method is one unit of work on ``Database`` and raises Unavailable when PostgreSQL is away or too slow.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import asyncpg
from msgspec import Struct

from pacs_actors.database import Database
from pacs_actors.lifecycle.stores.interface import StoredCopy

LEASE_S: Final = 300.0
FOUND_BY: Final = "copies"
"""In ``integrity_findings``: who found what is wrong with copies. Their subject is the store's name, a space, and the key."""
_WITHIN_S: Final = 120.0
_OF_INSTANCES: Final = """
    FROM object_copies c JOIN instances i ON i.sop_instance_uid = c.sop_instance_uid AND i.digest = c.object_digest
    JOIN series e ON e.id = i.series JOIN studies s ON s.id = e.study WHERE c.store = $1"""

# Both bounds bound the index, in a plan that is made once for all values, too: behind the last key there may be all others.
_NOTED: Final = """
    SELECT key, sop_instance_uid FROM object_copies WHERE store = $1 AND key > $2 AND key <= $3
        AND left(key, 32) >= left($2, 32) AND left(key, 32) <= left($3, 32) ORDER BY left(key, 32), key LIMIT $4"""
_BEHIND_ALL: Final = "~"


class Due(Struct, frozen=True):
    """A copy of an instance that the index has."""

    study_instance_uid: str
    sop_instance_uid: str
    stored: StoredCopy


class CopyChecks:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def take(self, store: str, lease: str) -> bool:
        """Whether it is ours to read a store's copies for the next LEASE_S; asked again by who has it, it is longer."""

        async def unit(connection: asyncpg.Connection) -> bool:
            taken = await connection.fetchval(
                """INSERT INTO copy_checks AS k (store, lease, leased_until) VALUES ($1, $2, now() + make_interval(secs => $3))
                ON CONFLICT (store) DO UPDATE SET lease = excluded.lease, leased_until = excluded.leased_until
                WHERE k.lease = excluded.lease OR k.leased_until < now()
                    OR k.leased_until > now() + make_interval(secs => 2 * $3) RETURNING true""",
                store, lease, LEASE_S,
            )  # fmt: skip
            return taken is not None

        return await self._database.run(unit)

    async def due(self, store: str, older_than_s: float, most: int) -> list[Due]:
        """Copies that were not looked at for so long, longest ago first."""

        async def unit(connection: asyncpg.Connection) -> list[Due]:
            rows = await connection.fetch(
                f"""SELECT s.study_instance_uid, c.sop_instance_uid, c.key, c.stored_bytes, c.stored_digest {_OF_INSTANCES}
                AND c.checked_at <= now() - make_interval(secs => $2) ORDER BY c.checked_at LIMIT $3""",
                store, older_than_s, most,
            )  # fmt: skip
            return [Due(row[0], row[1], StoredCopy(*row[2:])) for row in rows]

        return await self._database.run(unit, within_s=_WITHIN_S)

    async def page(self, store: str, after: str, most: int) -> list[Due]:
        """All there are, by SOP Instance UID, some behind one."""

        async def unit(connection: asyncpg.Connection) -> list[Due]:
            rows = await connection.fetch(
                f"""SELECT s.study_instance_uid, c.sop_instance_uid, c.key, c.stored_bytes, c.stored_digest {_OF_INSTANCES}
                AND c.sop_instance_uid > $2 ORDER BY c.sop_instance_uid LIMIT $3""",
                store, after, most,
            )  # fmt: skip
            return [Due(row[0], row[1], StoredCopy(*row[2:])) for row in rows]

        return await self._database.run(unit, within_s=_WITHIN_S)

    async def noted(self, store: str, after: str, upto: str, most: int) -> list[tuple[str, str]]:
        """Keys in the book, with their SOP Instance UIDs, behind one key and not behind another. upto: "": to the end"""

        async def unit(connection: asyncpg.Connection) -> list[tuple[str, str]]:
            rows = await connection.fetch(_NOTED, store, after, upto or _BEHIND_ALL, most)
            return [(row[0], row[1]) for row in rows]

        return await self._database.run(unit, within_s=_WITHIN_S)

    async def checked(self, store: str, *, well: Sequence[Due], not_well: Sequence[Due]) -> None:
        """They were read just now."""
        all_of_them = [*well, *not_well]

        async def unit(connection: asyncpg.Connection) -> None:
            await connection.execute(
                """UPDATE object_copies c SET checked_at = now(), verified_at = CASE WHEN n.well THEN now() ELSE c.verified_at END
                FROM unnest($2::text[], $3::text[], $4::boolean[]) AS n (uid, key, well)
                WHERE c.store = $1 AND c.sop_instance_uid = n.uid AND c.key = n.key""",
                store, [one.sop_instance_uid for one in all_of_them], [one.stored.key for one in all_of_them],
                [True] * len(well) + [False] * len(not_well),
            )  # fmt: skip

        await self._database.run(unit)

    async def settle(self) -> None:
        """Findings whose instance is no more, whose copy was found whole since, or is none any more while there is another."""

        async def unit(connection: asyncpg.Connection) -> None:
            await connection.execute(
                """UPDATE integrity_findings f SET settled_at = now(), settled = n.how FROM (
                    SELECT f.id, CASE WHEN NOT EXISTS (SELECT FROM instances i WHERE i.sop_instance_uid = f.sop_instance_uid)
                            THEN 'deleted'
                        WHEN c.key IS NULL THEN 'gone' WHEN c.verified_at > f.seen_at THEN 'healed' END AS how
                    FROM integrity_findings f LEFT JOIN object_copies c ON c.sop_instance_uid = f.sop_instance_uid
                        AND c.store = split_part(f.subject, ' ', 1) AND c.key = split_part(f.subject, ' ', 2)
                    WHERE f.settled_at IS NULL AND f.found_by = $1) n
                WHERE f.id = n.id AND n.how IS NOT NULL""",
                FOUND_BY,
            )

        await self._database.run(unit)
