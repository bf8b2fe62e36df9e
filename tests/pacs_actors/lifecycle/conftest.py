"""A migrated database of one's own, as the archive's tests have it."""

from tests.pacs_actors.archive.conftest import catalogue, dsn, migrated

__all__ = ["catalogue", "dsn", "migrated"]
