"""The web suite against our own server, and its HTTP against peers that do not keep to it."""

from __future__ import annotations

import io
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pydicom
import pytest

from bench import peers, suites, templates, web
from bench.http_link import Site
from bench.ingest import Target
from bench.population import Run
from bench.wire import PeerFailed


def test_every_case_of_the_web_is_measured_on_our_server(tmp_path: Path) -> None:
    peer = peers.PEERS["ours"]
    with peers.running(peer, tmp_path / "ours", 1) as up:
        plan = suites.Plan(
            suites=("web",), clients=(2,), runs=1, seconds=0.1, studies=10, per_study=2, loaders=2, server_pids=(up.pid,)
        )  # fmt: skip
        assert up.site is not None
        cases = suites.Bench(Target("127.0.0.1", up.port, peer.aet), plan, site=up.site).run()
        assert {name: case.error for name, case in cases.items() if case.error} == {}
        kinds = (
            "qido-patient",
            "qido-name",
            "qido-date",
            "metadata",
            "study",
            "instance",
            "frame",
            "rendered",
            "stow",
        )
        assert set(cases) == {"load/small", "load/ct", *(f"web/{kind}/2" for kind in kinds)}
        assert cases["web/study/2"].median["items_each"] == 2
        assert cases["web/frame/2"].median["mb_s"] > 0.5

        stranger = Site(up.site.host, up.site.port, up.site.path)
        with pytest.raises(PeerFailed, match="HTTP status 401"):
            web.check(stranger, web.retrievals(stranger, Run.new(), 1, 1, 1)["frame"])
        with pytest.raises(PeerFailed, match="HTTP status 404"):
            web.check(up.site, web.retrievals(up.site, Run.new(), 1, 1, 1)["instance"])


def test_what_is_posted_is_a_part_10_file_with_the_uids_of_the_population() -> None:
    run, template = Run.new(), templates.template("small")
    head, tail = web.part_10(template)
    study = run.study(7)
    image = pydicom.dcmread(io.BytesIO(head.of(run, study, 3) + bytes(tail)))
    assert image.SOPInstanceUID == image.file_meta.MediaStorageSOPInstanceUID == run.instance_uid(7, 3)
    assert (image.StudyInstanceUID, image.SeriesInstanceUID) == (study.study_uid, study.series_uid)
    assert (image.PatientID, image.InstanceNumber) == (study.patient_id, 3)
    assert image.file_meta.MediaStorageSOPClassUID == image.SOPClassUID
    assert image.pixel_array.shape == (32, 32)


@contextmanager
def answering(answer: Callable[[socket.socket], None]) -> Iterator[Site]:
    """A peer that takes one connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            plain, _ = listener.accept()
            with plain:
                plain.recv(65536)
                answer(plain)

        thread = threading.Thread(target=serve)
        thread.start()
        yield Site("127.0.0.1", listener.getsockname()[1], timeout_s=10)
        thread.join(10)


@pytest.mark.parametrize(
    ("raw", "status", "body"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", 200, b"hello"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3;x=y\r\nhel\r\n2\r\nlo\r\n0\r\nt: u\r\n\r\n", 200, b"hello"),
        (b"HTTP/1.1 404\r\ncontent-length: 0\r\n\r\n", 404, b""),
        (b"HTTP/1.1 304 Not Modified\r\n\r\n", 304, b""),
        (b"HTTP/1.1 200 OK\r\n\r\nhello", 200, b"hello"),  # up to the end of the connection
    ],
)  # fmt: skip
def test_a_body_is_read_by_its_length_in_chunks_or_to_the_end(raw: bytes, status: int, body: bytes) -> None:
    with answering(lambda plain: plain.sendall(raw)) as site, site.connect() as link:
        answer = link.ask(site.request("GET", "/"), keep=True)
    assert (answer.status, answer.size_bytes, answer.body) == (status, len(body), body)


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", "closed the connection instead"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello", "4 bytes before the end"),
        (b"SSH-2.0-x\r\n\r\n", "not HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n", "no answer by HTTP"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "no answer by HTTP"),
        (b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 300, "too many fields"),
    ],
)
def test_an_answer_that_is_none_fails_the_case(raw: bytes, reason: str) -> None:
    with (
        answering(lambda plain: plain.sendall(raw)) as site,
        site.connect() as link,
        pytest.raises(PeerFailed, match=reason),
    ):
        link.ask(site.request("GET", "/"))


def test_an_answer_that_is_too_short_or_no_picture_is_noticed() -> None:
    raw = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
    for kind, reason in (("frame", "5 bytes came"), ("rendered", "5 bytes came")):
        with answering(lambda plain: plain.sendall(raw)) as site:
            wanted = web.retrievals(site, Run.new(), 1, 1, 1000)[kind]
            with pytest.raises(PeerFailed, match=reason):
                web.check(site, wanted)
    long = b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n" + bytes(500)
    with answering(lambda plain: plain.sendall(long)) as site, pytest.raises(PeerFailed, match="no JPEG"):
        web.check(site, web.retrievals(site, Run.new(), 1, 1, 1)["rendered"])


def test_a_connection_that_ended_with_an_answer_is_made_again() -> None:
    closing = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            for _ in range(2):
                plain, _ = listener.accept()
                with plain:
                    plain.recv(65536)
                    plain.sendall(closing)

        thread = threading.Thread(target=serve)
        thread.start()
        site = Site("127.0.0.1", listener.getsockname()[1], timeout_s=10)
        with site.connect() as link:
            assert [link.ask(site.request("GET", "/"), keep=True).body for _ in range(2)] == [b"ok", b"ok"]
        thread.join(10)
