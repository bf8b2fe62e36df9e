"""What lies in a local store's folders besides its objects. Everything here blocks; for native threads."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from pacs_actors.archive.objects.keys import (
    MAX_SLOT,
    SEGMENT,
    ObjectKey,
    ObjectMissing,
    node_of,
    parse_key,
    path_of,
)

_PORTION: Final = 1000
_REASONS: Final = ("conflict", "damaged", "deleted", "unindexable")


def quarantined(root: Path) -> Iterator[tuple[list[str], list[str]]]:
    """(keys, paths of files that are no objects of ours) in quarantine, some at a time. raises: OSError"""
    for reason in _REASONS:
        keys: list[str] = []
        strays: list[str] = []
        for entry in _entries(root / "quarantine" / reason):
            key = f"quarantine/{reason}/{entry.name}"
            try:
                path_of(key)
                keys.append(key)
            except ObjectMissing:
                strays.append(key)
            if len(keys) + len(strays) >= _PORTION:
                yield keys, strays
                keys, strays = [], []
        yield keys, strays


def before_quarantine(key: str) -> ObjectKey | None:
    """The key that an object in quarantine had; None if that is not to be told."""
    slot, _, rest = key.rpartition("/")[2].partition("-")
    batch, _, name = rest.partition("-")
    bare = name.removesuffix(".dcm")
    for candidate in (f"{slot}/{batch}/{bare}.dcm", f"{slot}/{batch}/{bare}"):
        with suppress(ObjectMissing):
            return parse_key(candidate)
    return None


def node_of_quarantined(key: str) -> int | None:
    """The node that has an object in quarantine; None: it is no key of one."""
    slot = key.rpartition("/")[2].partition("-")[0]
    return node_of(int(slot)) if _is_slot(slot) else None


def strays(root: Path) -> Iterator[str]:
    """Relative paths below ``objects`` that are neither objects nor folders of objects. raises: OSError"""
    for slot in _entries(root / "objects"):
        if not (slot.is_dir() and _is_slot(slot.name)):
            yield f"objects/{slot.name}"
            continue
        for shard in _entries(slot.path):
            place = f"objects/{slot.name}/{shard.name}"
            if not (shard.is_dir() and _is_hexadecimal(shard.name, 5)):
                yield place
                continue
            for batch in _entries(shard.path):
                if not (
                    batch.is_dir() and _is_hexadecimal(batch.name, 8) and batch.name.startswith(shard.name)
                ):
                    yield f"{place}/{batch.name}"
                    continue
                for entry in _entries(batch.path):
                    if not _is_object(slot.name, batch.name, entry):
                        yield f"{place}/{batch.name}/{entry.name}"


def leftovers(root: Path) -> Iterator[str]:
    """Relative paths of what processes that died were receiving. Only while no server runs. raises: OSError"""
    for slot in _entries(root / "tmp"):
        if slot.is_dir() and _is_slot(slot.name):
            for entry in _entries(slot.path):
                yield f"tmp/{slot.name}/{entry.name}"


def _is_object(slot: str, batch: str, entry: os.DirEntry[str]) -> bool:
    if not entry.is_file(follow_symlinks=False):
        return False
    if entry.name == SEGMENT:
        return True
    try:
        return entry.name.endswith(".dcm") and bool(parse_key(f"{slot}/{batch}/{entry.name}"))
    except ObjectMissing:
        return False


def _is_slot(name: str) -> bool:
    return (
        name.isascii()
        and name.isdigit()
        and len(name) < 5
        and str(int(name)) == name
        and int(name) <= MAX_SLOT
    )


def _is_hexadecimal(name: str, digits: int) -> bool:
    return len(name) == digits and set(name) <= set("0123456789abcdef")


def _entries(folder: Path | str) -> Iterator[os.DirEntry[str]]:
    with suppress(FileNotFoundError), os.scandir(folder) as entries:
        yield from entries
