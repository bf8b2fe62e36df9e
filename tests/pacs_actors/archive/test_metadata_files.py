"""Kept metadata: what is read is whole, and the folder stays small."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pacs_actors.archive.metadata_files import MetadataFiles, series_name


def name(n: int) -> str:
    """n: the two first digits are the series'"""
    return f"{n >> 120:02x}{'0' * 14}-{n:032x}"


def test_what_was_written_is_read(tmp_path: Path) -> None:
    files = MetadataFiles(tmp_path / "cache", 1 << 20)
    assert files.read(name(1)) is None
    files.write(name(1), b"one")
    files.write(name(1), b"again")
    assert files.read(name(1)) == b"again"
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == [f"{name(1)}.gz"]


@pytest.mark.parametrize("damage", [b"", b"PACSMETA", b"garbage" * 10])
def test_a_damaged_file_is_none_and_goes(tmp_path: Path, damage: bytes) -> None:
    files = MetadataFiles(tmp_path, 1 << 20)
    files.write(name(1), b"body")
    [path] = tmp_path.rglob("*.gz")
    path.write_bytes(damage)
    assert files.read(name(1)) is None
    assert not path.exists()
    files.write(name(1), b"body")
    path.write_bytes(path.read_bytes()[:-1])
    assert files.read(name(1)) is None


def test_beyond_the_limit_what_was_not_used_for_longest_goes(tmp_path: Path) -> None:
    files = MetadataFiles(tmp_path, 10_000)
    for n in range(8):
        files.write(name(n << 120), bytes(1000))
        [path] = (tmp_path / f"{n:02x}").glob("*.gz")
        os.utime(path, (1000 + n, 1000 + n))
    assert files.read(name(0)) is not None  # and that counts as use
    for n in range(8, 13):
        files.write(name(n << 120), bytes(1000))
    kept = {n for n in range(16) if files.read(name(n << 120)) is not None}
    assert {0, 8, 9, 10, 11, 12} <= kept and not {1, 2, 3} & kept
    assert sum(path.stat().st_size for path in tmp_path.rglob("*.gz")) <= 10_000


def test_a_folder_that_cannot_be_written_costs_nothing_but_the_keeping(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("no folder")
    files = MetadataFiles(tmp_path / "cache", 10_000)
    files.write(name(1), b"body")
    assert files.read(name(1)) is None


@pytest.mark.parametrize("bad", ["", "../../etc/passwd", "0" * 31, "G" * 32, f"{name(1)}/x", "0" * 32])
def test_only_our_own_names_become_paths(tmp_path: Path, bad: str) -> None:
    files = MetadataFiles(tmp_path, 10_000)
    with pytest.raises(ValueError):
        files.read(bad)


def test_all_files_of_a_series_go_and_no_others(tmp_path: Path) -> None:
    files = MetadataFiles(tmp_path, 1 << 20)
    gone, kept = series_name("1.2", "1.2.1"), series_name("1.2", "1.2.2")
    names = [f"{series}-{n:032x}" for series in (gone, kept) for n in range(3)]
    for one in names:
        files.write(one, b"body")
    half = tmp_path / gone[:2] / f"{names[0]}.0123456789abcdef"
    half.write_bytes(b"of a crash")
    files.remove([gone, series_name("1.2", "1.2.3")])
    files.remove([gone])
    assert [files.read(one) for one in names] == [None] * 3 + [b"body"] * 3
    assert not half.exists()
    for bad in ("", "..", f"{gone}/"):
        with pytest.raises(ValueError):
            files.remove([bad])


def test_files_of_an_earlier_version_go(tmp_path: Path) -> None:
    old = tmp_path / "ab" / f"{'ab' * 16}.gz"
    old.parent.mkdir()
    old.write_bytes(b"somebody's")
    files = MetadataFiles(tmp_path, 1 << 20)
    files.write(name(1), b"body")
    assert not old.exists() and files.read(name(1)) == b"body"
