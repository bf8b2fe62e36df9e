"""What a backup says about itself. Pure.

The manifest is written last: a folder without one is no backup. Its second line seals the first. What it would need a line for
each object for stands in the catalog, a stream like others: frames of whole lines of JSON.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec
from msgspec import Struct

from pacs_actors.lifecycle.backup.frames import Broken
from pacs_actors.lifecycle.backup.sealing import BackupKey, fits, seal
from protocols.errors import ConfigError

FORMAT: Final = 1
NAME: Final = "manifest"
MAX_BYTES: Final = 64 * 1024 * 1024
Kind = Literal["full", "incremental", "differential"]
Method = Literal["physical", "dump"]


class Part(Struct):
    """Bytes in a container. offset: where their first frame begins, -1 until it is written; frame: its number"""

    container: str
    frame: int
    offset: int
    size_bytes: int


class Stream(Struct, frozen=True):
    """digest: xxh3-128 of all of it, hexadecimal"""

    parts: tuple[Part, ...]
    size_bytes: int
    digest: str


class Index(Struct, frozen=True):
    """How the database is in a backup.

    method:      physical: a base backup of the embedded server, in tar; dump: of pg_dump, in its custom format
    onto:        the backup whose database this one's changes apply to; None: it is whole
    system:      PostgreSQL's system identifier
    major:       PostgreSQL's major version
    """

    method: Method
    onto: str | None
    system: str
    major: int


class Manifest(Struct, frozen=True, kw_only=True):
    """One backup.

    sequence:    backups of a place are counted, because clocks jump
    archive:     whose it is: a number that a data folder gets at its first backup, and a restored one anew
    key_check:   "" if it is not encrypted
    marks:       slot -> batch: what lay in folders below it will not change
    newest:      slot -> the highest batch there was
    changes_from: transaction from which on changes of objects are not in this backup
    containers:  name -> bytes
    streams:     "index", "catalog"; "index manifest", PostgreSQL's own, for incrementals; "anchors", of the audit
    objects:     how many are in this backup itself; size_bytes: of them
    damaged:     SOP Instance UIDs of objects that were damaged already when they were copied, the first thousand
    missing:     how many objects of other nodes could not be had, neither now nor for the backup that it builds on
    lacking:     SOP Instance UIDs of those, the first thousand
    """

    format: int = FORMAT
    id: str
    sequence: int
    kind: Kind
    parent: str | None
    archive: str
    program: str
    began: str
    finished: str
    key_check: str = ""
    index: Index
    changes_from: int
    marks: dict[str, int]
    newest: dict[str, int]
    containers: dict[str, int]
    streams: dict[str, Stream]
    objects: int
    size_bytes: int
    gone: int = 0
    damaged: tuple[str, ...] = ()
    missing: int = 0
    lacking: tuple[str, ...] = ()

    @property
    def stored_bytes(self) -> int:
        return sum(self.containers.values())


class Held(Struct, frozen=True, array_like=True, tag="o"):
    """A line of the catalog: an object. digest: xxh3-128 of all its bytes, hexadecimal"""

    key: str
    uid: str
    digest: str
    part: Part


class Gone(Struct, frozen=True, array_like=True, tag="g"):
    """An object that was young in the backup before this one, and is not where it was."""

    key: str


class Young(Struct, frozen=True, array_like=True, tag="y"):
    """An object of this backup or one before it that is not below the marks: the next backup has to look for it."""

    key: str


class Lacking(Struct, frozen=True, array_like=True, tag="l"):
    """An object that another node has, and no store gave: the next backup has to ask for it again."""

    key: str


Line = Held | Gone | Young | Lacking
_LINES: Final = msgspec.json.Decoder(Line)
_MANIFEST: Final = msgspec.json.Decoder(Manifest)


class _Format(Struct):
    format: int


class _Seal(Struct):
    seal: str


def encode(manifest: Manifest, key: BackupKey | None) -> bytes:
    text = msgspec.json.encode(manifest)
    return text + b"\n" + msgspec.json.encode(_Seal(seal(key, text))) + b"\n"


def decode(data: bytes, key: BackupKey | None, *, sealed: bool = True) -> Manifest:
    """The manifest in a file.

    sealed:  also look at the seal, which takes the key of an encrypted backup; False: to list backups without it
    raises:  Broken; ConfigError if the key is missing, or another one
    """
    text, _, second = data.partition(b"\n")
    try:
        if msgspec.json.decode(text, type=_Format).format != FORMAT:
            raise Broken("the backup was made by another release, in a format that this one does not know")
        manifest = _MANIFEST.decode(text)
        given = msgspec.json.decode(second, type=_Seal).seal
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise Broken("the manifest is damaged") from None
    if sealed:
        used = _key_for(manifest, key)
        if not fits(used, text, given):
            raise Broken("the manifest is not as it was written")
    return manifest


def lines(frame: bytes) -> list[Line]:
    """One frame of a catalog. raises: Broken"""
    try:
        return [_LINES.decode(line) for line in frame.splitlines()]
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise Broken("the catalog is damaged") from None


def _key_for(manifest: Manifest, key: BackupKey | None) -> BackupKey | None:
    if not manifest.key_check:
        return None
    if key is None:
        raise ConfigError(f"backup.key_file: backup {manifest.id} is encrypted; name the file of its key")
    if key.check(manifest.id) != manifest.key_check:
        raise ConfigError(f"backup.key_file: this is not the key of backup {manifest.id}")
    return key


class Verified(Struct, frozen=True):
    """Beside the manifest: when the backup was last read and found whole."""

    at: str
