"""A round trip with our own commands, against our own server: the third peer, after DCMTK and pynetdicom."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.uid import generate_uid

from tests.system import peers
from tests.system.peers import Inbox
from tests.system.server import Server, free_port


def run(command: str, server: Server, *arguments: object) -> subprocess.CompletedProcess[str]:
    """``pacs-actors COMMAND``, with its answer as JSON."""
    words = [sys.executable, "-m", "supervisors.cli", command, f"127.0.0.1:{server.dicom_port}"]
    words += ["--called", server.aet, "--json", *map(str, arguments)]
    return subprocess.run(words, capture_output=True, text=True, timeout=60)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exam")
    study = generate_uid()
    for number in range(4):
        instance = peers.make(StudyInstanceUID=study, InstanceNumber=number, PatientName="Round^Trip")
        peers.write_part10(folder / f"{number}.dcm", instance)
    (folder / "notes.txt").write_text("no image")
    return folder


@pytest.fixture(scope="module")
def study(node: Server, folder: Path) -> str:
    """The study, stored by ``pacs-actors store``."""
    done = run("store", node, "--jobs", 2, folder)
    assert done.returncode == 0, done.stderr
    return str(dcmread(folder / "0.dcm").StudyInstanceUID)


def uids(files: list[Path]) -> set[str]:
    return {str(dcmread(path).SOPInstanceUID) for path in files}


def test_find_shows_what_store_sent(node: Server, study: str) -> None:
    keys = ("-k", f"StudyInstanceUID={study}", "-k", "PatientName", "-k", "NumberOfStudyRelatedInstances")
    done = run("find", node, *keys)
    assert done.returncode == 0, done.stderr
    (answer,) = [json.loads(line) for line in done.stdout.splitlines()]
    text: Any = json.dumps(answer)
    assert "Round^Trip" in text
    assert study in text


def test_get_brings_what_store_sent(node: Server, study: str, folder: Path, tmp_path: Path) -> None:
    done = run("get", node, "-k", f"StudyInstanceUID={study}", "--into", tmp_path / "got")
    assert done.returncode == 0, done.stderr
    assert uids(list((tmp_path / "got").iterdir())) == uids(list(folder.glob("*.dcm")))


def test_move_sends_what_store_sent(node: Server, node_port: int, study: str, folder: Path) -> None:
    inbox = Inbox()
    with peers.listening(node_port, [(peers.CT, peers.EXPLICIT)], inbox=inbox):
        done = run("move", node, "--to", "DEST", "-k", f"StudyInstanceUID={study}")
    assert done.returncode == 0, done.stderr
    assert set(inbox.received) == uids(list(folder.glob("*.dcm")))


def test_move_to_nobody_fails_in_words(node: Server, study: str) -> None:
    done = run("move", node, "--to", "NOWHERE", "-k", f"StudyInstanceUID={study}")
    assert done.returncode == 1
    assert "destination" in (done.stdout + done.stderr).lower()


def test_commit_is_answered_for_what_store_sent(node: Server, study: str, folder: Path) -> None:
    done = run("commit", node, folder)
    assert done.returncode == 0, done.stdout + done.stderr


def test_commit_fails_for_what_nobody_sent(node: Server, tmp_path: Path) -> None:
    peers.write_part10(tmp_path / "never.dcm", peers.make())
    assert run("commit", node, tmp_path).returncode == 1


def test_a_server_that_is_not_there_is_said_so(node: Server, folder: Path) -> None:
    words = [sys.executable, "-m", "supervisors.cli", "store", f"127.0.0.1:{free_port()}", str(folder)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
