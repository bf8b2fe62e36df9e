"""The servers that are measured side by side: ours, Orthanc and DCMTK's, each on fresh data.

Stock settings throughout, apart from paths, ports and permission to query.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bench import suites, wire
from bench.http_link import Site
from bench.link import Link
from bench.wire import PeerFailed

_START_S, _STOP_S = 60.0, 30.0
DESTINATION: Final = "BENCHSINK"
_ADMIN_PASSWORD: Final = secrets.token_urlsafe(24)


@dataclass(frozen=True)
class Peer:
    """How to run one server.

    program:       what has to be on PATH; None: it comes with us
    command:       (folder, DICOM port, port of the C-MOVE destination, web port) -> arguments; may write to the folder
    site:          (web port) -> its DICOMweb service, once it is up; None: it has none
    loopback_only: binds to 127.0.0.1 by itself
    loaders:       associations that may store at once without the server failing
    """

    name: str
    aet: str
    program: str | None
    command: Callable[[Path, int, int, int], list[str]]
    suites: tuple[str, ...] = suites.SUITES
    loopback_only: bool = False
    loaders: int = 4
    site: Callable[[int], Site | None] = lambda _port: None


@dataclass(frozen=True)
class Running:
    """A server that is up: its DICOM port, its root pid, its DICOMweb service if it has one."""

    port: int
    pid: int
    site: Site | None


def _ours(folder: Path, port: int, sink_port: int, web_port: int) -> list[str]:
    return [
        *(sys.executable, "-m", "supervisors.cli", "serve", "--data", str(folder / "data"), "--aet", "PACS"),
        *("--dicom-port", str(port), "--web-port", str(web_port), "--promiscuous"),
        *("--node", f"{DESTINATION}=127.0.0.1:{sink_port}"),
    ]


def _our_site(web_port: int) -> Site:
    """With a token that outlasts the longest run; raises PeerFailed."""

    def post(path: str, body: dict[str, str], token: str = "") -> dict[str, Any]:
        fields = [("Content-Type", "application/json"), ("Content-Length", str(len(json.dumps(body))))]
        fields += [("Authorization", f"Bearer {token}")] if token else []
        site = Site("127.0.0.1", web_port)
        with site.connect() as link:
            answer = link.ask(site.request("POST", path, fields), json.dumps(body).encode(), keep=True)
        if answer.status not in {200, 201}:
            raise PeerFailed(f"{path} is answered {answer.status}")
        made: dict[str, Any] = json.loads(answer.body)
        return made

    logged_in = post("/api/v1/login", {"username": "admin", "password": _ADMIN_PASSWORD})
    token = post("/api/v1/tokens", {"name": "bench"}, logged_in["access_token"])["token"]
    return Site("127.0.0.1", web_port, "/dicom-web", (("Authorization", f"Bearer {token}"),))


def _orthanc(folder: Path, port: int, sink_port: int, web_port: int) -> list[str]:
    configuration = folder / "orthanc.json"
    settings = {
        "StorageDirectory": str(folder / "data"),
        "IndexDirectory": str(folder / "data"),
        "HttpServerEnabled": _orthanc_plugin() is not None,
        "HttpPort": web_port,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "Plugins": [str(plugin)] if (plugin := _orthanc_plugin()) else [],
        "DicomAet": "ORTHANC",
        "DicomPort": port,
        "DicomAlwaysAllowFind": True,
        "DicomAlwaysAllowGet": True,
        "DicomAlwaysAllowMove": True,
        "DicomModalities": {"sink": [DESTINATION, "127.0.0.1", sink_port]},
    }
    configuration.write_text(json.dumps(settings))
    return ["Orthanc", str(configuration)]


def _orthanc_plugin() -> Path | None:
    """Of DICOMweb, where distributions put it."""
    places = (
        Path(prefix) / "share/orthanc/plugins/libOrthancDicomWeb.so" for prefix in ("/usr", "/usr/local")
    )
    return next((place for place in places if place.exists()), None)


def _orthanc_site(web_port: int) -> Site | None:
    return Site("127.0.0.1", web_port, "/dicom-web") if _orthanc_plugin() else None


def _storescp(folder: Path, port: int, _sink_port: int, _web_port: int) -> list[str]:
    data = folder / "data"
    data.mkdir()
    return ["storescp", "--fork", "+xa", "-aet", "STORESCP", "-od", str(data), str(port)]


def _dcmqrscp(folder: Path, port: int, sink_port: int, _web_port: int) -> list[str]:
    data, configuration = folder / "data", folder / "dcmqrscp.cfg"
    data.mkdir()
    configuration.write_text(
        f"NetworkTCPPort = {port}\nMaxPDUSize = 131072\nMaxAssociations = 64\n"
        f"HostTable BEGIN\nsink = ({DESTINATION}, 127.0.0.1, {sink_port})\nHostTable END\n"
        "VendorTable BEGIN\nVendorTable END\n"
        f"AETable BEGIN\nDCMQR {data} RW (500, 4096mb) ANY\nAETable END\n"
    )
    return ["dcmqrscp", "-c", str(configuration)]


PEERS: Final[dict[str, Peer]] = {
    "ours": Peer("ours", "PACS", None, _ours, loopback_only=True, site=_our_site),
    "orthanc": Peer("orthanc", "ORTHANC", "Orthanc", _orthanc, site=_orthanc_site),
    "storescp": Peer("storescp", "STORESCP", "storescp", _storescp, suites=("ingest",)),
    # Its index is one flat file: two writers at once fail, 500 studies are its most.
    "dcmqrscp": Peer("dcmqrscp", "DCMQR", "dcmqrscp", _dcmqrscp, suites=("get", "move"), loaders=1),
}


def installed(peer: Peer) -> bool:
    """Whether its program is there; some distributions keep daemons off an ordinary user's PATH."""
    return peer.program is None or _found(peer.program) is not None


def _found(program: str) -> str | None:
    return shutil.which(program, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/usr/local/sbin")


def free_port() -> int:
    """A port on 127.0.0.1 that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def running(peer: Peer, folder: Path, sink_port: int) -> Iterator[Running]:
    """Start a server in an empty folder, wait until it answers C-ECHO, stop it at the end.

    raises: PeerFailed with the end of its log if it does not come up
    """
    folder.mkdir(parents=True)
    port, web_port = free_port(), free_port()
    command = peer.command(folder, port, sink_port, web_port)
    command[0] = _found(command[0]) or command[0]
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
            env={**os.environ, "PACS_ADMIN_PASSWORD": _ADMIN_PASSWORD},
        )  # fmt: skip
    try:
        _wait(peer, port, process, log)
        yield Running(port, process.pid, _site(peer, web_port))
    finally:
        _stop(process)


def _site(peer: Peer, web_port: int) -> Site | None:
    """Once it answers: some take images before they have accounts."""
    deadline = time.monotonic() + _START_S
    while True:
        try:
            return peer.site(web_port)
        except PeerFailed as error:
            if time.monotonic() > deadline:
                raise PeerFailed(f"{peer.name} gives no access to its web: {error}") from error
            time.sleep(0.2)


def _wait(peer: Peer, port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _START_S
    while True:
        try:
            echo(port, peer.aet)
            return
        except PeerFailed as error:
            if process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.05)
                continue
            ending = log.read_text(errors="replace")[-2000:]
            raise PeerFailed(f"{peer.name} does not answer C-ECHO: {error}\n{ending}") from error


def echo(port: int, aet: str) -> None:
    """C-ECHO (PS3.7 9.1.5); raises PeerFailed."""
    proposal = wire.Proposal(wire.VERIFICATION, (wire.IMPLICIT_LE,))
    with Link.connect(("127.0.0.1", port), "BENCH", aet, [proposal], timeout_s=5.0) as link:
        request: dict[int, int | str] = {
            wire.AFFECTED_CLASS: wire.VERIFICATION,
            wire.COMMAND_FIELD: wire.C_ECHO,
            wire.MESSAGE_ID: 1,
            wire.DATA_SET_TYPE: wire.NO_DATA_SET,
        }
        link.send_message(link.context(0), wire.command_set(request))
        answer = link.read_message()
        if answer is None or wire.number(answer.command, wire.STATUS) != 0:
            raise PeerFailed("C-ECHO was not answered with success")
        link.release()


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    # A forking server leaves its children to finish; the session was ours alone.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
