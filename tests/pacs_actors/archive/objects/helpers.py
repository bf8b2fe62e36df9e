"""What the tests of the object store share: data sets, a store, a disk whose calls can fail."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset

from config.settings import StorageSettings
from pacs_actors.archive.objects.filesystem import FileSystem
from pacs_actors.archive.objects.interface import Committed
from pacs_actors.archive.objects.local import LocalObjectStore
from protocols.dataset.record import ScannedInstance
from protocols.dataset.scan import scan as header_scan
from tests.stored_objects import FILES, StoredObject

CT = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT_LE = "1.2.840.10008.1.2.1"
LAYOUT = FILES
"""Of the stores that are opened; the fixture ``layout`` sets it."""


def data_set(uid: str, payload_bytes: int = 1000, seed: int = 1) -> bytes:
    """A small Explicit VR Little Endian data set with pseudo-random pixel data."""
    made = Dataset()
    made.SOPClassUID, made.SOPInstanceUID = CT, uid
    made.StudyInstanceUID, made.SeriesInstanceUID = "1.2.3", "1.2.3.4"
    made.PatientID = "P1"
    made.add_new(0x7FE00010, "OW", random.Random(seed).randbytes(payload_bytes + payload_bytes % 2))
    file = DicomBytesIO()
    file.is_little_endian, file.is_implicit_VR = True, False
    write_dataset(file, made)
    return file.getvalue()


def read_file(raw: bytes) -> Dataset:
    return dcmread(BytesIO(raw))


def scan(data: memoryview, transfer_syntax_uid: str, complete: bool) -> ScannedInstance:
    return header_scan(data, transfer_syntax_uid, complete=complete)


def whole(data: memoryview, complete: bool) -> bytes:
    """A check that keeps what it was shown."""
    assert complete
    return bytes(data)


def length(data: memoryview, complete: bool) -> tuple[int, bool]:
    return len(data), complete


def open_store(
    root: Path,
    slot: int = 0,
    system: FileSystem | None = None,
    clock: Callable[[], float] | None = None,
    **settings: int,
) -> LocalObjectStore:
    settings = {"reserve_bytes": 0, "buffers": 4, "writer_threads": 2} | settings
    made = StorageSettings(layout=LAYOUT, **settings)
    make = partial(LocalObjectStore, root, slot, made, system=system)
    return make(clock=clock) if clock else make()


async def put(store: LocalObjectStore, uid: str, data: bytes, check: Any = length) -> Committed[Any]:
    with await store.stage(CT, uid, EXPLICIT_LE, "MODALITY") as staging:
        await staging.write(data)
        return await store.commit(staging, check)


def files_below(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def on_disk(root: Path, key: str) -> StoredObject:
    return StoredObject(root, key)


class FailingDisk(FileSystem):
    """Calls fail from the moment ``fail`` names them; ``calls`` has the names of all, in order."""

    CALLS = (
        "open", "pwrite", "pwritev", "allocate", "punch", "ftruncate", "fdatasync", "fsync", "rename", "unlink", "mkdir",
        "statvfs",
    )  # fmt: skip

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.failures: dict[str, int] = {}
        self.free_bytes: int | None = None
        for name in self.CALLS:
            setattr(self, name, partial(self._call, name, getattr(FileSystem, name)))

    def fail(self, name: str, error: int) -> None:
        self.failures[name] = error

    def heal(self) -> None:
        self.failures.clear()

    def _call(self, name: str, real: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        self.calls.append(name)
        if name in self.failures:
            raise OSError(self.failures[name], os.strerror(self.failures[name]))
        answer = real(*arguments, **options)
        if name == "statvfs" and self.free_bytes is not None:
            fields = list(answer)
            fields[4] = self.free_bytes // answer.f_frsize
            return os.statvfs_result(fields)
        return answer
