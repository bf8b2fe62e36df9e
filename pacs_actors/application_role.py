"""The role that workers have in the database: it may do everything with our tables but change their shape or the audit.

The tables belong to the role that migrates. The embedded server has both roles; for another server somebody creates
``pacs_app`` and names its owner in ``database.owner_url``. Where there is no ``pacs_app``, workers are the owner.
"""

from __future__ import annotations

from typing import Final

from asyncpg import Connection

APPLICATION_ROLE: Final = "pacs_app"

# Of everything that is not said here: SELECT, INSERT, UPDATE, DELETE.
_PARTLY: Final = {
    "schema_migrations": "SELECT",
    "audit_events": "SELECT, INSERT (at, event, outcome, who, via, address, patient_id, uids, details)",
}
_LACKING: Final = """
    SELECT format('%I.%I', n.nspname, c.relname), c.relname, c.relkind = 'S'
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = current_schema() AND c.relkind IN ('r', 'p', 'v', 'S') AND pg_has_role(c.relowner, 'USAGE')
        AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = c.oid AND d.deptype = 'e')
        AND CASE WHEN c.relkind = 'S' THEN NOT has_sequence_privilege($1, c.oid, 'USAGE')
            WHEN c.relname = ANY ($2::text[]) THEN NOT has_table_privilege($1, c.oid, 'SELECT')
            ELSE NOT (has_table_privilege($1, c.oid, 'SELECT') AND has_table_privilege($1, c.oid, 'INSERT')
                AND has_table_privilege($1, c.oid, 'UPDATE') AND has_table_privilege($1, c.oid, 'DELETE')) END
    ORDER BY 1
"""


async def grant(connection: Connection, *, complete: bool = True) -> list[str]:
    """Give the application's role what it lacks; the names of those tables and sequences.

    complete: all migrations are applied; before, nothing is given of tables whose columns are told apart
    Nothing to do where the role does not exist, or is our own. The caller holds the migrations' lock.
    """
    there = await connection.fetchval(
        "SELECT count(*) FROM pg_roles WHERE rolname = $1 AND rolname <> current_user", APPLICATION_ROLE
    )
    if not there:
        return []
    lacking = await connection.fetch(_LACKING, APPLICATION_ROLE, list(_PARTLY))
    found = [row for row in lacking if complete or row[1] not in _PARTLY]
    async with connection.transaction():
        if not await connection.fetchval(
            "SELECT has_schema_privilege($1, current_schema(), 'USAGE')", APPLICATION_ROLE
        ):
            schema = await connection.fetchval("SELECT format('%I', current_schema())")
            await connection.execute(f"GRANT USAGE ON SCHEMA {schema} TO {APPLICATION_ROLE}")
        for name, bare, is_sequence in found:
            rights = _PARTLY.get(bare, "SELECT, INSERT, UPDATE, DELETE")
            what = f"USAGE ON SEQUENCE {name}" if is_sequence else f"{rights} ON {name}"
            await connection.execute(f"GRANT {what} TO {APPLICATION_ROLE}")
    return [bare for _, bare, _ in found]
