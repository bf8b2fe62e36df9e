"""The servers that are measured side by side: ours, Orthanc and DCMTK's, each on fresh data.

Stock settings throughout, apart from paths, ports and permission to query.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench import suites, wire
from bench.link import Link
from bench.wire import PeerFailed

_START_S, _STOP_S = 60.0, 30.0
DESTINATION: Final = "BENCHSINK"


@dataclass(frozen=True)
class Peer:
    """How to run one server.

    program:       what has to be on PATH; None: it comes with us
    command:       (folder, DICOM port, port of the C-MOVE destination) -> arguments; may write to the folder
    loopback_only: binds to 127.0.0.1 by itself
    loaders:       associations that may store at once without the server failing
    """

    name: str
    aet: str
    program: str | None
    command: Callable[[Path, int, int], list[str]]
    suites: tuple[str, ...] = suites.SUITES
    loopback_only: bool = False
    loaders: int = 4


def _ours(folder: Path, port: int, sink_port: int) -> list[str]:
    return [
        *(sys.executable, "-m", "supervisors.cli", "serve", "--data", str(folder / "data"), "--aet", "PACS"),
        *("--dicom-port", str(port), "--web-port", str(free_port()), "--promiscuous"),
        *("--node", f"{DESTINATION}=127.0.0.1:{sink_port}"),
    ]


def _orthanc(folder: Path, port: int, sink_port: int) -> list[str]:
    configuration = folder / "orthanc.json"
    settings = {
        "StorageDirectory": str(folder / "data"),
        "IndexDirectory": str(folder / "data"),
        "HttpServerEnabled": False,
        "DicomAet": "ORTHANC",
        "DicomPort": port,
        "DicomAlwaysAllowFind": True,
        "DicomAlwaysAllowGet": True,
        "DicomAlwaysAllowMove": True,
        "DicomModalities": {"sink": [DESTINATION, "127.0.0.1", sink_port]},
    }
    configuration.write_text(json.dumps(settings))
    return ["Orthanc", str(configuration)]


def _storescp(folder: Path, port: int, _sink_port: int) -> list[str]:
    data = folder / "data"
    data.mkdir()
    return ["storescp", "--fork", "+xa", "-aet", "STORESCP", "-od", str(data), str(port)]


def _dcmqrscp(folder: Path, port: int, sink_port: int) -> list[str]:
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
    "ours": Peer("ours", "PACS", None, _ours, loopback_only=True),
    "orthanc": Peer("orthanc", "ORTHANC", "Orthanc", _orthanc),
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
def running(peer: Peer, folder: Path, sink_port: int) -> Iterator[tuple[int, int]]:
    """Start a server in an empty folder, wait until it answers C-ECHO, stop it at the end.

    yields: its DICOM port and its root pid
    raises: PeerFailed with the end of its log if it does not come up
    """
    folder.mkdir(parents=True)
    port = free_port()
    command = peer.command(folder, port, sink_port)
    command[0] = _found(command[0]) or command[0]
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
    try:
        _wait(peer, port, process, log)
        yield port, process.pid
    finally:
        _stop(process)


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
