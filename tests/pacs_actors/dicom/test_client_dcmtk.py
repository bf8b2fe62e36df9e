"""The client against DCMTK, and over TLS against both."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pynetdicom import evt

from pacs_actors.dicom.client import (
    VERIFICATION,
    PeerGone,
    associate,
    connection_problem,
    for_find,
    for_get,
    for_move,
    for_storage,
)
from pacs_actors.dicom.client_files import read_file
from protocols.dimse.status import StatusKind
from tests.pacs_actors.dicom.client_peers import dcmqrscp, pynetdicom_peer, storescp

FILES = [Path(get_testdata_file(name)) for name in ("CT_small.dcm", "MR_small.dcm", "MR_small_bigendian.dcm")]


async def test_store_find_move_and_get_against_dcmqrscp(tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    studies = {dcmread(path).StudyInstanceUID for path in FILES}
    with storescp(moved) as destination, dcmqrscp(tmp_path, ("STORESCP", destination)) as port:
        contexts = [
            *VERIFICATION,
            *for_find(),
            *for_move(),
            *for_storage(read_file(path).context for path in FILES),
        ]
        async with associate("127.0.0.1", port, called="QR", calling="STORESCP", contexts=contexts) as peer:
            # Its responses come in two pieces; without quick acknowledgements each would take 40 ms.
            assert sorted([await peer.echo() for _ in range(9)])[4] < 0.03
            for path in FILES:
                assert (await peer.store(path)).kind is StatusKind.SUCCESS
            found = [answer["StudyInstanceUID"] async for answer in peer.find({"StudyInstanceUID": ""})]
            assert set(map(str, found)) == studies
            async with peer.find({"StudyInstanceUID": ""}) as answers:
                await anext(answers)
            uid = dcmread(FILES[0]).StudyInstanceUID
            result = await peer.move({"StudyInstanceUID": uid}, destination="STORESCP")
            assert (result.status, result.counts.completed) == (0, 1)
            unknown = await peer.move({"StudyInstanceUID": uid}, destination="NOWHERE")
            assert unknown.status == 0xA801
        async with associate("127.0.0.1", port, called="QR", calling="STORESCP", contexts=for_get()) as peer:
            result = await peer.get({"StudyInstanceUID": uid}, into=tmp_path / "got")
            assert (result.status, result.counts.completed) == (0, 1)
    assert len(list(moved.iterdir())) == 1
    (got,) = (tmp_path / "got").iterdir()
    copy, original = dcmread(got), dcmread(FILES[0])
    assert copy.SOPInstanceUID == original.SOPInstanceUID
    assert copy.pixel_array.tolist() == original.pixel_array.tolist()


@pytest.mark.parametrize("options", [["--abort-during"], ["--abort-after"]])
async def test_a_storescp_that_aborts(options: list[str], tmp_path: Path) -> None:
    file = read_file(FILES[0])
    with storescp(tmp_path / "out", *options) as port:
        contexts = for_storage([file.context])
        async with associate("127.0.0.1", port, called="X", calling="Y", contexts=contexts) as peer:
            with pytest.raises(Exception, match="abort"):
                await peer.store(file)
            assert peer.is_over


async def test_a_storescp_that_refuses(tmp_path: Path) -> None:
    with (
        storescp(tmp_path / "out", "--refuse") as port,
        pytest.raises(Exception, match="rejected the association"),
    ):
        async with associate("127.0.0.1", port, called="X", calling="Y", contexts=VERIFICATION):
            pass


# -- TLS ----------------------------------------------------------------------------------------------------------------


def certificate(folder: Path, name: str) -> tuple[Path, Path]:
    """A self-signed certificate for 127.0.0.1 and its key, as PEM files."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    certificate_file, key_file = folder / f"{name}.pem", folder / f"{name}.key"
    certificate_file.write_bytes(signed.public_bytes(pem))
    unencrypted = serialization.NoEncryption()
    key_file.write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, unencrypted))
    return certificate_file, key_file


@pytest.fixture
def server(tmp_path: Path) -> tuple[Path, Path]:
    return certificate(tmp_path, "server")


def serving(server: tuple[Path, Path], client: Path | None = None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*server)
    if client is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(client)
    return context


async def test_objects_go_over_tls_both_ends_verified(server: tuple[Path, Path], tmp_path: Path) -> None:
    own = certificate(tmp_path, "client")
    received: list[bytes] = []

    def take(event: Any) -> int:
        received.append(event.request.DataSet.getvalue())
        return 0

    tls = ssl.create_default_context(cafile=server[0])
    tls.load_cert_chain(*own)
    file = read_file(FILES[0])
    with pynetdicom_peer([(evt.EVT_C_STORE, take)], ssl_context=serving(server, own[0])) as port:
        contexts = [*VERIFICATION, *for_storage([file.context])]
        async with associate(
            "127.0.0.1", port, called="PEER", calling="X", contexts=contexts, tls=tls
        ) as peer:
            await peer.echo()
            for _ in range(3):
                assert (await peer.store(file)).kind is StatusKind.SUCCESS
    assert received == [file.path.read_bytes()[file.data_offset :]] * 3


async def test_an_unknown_certificate_is_refused_with_its_reason(server: tuple[Path, Path]) -> None:
    with pynetdicom_peer(ssl_context=serving(server)) as port, pytest.raises(PeerGone) as gone:
        async with associate(
            "127.0.0.1",
            port,
            called="PEER",
            calling="X",
            contexts=VERIFICATION,
            tls=ssl.create_default_context(),
        ):
            pass
    assert "certificate cannot be verified" in (connection_problem(gone.value) or "")


async def test_tls_to_a_peer_without_it(tmp_path: Path) -> None:
    with pynetdicom_peer() as port, pytest.raises(PeerGone):
        async with associate(
            "127.0.0.1",
            port,
            called="PEER",
            calling="X",
            contexts=VERIFICATION,
            tls=ssl.create_default_context(),
        ):
            pass
