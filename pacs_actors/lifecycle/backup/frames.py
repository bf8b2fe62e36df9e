"""Frames: what a container is made of. Pure.

A container begins with a head: magic, 1 if encrypted, salt. Frames follow without gaps, numbered from 0; each stands for up
to 1 MiB, compressed where that is worth it, then encrypted. Numbers are little endian:

    head    8  "PACSBAK1"    frame    4  bytes of the payload     12  method: 0 as it is, 1 zstd
            8  encrypted              4  bytes that it stands for  4  number, modulo 2^32
           32  salt                   8  xxh3-64 of the sixteen bytes around this and of the payload

Every bit of a container counts: one that is flipped is found by the checksum, or by AES-GCM, whose additional data are the
numbers of the frame.
"""

from __future__ import annotations

import struct
from typing import Final

import zstandard
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from xxhash import xxh3_64

from protocols.errors import PacsError

MAX_RAW_BYTES: Final = 1024 * 1024
SALT_BYTES: Final = 32
_MAGIC: Final = b"PACSBAK1"
_HEAD: Final = struct.Struct(f"<8sQ{SALT_BYTES}s")
_FRAME: Final = struct.Struct("<IIQII")
_CHECKED: Final = struct.Struct("<IIII")
HEAD_BYTES: Final = _HEAD.size
FRAME_BYTES: Final = _FRAME.size
_MAX_PAYLOAD_BYTES: Final = MAX_RAW_BYTES + 16  # AES-GCM's tag
MOST_STORED_BYTES: Final = FRAME_BYTES + _MAX_PAYLOAD_BYTES
_AS_IT_IS, _ZSTD = 0, 1
_LEVEL: Final = 1  # about the ratio of 3 on images at three times its speed
_WORTH_IT: Final = 0.95


class Broken(PacsError):
    """A backup is not as it was written; the text says what and where."""


def head(*, encrypted: bool, salt: bytes) -> bytes:
    return _HEAD.pack(_MAGIC, encrypted, salt)


def read_head(data: bytes) -> tuple[bool, bytes]:
    """Whether it is encrypted, and the salt. raises: Broken"""
    if len(data) != HEAD_BYTES:
        raise Broken("the container's head is cut off")
    magic, encrypted, salt = _HEAD.unpack(data)
    if magic != _MAGIC or encrypted not in (0, 1) or (not encrypted and any(salt)):
        raise Broken("the container's head is damaged")
    return bool(encrypted), salt


def make(number: int, raw: bytes | memoryview, cipher: AESGCM | None) -> bytes:
    """One frame. raw: at most MAX_RAW_BYTES"""
    method, payload = _AS_IT_IS, bytes(raw)
    packed = zstandard.compress(payload, _LEVEL)
    if len(packed) < len(payload) * _WORTH_IT:
        method, payload = _ZSTD, packed
    if cipher is not None:
        payload = cipher.encrypt(_nonce(number), payload, _bound(number, len(raw), method))
    numbers = len(payload), len(raw), method, number & 0xFFFFFFFF
    return _FRAME.pack(*numbers[:2], _checksum(numbers, payload), *numbers[2:]) + payload


def payload_bytes(number: int, header: bytes) -> int:
    """How much follows a frame's header. raises: Broken"""
    if len(header) != FRAME_BYTES:
        raise Broken("the container is cut off")
    stored, raw, _, method, told = _FRAME.unpack(header)
    if stored > _MAX_PAYLOAD_BYTES or raw > MAX_RAW_BYTES or method > _ZSTD or told != number & 0xFFFFFFFF:
        raise Broken("a frame's header is damaged")
    return int(stored)


def read(number: int, frame: bytes | memoryview, cipher: AESGCM | None) -> bytes:
    """What a whole frame stands for. raises: Broken"""
    stored, raw, checksum, method, told = _FRAME.unpack_from(frame)
    payload = bytes(frame[FRAME_BYTES:])
    if len(payload) != stored:
        raise Broken("the container is cut off")
    if _checksum((stored, raw, method, told), payload) != checksum:
        raise Broken("a frame's checksum is wrong")
    if cipher is not None:
        try:
            payload = cipher.decrypt(_nonce(number), payload, _bound(number, raw, method))
        except InvalidTag:
            raise Broken("a frame was changed, or is not of this key") from None
    if method == _ZSTD:
        try:
            if zstandard.frame_content_size(payload) != raw:
                raise Broken("a frame stands for more or less than it says")
            payload = zstandard.decompress(payload, raw)
        except zstandard.ZstdError:
            raise Broken("a frame cannot be decompressed") from None
    if len(payload) != raw:
        raise Broken("a frame stands for more or less than it says")
    return payload


def _checksum(numbers: tuple[int, int, int, int], payload: bytes) -> int:
    digest = xxh3_64(_CHECKED.pack(*numbers))
    digest.update(payload)
    return int(digest.intdigest())


def _nonce(number: int) -> bytes:
    return number.to_bytes(12, "big")


def _bound(number: int, raw: int, method: int) -> bytes:
    return struct.pack("<QII", number, raw, method)
