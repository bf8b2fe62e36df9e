"""What the tests of several nodes share: nodes on one database and one store, and what is asked of them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import asyncpg
from pydicom.uid import generate_uid

from tests.system import peers
from tests.system.dicomweb import Client
from tests.system.server import Server

STORE = "common"
Study = list[peers.Instance]


def configuration(root: Path, name: str, *, replicates: bool = True, store: str = "") -> Path:
    (root / STORE).mkdir(exist_ok=True)
    config = root / f"{name}.toml"
    config.write_text(
        f"""
        [lifecycle]
        every_s = 3600
        recall_wait_s = 10
        replicate_to = [{f'"{STORE}"' if replicates else ""}]
        [stores.{STORE}]
        {store or f'kind = "folder"{chr(10)}path = "{root / STORE}"{chr(10)}reserve_bytes = 0'}
        """
    )
    return config


def node(root: Path, dsn: str, number: int, *, workers: int = 1, **more: Any) -> Server:
    config = configuration(root, f"node{number}", **more)
    options = ("--config", str(config), "--database.url", dsn, "--server.node", str(number))
    return Server(root / f"data{number}", workers=workers, options=options)


def study_of(instances: int = 3) -> Study:
    uids = {"StudyInstanceUID": generate_uid(), "SeriesInstanceUID": generate_uid()}
    return [
        peers.make(**{**uids, "PatientID": f"N{uids['StudyInstanceUID'][-12:]}"}) for _ in range(instances)
    ]


def sent(server: Server, instances: int = 3) -> Study:
    study = study_of(instances)
    assert set(peers.send(server, *study)) == {0}
    return study


def done(server: Server, method: str, path: str, body: object = None, *, token: str = "") -> Any:
    status, answer = server.ask(method, f"/api/v1{path}", body, token=token or server.token, within_s=30)
    assert status < 300, (status, answer)
    return json.loads(answer) if answer else None


def found(server: Server, study: Study) -> int:
    """Instances of a study that a node finds."""
    with Client(server) as client:
        reply = client.get(f"/studies/{study[0].study}/instances")
        return len(json.loads(reply.body)) if reply.status == 200 else 0


def place(server: Server, study: Study) -> tuple[int, dict[str, int]]:
    """(instances online, instances in each store)"""
    facts = done(server, "GET", f"/studies/{study[0].study}/storage")
    return facts["online"], {one["store"]: one["instances"] for one in facts["copies"]}


def replicated(server: Server, study: Study) -> None:
    peers.wait_until(lambda: found(server, study) == len(study), "all of it to be found")
    peers.wait_until(lambda: place(server, study)[1].get(STORE) == len(study), "a copy of each instance")


def copies(server: Server) -> set[str]:
    """Of other nodes' objects."""
    return {path.name for path in (server.data / "cache" / "objects").rglob("*.dcm")}


def column(server: Server, statement: str) -> list[Any]:
    """The first column of what the nodes' database answers."""

    async def ask() -> list[Any]:
        connection = await asyncpg.connect(server.options[3])
        try:
            return [row[0] for row in await connection.fetch(statement)]
        finally:
            await connection.close()

    return asyncio.run(ask())


def retrieved(server: Server, instances: Iterable[peers.Instance]) -> dict[str, bytes]:
    """What a node gives for them by C-GET, study by study."""
    by_study: dict[str, Study] = {}
    for one in instances:
        by_study.setdefault(one.study, []).append(one)
    received: dict[str, bytes] = {}
    for uid, study in by_study.items():
        _, inbox = peers.get(server, study, "STUDY", {"StudyInstanceUID": uid})
        received |= {name: data for name, (_, data) in inbox.received.items()}
    return received


def consistent(servers: Sequence[Server]) -> None:
    """Rows, totals and objects are as many, and no object is there twice."""
    server = servers[0]
    rows = sorted(column(server, "SELECT object_key FROM instances WHERE availability = 'ONLINE'"))
    objects = sorted(one.key for server in servers for one in server.objects())
    assert rows == objects
    (counted,) = column(server, "SELECT sum(instances)::bigint FROM archive_totals")
    assert counted == column(server, "SELECT count(*) FROM instances")[0]
