"""The index in PostgreSQL: all SQL of the archive wing that writes, and what storage asks of it.

Every method is one unit of work on ``Database``; all raise Unavailable when PostgreSQL is away or too slow.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Final

import asyncpg
import msgspec

from pacs_actors.archive import availability, object_removals, study_copies
from pacs_actors.archive.batch import PATIENT_ID, Batch, GroupKey, arguments, cleaned, group
from pacs_actors.archive.index_function import CALL_INDEX_FUNCTION
from pacs_actors.archive.key_values import storable
from pacs_actors.archive.locating import LocatedInstance, fetch_located, location
from pacs_actors.archive.matching import FindQuery, Root, plan
from pacs_actors.archive.objects.keys import node_of, node_of_key, parse_key
from pacs_actors.archive.results import FindPage, Outcome, OutcomeKind, RecentStudy, Totals
from pacs_actors.archive.scope import EVERYTHING, StudyScope
from pacs_actors.audit import trail
from pacs_actors.database import Database
from pacs_actors.operations import logs
from protocols.dataset.identifier import Identifier
from protocols.dataset.record import IndexEntry
from protocols.messages.audit import AuditEvent, Details

__all__ = ["Catalogue", "FindPage", "LocatedInstance", "Outcome", "OutcomeKind", "RecentStudy", "Totals"]

_REMEMBERED_SERIES: Final = 4096
_ATTEMPTS: Final = 4
_SAY_ALL: Final = "PA001"
# A batch that lost a race runs again: the second time it finds what the winner made, or that it was deleted.
_LOST_RACE: Final = (
    asyncpg.DeadlockDetectedError, asyncpg.ForeignKeyViolationError, asyncpg.SerializationError, asyncpg.UniqueViolationError,
)  # fmt: skip


_INDEXED: Final = Outcome(OutcomeKind.INDEXED)
_ANSWER: Final = msgspec.json.Decoder(list[tuple[int, OutcomeKind, str | None, bool]])


class Catalogue:
    """custom: tag -> VR of the attributes that are indexed besides the built-in ones."""

    def __init__(self, database: Database, custom: Mapping[int, str] | None = None) -> None:
        self.database, self.custom = database, custom or {}
        # Series whose patient, study and series attributes this process has sent, and which: their rows exist, as
        # long as nothing is deleted by anybody.
        self._sent: OrderedDict[GroupKey, frozenset[int]] = OrderedDict()
        self._epoch: int | None = None
        self.retries = 0

    async def index_batch(
        self, entries: Sequence[IndexEntry], mark: tuple[int, int] | None = None
    ) -> list[Outcome]:
        """Make entries visible: all or none, in one round trip; again with the same entries changes nothing.

        The first instance of a patient, study or series decides its attributes; later ones fill in what was
        blank.
        mark:    (slot, batch folder): everything of that slot in folders below is indexed once this returns
        returns: an outcome for each entry, in their order
        """
        if not entries:
            if mark is not None:
                await self.set_mark(*mark)
            return []
        batch = group(entries)

        async def unit(connection: asyncpg.Connection) -> str | None:
            return await self._index(connection, batch, mark)

        answer = await self.database.run(unit, urgent=True)
        for key in batch.series:
            self._sent[key] = batch.tags(key) | self._sent.get(key, frozenset())
            self._sent.move_to_end(key)
        while len(self._sent) > _REMEMBERED_SERIES:
            self._sent.popitem(last=False)
        outcomes = [_INDEXED] * len(entries)
        if answer is not None:
            for number, kind, first_key, mismatch in _ANSWER.decode(answer):
                outcomes[number] = Outcome(kind, first_key, mismatch)
        return outcomes

    async def _index(
        self, connection: asyncpg.Connection, batch: Batch, mark: tuple[int, int] | None
    ) -> str | None:
        with_groups = any(
            key not in self._sent or not batch.tags(key) <= self._sent[key] for key in batch.series
        )
        for attempt in range(_ATTEMPTS):
            try:
                if self._epoch is None:
                    with_groups = True
                    self._sent.clear()
                    self._epoch = await connection.fetchval("SELECT number FROM deletion_epoch")
                sent = arguments(batch, self.custom, mark, with_groups=with_groups)
                answer: str | None = await connection.fetchval(CALL_INDEX_FUNCTION, *sent, self._epoch)
                return answer
            except _LOST_RACE as lost:
                if attempt == _ATTEMPTS - 1:
                    raise
                self.retries += 1
                logs.debug("index_batch_again", why=type(lost).__name__)
            except (asyncpg.DataError, UnicodeEncodeError):
                if attempt == _ATTEMPTS - 1:
                    raise
                logs.warning("index_batch_cleaned", instances=len(batch.entries))
                batch = group([cleaned(entry) for entry in batch.entries])
                with_groups = True
            except asyncpg.PostgresError as error:
                if error.sqlstate != _SAY_ALL or attempt == _ATTEMPTS - 1:
                    raise
                self._epoch = (
                    None  # somebody deleted something, or the database was restored to an earlier state
                )
        raise AssertionError

    async def quarantine(
        self, entry: IndexEntry, key: str, found: Outcome, address: str = "", *, first_lost: bool = False
    ) -> None:
        """Note an object that was set aside, with the audit event, in one transaction; again changes nothing.

        key:         where the object lies now
        first_lost:  the first object is not there any more: the audit tells that this one could not take its place
        """
        stored, uid = entry.stored, entry.scanned.sop_instance_uid

        async def unit(connection: asyncpg.Connection) -> None:
            async with connection.transaction():
                noted = await connection.fetchval(
                    """INSERT INTO quarantine (sop_instance_uid, object_key, first_key, digest, size_bytes,
                        why, source, address)
                    VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
                    ON CONFLICT (object_key) DO NOTHING RETURNING id""",
                    uid, key, found.first_key or "", stored.digest, stored.size_bytes, found.kind.value,
                    storable(stored.source), storable(address),
                )  # fmt: skip
                if noted is not None:
                    await _audit(
                        connection, entry, found, address=address, event="instance_quarantined", key=key,
                        first_lost=first_lost,
                    )  # fmt: skip

        await self.database.run(unit, urgent=True)

    async def heal(self, entry: IndexEntry, first_key: str, address: str = "") -> str | None:
        """Give an entry's object the place of a lost one with the same digest, with the audit event, in one transaction.

        returns: key of the object that has the place now; another one's if ``first_key`` had it no more; None if the
                 instance was deleted
        """
        stored, uid = entry.stored, entry.scanned.sop_instance_uid
        place = parse_key(stored.key)

        async def unit(connection: asyncpg.Connection) -> str | None:
            async with connection.transaction():
                await availability.lock_series(connection, [uid])
                row = await connection.fetchrow(
                    "SELECT object_key, availability, series FROM instances WHERE sop_instance_uid = $1 FOR UPDATE",
                    uid,
                )
                holder: str | None = None if row is None else row[0]
                if row is None or holder != first_key:
                    return holder
                await connection.execute(
                    """UPDATE instances SET object_key = $2, slot = $3, batch = $4, data_offset = $5,
                        availability = 'ONLINE'
                    WHERE sop_instance_uid = $1""",
                    uid, stored.key, place.slot, place.batch, stored.data_offset,
                )  # fmt: skip
                if row[1] != "ONLINE":
                    await availability.settle(connection, [row[2]])
                if row[1] in ("NEARLINE", "OFFLINE"):  # nothing was lost: it was elsewhere
                    await study_copies.note_recalled(connection, row[2])
                    return stored.key
                if node_of_key(first_key) != node_of(place.slot):  # nor here: its node compares the two
                    await object_removals.note(connection, first_key, uid, stored.digest, compare=True)
                    return stored.key
                found = Outcome(OutcomeKind.DUPLICATE, first_key)
                await _audit(
                    connection, entry, found, address=address, event="object_healed", key=stored.key,
                    first_lost=True,
                )  # fmt: skip
                return stored.key

        return await self.database.run(unit, urgent=True)

    async def audit_conflict(
        self, entry: IndexEntry, found: Outcome, address: str = "", *, what: str
    ) -> None:
        """Write an audit event about an entry that contradicts the index."""

        async def unit(connection: asyncpg.Connection) -> None:
            await _audit(connection, entry, found, address=address, event=what, key=entry.stored.key)

        await self.database.run(unit, urgent=True)

    async def find_page(self, query: FindQuery) -> FindPage:
        """One page of answers to a query, in a stable order.

        raises: BadIdentifier (A900H) if the query is not one of its information model
        """
        found = plan(query, self.custom)

        async def unit(connection: asyncpg.Connection) -> list[asyncpg.Record]:
            return await connection.fetch(found.sql, *found.parameters)

        records = await self.database.run(unit)
        width = -found.cursor_width
        last = tuple(records[-1][width:]) if records and len(records) == query.limit else None
        return FindPage(found.returns, [record[:width] for record in records], last, found.unsupported)

    async def locate(
        self,
        identifier: Identifier,
        *,
        root: Root = Root.STUDY,
        relational: bool = False,
        scope: StudyScope = EVERYTHING,
    ) -> list[LocatedInstance]:
        """The instances within the scope that a C-MOVE or C-GET identifier names, by series and instance number.

        raises: BadIdentifier (A900H) for a wrong level or a missing unique key; TooMany (A701H) for more than
                MAX_LOCATED
        """
        wanted = location(identifier, root, relational=relational, scope=scope)

        async def unit(connection: asyncpg.Connection) -> list[LocatedInstance]:
            return await fetch_located(connection, wanted)

        return await self.database.run(unit)

    async def known_keys(self, slot: int, batch: int) -> set[str]:
        """The object keys of one batch folder that are indexed, or deleted and not yet moved aside."""

        async def unit(connection: asyncpg.Connection) -> set[str]:
            rows = await connection.fetch(
                "SELECT object_key FROM instances WHERE slot = $1 AND batch = $2 "
                "UNION ALL SELECT object_key FROM deleted_instances WHERE slot = $1 AND batch = $2 "
                "UNION ALL SELECT object_key FROM object_removals WHERE slot = $1 AND batch = $2",
                slot, batch,
            )  # fmt: skip
            return {row[0] for row in rows}

        return await self.database.run(unit)

    async def mark(self, slot: int) -> int:
        """Everything of the slot in batch folders below this number is indexed; 0 if nothing is known."""
        return (await self.all_marks()).get(slot, 0)

    async def all_marks(self) -> dict[int, int]:
        async def unit(connection: asyncpg.Connection) -> dict[int, int]:
            rows = await connection.fetch("SELECT slot, batch FROM ingest_mark")
            return {row[0]: row[1] for row in rows}

        return await self.database.run(unit)

    async def set_mark(self, slot: int, batch: int, *, back: bool = False) -> None:
        """Move a slot's mark; backwards only on purpose, for a rebuild of the index."""

        async def unit(connection: asyncpg.Connection) -> None:
            await connection.execute(
                "INSERT INTO ingest_mark AS m (slot, batch) VALUES ($1, $2) "
                "ON CONFLICT (slot) DO UPDATE SET batch = excluded.batch WHERE $3 OR m.batch < excluded.batch",
                slot, batch, back,
            )  # fmt: skip

        await self.database.run(unit, urgent=True)

    async def exists(self, references: Sequence[tuple[str, str]]) -> list[bool]:
        """Storage commitment (PS3.4 J.3): is each (SOP Class UID, SOP Instance UID) stored here?"""
        classes = [sop_class for sop_class, _ in references]
        uids = [uid for _, uid in references]

        async def unit(connection: asyncpg.Connection) -> list[bool]:
            rows = await connection.fetch(
                """SELECT EXISTS (
                    SELECT FROM instances i WHERE i.sop_instance_uid = r.uid AND i.sop_class_uid = r.class)
                FROM unnest($1::text[], $2::text[]) WITH ORDINALITY r (class, uid, ord) ORDER BY r.ord""",
                classes, uids,
            )  # fmt: skip
            return [row[0] for row in rows]

        return await self.database.run(unit)

    async def totals(self) -> Totals:
        async def unit(connection: asyncpg.Connection) -> Totals:
            row = await connection.fetchrow(
                """SELECT coalesce(sum(patients), 0)::bigint, coalesce(sum(studies), 0)::bigint,
                    coalesce(sum(series), 0)::bigint, coalesce(sum(instances), 0)::bigint,
                    coalesce(sum(size_bytes), 0)::bigint FROM archive_totals"""
            )
            return Totals(*row) if row is not None else Totals()

        return await self.database.run(unit)

    async def recent_studies(self, limit: int) -> list[RecentStudy]:
        """The studies that began to arrive last, newest first."""

        async def unit(connection: asyncpg.Connection) -> list[RecentStudy]:
            rows = await connection.fetch(
                "SELECT s.study_instance_uid, s.study_date, array_to_string(s.modalities_in_study, '\\'), "
                "s.number_of_series, s.number_of_instances, i.received_at, i.source FROM studies s "
                "JOIN LATERAL (SELECT received_at, source FROM instances WHERE series = "
                "(SELECT min(e.id) FROM series e WHERE e.study = s.id) ORDER BY id LIMIT 1) i ON true "
                "ORDER BY s.id DESC LIMIT $1",
                limit,
            )  # fmt: skip
            return [RecentStudy(*row) for row in rows]

        return await self.database.run(unit)


async def _audit(
    connection: asyncpg.Connection,
    entry: IndexEntry,
    found: Outcome,
    *,
    address: str,
    event: str,
    key: str,
    first_lost: bool = False,
) -> None:
    scanned, stored = entry.scanned, entry.stored
    details: Details = {
        "key": key, "first_key": found.first_key or "", "digest": stored.digest.hex(), "kind": found.kind.value,
        **({"first_lost": True} if first_lost else {}),
    }  # fmt: skip
    uids = (scanned.study_instance_uid, scanned.series_instance_uid, scanned.sop_instance_uid)
    patient_id = scanned.values.get(PATIENT_ID, "")
    told = AuditEvent(event, "warning", stored.source, address, patient_id, uids, details, via="ae")
    await trail.append(connection, told)
