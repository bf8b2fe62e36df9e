"""A process that makes one object durable, for a tracer to kill: what a worker's writer thread does, and nothing else."""

from __future__ import annotations

import threading
from multiprocessing.connection import Connection
from pathlib import Path

import trio

from config.settings import StorageSettings
from pacs_actors.archive.objects.buffers import BUFFER_BYTES
from pacs_actors.archive.objects.local import LocalObjectStore
from protocols.dataset.record import ScannedInstance
from protocols.dataset.scan import scan
from tests.faults.images import CT_IMAGE, EXPLICIT_VR_LITTLE_ENDIAN, Image
from tests.stored_objects import LAYOUTS, SEGMENTS

SETTINGS = {layout: StorageSettings(layout=layout, writer_threads=1, reserve_bytes=0) for layout in LAYOUTS}


def ingest(root: Path, layout: str, uid: str, pixel_bytes: int, ends: Connection, hasty: bool) -> None:
    """Say which thread writes, wait for a word, store the image, say its key.

    hasty:  for the control: acknowledge the image before it is durable
    """
    trio.run(_ingest, root, layout, image(uid, pixel_bytes), ends, hasty)


def image(uid: str, pixel_bytes: int) -> Image:
    return Image("2.25.1", "2.25.2", 1, uid=uid, pixel_bytes=pixel_bytes)


def check(data_set: memoryview, complete: bool) -> ScannedInstance:
    return scan(data_set, EXPLICIT_VR_LITTLE_ENDIAN, custom={}, complete=complete)


async def _ingest(root: Path, layout: str, image: Image, ends: Connection, hasty: bool) -> None:
    async with LocalObjectStore(root, 0, SETTINGS[layout]) as store:
        packed = layout == SEGMENTS and image.pixel_bytes < BUFFER_BYTES // 2
        name = "packer-0" if packed else "store-0-0"
        (writer,) = [thread for thread in threading.enumerate() if thread.name == name]
        ends.send(writer.native_id)
        ends.recv()
        staging = await store.stage(CT_IMAGE, image.uid, EXPLICIT_VR_LITTLE_ENDIAN, "FAULTS")
        with staging:
            await staging.write(image.data_set)
            if hasty:
                ends.send("hasty")
            stored, _ = await store.commit(staging, check)
        ends.send(stored.key)
