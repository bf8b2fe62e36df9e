"""A node's number belongs to one data folder: who else asks for it is told, before anything is written."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from config.settings import DatabaseSettings, ServerSettings, Settings
from pacs_actors import migrations
from pacs_actors.database import Database
from pacs_actors.nodes import EMBEDDED, Nodes, NumberTaken, adopt
from protocols.errors import ConfigError
from supervisors import cli
from supervisors.node_number import check_folder, check_number, folder_identity
from tests.postgres_fixture import Server, postgres

__all__ = ["postgres"]


@pytest.fixture
def dsn(postgres: Server) -> str:
    return postgres.create_database()


@pytest.fixture
async def nodes(dsn: str) -> AsyncIterator[Nodes]:
    async with Database(dsn, DatabaseSettings(connections=2)) as database:
        await database.run(migrations.migrate, within_s=120)
        yield Nodes(database)


def test_a_folder_is_called_the_same_each_time_and_no_two_are(tmp_path: Path) -> None:
    names = []
    for folder in (tmp_path / "a", tmp_path / "b"):
        folder.mkdir()
        names.append(folder_identity(folder))
        assert folder_identity(folder) == names[-1]
    assert len(set(names)) == 2


@pytest.mark.parametrize("content", ["", "x" * 32, "ab" * 15, "'; DROP TABLE instances"])
def test_an_identity_that_is_damaged_is_not_made_again(tmp_path: Path, content: str) -> None:
    (tmp_path / "node-id").write_text(content)
    with pytest.raises(ConfigError, match="damaged"):
        folder_identity(tmp_path)
    assert (tmp_path / "node-id").read_text() == content


def test_a_folder_with_another_nodes_objects_is_refused(tmp_path: Path) -> None:
    check_folder(tmp_path, 3)
    for slot in ("300", "363", "9999"):  # the last is no node's
        (tmp_path / "objects" / slot).mkdir(parents=True)
    check_folder(tmp_path, 3)
    for node in (0, 2, 4):
        with pytest.raises(ConfigError, match="has objects of node 3"):
            check_folder(tmp_path, node)


async def test_a_number_is_its_folders_for_good_and_an_embedded_databases_until_it_has_one(
    nodes: Nodes,
) -> None:
    await nodes.claim(0, EMBEDDED)
    await nodes.claim(0, "aa")
    await nodes.claim(0, "aa")
    await nodes.claim(1, "bb")
    with pytest.raises(NumberTaken, match=r"server\.node: 0 is the number of another data folder"):
        await nodes.claim(0, "bb")
    assert [(one.node, one.alive) for one in await nodes.listed()] == [(0, True), (1, True)]
    await nodes.claim(0, EMBEDDED)  # restored into a folder with a database of its own


async def test_a_restored_folder_gets_the_number_once_its_owner_is_gone(nodes: Nodes) -> None:
    await nodes.claim(0, "aa")

    async def ask(folder: str) -> object:
        return await nodes.database.run(lambda connection: adopt(connection, 0, folder))

    assert await ask("bb") is not None, "its owner is alive"
    await nodes.database.run(
        lambda connection: connection.execute(
            "UPDATE archive_nodes SET seen_at = now() - interval '1 minute'"
        )
    )
    assert not await nodes.is_alive(0)
    assert await ask("bb") is None
    with pytest.raises(NumberTaken):
        await nodes.claim(0, "aa")
    await nodes.seen(0)
    assert await nodes.is_alive(0)


def test_who_gave_a_number_to_another_folder_is_in_the_audit(
    dsn: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async def ask(statement: str) -> list[asyncpg.Record]:
        connection: asyncpg.Connection[Any] = await asyncpg.connect(dsn)
        try:
            await migrations.migrate(connection)
            return await connection.fetch(statement)
        finally:
            await connection.close()

    told = "SELECT details ->> 'node', details ->> 'folder' FROM audit_events WHERE details ->> 'what' = 'node_adopted'"
    asyncio.run(ask("INSERT INTO archive_nodes (node, folder) VALUES (4, 'aa')"))
    words = ["nodes", "adopt", "--data", str(tmp_path), "--server.node", "4", "--database.url", dsn]
    assert cli.main(words) != 0, "its owner is alive"
    assert asyncio.run(ask(told)) == []
    asyncio.run(ask("UPDATE archive_nodes SET seen_at = now() - interval '1 minute'"))
    assert cli.main(words) == 0, capsys.readouterr()
    [(node, folder)] = asyncio.run(ask(told))
    assert (node, folder) == ("4", folder_identity(tmp_path))


async def test_the_number_is_asked_for_at_the_start_if_the_database_answers(nodes: Nodes, dsn: str) -> None:
    def settings(url: str | None) -> Settings:
        return Settings(database=DatabaseSettings(url=url), server=ServerSettings(node=5))

    await check_number(settings(dsn), "aa")
    with pytest.raises(NumberTaken):
        await check_number(settings(dsn), "bb")
    await check_number(settings("postgresql://nobody@127.0.0.1:1/nothing"), "bb")
    await check_number(settings(None), "bb")
