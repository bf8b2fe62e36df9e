"""Behind the sample files of nginx and Caddy, as they are but for names and ports: everything as if there were no proxy."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
import trio
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import ResponseReceived
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid
from trio_websocket import HandshakeError, open_websocket

from tests.browser import Visit
from tests.system import viewer_data
from tests.system.certificates import Authority, Certificate
from tests.system.peers import send
from tests.system.server import ADMIN_PASSWORD, Server, free_port, running
from tests.system.viewer_hands import PANE
from web.static_files import STATIC

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
MAIN = """\
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
worker_processes 1;
events {{ worker_connections 256; }}
http {{
    include /etc/nginx/mime.types;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/site.conf;
}}
"""
CT = "1.2.840.10008.5.1.4.1.1.2"


class Proxy(NamedTuple):
    server: Server
    port: int
    plain_port: int
    authority: Authority

    @property
    def root(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    @property
    def context(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self.authority.file)

    def client(self, *, http2: bool = True, address: str | None = None, **options: Any) -> httpx.Client:
        transport = httpx.HTTPTransport(verify=self.context, http2=http2, local_address=address)
        return httpx.Client(base_url=self.root, transport=transport, timeout=60, trust_env=False, **options)

    def signed_in(self, **options: Any) -> httpx.Client:
        client = self.client(**options)
        client.headers["authorization"] = f"Bearer {self.server.token}"
        return client


def rendered(name: str, server: Server, certificate: Certificate, port: int, plain_port: int) -> str:
    """A sample file with the names and ports of this test; each replaced text must be there."""
    replaced = {
        "nginx.conf": {
            "/etc/ssl/pacs.example.pem": certificate.certificate,
            "/etc/ssl/pacs.example.key": certificate.key,
            "pacs.example;": "127.0.0.1;",
            "listen 80;": f"listen 127.0.0.1:{plain_port};",
            "listen 443 ssl http2;": f"listen 127.0.0.1:{port} ssl http2;",
            "127.0.0.1:8080": f"127.0.0.1:{server.web_port}",
        },
        "Caddyfile": {
            "pacs.example {\n": (
                f"{{\n\tadmin off\n\tauto_https off\n}}\n\nhttps://127.0.0.1:{port} {{\n"
                f"\ttls {certificate.certificate} {certificate.key}\n\tbind 127.0.0.1\n"
            ),
            "127.0.0.1:8080": f"127.0.0.1:{server.web_port}",
        },
    }[name]
    text = (DEPLOY / name).read_text()
    for old, new in replaced.items():
        assert old in text
        text = text.replace(old, new)
    return text


def nginx(folder: Path, text: str) -> list[str]:
    (folder / "site.conf").write_text(text)
    (folder / "nginx.conf").write_text(MAIN.format(folder=folder))
    return ["nginx", "-e", f"{folder}/error.log", "-p", str(folder), "-c", str(folder / "nginx.conf")]


def caddy(folder: Path, text: str) -> list[str]:
    (folder / "Caddyfile").write_text(text)
    return ["caddy", "run", "--adapter", "caddyfile", "--config", str(folder / "Caddyfile")]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    options = ("--web.trusted-proxies=127.0.0.1/32",)
    with running(Server(tmp_path_factory.mktemp("proxied") / "data", options=options, workers=1)) as server:
        yield server


@pytest.fixture(scope="module", params=["nginx.conf", "Caddyfile"])
def proxy(
    request: pytest.FixtureRequest, server: Server, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Proxy]:
    program = {"nginx.conf": "nginx", "Caddyfile": "caddy"}[request.param]
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed")
    folder = tmp_path_factory.mktemp(program)
    authority = Authority(folder, "proxy")
    port, plain_port = free_port(), free_port()
    text = rendered(request.param, server, authority.issue("pacs.example"), port, plain_port)
    command = nginx(folder, text) if program == "nginx" else caddy(folder, text)
    with (folder / "output").open("wb") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=output, cwd=folder,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": str(folder)},
        )  # fmt: skip
        try:
            await_port(port, process, folder / "output")
            yield Proxy(server, port, plain_port, authority)
        finally:
            end(process)


def end(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def await_port(port: int, process: subprocess.Popen[bytes], output: Path) -> None:
    deadline = time.monotonic() + 15
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        assert process.poll() is None, output.read_text()
        assert time.monotonic() < deadline, output.read_text()
        time.sleep(0.05)


def image(columns: int = 64, rows: int = 64) -> Dataset:
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.SOPClassUID, made.SOPInstanceUID = CT, generate_uid()
    made.file_meta.MediaStorageSOPClassUID = CT
    made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID
    made.StudyInstanceUID, made.SeriesInstanceUID = generate_uid(), generate_uid()
    made.PatientID, made.PatientName, made.Modality = "PROXY-1", "Proxy^Patient", "CT"
    made.Rows, made.Columns = rows, columns
    made.BitsAllocated, made.BitsStored, made.HighBit, made.PixelRepresentation = 16, 12, 11, 0
    made.SamplesPerPixel, made.PhotometricInterpretation = 1, "MONOCHROME2"
    made.PixelData = bytes(2 * rows * columns)
    return made


def as_file(made: Dataset, folder: Path) -> bytes:
    path = folder / f"{made.SOPInstanceUID}.dcm"
    made.save_as(path, enforce_file_format=True)
    data = path.read_bytes()
    path.unlink()
    return data


def store(client: httpx.Client, data: bytes) -> httpx.Response:
    body = b"--cut\r\nContent-Type: application/dicom\r\n\r\n" + data + b"\r\n--cut--\r\n"
    return client.post(
        "/dicom-web/studies",
        content=(body[at : at + 65536] for at in range(0, len(body), 65536)),  # its own cutting is quadratic
        headers={
            "content-length": str(len(body)),
            "content-type": 'multipart/related; type="application/dicom"; boundary=cut',
            "accept": "application/dicom+json",
        },
    )


def login(client: httpx.Client) -> httpx.Response:
    answer = client.post("/api/v1/login", json={"username": "admin", "password": ADMIN_PASSWORD})
    assert answer.status_code == 200, answer.text
    return answer


@pytest.mark.parametrize("http2", [False, True])
def test_the_cookie_is_secure_and_logs_in_and_out(proxy: Proxy, *, http2: bool) -> None:
    with proxy.client(http2=http2) as client:
        answer = login(client)
        assert answer.http_version == ("HTTP/2" if http2 else "HTTP/1.1")
        attributes = {part.strip().lower() for part in answer.headers["set-cookie"].split(";")[1:]}
        assert {"secure", "httponly", "samesite=lax"} <= attributes
        assert answer.headers["strict-transport-security"].startswith("max-age=")
        assert client.get("/api/v1/me").json()["name"] == "admin"
        assert client.post("/api/v1/logout", headers={"origin": "https://evil.example"}).status_code == 403
        assert client.post("/api/v1/logout", headers={"origin": proxy.root}).status_code == 204
        assert client.get("/api/v1/me").status_code == 401


def test_results_point_to_the_public_root_and_a_client_cannot_move_it(proxy: Proxy, tmp_path: Path) -> None:
    made = image()
    with proxy.signed_in() as client:
        stored = store(client, as_file(made, tmp_path))
        assert stored.status_code == 200, stored.text
        study = f"{proxy.root}/dicom-web/studies/{made.StudyInstanceUID}"
        assert stored.json()["00081190"]["Value"] == [study]
        for forged in (
            {},
            {"x-forwarded-host": "evil.example", "x-forwarded-proto": "http"},
            {"forwarded": "for=192.0.2.1;host=evil.example;proto=http"},
        ):
            found = client.get(
                "/dicom-web/studies", params={"StudyInstanceUID": made.StudyInstanceUID}, headers=forged
            )
            assert found.json()[0]["00081190"]["Value"] == [study]
        instance = f"{study}/series/{made.SeriesInstanceUID}/instances/{made.SOPInstanceUID}"
        assert (
            client.get(
                instance, headers={"accept": 'multipart/related; type="application/dicom"'}
            ).status_code
            == 200
        )


def test_a_large_file_is_stored_and_comes_back(proxy: Proxy, tmp_path: Path) -> None:
    made = image(1000, 20_000)
    with proxy.signed_in() as client:
        stored = store(client, as_file(made, tmp_path))
        assert stored.status_code == 200, stored.text
        at = f"/dicom-web/studies/{made.StudyInstanceUID}/series/{made.SeriesInstanceUID}/instances/{made.SOPInstanceUID}"
        with client.stream(
            "GET", at, headers={"accept": 'multipart/related; type="application/dicom"'}
        ) as answer:
            assert answer.status_code == 200
            assert "content-encoding" not in answer.headers
            assert sum(map(len, answer.iter_raw())) > 40_000_000


def test_an_upload_is_passed_on_while_it_comes(proxy: Proxy) -> None:
    """The refusal of a body of which little has been sent yet: whoever collects bodies first would wait for the rest.

    By HTTP/2: Go's server, which Caddy is, answers nothing in HTTP/1.1 while it waits for a body.
    """
    client = H2Connection(H2Configuration(header_encoding="ascii"))
    context = proxy.context
    context.set_alpn_protocols(["h2"])
    with (
        socket.create_connection(("127.0.0.1", proxy.port), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as stream,
    ):
        client.initiate_connection()
        fields = [
            (":method", "POST"),
            (":scheme", "https"),
            (":authority", f"127.0.0.1:{proxy.port}"),
            (":path", "/dicom-web/studies"),
            ("content-length", "1000000000"),
            ("content-type", 'multipart/related; type="application/dicom"; boundary=cut'),
        ]
        client.send_headers(1, fields)
        for _ in range(3):
            client.send_data(1, bytes(16_000))
        stream.sendall(client.data_to_send())
        heads: list[dict[str, str]] = []
        while not heads:
            data = stream.recv(65536)
            assert data, "closed without an answer"
            heads = [
                dict(event.headers)
                for event in client.receive_data(data)
                if isinstance(event, ResponseReceived)
            ]
    assert heads[0][":status"] == "401"


def test_who_the_client_is_reaches_the_audit_and_cannot_be_made_up(proxy: Proxy) -> None:
    with proxy.client(address="127.0.0.2") as client:
        client.headers["x-forwarded-for"] = "198.51.100.9"
        client.headers["forwarded"] = "for=198.51.100.9"
        login(client)
    with proxy.signed_in() as client:
        deadline = time.monotonic() + 10
        while not client.get("/api/v1/audit", params={"address": "127.0.0.2"}).json()["items"]:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert not client.get("/api/v1/audit", params={"address": "198.51.100.9"}).json()["items"]


@pytest.mark.parametrize(
    ("origin", "allowed"), [("own", True), ("https://evil.example", False), ("plain", False)]
)
async def test_the_live_view_comes_through_for_pages_of_the_public_root(
    proxy: Proxy, origin: str, *, allowed: bool
) -> None:
    said = {"own": proxy.root, "plain": proxy.root.replace("https", "http")}.get(origin, origin)
    headers = [("Origin", said), ("Authorization", f"Bearer {proxy.server.token}")]
    opening = open_websocket(
        "127.0.0.1", proxy.port, "/api/v1/live",
        use_ssl=proxy.context, extra_headers=[(name.encode(), value.encode()) for name, value in headers],
    )  # fmt: skip
    if not allowed:
        with pytest.raises(HandshakeError):
            async with opening:
                pass
        return
    async with opening as connection:
        await connection.send_message('{"subscribe":["system"]}')
        with trio.fail_after(20):
            assert json.loads(await connection.get_message())["kind"] == "snapshot"


def test_viewer_and_panel_come_compressed_as_they_were_built(proxy: Proxy) -> None:
    with proxy.client() as client:
        page = client.get("/ohif/")
        if page.status_code == 404:
            pytest.skip("the viewer is not built")
        assert "wasm-unsafe-eval" in page.headers["content-security-policy"]
        assert client.get("/ohif/viewer", params={"StudyInstanceUIDs": "1.2.3"}).text == page.text
        script = client.get("/ohif/app-config.js")
        assert script.headers["content-type"].startswith("text/javascript")
        bundle = next(
            part.split('"')[0] for part in page.text.split('src="')[1:] if part.startswith("/ohif/app.bundle")
        )
        assert client.get(bundle, headers={"accept-encoding": "br"}).headers["content-encoding"] == "br"


def test_the_viewer_shows_a_study_to_whoever_logged_in_by_the_panel(
    proxy: Proxy, visit: Callable[..., Visit]
) -> None:
    if not all((STATIC / part / "index.html").is_file() for part in ("ohif", "panel")):
        pytest.skip("the viewer or the panel is not built")
    slices = viewer_data.stack(3)
    assert set(send(proxy.server, *slices)) == {0}
    target = f"/ohif/viewer?StudyInstanceUIDs={slices[0].study}"
    seen = visit(f"{proxy.root}{target}", ignore_https_errors=True, viewport={"width": 1280, "height": 800})
    seen.page.locator("input[autocomplete=username]").fill("admin")
    seen.page.locator("input[autocomplete=current-password]").fill(ADMIN_PASSWORD)
    with seen.page.expect_response(lambda answer: "/frames/" in answer.url) as frame:
        seen.page.locator("button[type=submit]").click()
        seen.page.wait_for_url(f"{proxy.root}{target}")
    assert frame.value.status == 200
    seen.page.locator(PANE).first.wait_for()
    (cookie,) = [one for one in seen.page.context.cookies() if one["httpOnly"]]
    assert cookie["secure"]
    assert seen.outside(proxy.root) == []
    assert seen.of_policy() == []


def test_plain_http_is_sent_to_https(proxy: Proxy) -> None:
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", proxy.plain_port)) != 0:
            pytest.skip("this one does so by itself, on port 80")
    answer = httpx.get(f"http://127.0.0.1:{proxy.plain_port}/x?y=z", trust_env=False)
    assert answer.status_code == 308
    assert answer.headers["location"] == "https://127.0.0.1/x?y=z"


@pytest.mark.skipif(shutil.which("caddy") is None, reason="caddy is not installed")
def test_the_caddyfile_as_it_is_is_valid(tmp_path: Path) -> None:
    done = subprocess.run(
        ["caddy", "validate", "--adapter", "caddyfile", "--config", str(DEPLOY / "Caddyfile")],
        capture_output=True, text=True, timeout=20, env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
