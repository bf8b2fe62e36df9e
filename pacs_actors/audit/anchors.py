"""Anchors: the end of the chain, noted in a file beside the database, so that a cut-off end is found.

``DATA/audit/anchors.jsonl``: a JSON object a line, only ever appended to, synced. Whoever wants a witness that our machine
cannot change either copies these lines, or takes them out of the log (``audit_anchored``).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import msgspec

from pacs_actors.audit.chain import Anchor

_DECODER: Final = msgspec.json.Decoder(Anchor)


def file_of(data: Path) -> Path:
    return data / "audit" / "anchors.jsonl"


def read(file: Path) -> tuple[list[Anchor], list[int]]:
    """The anchors, oldest first, and the numbers of lines that are none. No file: none of either.

    A crash may have left half a line; nobody but a crash or a hand does.
    """
    anchors, unreadable = [], []
    try:
        lines = file.read_bytes().splitlines()
    except FileNotFoundError:
        return [], []
    for number, line in enumerate(lines, 1):
        try:
            anchors.append(_DECODER.decode(line))
        except msgspec.MsgspecError:
            unreadable.append(number)
    return anchors, unreadable


def append(file: Path, anchor: Anchor) -> None:
    """Returns once the line is on the disk. Several processes may append. raises: OSError"""
    new = not file.exists()
    file.parent.mkdir(mode=0o700, exist_ok=True)
    fd = os.open(file, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        size = os.fstat(fd).st_size
        torn = size > 0 and os.pread(fd, 1, size - 1) != b"\n"
        os.write(fd, b"\n" * torn + msgspec.json.encode(anchor) + b"\n")
        os.fsync(fd)
    finally:
        os.close(fd)
    if new:
        for folder in (file.parent, file.parent.parent):
            _sync(folder)


def _sync(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
