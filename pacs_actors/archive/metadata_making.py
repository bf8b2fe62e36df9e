"""Makes the metadata of a series: reads the head of each object, converts it to DICOM JSON, compresses. For native threads.

An object is read up to its bulk data only: for most that is one read of 64 KiB. The bytes are nobody's promise: what is
damaged is told as far as it goes.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Sequence
from typing import Final

from pacs_actors.archive.objects.interface import ObjectFile
from pacs_actors.archive.objects.keys import ObjectMissing
from pacs_actors.archive.web_locate import ServedInstance
from pacs_actors.operations import logs
from protocols.dataset.deflate import MAX_INFLATED_BYTES, Inflater
from protocols.dataset.transfer_syntax import (
    EXPLICIT_VR_BIG_ENDIAN,
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
    is_deflated,
)
from protocols.dicomweb.json_dataset import DataSetJson, Memory
from protocols.dicomweb.json_values import quote
from protocols.errors import CannotUnderstand

Opening = Callable[[str], ObjectFile]
"""Opens an object by its key. raises: ObjectMissing, OSError"""

FORMAT: Final = 2
"""Counts the changes of what is made of an object; part of the names of what is kept."""

HEAD_BYTES: Final = 64 * 1024
_MOST_DEFLATED_BYTES: Final = 32 * 1024 * 1024
_LEVEL: Final = 4
_GZIP: Final = 31
# What DICOMweb does not give as it is stored.
_NOT_GIVEN: Final = frozenset({IMPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_BIG_ENDIAN})


class MetadataMaker:
    """One series' metadata: ``add`` its instances portion by portion, then ``finish``.

    opening:   opens an object
    base:      what URIs begin with, such as ``https://pacs.example/dicom-web``
    complete:  whether all objects that were added could be read
    """

    def __init__(self, opening: Opening, base: str) -> None:
        self._opening, self._base = opening, base
        self._memory = Memory()
        self._stream = zlib.compressobj(_LEVEL, wbits=_GZIP)
        self._packed = bytearray()
        self._begun = False
        self.complete = True

    def add(self, instances: Sequence[ServedInstance]) -> None:
        made = []
        for instance in instances:
            try:
                made.append(instance_json(self._opening, instance, self._base, self._memory))
            except (ObjectMissing, OSError) as error:
                self.complete = False
                logs.error("metadata_without_object", error, key=instance.key, uid=instance.sop_instance_uid)
        if made:
            self._packed += self._stream.compress((b"," if self._begun else b"[") + b",".join(made))
            self._begun = True

    def finish(self) -> bytes:
        """gzip of a JSON array."""
        self._packed += self._stream.compress(b"]" if self._begun else b"[]")
        self._packed += self._stream.flush()
        return bytes(self._packed)


def instance_json(
    opening: Opening,
    instance: ServedInstance,
    base: str,
    memory: Memory | None = None,
    *,
    as_stored: bool = False,
) -> bytes:
    """The DICOM JSON object of one instance. raises: ObjectMissing, OSError

    as_stored: without the Available Transfer Syntax UID (0008,3002), by which a viewer tells video from images
    """
    file = opening(instance.key)
    try:
        made = _converted(file, instance, memory or Memory())
    finally:
        os.close(file.fd)
    path = (
        f"{base}/studies/{instance.study_instance_uid}/series/{instance.series_instance_uid}"
        f"/instances/{instance.sop_instance_uid}/bulkdata"
    )
    stored = instance.transfer_syntax_uid
    available = EXPLICIT_VR_LITTLE_ENDIAN if stored in _NOT_GIVEN else stored
    return made.json(quote(path)[1:-1].encode(), "" if as_stored else available)


def _converted(file: ObjectFile, instance: ServedInstance, memory: Memory) -> DataSetJson:
    size = max(0, instance.size_bytes - instance.data_offset)
    start = file.start + instance.data_offset
    if is_deflated(instance.transfer_syntax_uid):
        inflated = _inflated(os.pread(file.fd, min(size, _MOST_DEFLATED_BYTES), start))
        made = DataSetJson(instance.transfer_syntax_uid, len(inflated), memory)
        if inflated:
            made.feed(inflated)
        return made
    made = DataSetJson(instance.transfer_syntax_uid, size, memory)
    while made.offset < size:
        wanted = max(HEAD_BYTES, made.wanted)
        window = os.pread(file.fd, min(wanted, size - made.offset), start + made.offset)
        if len(window) < made.wanted:
            break
        made.feed(window)
    return made


def _inflated(deflated: bytes) -> bytes:
    """As much as can be had within the limits."""
    inflater = Inflater(deflated)
    try:
        inflater.grow(MAX_INFLATED_BYTES)
    except CannotUnderstand:
        pass
    return bytes(inflater.inflated)
