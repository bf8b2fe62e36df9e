"""Fills a data folder with objects the way a worker does, without a network and without an index: sizes that take hours to send.

Everything goes through the object store: receive buffers, records, group commit, segments and their folders.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import trio

from bench.population import Run
from bench.templates import (
    ACCESSION,
    INSTANCE_NUMBER,
    PATIENT_ID,
    PATIENT_NAME,
    PLACEHOLDERS,
    SERIES_UID,
    SHAPES,
    SOP_INSTANCE,
    STUDY_DATE,
    STUDY_UID,
    template,
)
from config.settings import StorageSettings
from pacs_actors.archive.objects.local import LocalObjectStore

_EXPLICIT_VR_LITTLE_ENDIAN: Final = "1.2.840.10008.1.2.1"
_AT_ONCE: Final = 96
_SETTINGS: Final = StorageSettings(buffers=2 * _AT_ONCE)
_ROOM_TO_SPARE: Final = 1.2
_TELL_EVERY: Final = 10_000


def fill(root: Path, objects: int, *, kind: str, per_study: int, say: Callable[[int], None]) -> int:
    """Store so many objects of new studies; the bytes of their data sets.

    kind:    one of ``templates.SHAPES``
    say:     gets the number of objects that are durable, now and then
    raises:  OutOfResources if the disk is full
    """
    return trio.run(_fill, root, objects, kind, per_study, say)


async def _fill(root: Path, objects: int, kind: str, per_study: int, say: Callable[[int], None]) -> int:
    made, run, shape = template(kind), Run.new(), SHAPES[kind]
    numbers = iter(range(objects))
    done = 0

    async def store_on(store: LocalObjectStore) -> None:
        nonlocal done
        data = bytearray(made.data)

        def put(tag: int, value: str, fill: str = " ") -> None:
            at, width = made.offsets[tag], len(PLACEHOLDERS[tag])
            data[at : at + width] = value.ljust(width, fill).encode("ascii")

        for number in numbers:
            study, instance = run.study(number // per_study), number % per_study + 1
            uid = run.instance_uid(study.number, instance)
            put(STUDY_UID, study.study_uid, "\0")
            put(SERIES_UID, study.series_uid, "\0")
            put(SOP_INSTANCE, uid, "\0")
            put(PATIENT_ID, study.patient_id)
            put(PATIENT_NAME, study.patient_name)
            put(STUDY_DATE, study.study_date)
            put(ACCESSION, study.accession_number)
            put(INSTANCE_NUMBER, f"{instance:08d}")
            with await store.stage(shape.sop_class_uid, uid, _EXPLICIT_VR_LITTLE_ENDIAN, "BENCH") as staging:
                await staging.write(memoryview(data))
                await store.commit(staging, lambda _data_set, _complete: None)
            done += 1
            if done % _TELL_EVERY == 0 or done == objects:
                say(done)

    async with LocalObjectStore(root, 0, _SETTINGS) as store, trio.open_nursery() as nursery:
        for _ in range(_AT_ONCE):
            nursery.start_soon(store_on, store)
    return objects * len(made.data)


@contextmanager
def folder(parent: Path | None, needed_bytes: int) -> Iterator[Path]:
    """A data folder that is gone afterwards. raises: SystemExit if the disk has no room for it"""
    with tempfile.TemporaryDirectory(prefix="bench-archive-", dir=parent) as name:
        if shutil.disk_usage(name).free < needed_bytes * _ROOM_TO_SPARE:
            raise SystemExit(f"{name}: there is no room for {needed_bytes / 1e9:.1f} GB")
        yield Path(name)
