"""``pacs-actors objects`` on a folder in both layouts, beside a store that has it open."""

from __future__ import annotations

import json
from io import BytesIO
from pathlib import Path

import pytest
import trio
from pydicom import dcmread

from config.settings import StorageSettings
from pacs_actors.archive.objects.local import LocalObjectStore
from supervisors.cli import main
from tests.faults.images import CT_IMAGE, EXPLICIT_VR_LITTLE_ENDIAN, Image
from tests.stored_objects import LAYOUTS, StoredObject, stored_objects

Stored = dict[str, Image]


async def store(root: Path, layout: str, *images: Image) -> Stored:
    """Key -> image."""
    kept: Stored = {}
    settings = StorageSettings(layout=layout, reserve_bytes=0)
    async with LocalObjectStore(root, 0, settings) as opened:
        for image in images:
            with await opened.stage(CT_IMAGE, image.uid, EXPLICIT_VR_LITTLE_ENDIAN, "TEST") as staging:
                await staging.write(image.data_set)
                stored, _ = await opened.commit(staging, lambda data, complete: None)
            kept[stored.key] = image
    return kept


@pytest.fixture
def kept(tmp_path: Path) -> Stored:
    """A packed object, one with a file, and one that is too large to be packed in either layout."""
    found: Stored = {}
    for number, layout in enumerate(LAYOUTS):
        images = [Image("1.2.3", "1.2.3.4", 1, pixel_bytes=size) for size in (4000, 2_000_000)[: 2 - number]]
        found |= trio.run(store, tmp_path / "data", layout, *images)
    assert len(found) == 3
    return found


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_list_prints_key_uid_and_size_of_each(kept: Stored, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["objects", "list", "--data", "data"]) == 0
    lines = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert {key: uid for key, uid, _ in lines} == {key: image.uid for key, image in kept.items()}
    sizes = {one.key: one.size_bytes for one in stored_objects(Path("data"))}
    assert {key: int(size) for key, _, size in lines} == sizes
    assert main(["objects", "list", "--data", "data", "--json"]) == 0
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {one["key"]: one["sop_instance_uid"] for one in told} == {
        key: image.uid for key, image in kept.items()
    }


def test_export_writes_dicom_files_without_our_record_and_overwrites_nothing(
    kept: Stored, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["objects", "export", "--data", "data", "--to", "out/there", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"written": 3, "failed": []}
    for image in kept.values():
        raw = Path("out/there", f"{image.uid}.dcm").read_bytes()
        assert raw[:128] == bytes(128)
        assert raw.endswith(image.data_set)
        assert dcmread(BytesIO(raw)).SOPInstanceUID == image.uid
    assert main(["objects", "export", "--data", "data", "--to", "out/there"]) == 0
    assert len(list(Path("out/there").iterdir())) == 6


def test_export_makes_no_path_of_a_uid(tmp_path: Path) -> None:
    hostile = Image("1.2.3", "1.2.3.4", 1, uid="../../../escaped")
    trio.run(store, tmp_path / "data", LAYOUTS[0], hostile)
    assert main(["objects", "export", "--data", "data", "--to", "out"]) == 0
    (written,) = Path("out").iterdir()
    assert len(written.name) == 64 + len(".dcm")
    assert not list(tmp_path.parent.glob("escaped*"))


def test_verify_names_what_is_damaged(kept: Stored, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["objects", "verify", "--data", "data"]) == 0
    assert capsys.readouterr().out == "3 objects, 0 damaged.\n"
    for key, image in kept.items():
        stored = StoredObject(Path("data"), key)
        stored.flip(-3)
        assert main(["objects", "verify", "--data", "data", "--json"]) == 1
        told = json.loads(capsys.readouterr().out)
        assert [(one["key"], one["sop_instance_uid"]) for one in told["damaged"]] == [(key, image.uid)]
        assert told["objects"] == 3
        stored.flip(-3)


async def test_a_segment_that_is_being_filled_is_looked_at_without_being_doubted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = Image("1.2.3", "1.2.3.4", 1)
    async with LocalObjectStore(tmp_path / "data", 0, StorageSettings(reserve_bytes=0)) as opened:
        with await opened.stage(CT_IMAGE, image.uid, EXPLICIT_VR_LITTLE_ENDIAN, "TEST") as staging:
            await staging.write(image.data_set)
            stored, _ = await opened.commit(staging, lambda data, complete: None)
        segment = StoredObject(tmp_path / "data", stored.key).path
        with segment.open("r+b") as file:  # as a group that is being written
            file.seek(100 * 4096)
            file.write(b"x" * 4096)
        assert main(["objects", "verify", "--data", "data"]) == 0
    assert capsys.readouterr().out == "1 objects, 0 damaged.\n"


def test_verify_finds_what_has_lost_its_record(kept: Stored, capsys: pytest.CaptureFixture[str]) -> None:
    (packed,) = [one for one in stored_objects(Path("data")) if one.packed]
    packed.flip(10)
    assert main(["objects", "verify", "--data", "data"]) == 1
    out = capsys.readouterr().out
    assert f"- {packed.key}: no record" in out
    assert "2 objects, 1 damaged" in out


def test_a_folder_without_objects_is_said_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for action in (["list"], ["verify"], ["export", "--to", "out"]):
        assert main(["objects", *action, "--data", str(tmp_path / "nothing")]) == 2
        assert "no objects" in capsys.readouterr().err
