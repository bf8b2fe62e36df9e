"""Files to send: what they are, found by reading their first bytes. These calls block; run them on native threads.

A file may be a Part 10 file, or a data set alone if its header says beyond doubt what it is.
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from typing import Final

from msgspec import Struct

from pacs_actors.dicom.sender import Outgoing
from protocols.dataset.elements import NeedMore, elements
from protocols.dataset.part10 import Form, Part10, parse_prefix
from protocols.dataset.scan import scan
from protocols.dataset.transfer_syntax import encoding_of, is_deflated
from protocols.errors import CannotUnderstand, DataSetMismatch, PacsError

FIRST_BYTES: Final = 16 * 1024
MOST_HEADER_BYTES: Final = 4 * 1024 * 1024
_SOP_CLASS_UID: Final = 0x00080016
_SOP_INSTANCE_UID: Final = 0x00080018
_is_uid: Final = re.compile(r"[0-9.]{1,64}").fullmatch
MEDIA_STORAGE_DIRECTORY: Final = "1.2.840.10008.1.3.10"


class NotDicom(PacsError):
    """The file holds no instance that could be sent; it is skipped."""


class FileUnreadable(PacsError):
    """The file cannot be read."""


class DicomFile(Struct, frozen=True):
    """An instance in a file; ``data_offset``, ``size_bytes``: where its data set begins, and the file ends."""

    path: Path
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    data_offset: int
    size_bytes: int

    @property
    def context(self) -> tuple[str, str]:
        """SOP class and transfer syntax: what has to be proposed to send it as it is."""
        return self.sop_class_uid, self.transfer_syntax_uid


def read_file(path: Path) -> DicomFile:
    """Find out what a file is.

    raises: NotDicom, FileUnreadable
    """
    file, fd = open_file(path)
    os.close(fd)
    return file


def open_file(path: Path) -> tuple[DicomFile, int]:
    """As ``read_file``, and the file stays open: the caller closes the descriptor.

    raises: NotDicom, FileUnreadable
    """
    try:
        # A pipe or a device in a folder must not make us wait for a writer.
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise FileUnreadable(f"{path}: {error.strerror}") from error
    try:
        return _identify(path, fd), fd
    except BaseException as error:
        os.close(fd)
        if isinstance(error, OSError):
            raise FileUnreadable(f"{path}: {error.strerror}") from error
        raise


def outgoing(file: DicomFile, fd: int) -> Outgoing:
    """The file as ``ObjectSender`` takes it, which then owns the descriptor."""
    return Outgoing(
        fd, file.data_offset, file.size_bytes - file.data_offset, file.sop_class_uid, file.sop_instance_uid
    )


def identify(data: bytes | memoryview, what: str, *, complete: bool = True) -> tuple[str, str, str, int]:
    """SOP class, SOP instance, transfer syntax and offset of the data set.

    what:      name for errors
    complete:  False if ``data`` is only the beginning
    raises:    NotDicom; with ``complete=False`` NeedMore if more has to be read
    """
    try:
        prefix = parse_prefix(data)
    except CannotUnderstand as error:
        if not complete and len(data) < MOST_HEADER_BYTES and bytes(data[128:132]) == b"DICM":
            raise NeedMore(2 * len(data)) from None
        raise NotDicom(f"{what}: {error}") from None
    if prefix.sop_class_uid == MEDIA_STORAGE_DIRECTORY:
        raise NotDicom(f"{what}: a directory of other files (DICOMDIR), no instance")
    if prefix.form is not Form.BARE and prefix.sop_class_uid and prefix.sop_instance_uid:
        # Where the two differ the data set is right: that is what the receiver compares the command with.
        uids = _first_uids(data, prefix) or (prefix.sop_class_uid, prefix.sop_instance_uid)
        return *uids, prefix.transfer_syntax_uid, prefix.data_offset
    return _from_data_set(data, prefix, what, complete)


def _first_uids(data: bytes | memoryview, prefix: Part10) -> tuple[str, str] | None:
    """SOP Class and SOP Instance UID of the data set, which stand near its beginning; None unless both are there."""
    syntax, start = prefix.transfer_syntax_uid, prefix.data_offset
    if is_deflated(syntax):
        return None
    found: dict[int, str] = {}
    try:
        for element in elements(data, start, len(data), encoding_of(syntax, data[start : start + 6])):
            if element.tag > _SOP_INSTANCE_UID:
                break
            if element.tag in (_SOP_CLASS_UID, _SOP_INSTANCE_UID):
                value = bytes(data[element.start : element.stop])
                found[element.tag] = value.decode("ascii", "replace").strip(" \0")
    except (NeedMore, CannotUnderstand):
        return None
    sop_class, instance = found.get(_SOP_CLASS_UID, ""), found.get(_SOP_INSTANCE_UID, "")
    return (sop_class, instance) if _is_uid(sop_class) and _is_uid(instance) else None


def _from_data_set(
    data: bytes | memoryview, prefix: Part10, what: str, complete: bool
) -> tuple[str, str, str, int]:
    """Without UIDs in front, only a whole header with all its UIDs makes a file an instance."""
    try:
        scanned = scan(memoryview(data)[prefix.data_offset :], prefix.transfer_syntax_uid, complete=complete)
    except (CannotUnderstand, DataSetMismatch) as error:
        raise NotDicom(f"{what}: {error}") from None
    except NeedMore as more:
        raise NeedMore(prefix.data_offset + more.offset) from None
    return scanned.sop_class_uid, scanned.sop_instance_uid, prefix.transfer_syntax_uid, prefix.data_offset


def _identify(path: Path, fd: int) -> DicomFile:
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode):
        raise NotDicom(f"{path}: not a regular file")
    if not status.st_size:
        raise NotDicom(f"{path}: empty")
    wanted = FIRST_BYTES
    while True:
        data = os.pread(fd, wanted, 0)
        try:
            found = identify(data, str(path), complete=len(data) < wanted or len(data) == status.st_size)
        except NeedMore as more:
            if wanted >= MOST_HEADER_BYTES:
                raise NotDicom(f"{path}: its header is larger than {MOST_HEADER_BYTES} bytes") from None
            wanted = min(max(2 * wanted, more.offset), MOST_HEADER_BYTES)
            continue
        return DicomFile(path, *found, status.st_size)
