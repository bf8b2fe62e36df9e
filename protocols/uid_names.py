"""What UIDs are called (PS3.6 annex A)."""

from __future__ import annotations

from protocols.dataset.dictionaries import UIDDictionary


def name_of(uid: str) -> str:
    """The name of a UID of the standard; the UID itself if it is none."""
    entry = UIDDictionary.get(uid)
    return entry[0] if entry is not None else uid
