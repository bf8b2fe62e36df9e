"""Folders to files, lazily: a million files are never held at once. These calls block; run them on a native thread."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from msgspec import Struct

from pacs_actors.dicom.client_files import DicomFile, FileUnreadable, NotDicom, read_file


class Skipped(Struct, frozen=True):
    """A path that gives nothing to send. ``is_error``: it could not be read, which is more than being no DICOM file."""

    path: Path
    why: str
    is_error: bool


Found = DicomFile | Skipped


def walk(paths: Iterable[Path]) -> Iterator[Found]:
    """What files and folders hold, folders with all that is below them. Links to folders are not followed."""
    for path in paths:
        if path.is_dir():
            yield from _folder(path)
        else:
            yield _look(path)


def take(found: Iterator[Found], most: int) -> list[Found]:
    """The next few; empty at the end."""
    taken: list[Found] = []
    for each in found:
        taken.append(each)
        if len(taken) == most:
            break
    return taken


def _folder(top: Path) -> Iterator[Found]:
    waiting = [top]
    while waiting:
        folder = waiting.pop()
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(Path(entry.path))
                    elif not entry.is_dir():
                        yield _look(Path(entry.path))
        except OSError as error:
            yield Skipped(folder, f"{folder}: {error.strerror}", is_error=True)


def _look(path: Path) -> Found:
    try:
        return read_file(path)
    except (NotDicom, FileUnreadable) as error:
        return Skipped(path, str(error), is_error=isinstance(error, FileUnreadable))
