"""Two nodes behind ``deploy/nginx-nodes.conf``, as it is but for names and ports: one archive, whichever node is there."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import httpx
import pytest
import trio
from trio_websocket import open_websocket

from config.load import load
from tests.postgres_fixture import shared_server
from tests.system import peers
from tests.system.nodes import found, node, study_of
from tests.system.server import ADMIN_PASSWORD, Server, free_port, running
from tests.system.test_proxy import await_port, end

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
_STREAM = Path("/usr/lib/nginx/modules/ngx_stream_module.so")


class Balancer:
    """port: of the web; dicom_port: of DICOM; both on loopback"""

    def __init__(self, folder: Path, nodes: tuple[Server, Server]) -> None:
        self.folder, self.nodes = folder, nodes
        self.port, self.dicom_port = free_port(), free_port()
        self.root = f"http://127.0.0.1:{self.port}"
        self.log = folder / "access.log"

    def configuration(self) -> str:
        """Each replaced text must be there."""
        paths = "\n".join(
            f"    {kind}_temp_path {self.folder}/{kind};"
            for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        replaced = {
            "user nginx;": "daemon off;",
            "worker_processes auto;": "worker_processes 1;",
            "/var/log/nginx/error.log": f"{self.folder}/error.log",
            "/var/run/nginx.pid": f"{self.folder}/nginx.pid",
            "listen 11112 ": f"listen 127.0.0.1:{self.dicom_port} ",
            "listen 80;": f"listen 127.0.0.1:{self.port};",
            "access_log off;": f"access_log {self.log} who;",
            "http {\n": f"http {{\n{paths}\n    log_format who $upstream_addr;\n",
        }
        for number, server in enumerate(self.nodes):
            replaced[f"node{number}:11112"] = f"127.0.0.1:{server.dicom_port}"
            replaced[f"node{number}:8080"] = f"127.0.0.1:{server.web_port}"
        text = (DEPLOY / "nginx-nodes.conf").read_text()
        for old, new in replaced.items():
            assert old in text, old
            text = text.replace(old, new)
        return f"load_module {_STREAM};\n{text}" if _STREAM.exists() else text

    @contextmanager
    def running(self) -> Iterator[None]:
        (self.folder / "nginx.conf").write_text(self.configuration())
        words = [
            "nginx",
            "-e",
            f"{self.folder}/error.log",
            "-p",
            str(self.folder),
            "-c",
            str(self.folder / "nginx.conf"),
        ]
        environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
        tested = subprocess.run(
            [*words, "-t"], capture_output=True, text=True, env=environment, timeout=20, check=False
        )
        if 'unknown directive "stream"' in tested.stderr:
            pytest.skip("this nginx has no stream module")
        assert tested.returncode == 0, tested.stderr
        with (self.folder / "output").open("wb") as output:
            process = subprocess.Popen(words, stdout=output, stderr=output, env=environment)
        try:
            await_port(self.port, process, self.folder / "output")
            yield
        finally:
            end(process)

    def client(self, last: int) -> httpx.Client:
        """A browser at 127.0.0.<last>."""
        transport = httpx.HTTPTransport(local_address=f"127.0.0.{last}")
        return httpx.Client(base_url=self.root, transport=transport, timeout=60, trust_env=False)

    def asked(self) -> set[int]:
        """Web ports of the nodes that answered since the last time."""
        lines = self.log.read_text().split()
        self.log.write_text("")
        return {int(line.rsplit(":", 1)[1]) for line in lines if ":" in line}

    @property
    def dicom(self) -> Server:
        """As what peers call it."""
        return cast(Server, SimpleNamespace(host="127.0.0.1", dicom_port=self.dicom_port, aet="PACS"))


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Server]]:
    if shutil.which("nginx") is None:
        pytest.skip("nginx is not installed")
    root, dsn = tmp_path_factory.mktemp("balanced"), shared_server().create_database()
    first, second = (node(root, dsn, number) for number in (0, 1))
    for server in (first, second):
        server.options = (*server.options, "--web.trusted-proxies=127.0.0.0/8")
    with running(first), running(second):
        yield first, second


@pytest.fixture(scope="module")
def balancer(pair: tuple[Server, Server], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Balancer]:
    made = Balancer(tmp_path_factory.mktemp("nginx"), pair)
    with made.running():
        yield made


def login(client: httpx.Client) -> None:
    answer = client.post("/api/v1/login", json={"username": "admin", "password": ADMIN_PASSWORD})
    assert answer.status_code == 200, answer.text
    client.headers["authorization"] = f"Bearer {answer.json()['access_token']}"


def associations(server: Server) -> int:
    return sum(len(worker["associations"]) for worker in server.status()["workers"])


@pytest.mark.slow
def test_browsers_are_spread_over_the_nodes_and_each_stays_on_its_own(balancer: Balancer) -> None:
    balancer.log.touch()
    seen = set()
    for last in range(2, 26):
        with balancer.client(last) as client:
            for _ in range(3):
                assert client.get("/readyz").status_code == 200
        ports = balancer.asked()
        assert len(ports) == 1, "one browser, one node"
        seen |= ports
    assert seen == {server.web_port for server in balancer.nodes}, "neighbours are not all on one node"


@pytest.mark.slow
async def test_the_live_view_comes_through(balancer: Balancer) -> None:
    token = balancer.nodes[0].token
    headers = [(b"authorization", f"Bearer {token}".encode())]
    with trio.fail_after(30):
        async with open_websocket(
            "127.0.0.1", balancer.port, "/api/v1/live", use_ssl=False, extra_headers=headers
        ) as live:
            await live.send_message('{"subscribe":["system"]}')
            assert json.loads(await live.get_message())["kind"] == "snapshot"


@pytest.mark.slow
def test_associations_are_spread_over_the_nodes_and_any_finds_what_any_got(balancer: Balancer) -> None:
    studies = [study_of(2) for _ in range(4)]
    with ExitStack() as held:
        open_ones = [
            held.enter_context(peers.opened(balancer.dicom, [study[0].context])) for study in studies
        ]
        peers.wait_until(lambda: [associations(one) for one in balancer.nodes] == [2, 2], "both to have two")
        for association, study in zip(open_ones, studies, strict=True):
            assert [peers.store(association, one) for one in study] == [0, 0]
    for study in studies:
        assert [found(server, study) for server in balancer.nodes] == [2, 2]


@pytest.mark.slow
def test_a_node_that_falls_is_left_out_until_it_is_back(balancer: Balancer) -> None:
    first, second = balancer.nodes
    with ExitStack() as held:
        browsers = [held.enter_context(balancer.client(last)) for last in range(2, 8)]
        for browser in browsers:
            login(browser)
        first.kill()
        for browser in browsers:
            answer = browser.get("/api/v1/me")
            assert (answer.status_code, answer.json()["name"]) == (200, "admin"), "a login holds on any node"
        for _ in range(6):
            study = study_of(2)
            assert set(peers.send(balancer.dicom, *study)) == {0}
            assert found(second, study) == 2
        first.start()

        def spread() -> bool:
            with ExitStack() as calls:
                for _ in range(4):
                    calls.enter_context(peers.opened(balancer.dicom, [study[0].context]))
                return associations(first) > 0

        peers.wait_until(spread, "the node to be asked again", within_s=60)
        for browser in browsers:
            assert browser.get("/api/v1/me").status_code == 200


def test_the_compose_file_says_what_the_settings_and_the_balancer_know(tmp_path: Path) -> None:
    yaml = pytest.importorskip("yaml")
    compose: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    services = compose["services"]
    balanced = (DEPLOY / "nginx-nodes.conf").read_text()
    nodes = sorted(name for name in services if name.startswith("node"))
    assert nodes == ["node0", "node1"]
    for name in nodes:
        one = services[name]
        assert f"{name}:11112" in balanced and f"{name}:8080" in balanced
        environment = {key: str(value).split("${")[0] or "x" for key, value in one["environment"].items()}
        environment["PACS_DATABASE__URL"] = "postgresql://pacs:x@postgres/pacs"
        words = one["command"]
        assert words[0] == "serve" and words[1] == "--config"
        settings = load(config=str(DEPLOY / "nodes.toml"), environ=environment, folder=tmp_path)
        assert settings.server.node == int(name[-1]) and settings.lifecycle.replicate_to == ("common",)
        assert f"{name}:/data" in one["volumes"]
        assert {volume.split(":")[0] for volume in one["volumes"]} >= {name, "./nodes.toml"}
    assert {"node0", "node1", "postgres", "s3"} == set(compose["volumes"])
    assert all(part in services for one in services.values() for part in one.get("depends_on", []))
