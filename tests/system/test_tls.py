"""DICOM over TLS (PS3.15 B.9-B.12, BCP 195; SECURITY 1): versions, certificates of both sides, names, and calls of our own."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import ssl
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import pytest
from pydicom import dcmread

from protocols.dimse.commands import Command, CommandField, encode_command
from protocols.ul.model import AssociateReject
from protocols.ul.pdata import encode_message
from tests.system.certificates import Authority, Certificate
from tests.system.programs import program
from tests.system.raw_peer import (
    IMPLICIT_LE,
    MOVE,
    RawPeer,
    association_request,
    ct_data_set,
    echo_request,
    eventually,
    well,
)
from tests.system.server import Server, free_port, running

ARTIM_S = 2.0
CALLING_UNKNOWN = AssociateReject(1, 1, 3)


class Rig(NamedTuple):
    """A server that offers TLS to everybody with a certificate of the hospital's authority, and certificates."""

    server: Server
    port: int
    destination_port: int
    hospital: Authority
    own: Certificate
    modality: Certificate
    bound: Certificate
    expired: Certificate
    stranger: Certificate


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    folder = tmp_path_factory.mktemp("tls")
    hospital, elsewhere = Authority(folder, "hospital"), Authority(folder, "elsewhere")
    own = hospital.issue("pacs.example")
    port, destination_port = free_port(), free_port()
    config = folder / "pacs.toml"
    config.write_text(
        f"""
[[nodes]]
ae_title = "BOUND"
host = "127.0.0.1"
port = 104
certificate_name = "bound.example"

[[nodes]]
ae_title = "DEST"
host = "127.0.0.1"
port = {destination_port}
tls = true

[[nodes]]
ae_title = "NAMED"
host = "127.0.0.1"
port = {destination_port}
tls = true
certificate_name = "bound.example"
"""
    )
    options = (
        f"--config={config}",
        f"--tls.port={port}",
        f"--tls.certificate={own.certificate}",
        f"--tls.key={own.key}",
        f"--tls.client-ca={hospital.file}",
        f"--dicom.artim-s={ARTIM_S}",
    )
    with running(Server(folder / "data", options=options, workers=1)) as server:
        yield Rig(
            server, port, destination_port, hospital, own,
            hospital.issue("modality.example"), hospital.issue("bound.example"),
            hospital.issue("expired.example", valid=False), elsewhere.issue("modality.example"),
        )  # fmt: skip
        assert not server.logged("association_crashed"), server.tail()


def context(
    rig: Rig,
    certificate: Certificate | None = None,
    *,
    version: ssl.TLSVersion | None = None,
    ciphers: str | None = None,
) -> ssl.SSLContext:
    """A client's, which trusts the hospital's authority and would speak any version of TLS."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.load_verify_locations(rig.hospital.file)
    if certificate is not None:
        made.load_cert_chain(certificate.certificate, certificate.key)
    if version is not None:
        made.set_ciphers("ALL:@SECLEVEL=0")
        made.minimum_version = made.maximum_version = version
    if ciphers is not None:
        made.maximum_version = ssl.TLSVersion.TLSv1_2
        made.set_ciphers(ciphers)
    return made


def secured(port: int, tls: ssl.SSLContext) -> RawPeer:
    """A peer whose handshake is done. Raises ssl.SSLError or OSError when the server wants no more of it."""
    peer = RawPeer(port)
    try:
        peer.sock = tls.wrap_socket(peer.sock, server_hostname="127.0.0.1")
    except BaseException:
        peer.sock.close()
        raise
    return peer


def served(port: int, tls: ssl.SSLContext, calling: str = "MODALITY") -> str:
    """The version of TLS over which a C-ECHO was answered; empty if it came to none."""
    try:
        with secured(port, tls) as peer:
            assert peer.established(calling=calling).echo() == 0
            version = str(peer.sock.version())  # type: ignore[attr-defined]
            peer.release()
            return version
    except (OSError, AssertionError):  # with TLS 1.3 the server's refusal comes after our handshake is done
        return ""


# -- versions and ciphers -------------------------------------------------------------------------------------------------

VERSIONS = {
    ssl.TLSVersion.TLSv1: "",
    ssl.TLSVersion.TLSv1_1: "",
    ssl.TLSVersion.TLSv1_2: "TLSv1.2",
    ssl.TLSVersion.TLSv1_3: "TLSv1.3",
}


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.*is deprecated")
@pytest.mark.parametrize("version", VERSIONS)
def test_old_versions_are_refused_and_new_ones_taken(rig: Rig, version: ssl.TLSVersion) -> None:
    assert served(rig.port, context(rig, rig.modality, version=version)) == VERSIONS[version]


def test_newest_version_is_preferred(rig: Rig) -> None:
    assert served(rig.port, context(rig, rig.modality)) == "TLSv1.3"


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.*is deprecated")
def test_the_client_that_is_refused_would_speak_the_old_version(rig: Rig) -> None:
    """The control: against a server that takes TLS 1.1 the same client gets through."""
    lax = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    lax.load_cert_chain(rig.own.certificate, rig.own.key)
    lax.set_ciphers("ALL:@SECLEVEL=0")
    lax.minimum_version = ssl.TLSVersion.TLSv1_1
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def accept() -> None:
            accepted, _ = listening.accept()
            with contextlib.suppress(OSError), lax.wrap_socket(accepted, server_side=True) as peer:
                peer.recv(1)

        thread = threading.Thread(target=accept)
        thread.start()
        tls = context(rig, rig.modality, version=ssl.TLSVersion.TLSv1_1)
        with secured(listening.getsockname()[1], tls) as peer:
            assert peer.sock.version() == "TLSv1.1"  # type: ignore[attr-defined]
        thread.join(10)


@pytest.mark.parametrize(
    ("ciphers", "taken"),
    [
        ("ECDHE-ECDSA-AES128-GCM-SHA256", True),
        ("ECDHE-ECDSA-CHACHA20-POLY1305", True),
        ("ECDHE-ECDSA-AES128-SHA", False),
        ("ECDHE-ECDSA-AES128-SHA256", False),
        ("AES128-GCM-SHA256", False),
    ],
)
def test_only_forward_secret_authenticated_ciphers_are_taken(rig: Rig, ciphers: str, taken: bool) -> None:
    assert bool(served(rig.port, context(rig, rig.modality, ciphers=ciphers))) is taken


def test_openssl_agrees(rig: Rig) -> None:
    """Another program's view of the same: TLS 1.1 gets an alert, TLS 1.2 and 1.3 a verified session."""
    openssl = program("openssl")
    for version, works in (("-tls1_1", False), ("-tls1_2", True), ("-tls1_3", True)):
        done = subprocess.run(
            [
                openssl, "s_client", "-connect", f"127.0.0.1:{rig.port}", version, "-cipher", "ALL:@SECLEVEL=0",
                "-CAfile", rig.hospital.file, "-verify_return_error",
                "-cert", rig.modality.certificate, "-key", rig.modality.key,
            ],
            input="", capture_output=True, text=True, timeout=30,
        )  # fmt: skip
        assert (
            "Verify return code: 0 (ok)" in done.stdout and "Cipher is (NONE)" not in done.stdout
        ) is works, done.stdout
        assert works or "alert protocol version" in done.stderr + done.stdout


# -- certificates ---------------------------------------------------------------------------------------------------------


def test_peer_without_a_certificate_of_ours_gets_no_association(rig: Rig) -> None:
    for shown in (None, rig.stranger, rig.expired):
        assert served(rig.port, context(rig, shown)) == ""
        assert served(rig.port, context(rig, shown, version=ssl.TLSVersion.TLSv1_2)) == ""
    assert served(rig.port, context(rig, rig.modality))


def test_without_client_ca_any_peer_is_encrypted(rig: Rig, tmp_path: Path) -> None:
    port = free_port()
    options = (
        f"--tls.port={port}",
        f"--tls.certificate={rig.own.certificate}",
        f"--tls.key={rig.own.key}",
    )
    with running(Server(tmp_path / "data", options=options, workers=1)):
        assert served(port, context(rig)) == "TLSv1.3"


def test_ae_title_that_is_bound_needs_its_certificate(rig: Rig) -> None:
    """An AE title alone grants nothing: not over TLS with another's certificate, and not without TLS."""
    with secured(rig.port, context(rig, rig.bound)) as peer:
        assert peer.established(calling="BOUND").echo() == 0
    with secured(rig.port, context(rig, rig.modality)) as peer:
        assert peer.associate(calling="BOUND") == CALLING_UNKNOWN
    with RawPeer(rig.server.dicom_port) as peer:
        assert peer.associate(calling="BOUND") == CALLING_UNKNOWN


# -- peers that we did not write ------------------------------------------------------------------------------------------


def test_dcmtk_echoes_and_stores_over_tls(rig: Rig, tmp_path: Path) -> None:
    from pydicom.data import get_testdata_file

    secure = ["+tls", rig.modality.key, rig.modality.certificate, "+cf", rig.hospital.file]
    address = ["-aec", "PACS", "-aet", "DCMTK", "127.0.0.1", str(rig.port)]
    for command in (
        [program("echoscu"), *secure, *address],
        [program("storescu"), *secure, *address, str(get_testdata_file("CT_small.dcm"))],
    ):
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr
        assert not done.stderr.strip(), done.stderr
    anonymous = subprocess.run(
        [program("echoscu"), "+tla", "+cf", rig.hospital.file, *address],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert anonymous.returncode != 0


def test_our_own_echo_goes_over_tls(rig: Rig) -> None:
    def echo(*options: str) -> subprocess.CompletedProcess[str]:
        command = [
            sys.executable,
            "-m",
            "supervisors.cli",
            "echo",
            f"127.0.0.1:{rig.port}",
            "--called",
            "PACS",
        ]
        return subprocess.run(
            [*command, *options],
            capture_output=True,
            text=True,
            timeout=60,
            cwd=Path(__file__).resolve().parents[2],
        )

    shown = ("--cert", rig.modality.certificate, "--key", rig.modality.key)
    assert echo("--tls", "--ca", rig.hospital.file, *shown).returncode == 0
    assert echo("--tls", "--ca", rig.hospital.file).returncode == 2
    untrusted = echo("--tls", *shown)
    assert untrusted.returncode == 2
    assert "certificate" in untrusted.stderr


# -- what else must hold over TLS -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_object_over_tls_is_stored_byte_for_byte(rig: Rig, version: ssl.TLSVersion) -> None:
    """3 MB, more than a receive buffer; TLS records and PDUs end at different places."""
    uid = f"1.2.826.{version.value}"
    data = ct_data_set(uid)[:-1012] + _pixels(3_000_000)
    with secured(rig.port, context(rig, rig.modality, version=version)) as peer:
        peer.established()
        assert peer.store(uid, data) == 0
        assert peer.echo(2) == 0
        peer.release()
    (stored,) = [
        one
        for one in rig.server.objects()
        if dcmread(BytesIO(one.read_bytes()), stop_before_pixels=True).SOPInstanceUID == uid
    ]
    assert stored.read_bytes().endswith(data)


def _pixels(length: int) -> bytes:
    value = bytes(range(250)) * (length // 250)
    return struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OW", 0, len(value)) + value


def test_requests_that_come_in_one_record_are_all_answered(rig: Rig) -> None:
    """What TLS has decrypted is not seen by the system's poll: it must not be waited for there."""
    with secured(rig.port, context(rig, rig.modality)) as peer:
        peer.established()
        peer.send(b"".join(echo_request(number) for number in range(1, 101)))
        assert [peer.receive_command().message_id_responded_to for _ in range(100)] == list(range(1, 101))
        peer.release()


def test_handshake_that_does_not_come_ends_at_artim(rig: Rig) -> None:
    """Silence, half a greeting, plain DICOM and HTTP on the TLS port: closed, and others are served meanwhile."""
    for data in (b"", b"\x16\x03\x01\x02\x00\x01", association_request(), b"GET / HTTP/1.1\r\n\r\n"):
        with RawPeer(rig.port, within_s=ARTIM_S + 10) as peer:
            peer.send(data)
            assert served(rig.port, context(rig, rig.modality))
            with contextlib.suppress(OSError):
                while peer.sock.recv(4096):
                    continue
    assert well(rig.server.dicom_port)


@pytest.mark.parametrize("data", [b"", b"\x16\x03\x01\x02\x00\x01", b"GET / HTTP/1.1\r\n\r\n"])
def test_peer_that_is_gone_before_it_is_accepted_is_no_bug_of_ours(rig: Rig, data: bytes) -> None:
    """Reset while it waits in the queue, with and without bytes that came before: the fixture looks for crashes in the log."""
    (worker,) = rig.server.worker_pids()
    os.kill(worker, signal.SIGSTOP)
    try:
        for _ in range(5):
            peer = RawPeer(rig.port)
            peer.send(data)
            peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            peer.sock.close()
    finally:
        os.kill(worker, signal.SIGCONT)
    assert served(rig.port, context(rig, rig.modality))
    assert rig.server.worker_pids() == [worker]
    assert not rig.server.logged("association_crashed"), rig.server.tail()


def test_tls_on_the_plain_port_is_aborted(rig: Rig) -> None:
    with pytest.raises((ssl.SSLError, ConnectionError)):
        secured(rig.server.dicom_port, context(rig, rig.modality))


# -- calls of our own -----------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def destination(rig: Rig, certificate: Certificate, folder: Path) -> Iterator[Path]:
    """DCMTK's storescp with TLS, which wants a certificate of the hospital's authority from its callers."""
    folder.mkdir()
    command = [
        program("storescp"), "+tls", certificate.key, certificate.certificate, "+cf", rig.hospital.file, "-rc",
        "-od", str(folder), "-aet", "DEST", str(rig.destination_port),
    ]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            eventually(lambda: _listens(rig.destination_port), what="storescp listens")
            yield folder
        finally:
            process.terminate()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def move(rig: Rig, study: str, to: str = "DEST") -> Command:
    """C-MOVE a study; the final response."""
    value = study.encode() + b"\0" * (len(study) % 2)
    identifier = (
        struct.pack("<HHI", 0x0008, 0x0052, 6)
        + b"STUDY "
        + struct.pack("<HHI", 0x0020, 0x000D, len(value))
        + value
    )
    command = Command(
        command_field=CommandField.C_MOVE_RQ, message_id=1, affected_sop_class_uid=MOVE, priority=0,
        data_set_type=1, move_destination=to,
    )  # fmt: skip
    with RawPeer(rig.server.dicom_port, within_s=60) as peer:
        peer.established(contexts=((MOVE, (IMPLICIT_LE,)),))
        for data, is_command in ((encode_command(command), True), (identifier, False)):
            peer.send(encode_message(1, data, command=is_command, max_pdu_bytes=16384))
        while (response := peer.receive_command()).status == 0xFF00:
            continue
        return response


def test_move_goes_over_tls_to_whom_we_can_trust_and_to_nobody_else(rig: Rig, tmp_path: Path) -> None:
    study = "1.2.826.0.1.3680043.9.1"
    with RawPeer(rig.server.dicom_port) as peer:
        assert peer.established().store("1.2.826.5", ct_data_set("1.2.826.5")) == 0
    with destination(rig, rig.modality, tmp_path / "trusted") as got:
        response = move(rig, study)
        assert response.status == 0, response
        assert response.failed == 0
        assert response.completed
        assert len(list(got.iterdir())) == response.completed
    with destination(rig, rig.stranger, tmp_path / "stranger") as got:
        response = move(rig, study)
        assert response.status == 0xA702, response
        assert not response.completed
        assert not list(got.iterdir())


def test_destination_whose_certificate_is_named_has_to_show_that_name(rig: Rig, tmp_path: Path) -> None:
    """Another's certificate of the same authority is not enough to be sent images."""
    with RawPeer(rig.server.dicom_port) as peer:
        assert peer.established().store("1.2.826.6", ct_data_set("1.2.826.6")) == 0
    for certificate, trusted in ((rig.modality, False), (rig.bound, True)):
        with destination(rig, certificate, tmp_path / str(trusted)) as got:
            response = move(rig, "1.2.826.0.1.3680043.9.1", "NAMED")
            assert response.status == (0 if trusted else 0xA702), response
            assert bool(list(got.iterdir())) is trusted


def test_a_renewed_certificate_is_shown_without_a_restart(rig: Rig) -> None:
    """Half of one is not: its key comes a moment later."""
    trusting = ssl.create_default_context(cafile=rig.hospital.file)
    trusting.load_cert_chain(*rig.modality)

    def shown() -> bytes | None:
        with (
            socket.create_connection(("127.0.0.1", rig.port), timeout=10) as plain,
            trusting.wrap_socket(plain, server_hostname="127.0.0.1") as stream,
        ):
            return stream.getpeercert(binary_form=True)

    before, key = shown(), Path(rig.own.key).read_bytes()
    assert rig.hospital.issue("pacs.example") == rig.own
    renewed = Path(rig.own.key).read_bytes()
    Path(rig.own.key).write_bytes(key)
    eventually(lambda: shown() == before and bool(rig.server.logged("certificate_not_usable")))
    Path(rig.own.key).write_bytes(renewed)
    eventually(lambda: shown() != before)
