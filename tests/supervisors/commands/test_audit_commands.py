"""``pacs-actors audit`` and ``db migrate`` on a database of one's own, with a role for the tables and one for the workers."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import asyncpg
import pytest

from pacs_actors.application_role import APPLICATION_ROLE
from supervisors import cli
from tests.postgres_fixture import Server, postgres

__all__ = ["postgres"]


def run(*statements: str, dsn: str) -> None:
    async def all_of_them() -> None:
        connection = await asyncpg.connect(dsn)
        for statement in statements:
            await connection.execute(statement)
        await connection.close()

    asyncio.run(all_of_them())


class Site:
    """options: of every command; app: the workers' DSN"""

    def __init__(self, postgres: Server, folder: Path) -> None:
        self.owner = postgres.create_database()
        exists = f"SELECT FROM pg_roles WHERE rolname = '{APPLICATION_ROLE}'"
        create = f"IF NOT EXISTS ({exists}) THEN CREATE ROLE {APPLICATION_ROLE} LOGIN; END IF"
        run(f"DO $$ BEGIN {create}; END $$", dsn=self.owner)
        self.app = self.owner.replace("pacs@", f"{APPLICATION_ROLE}@")
        self.folder = folder
        self.options = ["--data", str(folder), "--database.url", self.app, "--database.owner-url", self.owner]

    def __call__(self, *words: str) -> int:
        return cli.main([*words, *self.options])


@pytest.fixture
def site(postgres: Server, tmp_path: Path) -> Site:
    return Site(postgres, tmp_path)


@pytest.fixture
def migrated(site: Site, capsys: pytest.CaptureFixture[str]) -> Site:
    assert site("db", "migrate") == 0
    run("INSERT INTO audit_events (event, outcome, who) VALUES ('login', 'success', 'anna')", dsn=site.app)
    capsys.readouterr()
    return site


def test_the_owner_migrates_and_the_workers_may_only_append(
    migrated: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        run("DELETE FROM audit_events", dsn=migrated.app)
    assert migrated("audit", "verify", "--json") == 0
    assert json.loads(capsys.readouterr().out)["rows"] == 1


def test_without_anchors_verify_says_what_it_cannot_know(
    migrated: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    assert migrated("audit", "verify") == 0
    assert "there are no anchors" in capsys.readouterr().out


def test_lines_that_are_no_anchors_are_told(migrated: Site, capsys: pytest.CaptureFixture[str]) -> None:
    (migrated.folder / "audit").mkdir()
    (migrated.folder / "audit" / "anchors.jsonl").write_text("nonsense\n")
    assert migrated("audit", "verify") == 0
    assert "1 lines of anchors.jsonl cannot be read, the first is line 1" in capsys.readouterr().out


def test_a_database_without_the_chain_is_told_apart_from_a_damaged_one(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    for command in ("verify", "search"):
        assert site("audit", command) == 1
        assert "pacs-actors db migrate" in capsys.readouterr().err


def test_a_folder_without_a_database_is_a_mistake_and_stays_as_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["audit", "verify", "--data", str(tmp_path / "typo")]) == 2
    assert "there is no database" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_an_export_that_cannot_be_written_leaves_nothing(
    migrated: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    assert migrated("audit", "export", "-o", str(migrated.folder / "missing" / "file.xml")) == 1
    assert "cannot write" in capsys.readouterr().err


def test_what_a_peer_chose_does_not_reach_the_terminal_as_control_characters(
    migrated: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    run(
        r"INSERT INTO audit_events (event, outcome, who) VALUES ('store', 'success', E'\x1b[2J')",
        dsn=migrated.app,
    )
    assert migrated("audit", "search") == 0
    assert "\x1b" not in capsys.readouterr().out
