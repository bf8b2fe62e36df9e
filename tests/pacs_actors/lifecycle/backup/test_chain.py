"""Which backup builds on which, whatever the clock did, and which may go."""

from __future__ import annotations

import pytest

from pacs_actors.lifecycle.backup.chain import (
    NoBackup,
    NoChain,
    chain_to,
    orphans,
    parent_of,
    pick,
    superfluous,
)
from pacs_actors.lifecycle.backup.manifest import Index, Kind, Manifest
from protocols.errors import ConfigError

KINDS: dict[str, Kind] = {"f": "full", "i": "incremental", "d": "differential"}


def made(
    name: str,
    parent: str | None = None,
    *,
    archive: str = "a",
    hour: int = 0,
    key: str = "",
    missing: int = 0,
) -> Manifest:
    """name: f1, i2…: kind and sequence"""
    return Manifest(
        id=name, sequence=int(name[1:]), kind=KINDS[name[0]], parent=parent, archive=archive, program="0",
        began="", finished=f"2026-11-21T{hour or int(name[1:]):02}:00:00+00:00", key_check=key,
        index=Index("physical", parent, "1", 18), changes_from=0, marks={}, newest={}, containers={}, streams={},
        objects=0, size_bytes=0, missing=missing,
    )  # fmt: skip


F1, I2, I3 = made("f1"), made("i2", "f1"), made("i3", "i2")
D4, I5 = made("d4", "f1"), made("i5", "d4")
CHAIN = [I5, I3, F1, D4, I2]
F6, I7 = made("f6"), made("i7", "f6")


def ids(backups: list[Manifest]) -> list[str]:
    return [one.id for one in backups]


def test_a_restore_needs_the_full_backup_and_what_leads_to_the_chosen_one() -> None:
    assert ids(chain_to(I3, CHAIN)) == ["f1", "i2", "i3"]
    assert ids(chain_to(I5, CHAIN)) == ["f1", "d4", "i5"]
    assert ids(chain_to(F1, CHAIN)) == ["f1"]


def test_a_chain_with_a_gap_or_a_loop_is_none() -> None:
    with pytest.raises(NoBackup, match="i2"):
        chain_to(I3, [F1, I3])
    with pytest.raises(NoBackup):
        chain_to(made("i8", "i9"), [made("i9", "i8"), made("i8", "i9")])
    with pytest.raises(NoBackup):
        chain_to(I2, [made("f1", archive="another"), I2])


def test_what_has_lost_what_it_builds_on_is_named() -> None:
    assert orphans(CHAIN) == {}
    lost = orphans([F1, I3, D4, I5])
    assert list(lost) == ["i3"] and "i2" in lost["i3"]
    assert list(orphans([I5, I3, D4, I2])) == ["i2", "i3", "d4", "i5"]


def test_nothing_is_built_on_what_cannot_be_restored() -> None:
    assert parent_of("incremental", [F1, I2, D4, I5, made("i7", "i6")], "a", encrypted=False) is I5
    assert parent_of("incremental", [F1, I3], "a", encrypted=False) is F1


def test_an_incremental_builds_on_the_newest_and_a_differential_on_the_full_one() -> None:
    assert parent_of("full", CHAIN, "a", encrypted=False) is None
    assert parent_of("incremental", CHAIN, "a", encrypted=False) is I5
    assert parent_of("differential", CHAIN, "a", encrypted=False) is F1
    assert parent_of("incremental", [*CHAIN, F6], "a", encrypted=False) is F6


def test_without_a_full_backup_of_this_archive_there_is_nothing_to_build_on() -> None:
    for backups in ([], [I2], [made("f1", archive="another")]):
        with pytest.raises(NoChain, match="--full"):
            parent_of("incremental", backups, "a", encrypted=False)


def test_a_chain_is_encrypted_as_a_whole_or_not_at_all() -> None:
    with pytest.raises(NoChain, match="encrypted"):
        parent_of("incremental", CHAIN, "a", encrypted=True)
    with pytest.raises(NoChain, match="encrypted"):
        parent_of("incremental", [made("f1", key="x")], "a", encrypted=False)


def test_a_clock_that_jumped_back_changes_no_order() -> None:
    jumped = [made("f1", hour=20), made("i2", "f1", hour=3)]
    assert parent_of("incremental", jumped, "a", encrypted=False) is jumped[1]
    assert pick(jumped, None) is jumped[1]


def test_a_backup_is_chosen_by_name_or_by_time() -> None:
    assert pick(CHAIN, None) is I5
    assert pick(CHAIN, "i2") is I2
    assert pick(CHAIN, "2026-11-21T03:30") is I3
    assert pick(CHAIN, "2026-11-21T05:30+02:00") is I3
    with pytest.raises(NoBackup):
        pick(CHAIN, "2026-11-21T00:30")
    with pytest.raises(NoBackup):
        pick([], None)
    with pytest.raises(ConfigError, match="--at"):
        pick(CHAIN, "yesterday")


def test_whole_chains_go_youngest_members_first() -> None:
    verified = {"f1": True, "f6": True}
    assert superfluous([*CHAIN, F6, I7], verified, 2) == []
    assert ids(superfluous([*CHAIN, F6, I7], verified, 1)) == ["i5", "d4", "i3", "i2", "f1"]


def test_the_last_verified_full_backup_stays() -> None:
    assert superfluous([*CHAIN, F6, I7], {"f1": True, "f6": False}, 1) == []
    assert superfluous([F1, F6], {}, 1) == [F1]
    assert superfluous([F1], {}, 0) == []


def test_the_last_chain_that_lacked_nothing_stays_however_many_that_lack_something_follow() -> None:
    f6, f8 = made("f6", missing=3), made("f8", missing=1)
    verified = {"f1": True, "f6": True, "f8": True}
    assert ids(superfluous([F1, I2, f6, f8], verified, 1)) == ["f6"]
    filled_up = made("i9", "f8")
    assert ids(superfluous([F1, I2, f6, f8, filled_up], verified, 1)) == ["f6", "i2", "f1"]
    assert ids(superfluous([f6, f8], verified, 1)) == ["f6"], "none is whole: then they are alike"


def test_another_archives_backups_do_not_count() -> None:
    other = made("f8", archive="another")
    assert superfluous([F1, other], {}, 1) == []
