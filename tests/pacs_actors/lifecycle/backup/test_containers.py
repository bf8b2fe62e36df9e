"""Containers in a folder: what is written is read back from anywhere, and whatever is damaged is named."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from pacs_actors.lifecycle.backup.containers import Containers, ContainerWriter, Writing
from pacs_actors.lifecycle.backup.frames import MAX_RAW_BYTES, Broken
from pacs_actors.lifecycle.backup.manifest import Part, Stream
from pacs_actors.lifecycle.backup.places import FolderPlace
from pacs_actors.lifecycle.backup.sealing import BackupKey
from protocols.errors import ConfigError, Unavailable

BACKUP = "20261121T000000Z-full"
KEYS = [pytest.param(None, id="plain"), pytest.param(BackupKey(b"k" * 32), id="encrypted")]
SIZES = (0, 1, 5000, MAX_RAW_BYTES, MAX_RAW_BYTES + 1, 3 * MAX_RAW_BYTES + 7, 40, 40)
BODIES = [os.urandom(size // 2) + bytes(size - size // 2) for size in SIZES]


@pytest.fixture
def place(tmp_path: Path) -> FolderPlace:
    place = FolderPlace(tmp_path / "backups", make=True)
    place.begin(BACKUP)
    return place


def write(place: FolderPlace, key: BackupKey | None, limit: int) -> tuple[list[Part], Stream, dict[str, int]]:
    with Writing(place, BACKUP, key) as writing:
        objects, index = ContainerWriter(writing, "objects", limit), ContainerWriter(writing, "index", limit)
        parts = [objects.part((body,)) for body in BODIES]
        stream = index.stream()
        for body in BODIES:
            stream.write(body)
        told = stream.end()
        objects.close()
        index.close()
        return parts, told, writing.sizes


@pytest.mark.parametrize("limit", [1, 1 << 40])
@pytest.mark.parametrize("key", KEYS)
def test_parts_and_streams_come_back_in_any_order(
    place: FolderPlace, key: BackupKey | None, limit: int
) -> None:
    parts, stream, sizes = write(place, key, limit)
    assert (len(sizes) > 10) == (limit == 1)
    with Containers(place, BACKUP, sizes, key) as containers:
        for part, body in sorted(zip(parts, BODIES, strict=True), key=lambda pair: -len(pair[1])):
            assert b"".join(containers.pieces(part)) == body
        assert b"".join(containers.stream(stream)) == b"".join(BODIES)


def read_all(
    place: FolderPlace, sizes: dict[str, int], parts: list[Part], key: BackupKey | None
) -> Iterator[int]:
    """Numbers of the parts that can be read."""
    for number, part in enumerate(parts):
        try:
            with Containers(place, BACKUP, sizes, key) as containers:
                assert b"".join(containers.pieces(part)) == BODIES[number]
                yield number
        except Broken:
            continue


def test_a_flipped_byte_costs_one_object(place: FolderPlace, tmp_path: Path) -> None:
    parts, _, sizes = write(place, None, 1 << 40)
    file = tmp_path / "backups" / BACKUP / "objects-00001"
    content = bytearray(file.read_bytes())
    content[parts[4].offset + 100] ^= 1
    file.write_bytes(content)
    assert list(read_all(place, sizes, parts, None)) == [0, 1, 2, 3, 5, 6, 7]


def test_a_container_that_is_cut_off_extended_or_gone_is_broken(place: FolderPlace, tmp_path: Path) -> None:
    parts, _, sizes = write(place, None, 1 << 40)
    file = tmp_path / "backups" / BACKUP / "objects-00001"
    whole = file.read_bytes()
    for other in (whole[:-1], whole + b"\0", b""):
        file.write_bytes(other)
        assert list(read_all(place, sizes, parts, None)) == []
    file.unlink()
    assert list(read_all(place, sizes, parts, None)) == []


def test_a_part_that_lies_about_its_place_is_refused(place: FolderPlace) -> None:
    parts, _, sizes = write(place, None, 1 << 40)
    good = parts[2]
    with Containers(place, BACKUP, sizes, None) as containers:
        for wrong in (
            Part(good.container, good.frame, good.offset + 1, good.size_bytes),
            Part(good.container, good.frame + 1, good.offset, good.size_bytes),
            Part(good.container, good.frame, good.offset, good.size_bytes - 1),
            Part(good.container, good.frame, -5, good.size_bytes),
            Part(good.container, good.frame, 1 << 60, good.size_bytes),
            Part("objects-00009", 0, 48, 5),
            Part("../../secret", 0, 48, 5),
        ):
            with pytest.raises(Broken):
                list(containers.pieces(wrong))
        assert b"".join(containers.pieces(good)) == BODIES[2]


def test_a_container_wants_its_key(place: FolderPlace) -> None:
    parts, _, sizes = write(place, BackupKey(b"k" * 32), 1 << 40)
    with Containers(place, BACKUP, sizes, None) as containers, pytest.raises(ConfigError, match="encrypted"):
        list(containers.pieces(parts[1]))
    assert list(read_all(place, sizes, parts, BackupKey(b"o" * 32))) == []


def test_names_that_are_not_ours_never_become_paths(place: FolderPlace) -> None:
    for backup in ("..", "/etc", "x", BACKUP + "/..", "", "20261121T000000Z-full\n"):
        with pytest.raises(Broken):
            place.get(backup, "manifest")
    for name in ("../manifest", "passwd", "objects-1", "objects-00001/..", "", "manifest\n"):
        with pytest.raises(Broken):
            place.open(BACKUP, name)


def test_a_place_lets_one_backup_be_made_at_a_time(place: FolderPlace, tmp_path: Path) -> None:
    with (
        place.locked(),
        pytest.raises(Unavailable, match="another backup"),
        FolderPlace(tmp_path / "backups").locked(),
    ):
        raise AssertionError
    with FolderPlace(tmp_path / "backups").locked():
        pass


def test_what_is_no_folder_is_a_wrong_setting(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for wrong in (tmp_path / "file", tmp_path / "missing"):
        with pytest.raises(ConfigError, match=r"backup\.to"):
            FolderPlace(wrong)


def test_other_things_in_the_folder_are_left_alone(place: FolderPlace, tmp_path: Path) -> None:
    (tmp_path / "backups" / "photographs").mkdir()
    assert place.ids() == [BACKUP]
    place.remove(BACKUP)
    assert place.ids() == []
    assert (tmp_path / "backups" / "photographs").is_dir()
