"""Who may have what by WADO, what the audit knows of it, and what those cost who leave in the middle."""

from __future__ import annotations

import os
import secrets
import socket
from pathlib import Path
from typing import Any

import pytest
from pydicom.uid import generate_uid

from tests.system.dicomweb import path_of
from tests.system.peers import (
    Instance,
)
from tests.system.peers import wait_until as wait
from tests.system.server import Server
from tests.system.wado import (
    DICOM,
    VIEWER,
    Archive,
    image,
    uri,
    where,
)

ROUTES = ("", "/frames/1", "/pixeldata", "/bulkdata/7FE00010")


@pytest.fixture(scope="module")
def archive(clinic: Server) -> Archive:
    return Archive(clinic)


def person(archive: Archive, actions: list[str], scope: dict[str, Any]) -> str:
    """A user with a role of their own; the access token."""
    server, name = archive.server, f"user{secrets.token_hex(4)}"
    role = {"name": name, "description": "", "actions": actions, "scope": scope}
    user = {"username": name, "password": "correct horse battery", "roles": [name]}
    for path, body in (("/api/v1/roles", role), ("/api/v1/users", user)):
        status, answer = server.ask("POST", path, body, token=server.token)
        assert status in (200, 201), answer
    return server.login(name, "correct horse battery")


def test_strangers_get_nothing(archive: Archive, ct: list[Instance]) -> None:
    with archive.client(token="") as stranger:
        for path in (
            *(where(ct[0]) + route for route in ROUTES),
            path_of(ct[0].study),
            path_of(ct[0].study, ct[0].series),
        ):
            assert stranger.get(path).status == 401
        assert stranger.get("/wado", query=uri(ct[0], contentType="application/dicom")).status == 401


def test_a_study_outside_of_the_scope_is_not_there(archive: Archive, ct: list[Instance]) -> None:
    other = image(generate_uid(), generate_uid(), 1)
    archive.store(other)
    scope = {"everything": False, "rules": [{"studies": [other.study]}]}
    with archive.client(person(archive, ["study.view", "study.download"], scope)) as client:
        for one, status in ((other, 200), (ct[0], 404)):
            for route in ROUTES:
                assert client.get(where(one) + route).status == status, route
            for path in (path_of(one.study), path_of(one.study, one.series)):
                assert client.get(path, DICOM).status == status
                assert client.get(path, "application/zip").status == status
            assert client.get("/wado", query=uri(one, contentType="application/dicom")).status == status


def test_who_may_look_may_have_instances_and_no_studies(archive: Archive, ct: list[Instance]) -> None:
    everything = {"everything": True, "rules": []}
    with archive.client(person(archive, ["study.view"], everything)) as client:
        for route in ROUTES:
            assert client.get(where(ct[0]) + route).status == 200
        for path in (path_of(ct[0].study), path_of(ct[0].study, ct[0].series)):
            assert client.get(path).status == 403


def test_looking_is_audited_once_a_study_and_each_download(archive: Archive) -> None:
    study, series = generate_uid(), generate_uid()
    made = [image(study, series, number, PatientID="AUDITED") for number in (1, 2, 3)]
    archive.store(*made)
    with archive.client() as client:
        for _ in range(4):
            for one in made:
                assert client.get(f"{where(one)}/frames/1", VIEWER).status == 200
                assert client.get(where(one)).status == 200
        for accept in (DICOM, "application/zip"):
            assert client.get(path_of(study), accept).status == 200

    def told() -> list[str]:
        return archive.server.sql(
            f"SELECT event, count(*), min(who), min(patient_id) FROM audit_events WHERE '{study}' = ANY (uids) "
            "AND event IN ('viewed', 'downloaded') GROUP BY 1 ORDER BY 1"
        )

    workers = archive.server.workers
    wait(lambda: len(told()) == 2, "the audit of views and downloads")
    downloaded, viewed = told()
    assert downloaded == "downloaded|2|admin|AUDITED"
    event, count, who, patient = viewed.split("|")
    assert (event, who, patient) == ("viewed", "admin", "AUDITED")
    assert 1 <= int(count) <= workers


def test_a_hundred_who_leave_in_the_middle_cost_nothing(archive: Archive) -> None:
    """A viewer breaks off frames freely: nothing is logged, no descriptor stays open, memory does not grow."""
    server = archive.server
    big = image(generate_uid(), generate_uid(), 1, Rows=2048, Columns=2048, PixelData=bytes(8 * 1024 * 1024))
    archive.store(big)
    with archive.client() as client:
        assert len(client.get(f"{where(big)}/frames/1", VIEWER).body) > 8 * 1024 * 1024
    pids = server.worker_pids()
    request = (
        f"GET /dicom-web{where(big)}/frames/1 HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: {VIEWER}\r\n"
        f"Authorization: Bearer {server.token}\r\n\r\n"
    ).encode()

    def leave(count: int) -> None:
        sockets = [socket.create_connection(("127.0.0.1", server.web_port)) for _ in range(count)]
        for each in sockets:
            each.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
            each.sendall(request)
        for each in sockets:
            assert each.recv(1000).startswith(b"HTTP/1.1 200")
        for each in sockets:
            each.close()

    grown = []
    for _ in range(5):
        before = resident_bytes(pids)
        leave(100)
        wait(lambda: open_objects(pids) == 0, "all objects closed")
        grown.append(resident_bytes(pids) - before)
    # What is leaked is leaked each time; what a young worker takes it takes once.
    assert sorted(grown)[2] < 16 * 1024 * 1024, grown
    assert not server.logged("request_crashed")
    assert not server.logged("http_connection_crashed")
    with archive.client() as client:
        assert client.get(f"{where(big)}/frames/1", VIEWER).status == 200


def open_objects(pids: list[int]) -> int:
    count = 0
    for pid in pids:
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            try:
                if str(entry.readlink()).endswith((".dcm", "/segment")):
                    flags = Path(f"/proc/{pid}/fdinfo/{entry.name}").read_text().split("flags:")[1].split()[0]
                    count += int(flags, 8) & os.O_ACCMODE == os.O_RDONLY  # not the segment that is written
            except FileNotFoundError:
                continue
    return count


def resident_bytes(pids: list[int]) -> int:
    pages = sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in pids)
    return pages * os.sysconf("SC_PAGE_SIZE")
