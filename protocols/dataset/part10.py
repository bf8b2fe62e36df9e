"""The beginning of a Part 10 file: preamble, "DICM", file meta information (PS3.10 7.1).

The 128-byte preamble, which the standard leaves to the application, carries our record about the object, so
that the index can be made again from the objects alone. Numbers are little endian:

    offset  bytes                               offset  bytes
         0      8  "PACSOBJ1"                       48      4  where the data set begins
         8     16  xxh3-128 from byte 128 on        52      8  size of the file
        24      8  received, ns since 1970          60      4  CRC-32 of bytes 0 to 59
        32     16  source, space padded                  64      4  place, or zero
                                                        68      4  "GONE", or zero

Place: of an object in a segment, a CRC-32 of bytes 0 to 63 and of its block number there (64 bits). What looks like a record but
was written for another place, or by a peer into its pixels, is none. Gone: removed, but not overwritten, because somebody was
still reading it; that is no record any more either. The rest is zero.

From byte 128 on, equal data sets make equal bytes: no time and no peer is written there.
"""

from __future__ import annotations

from enum import Enum
from struct import Struct as Layout
from typing import Final
from zlib import crc32

from msgspec import Struct

from protocols.dataset.elements import NeedMore, read_header
from protocols.dataset.transfer_syntax import (
    EXPLICIT_LE,
    EXPLICIT_VR_BIG_ENDIAN,
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
    UNDEFINED_LENGTH,
    VRS,
)
from protocols.errors import CannotUnderstand, Misuse
from protocols.implementation import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME

PREAMBLE_BYTES: Final = 128
MAX_META_BYTES: Final = 1024 * 1024
MAX_META_ELEMENTS: Final = 256
MAX_UID_CHARACTERS: Final = 64

_MAGIC: Final = b"PACSOBJ1"
_RECORD: Final = Layout("<8s16sQ16sIQ")
_CRC: Final = Layout("<I")
_PLACE: Final = Layout("<Q")
_META_UID: Final = Layout("<HH2sH")
_PLACE_OFFSET: Final = _RECORD.size + _CRC.size
_PREAMBLE_REST: Final = bytes(PREAMBLE_BYTES - _PLACE_OFFSET - _CRC.size)
GONE: Final = b"GONE"
GONE_OFFSET: Final = _PLACE_OFFSET + _CRC.size


class ObjectRecord(Struct, frozen=True, gc=False):
    """Our record in the preamble.

    digest:       xxh3-128 of the file from byte 128 on, 16 bytes
    received_ns:  wall clock, nanoseconds since 1970
    source:       calling AE title or the source's name; at most 16 ASCII characters are kept
    size_bytes:   of the whole file
    data_offset:  where the data set begins; ``prefix`` fills it in
    """

    digest: bytes
    received_ns: int
    source: str
    size_bytes: int
    data_offset: int = 0


class Form(Enum):
    """What a file turned out to be."""

    PART10 = "a DICOM Part 10 file"
    META_WITHOUT_PREAMBLE = "file meta information without a preamble"
    BARE = "a data set without file meta information"


class Part10(Struct, frozen=True, gc=False):
    """What the beginning of a file says. UIDs that it does not say are empty.

    transfer_syntax_uid: as written; where it is not, the one the data set looks like
    data_offset:         where the data set begins
    record:              ours, if the preamble carries one and its checksum fits
    """

    form: Form
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    data_offset: int
    record: ObjectRecord | None


def _padded(uid: str) -> bytes:
    raw = uid.encode("ascii")
    return raw + b"\0" if len(raw) & 1 else raw


def _element(element: int, vr: bytes, value: bytes) -> bytes:
    return _META_UID.pack(2, element, vr, len(value)) + value


_VERSION_ELEMENT: Final = b"\x02\0\x01\0OB\0\0\x02\0\0\0\0\x01"
_META_END: Final = _element(0x12, b"UI", _padded(IMPLEMENTATION_CLASS_UID)) + _element(
    0x13, b"SH", IMPLEMENTATION_VERSION_NAME.encode() + b" " * (len(IMPLEMENTATION_VERSION_NAME) & 1)
)
_GROUP_LENGTH_BYTES: Final = 12
_META_FIXED_BYTES: Final = len(_VERSION_ELEMENT) + 3 * _META_UID.size + len(_META_END)
_META: Final = Layout("<4sHH2sHI")


def file_meta(sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str) -> bytes:
    """ "DICM" and the file meta information group (PS3.10 7.1), which depends on nothing but these UIDs.

    raises: Misuse if a UID is longer than 64 characters or not ASCII; the caller has checked them
    """
    try:
        sop_class, instance, syntax = (
            _padded(sop_class_uid),
            _padded(sop_instance_uid),
            _padded(transfer_syntax_uid),
        )
    except UnicodeEncodeError as error:
        raise Misuse("a UID that is not ASCII reached the file meta information") from error
    if max(len(sop_class), len(instance), len(syntax)) > MAX_UID_CHARACTERS:
        raise Misuse("a UID that is too long reached the file meta information")
    pack = _META_UID.pack
    length = _META_FIXED_BYTES + len(sop_class) + len(instance) + len(syntax)
    return b"".join(
        (
            _META.pack(b"DICM", 2, 0, b"UL", 4, length),
            _VERSION_ELEMENT,
            pack(2, 2, b"UI", len(sop_class)),
            sop_class,
            pack(2, 3, b"UI", len(instance)),
            instance,
            pack(2, 0x10, b"UI", len(syntax)),
            syntax,
            _META_END,
        )
    )


def preamble(record: ObjectRecord, block: int | None = None) -> bytes:
    """The 128-byte preamble that carries ``record``.

    block: number of the object's first block in its segment; None: it has a file of its own
    """
    source = record.source.encode("ascii", "replace")[:16].ljust(16)
    try:
        packed = _RECORD.pack(
            _MAGIC, record.digest, record.received_ns, source, record.data_offset, record.size_bytes
        )
    except Exception as error:
        raise Misuse("an object record does not fit its layout") from error
    packed += _CRC.pack(crc32(packed))
    return b"".join((packed, _CRC.pack(0 if block is None else _place(packed, block)), _PREAMBLE_REST))


def _place(record: bytes, block: int) -> int:
    return crc32(_PLACE.pack(block), crc32(record))


def prefix(
    sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str, record: ObjectRecord
) -> bytes:
    """All bytes that go before a data set to make it a Part 10 file.

    The length depends on the UIDs only, so it is known before the record is: see ``prefix_length``. The
    record's ``data_offset`` is set to it.
    """
    meta = file_meta(sop_class_uid, sop_instance_uid, transfer_syntax_uid)
    offset = PREAMBLE_BYTES + len(meta)
    if record.data_offset != offset:
        record = ObjectRecord(record.digest, record.received_ns, record.source, record.size_bytes, offset)
    return preamble(record) + meta


def prefix_length(sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str) -> int:
    """How long ``prefix`` will be, in bytes."""
    return (
        PREAMBLE_BYTES
        + 4
        + _GROUP_LENGTH_BYTES
        + _META_FIXED_BYTES
        + sum(len(uid) + (len(uid) & 1) for uid in (sop_class_uid, sop_instance_uid, transfer_syntax_uid))
    )


def rewrite_record(first_block: bytearray | memoryview, record: ObjectRecord) -> None:
    """Put ``record`` into the preamble of a prefix that was made before digest and size were known.

    first_block: writable, begins with the prefix; its meta group is left alone
    raises:      Misuse if the record lies about where the data set begins, or this is no prefix
    """
    if bytes(first_block[PREAMBLE_BYTES : PREAMBLE_BYTES + 4]) != b"DICM":
        raise Misuse("no Part 10 prefix to put a record into")
    if record.data_offset < PREAMBLE_BYTES + 4:
        raise Misuse("an object record without its data offset")
    first_block[:PREAMBLE_BYTES] = preamble(record)


def is_gone(first_bytes: bytes | memoryview) -> bool:
    return first_bytes[GONE_OFFSET : GONE_OFFSET + len(GONE)] == GONE


def read_record(
    first_bytes: bytes | memoryview, block: int | None = None, *, gone: bool = False
) -> ObjectRecord | None:
    """Our record from a preamble; None if it carries none or its checksum does not fit.

    block: where in its segment the object begins; a record that was written for another place is none
    gone:  of an object that was removed, instead of one that is there
    """
    if len(first_bytes) < PREAMBLE_BYTES:
        return None
    packed = bytes(first_bytes[: _RECORD.size])
    if not packed.startswith(_MAGIC) or _CRC.unpack_from(first_bytes, _RECORD.size)[0] != crc32(packed):
        return None
    if block is not None:
        (place,) = _CRC.unpack_from(first_bytes, _PLACE_OFFSET)
        if place != _place(bytes(first_bytes[:_PLACE_OFFSET]), block) or is_gone(first_bytes) != gone:
            return None
    _, digest, received_ns, source, data_offset, size_bytes = _RECORD.unpack(packed)
    return ObjectRecord(
        digest, received_ns, source.decode("ascii", "replace").rstrip(), size_bytes, data_offset
    )


def parse_prefix(data: bytes | memoryview) -> Part10:
    """Read the beginning of a file: ours, a foreign Part 10 file, or a data set without either part of it.

    data:   the whole file, or so much that the file meta information is inside (64 KiB are ample)
    raises: CannotUnderstand if this is no DICOM file, or its meta information exceeds 1 MiB or what is given
    """
    if len(data) >= PREAMBLE_BYTES + 4 and bytes(data[PREAMBLE_BYTES : PREAMBLE_BYTES + 4]) == b"DICM":
        return _with_meta(data, PREAMBLE_BYTES + 4, Form.PART10, read_record(data))
    start = 4 if bytes(data[:4]) == b"DICM" else 0
    if bytes(data[start : start + 2]) == b"\x02\0":
        return _with_meta(data, start, Form.META_WITHOUT_PREAMBLE, None)
    if not (syntax := _looks_like(data, 0)):
        raise CannotUnderstand("this is no DICOM file")
    return Part10(Form.BARE, "", "", syntax, 0, None)


def _with_meta(data: bytes | memoryview, at: int, form: Form, record: ObjectRecord | None) -> Part10:
    """Walk over group 0002. Its group length is not looked at: it is often wrong, and not needed."""
    limit = min(len(data), at + MAX_META_BYTES)
    uids = {0x00020002: "", 0x00020003: "", 0x00020010: ""}
    # Explicit VR is prescribed; some toolkits write this group implicit like the data set that follows.
    implicit = bytes(data[at + 4 : at + 6]).decode("latin-1") not in VRS
    try:
        for _ in range(MAX_META_ELEMENTS):
            if bytes(data[at : at + 2]) != b"\x02\0":
                break
            tag, _, value, length = read_header(data, at, limit, EXPLICIT_LE, implicit=implicit)
            at = value + length
            if length == UNDEFINED_LENGTH or at > limit:
                raise NeedMore(at)
            if tag in uids:
                uids[tag] = (
                    bytes(data[value : value + min(length, 2 * MAX_UID_CHARACTERS)])
                    .decode("ascii", "replace")
                    .strip(" \0")
                )
        else:
            raise CannotUnderstand(f"more than {MAX_META_ELEMENTS} elements of file meta information")
    except NeedMore:
        raise CannotUnderstand("the file meta information runs past its end or its limit") from None
    syntax = uids[0x00020010] or _looks_like(data, at) or EXPLICIT_VR_LITTLE_ENDIAN
    return Part10(form, uids[0x00020002], uids[0x00020003], syntax, at, record)


def _looks_like(data: bytes | memoryview, at: int) -> str:
    """The uncompressed transfer syntax that the element at ``at`` looks like; "" if like none."""
    head = bytes(data[at : at + 8])
    if len(head) < 8:
        return ""
    explicit = head[4:6].decode("latin-1") in VRS
    # The first group of a data set is 0008 mostly, never beyond 00FF.
    if explicit and head[0] == 0 and 0 < head[1] <= 0x10:
        return EXPLICIT_VR_BIG_ENDIAN
    if head[1] != 0 or not 0 < head[0] <= 0x10:
        return ""
    if explicit:
        return EXPLICIT_VR_LITTLE_ENDIAN
    length = int.from_bytes(head[4:8], "little")
    return IMPLICIT_VR_LITTLE_ENDIAN if length == UNDEFINED_LENGTH or length < 1024 * 1024 else ""
