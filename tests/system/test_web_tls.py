"""A whole server that speaks HTTPS itself: login, searches, uploads, live views, a renewed certificate, the end."""

from __future__ import annotations

import json
import os
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
import trio
from cryptography import x509
from trio_websocket import open_websocket

from tests.system import peers
from tests.system.certificates import Authority, Certificate
from tests.system.peers import wait_until
from tests.system.server import ADMIN_PASSWORD, Server, free_port, running
from tests.system.slow_reader import SlowReader
from tests.system.stow import DICOM, files, part10, related

LARGE_BYTES = 8 << 20


class Site(NamedTuple):
    server: Server
    authority: Authority
    files: Certificate


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("tls")
    authority = Authority(folder, "ca")
    issued = authority.issue("pacs.example")
    options = (f"--web.tls-certificate={issued.certificate}", f"--web.tls-key={issued.key}")
    with running(Server(folder / "data", options=options, workers=1, ca=authority.file)) as server:
        yield Site(server, authority, issued)


def client(site: Site, *, http2: bool = True) -> httpx.Client:
    assert site.server.tls is not None
    return httpx.Client(
        base_url=site.server.url,
        http1=not http2,
        http2=http2,
        verify=site.server.tls,
        timeout=30,
        trust_env=False,
    )


@pytest.mark.parametrize("http2", [True, False])
def test_login_upload_search_and_download(site: Site, http2: bool) -> None:
    instance = peers.make(PatientID=f"TLS-{http2}")
    with client(site, http2=http2) as browser:
        answer = browser.post("/api/v1/login", json={"username": "admin", "password": ADMIN_PASSWORD})
        assert (answer.status_code, answer.http_version) == (200, "HTTP/2" if http2 else "HTTP/1.1")
        cookie = answer.headers["set-cookie"]
        assert "Secure" in cookie and "HttpOnly" in cookie
        assert "max-age" in answer.headers["strict-transport-security"]
        own_page = {"origin": site.server.url}
        stored = browser.post(
            "/dicom-web/studies",
            content=files(part10(instance)),
            headers={"content-type": related(DICOM), **own_page},
        )
        assert stored.status_code == 200, stored.text
        found = browser.get("/dicom-web/studies", params={"PatientID": f"TLS-{http2}"}).json()
        assert [each["0020000D"]["Value"] for each in found] == [[instance.study]]
        objects = browser.get(f"/dicom-web/studies/{instance.study}", headers={"accept": "application/zip"})
        assert objects.status_code == 200 and objects.content[:2] == b"PK"


def test_who_speaks_no_tls_or_does_not_trust_the_authority_gets_nowhere(site: Site, tmp_path: Path) -> None:
    with socket.create_connection(("127.0.0.1", site.server.web_port), timeout=10) as plain:
        plain.sendall(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        assert b"200" not in plain.recv(4096)
    stranger = ssl.create_default_context(cafile=Authority(tmp_path, "other").file)
    with httpx.Client(verify=stranger, trust_env=False) as browser, pytest.raises(httpx.ConnectError):
        browser.get(f"{site.server.url}/healthz")


async def test_live_views_are_told_over_tls(site: Site) -> None:
    headers = [(b"Authorization", f"Bearer {site.server.token}".encode())]
    instance = peers.make(Modality="US")
    assert site.server.tls is not None
    async with open_websocket(
        "127.0.0.1", site.server.web_port, "/api/v1/live", use_ssl=site.server.tls, extra_headers=headers,
        max_message_size=2**24,
    ) as connection:  # fmt: skip
        await connection.send_message(json.dumps({"subscribe": ["studies"]}))
        with trio.fail_after(20):
            assert json.loads(await connection.get_message())["kind"] == "snapshot"
            await trio.to_thread.run_sync(peers.send, site.server, instance)
            while instance.study not in await connection.get_message():
                pass


def watch(site: Site, tmp_path: Path, *options: str, **environment: str) -> subprocess.Popen[bytes]:
    (tmp_path / "token").write_text(site.server.token)
    command = [
        sys.executable, "-m", "supervisors.cli", "watch", "--token-file", str(tmp_path / "token"), "--url", site.server.url,
        *options,
    ]  # fmt: skip
    with (tmp_path / "out").open("wb") as out, (tmp_path / "errors").open("wb") as errors:
        return subprocess.Popen(command, stdout=out, stderr=errors, env={**os.environ, **environment})


@pytest.mark.parametrize("trusted_by", ["an option", "the system"])
def test_watch_tails_a_server_that_speaks_https(site: Site, tmp_path: Path, trusted_by: str) -> None:
    if trusted_by == "an option":
        process = watch(site, tmp_path, "--ca", site.authority.file)
    else:
        process = watch(site, tmp_path, SSL_CERT_FILE=site.authority.file)
    try:
        wait_until(lambda: "studies lately" in (tmp_path / "out").read_text(), "the first lines")
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(10)
    assert "no connection" not in (tmp_path / "errors").read_text()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ((), "its certificate is not trusted"),
        (("--ca", "no-such-file"), "--ca: cannot use"),
        (("--ca", "/dev/null"), "--ca: cannot use"),
        (("--url", "http://127.0.0.1:1", "--ca", "x"), "of use with https"),
    ],
)
def test_watch_says_whom_it_cannot_trust(
    site: Site, tmp_path: Path, options: tuple[str, ...], says: str
) -> None:
    process = watch(site, tmp_path, *options)
    assert process.wait(30) == 2
    assert says in (tmp_path / "errors").read_text()


def test_watch_goes_on_trying_where_nobody_speaks_tls(site: Site, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", free_port())) as nobody:
        port = nobody.getsockname()[1]
        process = watch(site, tmp_path, "--url", f"https://127.0.0.1:{port}", "--ca", site.authority.file)
        try:
            for _ in range(2):
                connection, _ = nobody.accept()
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                connection.close()
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(10)
    assert "no connection" in (tmp_path / "errors").read_text()


@pytest.mark.parametrize("command", ["config check", "serve"])
@pytest.mark.parametrize("broken", ["tls_certificate", "tls_key"])
def test_files_that_cannot_be_used_are_named_before_anything_is_started(
    site: Site, tmp_path: Path, command: str, broken: str
) -> None:
    own = {"tls_certificate": site.files.certificate, "tls_key": site.files.key}
    own[broken] = Authority(tmp_path, "other").issue("other.example")[broken == "tls_key"]
    table = "".join(f'{name} = "{file}"\n' for name, file in own.items())
    (tmp_path / "pacs.toml").write_text(f'[server]\ndata = "{tmp_path}/data"\n[web]\n{table}')
    done = subprocess.run(
        [sys.executable, "-m", "supervisors.cli", *command.split(), "--config", str(tmp_path / "pacs.toml")],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert f"web.tls_key: {own['tls_key']} is not the key of" in done.stderr
    assert "pacs.toml" in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "data").exists()


def test_a_certificate_that_has_expired_is_warned_of(tmp_path: Path) -> None:
    old = Authority(tmp_path, "ca").issue("pacs.example", valid=False)
    options = [f"--web.tls-certificate={old.certificate}", f"--web.tls-key={old.key}"]
    done = subprocess.run(
        [sys.executable, "-m", "supervisors.cli", "config", "check", *options],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0
    assert "warning: web.tls_certificate:" in done.stdout and "has expired" in done.stdout


def test_a_renewed_certificate_is_shown_without_a_restart_and_a_broken_one_is_not(site: Site) -> None:
    def shown() -> int:
        assert site.server.tls is not None
        with (
            socket.create_connection(("127.0.0.1", site.server.web_port), timeout=10) as plain,
            site.server.tls.wrap_socket(plain, server_hostname="127.0.0.1") as stream,
        ):
            found: Any = x509.load_der_x509_certificate(stream.getpeercert(binary_form=True) or b"")
        return int(found.serial_number)

    before = shown()
    Path(site.files.certificate).write_text("no certificate at all")
    wait_until(lambda: shown() == before and site.server.logged("certificate_not_usable"), "a look at it", 30)
    assert site.authority.issue("pacs.example") == site.files
    wait_until(lambda: shown() != before, "the renewed certificate", 30)
    assert site.server.get("/healthz")[0] == 200


def test_a_download_under_way_at_the_end_is_finished(site: Site) -> None:
    """The last of this module: it ends the server."""
    instance = peers.make(PixelData=bytes(LARGE_BYTES), Rows=2048, Columns=2048, BitsAllocated=16)
    assert peers.send(site.server, instance) == [0]
    reader = SlowReader(
        site.server, f"/dicom-web/studies/{instance.study}", 'multipart/related; type="application/dicom"'
    )
    assert site.server.process is not None
    site.server.process.send_signal(signal.SIGTERM)
    reader.read(for_s=3)
    assert reader.received == reader.length > LARGE_BYTES
    reader.close()
    assert site.server.process.wait(30) == 0
    assert not site.server.logged("drain_cut_short")
