"""Keys of copies: a function of hashes, and nothing else is one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pacs_actors.lifecycle.stores.copy_keys import MAX_KEY, is_copy_key, object_key, parts, study_folder
from protocols.errors import Misuse


@given(st.text(), st.text(), st.binary(min_size=16, max_size=16), st.sampled_from(["", "gz", "zst", "lz4"]))
def test_every_uid_makes_a_key_that_does_not_hold_it(
    study: str, instance: str, digest: bytes, kind: str
) -> None:
    key = object_key(study, instance, digest, kind)  # type: ignore[arg-type]
    assert is_copy_key(key) and len(key) <= MAX_KEY
    assert key.startswith(study_folder(study) + "/")
    assert len(study) < 6 or study not in key


def test_the_key_is_the_same_on_every_node_and_in_every_release() -> None:
    assert object_key("1.2.3", "1.2.3.4", bytes(range(16)), "zst") == (
        "b5d2d4821ab3b0af22bbb2b79b19f253/71cf5f2d344648220c0a0ee3371f3fe1-000102030405060708090a0b0c0d0e0f.dcm.zst"
    )


def test_another_object_has_another_key() -> None:
    digest = bytes(16)
    keys = {
        object_key("1", "2", digest), object_key("2", "2", digest), object_key("1", "1", digest),
        object_key("1", "2", b"x" * 16), object_key("1", "2", digest, "gz"),
    }  # fmt: skip
    assert len(keys) == 5


def test_half_a_digest_is_our_mistake() -> None:
    with pytest.raises(Misuse):
        object_key("1", "2", b"short")


@given(st.text(alphabet="ab/.-_Z\0\n", max_size=12))
def test_what_is_a_key_has_two_names_and_nothing_that_climbs(text: str) -> None:
    if is_copy_key(text):
        folder, name = text.split("/")
        assert parts(text) == (folder, name)
        assert folder.isalnum() and len(folder) >= 2
        assert ".." not in name and not name.startswith(".") and not name.endswith(".") and name.isprintable()
    else:
        assert parts(text) is None


@given(st.lists(st.from_regex(r"[0-9a-z]{2,4}/[0-9a-z]([0-9a-z._-]?)[0-9a-z]", fullmatch=True), unique=True))
def test_a_walk_through_folders_lists_keys_in_their_order(keys: list[str]) -> None:
    walked = [
        key
        for folder in sorted({key.split("/")[0] for key in keys})
        for key in sorted(keys)
        if key.startswith(folder + "/")
    ]
    assert walked == sorted(keys)
