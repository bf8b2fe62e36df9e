"""Studies that are only in tier stores: found again when the index is lost, and read by a scrub."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom.uid import generate_uid

from tests.system import peers, stow
from tests.system.server import Server, running
from tests.system.test_tiers import FAR, NEAR, again, downloads, files, moved, place, stored

Site = tuple[Server, Path]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    config = tmp_path / "pacs.toml"
    tables = ""
    for name, tier in ((NEAR, "nearline"), (FAR, "archive")):
        (tmp_path / name).mkdir()
        tables += f'[stores.{name}]\nkind = "folder"\ntier = "{tier}"\npath = "{tmp_path / name}"\nreserve_bytes = 0\n'
    config.write_text(tables)
    with running(Server(tmp_path / "data", workers=1, options=("--config", str(config)))) as server:
        yield server, config


def rebuild(site: Site, code: int = 0) -> Any:
    server, config = site
    done = subprocess.run(
        [sys.executable, "-m", "supervisors.cli", "index", "rebuild", "--json", "--data", str(server.data),
         "--config", str(config)],
        capture_output=True, text=True, timeout=90,
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    return json.loads(done.stdout)


def test_studies_that_are_only_in_stores_survive_the_loss_of_the_database(site: Site) -> None:
    """Compressed, coded, slow; and one of a damaged copy is named and the others come all the same."""
    server, _ = site
    uids = {"StudyInstanceUID": generate_uid(), "SeriesInstanceUID": generate_uid()}
    coded = [
        again(name, SOPInstanceUID=generate_uid(), **uids)
        for name in ("CT_small.dcm", "MR_small.dcm", "rtplan.dcm")
    ]
    assert stow.store(server, *coded).status == 200
    far, torn, here = stored(server), stored(server, 1), stored(server, 1)
    was = downloads(server, coded) | downloads(server, far) | downloads(server, here)
    moved(server, coded, "online", NEAR, form="htj2k")
    moved(server, far, "online", FAR, form="lz4")
    known = set(files(server, NEAR))
    moved(server, torn, "online", NEAR)
    (damaged,) = set(files(server, NEAR)) - known
    assert server.stop() == 0
    shutil.rmtree(server.data / "postgres")
    damaged.write_bytes(damaged.read_bytes()[:-1])

    done = rebuild(site, code=1)
    assert done["indexed"] == 1
    near, vault = done["stores"]
    assert (near["instances"], vault["instances"]) == (3, 3)
    (key,) = near["unusable"]
    assert key.endswith(damaged.name)
    damaged.unlink()
    assert [one["copies"] for one in rebuild(site)["stores"]] == [0, 0]

    server.start()
    server.status()  # logs in anew: logins were in the database
    assert place(server, coded) == ("NEARLINE", 0, {NEAR: 3})
    assert place(server, far) == ("OFFLINE", 0, {FAR: 3})
    _, inbox = peers.get(server, far, "STUDY", {"StudyInstanceUID": far[0].study})
    assert {uid: data for uid, (_, data) in inbox.received.items()} == {one.uid: one.data for one in far}
    assert downloads(server, coded) | downloads(server, far) | downloads(server, here) == was


def test_what_has_copies_survives_the_loss_of_the_whole_disk(site: Site) -> None:
    server, _ = site
    far = stored(server)
    was = downloads(server, far)
    moved(server, far, "online", NEAR)
    assert server.stop() == 0
    shutil.rmtree(server.data)

    done = rebuild(site)
    assert (done["indexed"], [one["instances"] for one in done["stores"]]) == (0, [3, 0])
    server.start()
    server.status()
    assert downloads(server, far) == was


def reconcile(site: Site) -> Any:
    server, config = site
    done = subprocess.run(
        [sys.executable, "-m", "supervisors.cli", "reconcile", "--json", "--data", str(server.data), "--config", str(config)],
        capture_output=True, text=True, timeout=90,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    return json.loads(done.stdout)


def test_a_scrub_reads_the_copies_in_stores_too(site: Site) -> None:
    server, config = site
    study = stored(server)
    moved(server, study, "online", NEAR, form="zstd")
    copy = sorted(files(server, NEAR))[0]
    was = copy.read_bytes()

    def scrub(*options: str) -> tuple[int, str, str]:
        done = subprocess.run(
            [sys.executable, "-m", "supervisors.cli", "scrub", "--data", str(server.data), "--config", str(config), *options],
            capture_output=True, text=True, timeout=90,
        )  # fmt: skip
        return done.returncode, done.stdout, done.stderr

    code, told, _ = scrub()
    assert (code, "and 3 copies" in told) == (0, True)
    for at in (60, len(was) - 1):
        copy.write_bytes(was[:at] + bytes([was[at] ^ 1]) + was[at + 1 :])
        code, told, _ = scrub()
        assert code == 1
        uid, condition, store, key, *_ = told.split()
        assert uid in {one.uid for one in study}
        assert (condition, store, key.rstrip(":").endswith(copy.name)) == ("corrupt", NEAR, True)
    assert scrub("--without-copies")[0] == 0
    copy.unlink()
    assert " lost " in scrub()[1]
    found = reconcile(site)
    assert (found["copies"], found["found"], found["left"]) == (2, {"copy_lost": 1}, 1)
    assert found["list"][0]["sop_instance_uid"] == uid
    (server.data.parent / NEAR).rename(server.data.parent / "gone")
    code, told, complaint = scrub()
    assert "all are good" not in told
    assert code == 2 and f"not all copies in {NEAR} were read" in complaint
    assert server.stop() == 0
    (server.data.parent / "gone").rename(server.data.parent / NEAR)
    assert scrub()[0] == 1, "a stopped server's, too"
