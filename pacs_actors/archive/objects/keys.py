"""Object keys and the paths they stand for.

A key is made of our own numbers and a hash. It is checked against its whole grammar before it becomes a
path, so no string from the network or the index can leave the store's folder.

objects:     ``<slot>/<batch, 8 hex digits>/<hash, 32 hex digits>.dcm``, a file of its own
packed:      ``<slot>/<batch, 8 hex digits>/<block, 8 hex digits>``, a place in the folder's segment, in blocks of 4096 bytes
quarantine:  ``quarantine/<why>/<slot>-<batch>-<hash or block>.dcm``, a file of its own
cache:       ``cache/<slot>-<batch>-<hash or block>.dcm``, a copy of an object that lies on another node
"""

from __future__ import annotations

import re
from hashlib import blake2b
from itertools import count
from secrets import token_bytes
from typing import Final, Literal, NamedTuple

from msgspec import Struct

from protocols.errors import PacsError

MAX_SLOT: Final = 9999
MAX_BATCH: Final = 0xFFFFFFFF
SLOTS_OF_A_NODE: Final = 100
"""Worker W of node N has the slot 100 N + W. What is above those of node 98 is for commands that store nothing."""
SEGMENT: Final = "segment"
"""Name of the file in a batch folder that packed objects share."""
_OBJECT: Final = re.compile(
    r"(0|[1-9][0-9]{0,3})/([0-9a-f]{8})/(?:([0-9a-f]{32})\.dcm|([0-9a-f]{8}))", re.ASCII
)
_QUARANTINED: Final = re.compile(
    r"quarantine/(?:conflict|damaged|deleted|unindexable)/[0-9]{1,4}-[0-9a-f]{8}-(?:[0-9a-f]{32}|[0-9a-f]{8})\.dcm",
    re.ASCII,
)

_CACHED: Final = re.compile(
    r"cache/((?:0|[1-9][0-9]{0,3})-[0-9a-f]{8}-(?:[0-9a-f]{32}|[0-9a-f]{8})\.dcm)", re.ASCII
)
CACHE_FOLDER: Final = "cache/objects"

QuarantineReason = Literal["conflict", "damaged", "deleted", "unindexable"]
"""conflict: same SOP Instance UID as an earlier object, other bytes; damaged: torn by a crash, or its
digest is wrong; deleted: by somebody, and not erased yet.
"""


class ObjectMissing(PacsError):
    """No such object in the store."""

    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.key = key

    def __str__(self) -> str:
        return f"no object {self.key!r}"


class ObjectKey(Struct, frozen=True):
    """The parts of an object's key.

    slot:   of the worker that stored it
    batch:  number of the folder, never reused within a slot
    name:   32 hexadecimal digits; of a packed object 8: the number of its first block
    """

    slot: int
    batch: int
    name: str

    @property
    def packed(self) -> bool:
        return len(self.name) == 8

    def __str__(self) -> str:
        return f"{self.slot}/{self.batch:08x}/{self.name}{'' if self.packed else '.dcm'}"


class Place(NamedTuple):
    """Where an object lies.

    path:   of its file, relative to the store
    block:  number of its first block there; None: it has the file for itself
    """

    path: str
    block: int | None


def packed_key(slot: int, batch: int, block: int) -> str:
    """The key of an object that begins at that block of its batch folder's segment."""
    return f"{slot}/{batch:08x}/{block:08x}"


def parse_key(key: str) -> ObjectKey:
    """Take an object's key apart.

    raises: ObjectMissing if it is not the key of an object outside quarantine
    """
    match = _OBJECT.fullmatch(key)
    if match is None:
        raise ObjectMissing(key)
    return ObjectKey(int(match[1]), int(match[2], 16), match[3] or match[4])


def slot_folder(slot: int) -> str:
    """Path of a slot's objects, relative to the store."""
    return f"objects/{slot}"


def shard_folder(slot: int, batch: int) -> str:
    """4096 batch folders share a parent: a slot that is busy all year makes half a million of them."""
    return f"objects/{slot}/{batch >> 12:05x}"


def batch_folder(slot: int, batch: int) -> str:
    return f"{shard_folder(slot, batch)}/{batch:08x}"


def place_of(key: str) -> Place:
    """Where an object lies, in quarantine or not. raises: ObjectMissing if it is no key"""
    match = _OBJECT.fullmatch(key)
    if match is not None:
        folder = f"objects/{match[1]}/{match[2][:5]}/{match[2]}"
        if match[4]:
            return Place(f"{folder}/{SEGMENT}", int(match[4], 16))
        return Place(f"{folder}/{match[3]}.dcm", None)
    if _QUARANTINED.fullmatch(key):
        return Place(key, None)
    cached = _CACHED.fullmatch(key)
    if cached is not None:
        return Place(f"{CACHE_FOLDER}/{shard_of(cached[1])}/{cached[1]}", None)
    raise ObjectMissing(key)


def path_of(key: str) -> str:
    """Path of an object that has a file for itself, relative to the store, in quarantine or not.

    raises: ObjectMissing if it is not the key of one
    """
    path, block = place_of(key)
    if block is not None:
        raise ObjectMissing(key)
    return path


def quarantine_key(key: str, why: QuarantineReason) -> str:
    """Where an object goes in quarantine. One that is there already keeps its key."""
    if _QUARANTINED.fullmatch(key):
        return key
    parts = parse_key(key)
    return f"quarantine/{why}/{parts.slot}-{parts.batch:08x}-{parts.name}.dcm"


def cache_key(key: str) -> str:
    """What a node calls its copy of another node's object. raises: ObjectMissing if that is no key of an object"""
    parts = parse_key(key)
    return f"cache/{parts.slot}-{parts.batch:08x}-{parts.name}.dcm"


def shard_of(name: str) -> str:
    """The folder of a copy in the cache, by the last digits of its name: a folder is not to hold all of them."""
    return name.removesuffix(".dcm")[-2:]


def node_of(slot: int) -> int:
    """The number of the node that a slot belongs to."""
    return slot // SLOTS_OF_A_NODE


def node_of_key(key: str) -> int:
    """The number of the node that an object lies on. raises: ObjectMissing if it is no key of an object"""
    return node_of(parse_key(key).slot)


class Names:
    """Names for new objects: never the same twice in one process, and not to be guessed from the UID."""

    def __init__(self) -> None:
        self._salt = token_bytes(16)
        self._numbers = count()

    def next(self, sop_instance_uid: str) -> str:
        """Thread-safe."""
        text = f"{next(self._numbers)} {sop_instance_uid}".encode("utf-8", "backslashreplace")
        return blake2b(text, digest_size=16, key=self._salt).hexdigest()
