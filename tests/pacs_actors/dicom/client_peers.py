"""Peers for the client's tests: pynetdicom AEs in threads, DCMTK processes, and scripted ones that break the rules."""

from __future__ import annotations

import shutil
import socket
import subprocess
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
from pynetdicom import AE, AllStoragePresentationContexts, build_role
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    PatientRootQueryRetrieveInformationModelFind,
    StorageCommitmentPushModel,
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove,
    Verification,
)

from protocols.ul.model import AcceptedContext, AssociateAccept, AssociateRequest
from protocols.ul.pdu import Pdu, decode, encode
from tests.acceptor import accepting
from tests.system.server import free_port

SERVICES = (
    Verification,
    StudyRootQueryRetrieveInformationModelFind,
    PatientRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelMove,
    StudyRootQueryRetrieveInformationModelGet,
    StorageCommitmentPushModel,
)
NETWORK = ["1.2.840.10008.1.2.1", "1.2.840.10008.1.2"]
STORED = [*NETWORK, "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.90"]


@contextmanager
def pynetdicom_peer(
    handlers: Sequence[tuple[Any, ...]] = (),
    *,
    transfer_syntaxes: Sequence[str] = STORED,
    ssl_context: Any = None,
    called: str | None = None,
    max_pdu: int = 16382,
    maximum_associations: int = 10,
) -> Iterator[int]:
    """An SCP of everything on a port of its own."""
    ae = AE(ae_title="PEER")
    ae.maximum_pdu_size = max_pdu
    ae.maximum_associations = maximum_associations
    ae.network_timeout = ae.dimse_timeout = ae.acse_timeout = 20
    if called is not None:
        ae.require_called_aet = True
        ae.ae_title = called
    for context in AllStoragePresentationContexts:
        ae.add_supported_context(
            context.abstract_syntax, list(transfer_syntaxes), scu_role=True, scp_role=True
        )
    for service in SERVICES:
        ae.add_supported_context(service, NETWORK)
    with accepting(ae, handlers=handlers, ssl_context=ssl_context) as server:
        yield server.server_address[1]


def report_commitment(port: int, calling: str, event_type: int, information: Any) -> int:
    """As a commitment SCP: bring a report on an association of our own; the status that comes back."""
    ae = AE(ae_title="PEER")
    ae.add_requested_context(StorageCommitmentPushModel)
    role = build_role(StorageCommitmentPushModel, scp_role=True)
    association = ae.associate("127.0.0.1", port, ae_title=calling, ext_neg=[role])
    assert association.is_established
    status, _ = association.send_n_event_report(
        information, event_type, StorageCommitmentPushModel, "1.2.840.10008.1.20.1.1"
    )
    association.release()
    return int(status.Status)


def await_cancel(event: Any) -> None:
    """On the peer's thread: until the C-CANCEL has come. pynetdicom has no way to wait for it but asking."""
    pause = threading.Event()
    for _ in range(2000):
        if event.is_cancelled:
            return
        pause.wait(0.01)
    raise AssertionError("no C-CANCEL came")


# -- DCMTK ----------------------------------------------------------------------------------------------------------


def need(program: str) -> str:
    found = shutil.which(program)
    if found is None:
        pytest.skip(f"{program} of DCMTK is not installed")
    return found


def wait_for_port(port: int, process: subprocess.Popen[bytes]) -> None:
    """Until somebody listens there. Raises if the process ends first."""
    while True:
        assert process.poll() is None, f"{process.args!r} ended with {process.returncode}"
        with socket.socket() as sock:
            sock.settimeout(0.2)
            if sock.connect_ex(("127.0.0.1", port)) == 0:
                return
        try:
            process.wait(0.05)
        except subprocess.TimeoutExpired:
            continue


@contextmanager
def running(command: Sequence[str], port: int) -> Iterator[None]:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for_port(port, process)
        yield
    finally:
        process.kill()
        process.wait()


@contextmanager
def dcmqrscp(folder: Path, destination: tuple[str, int]) -> Iterator[int]:
    """DCMTK's archive, AE title QR, which knows one move destination; its port."""
    program, port = need("dcmqrscp"), free_port()
    store = folder / "dcmqrscp"
    store.mkdir()
    configuration = folder / "dcmqrscp.cfg"
    configuration.write_text(
        f"NetworkTCPPort = {port}\nMaxPDUSize = 16384\nMaxAssociations = 16\n"
        f"HostTable BEGIN\nme = ({destination[0]}, 127.0.0.1, {destination[1]})\nHostTable END\n"
        f"VendorTable BEGIN\nVendorTable END\nAETable BEGIN\nQR {store} RW (1000, 1024mb) ANY\nAETable END\n"
    )
    with running([program, "-c", str(configuration)], port):
        yield port


@contextmanager
def storescp(folder: Path, *options: str) -> Iterator[int]:
    program, port = need("storescp"), free_port()
    folder.mkdir(exist_ok=True)
    with running([program, *options, "-od", str(folder), str(port)], port):
        yield port


# -- scripted ---------------------------------------------------------------------------------------------------------


class Script:
    """The other end of one connection, PDU by PDU."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self._buffer = b""

    async def receive(self) -> tuple[int, bytes]:
        """Type and body of the next PDU; (0, b"") when the connection is closed."""
        while len(self._buffer) < 6 or len(self._buffer) < 6 + int.from_bytes(self._buffer[2:6], "big"):
            try:
                more = await self.stream.receive_some()
            except trio.BrokenResourceError:
                return 0, b""
            if not more:
                return 0, b""
            self._buffer += more
        length = int.from_bytes(self._buffer[2:6], "big")
        kind, body = self._buffer[0], self._buffer[6 : 6 + length]
        self._buffer = self._buffer[6 + length :]
        return kind, body

    async def send(self, data: Pdu | bytes) -> None:
        await self.stream.send_all(data if isinstance(data, bytes) else encode(data))

    async def accept(self) -> AssociateRequest:
        """Take the A-ASSOCIATE-RQ; accept every context with its first transfer syntax."""
        kind, body = await self.receive()
        request = decode(kind, body)
        assert isinstance(request, AssociateRequest)
        contexts = tuple(
            AcceptedContext(context.context_id, 0, context.transfer_syntaxes[0])
            for context in request.contexts
        )
        await self.send(
            AssociateAccept(
                called_ae=request.called_ae,
                calling_ae=request.calling_ae,
                contexts=contexts,
                max_pdu_bytes=16384,
                implementation_class_uid="1.2.3",
            )
        )
        return request


@asynccontextmanager
async def scripted_peer(play: Callable[[Script], Awaitable[object]]) -> AsyncIterator[int]:
    """Plays to each connection; what it raises fails the test."""

    async def serve(stream: trio.SocketStream) -> None:
        async with stream:
            await play(Script(stream))

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, host="127.0.0.1"), serve, 0)
        yield listeners[0].socket.getsockname()[1]
        nursery.cancel_scope.cancel()
