from __future__ import annotations

from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pacs_actors.archive.objects.keys import (
    MAX_BATCH,
    MAX_SLOT,
    Names,
    ObjectKey,
    ObjectMissing,
    batch_folder,
    packed_key,
    parse_key,
    path_of,
    place_of,
    quarantine_key,
)

NAME = "0123456789abcdef" * 2
SLOTS, BATCHES = st.integers(0, MAX_SLOT), st.integers(0, MAX_BATCH)
KEYS = st.builds(ObjectKey, SLOTS, BATCHES, st.text("0123456789abcdef", min_size=32, max_size=32))
BLOCKS = st.integers(0, 0xFFFFFFFF)


@given(KEYS)
def test_a_key_survives_being_written_and_parsed(key: ObjectKey) -> None:
    assert parse_key(str(key)) == key


@given(KEYS)
def test_a_path_stays_below_the_folder_of_objects(key: ObjectKey) -> None:
    path = PurePosixPath(path_of(str(key)))
    assert path.parts[0] == "objects"
    assert ".." not in path.parts
    assert path.name == f"{key.name}.dcm"


@given(SLOTS, BATCHES, BLOCKS)
def test_the_key_of_a_packed_object_tells_its_place_in_its_folders_segment(
    slot: int, batch: int, block: int
) -> None:
    key = packed_key(slot, batch, block)
    assert parse_key(key) == ObjectKey(slot, batch, f"{block:08x}")
    assert str(parse_key(key)) == key
    place = place_of(key)
    assert place == (f"{batch_folder(slot, batch)}/segment", block)
    with pytest.raises(ObjectMissing):
        path_of(key)  # whoever wants a file for itself must not get everybody's
    aside = quarantine_key(key, "deleted")
    assert path_of(aside) == aside == quarantine_key(aside, "deleted")


@given(st.text() | st.from_regex(r"[0-9a-f./]{1,60}", fullmatch=True))
def test_no_other_text_becomes_a_path(text: str) -> None:
    with pytest.raises(ObjectMissing):
        path_of(text)


@pytest.mark.parametrize(
    "text",
    [
        f"0/00000000/{NAME}.dcm\n",
        f"0/00000000/../{NAME}.dcm",
        f"/0/00000000/{NAME}.dcm",
        f"00/00000000/{NAME}.dcm",
        f"٣/00000000/{NAME}.dcm",
        f"0/0000000A/{NAME}.dcm",
        f"0/00000000/{NAME}",
        "0/00000000/segment",
        "0/00000000/0000000A",
        "0/00000000/00000000.dcm",
        "0/00000000/000000000",
        "0/00000000/00000000\n",
        "quarantine/deleted/0-00000000-00000000",
        f"quarantine/../0-00000000-{NAME}.dcm",
        f"quarantine/other/0-00000000-{NAME}.dcm",
        "",
    ],
)
def test_near_misses_are_no_keys(text: str) -> None:
    with pytest.raises(ObjectMissing):
        path_of(text)


@given(KEYS)
def test_a_quarantined_object_has_a_key_of_its_own_and_keeps_it(key: ObjectKey) -> None:
    moved = quarantine_key(str(key), "conflict")
    assert path_of(moved) == moved
    assert quarantine_key(moved, "damaged") == moved
    with pytest.raises(ObjectMissing):
        parse_key(moved)


def test_names_are_never_the_same_and_do_not_tell_the_uid() -> None:
    names = Names()
    made = [names.next("1.2.3") for _ in range(10_000)]
    assert len(set(made)) == len(made)
    assert Names().next("1.2.3") not in made
    for hostile in ("../../etc/passwd", "\udcff", "\0", "x" * 10_000):
        assert parse_key(f"0/00000000/{names.next(hostile)}.dcm")
