from __future__ import annotations

from tests.postgres_fixture import own_postgres, postgres

__all__ = ["own_postgres", "postgres"]
