"""The role of the workers can append to the audit, and nothing else."""

from __future__ import annotations

import asyncpg
import pytest

from config.settings import DatabaseSettings
from pacs_actors import application_role, migrations
from pacs_actors.audit.trail import Trail
from pacs_actors.database import Database
from tests.pacs_actors.audit.rows import event, execute, verified

FORBIDDEN = [
    "UPDATE audit_events SET who = 'me'",
    "UPDATE audit_events SET who = who",
    "DELETE FROM audit_events",
    "TRUNCATE audit_events",
    "DROP TRIGGER audit_events_append_only ON audit_events",
    "DROP TRIGGER audit_events_chain ON audit_events",
    "ALTER TABLE audit_events DISABLE TRIGGER ALL",
    "ALTER TABLE audit_events DISABLE TRIGGER audit_events_chain",
    "DROP TABLE audit_events",
    "DROP TABLE audit_events CASCADE",
    "ALTER TABLE audit_events RENAME TO other",
    "ALTER TABLE audit_events OWNER TO pacs_app",
    "ALTER TABLE audit_events ADD COLUMN more text",
    "CREATE RULE nothing AS ON INSERT TO audit_events DO INSTEAD NOTHING",
    "CREATE TRIGGER mine BEFORE INSERT ON audit_events FOR EACH ROW EXECUTE FUNCTION refuse_change()",
    "CREATE OR REPLACE FUNCTION chain_audit_event() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
    "ALTER FUNCTION chain_audit_event() RESET ALL",
    "DROP FUNCTION audit_text(text) CASCADE",
    "DROP SCHEMA public CASCADE",
    "GRANT UPDATE ON audit_events TO pacs_app",
    "SET ROLE pacs",
    "SET session_replication_role = replica",
    "INSERT INTO audit_events (id, event, outcome) VALUES (1000, 'a', 'b')",
    "INSERT INTO audit_events (event, outcome, hash) VALUES ('a', 'b', sha256(''))",
    "INSERT INTO audit_events (event, outcome, recorded_at) VALUES ('a', 'b', now() - interval '1 year')",
    "DELETE FROM schema_migrations",
]


async def test_the_role_of_the_workers_cannot_touch_what_is_written(
    owner_dsn: str, dsn: str, trail: Trail
) -> None:
    await trail.append([event(1), event(2)])
    for rows, statement in enumerate(FORBIDDEN, 3):
        # Some answer with a warning and do nothing: what counts is what they did.
        try:
            await execute(dsn, statement)
        except asyncpg.PostgresError as refusal:
            assert isinstance(refusal, asyncpg.InsufficientPrivilegeError), (statement, refusal)
        await trail.append([event(3)])
        found = await verified(owner_dsn)
        assert (found.rows, found.findings) == (rows, []), statement
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await execute(dsn, FORBIDDEN[0])


@pytest.mark.parametrize("statement", FORBIDDEN[:4])
async def test_the_owner_meets_the_second_belt(owner_dsn: str, trail: Trail, statement: str) -> None:
    await trail.append([event(1)])
    for also in ("", "SET session_replication_role = replica; "):
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="append-only"):
            await execute(owner_dsn, also + statement)


async def test_a_table_that_poses_as_the_audit_does_not_break_the_chain(
    owner_dsn: str, dsn: str, trail: Trail
) -> None:
    await trail.append([event(1)])
    await execute(
        dsn,
        "CREATE TEMP TABLE audit_events AS SELECT 100::bigint AS id, sha256('') AS hash; "
        "INSERT INTO public.audit_events (event, outcome) VALUES ('a', 'b')",
    )
    found = await verified(owner_dsn)
    assert (found.rows, found.findings) == (2, [])


async def test_the_role_that_could_change_the_audit_is_told(owner_dsn: str, trail: Trail) -> None:
    assert await trail.changeable_by() is None
    async with Database(owner_dsn, DatabaseSettings(connections=2)) as owner:
        await owner.wait_ready(10)
        assert await Trail(owner).changeable_by() == "pacs"


async def test_the_role_of_the_workers_may_do_everything_else(owner_dsn: str, dsn: str, trail: Trail) -> None:
    async def lacking(connection: asyncpg.Connection) -> list[str]:
        rows = await connection.fetch(
            """SELECT relname || ' ' || p FROM pg_class, unnest('{SELECT,INSERT,UPDATE,DELETE}'::text[]) p
            WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND NOT has_table_privilege(oid, p)
            ORDER BY relname, p"""
        )
        return [row[0] for row in rows]

    assert await trail.database.run(lacking) == [
        *(f"audit_events {right}" for right in ("DELETE", "INSERT", "UPDATE")),  # INSERT: into some columns
        *(f"schema_migrations {right}" for right in ("DELETE", "INSERT", "UPDATE")),
    ]


async def test_a_table_of_a_later_migration_is_given_to_the_workers(owner_dsn: str, dsn: str) -> None:
    await execute(owner_dsn, "CREATE TABLE later (id integer)", "CREATE SEQUENCE later_numbers")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await execute(dsn, "INSERT INTO later VALUES (1)")

    async def again(connection: asyncpg.Connection) -> None:
        assert await application_role.grant(connection) == ["later", "later_numbers"]
        assert await application_role.grant(connection) == []

    async with Database(owner_dsn, DatabaseSettings(connections=2)) as owner:
        await owner.wait_ready(10)
        await owner.run(again)
    await execute(dsn, "INSERT INTO later VALUES (nextval('later_numbers'))")


async def test_a_table_that_workers_see_is_theirs_already(
    owner_dsn: str, dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They look for the first tables while the later ones are made."""
    last = migrations.bundled()[-1].version
    more = [
        migrations.Migration(last + 1, "seen", "CREATE TABLE seen (id integer)"),
        migrations.Migration(last + 2, "late", "SELECT nonsense"),
    ]
    wanted = (*migrations.bundled(), *more)
    monkeypatch.setattr(migrations, "bundled", lambda: wanted)
    async with Database(owner_dsn, DatabaseSettings(connections=2)) as owner:
        await owner.wait_ready(10)
        with pytest.raises(asyncpg.UndefinedColumnError):
            await owner.run(migrations.migrate)
    await execute(dsn, "INSERT INTO seen VALUES (1)")
