"""Frames: every flipped bit is found, whether the backup is encrypted or not."""

from __future__ import annotations

import os
import struct

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given, settings
from hypothesis import strategies as st

from pacs_actors.lifecycle.backup import frames
from pacs_actors.lifecycle.backup.frames import FRAME_BYTES, MAX_RAW_BYTES, Broken
from pacs_actors.lifecycle.backup.sealing import BackupKey

KEY = BackupKey(b"k" * 32)
CIPHER = KEY.cipher(b"s" * 32, "one", "objects-00001")
CIPHERS = [pytest.param(None, id="plain"), pytest.param(CIPHER, id="encrypted")]


def read(number: int, frame: bytes, cipher: AESGCM | None) -> bytes:
    length = frames.payload_bytes(number, frame[:FRAME_BYTES])
    return frames.read(number, frame[: FRAME_BYTES + length], cipher)


@pytest.mark.parametrize("cipher", CIPHERS)
@pytest.mark.parametrize("raw", [b"", b"x", b"ab" * 5000, os.urandom(5000), bytes(MAX_RAW_BYTES)], ids=len)
def test_what_went_in_comes_out(raw: bytes, cipher: AESGCM | None) -> None:
    assert read(5, frames.make(5, raw, cipher), cipher) == raw


@pytest.mark.parametrize("cipher", CIPHERS)
@pytest.mark.parametrize("raw", [b"pixels" * 40, os.urandom(60)], ids=["compressed", "as it is"])
def test_every_flipped_bit_is_found(raw: bytes, cipher: AESGCM | None) -> None:
    frame = frames.make(3, raw, cipher)
    for bit in range(len(frame) * 8):
        flipped = bytearray(frame)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(Broken):
            read(3, bytes(flipped), cipher)


@pytest.mark.parametrize("cipher", CIPHERS)
def test_a_frame_is_good_at_its_own_place_only(cipher: AESGCM | None) -> None:
    frame = frames.make(3, b"pixels", cipher)
    with pytest.raises(Broken):
        read(4, frame, cipher)


def test_an_encrypted_frame_is_of_its_container_and_key_only() -> None:
    frame = frames.make(0, b"pixels" * 100, CIPHER)
    for other in (
        KEY.cipher(b"s" * 32, "one", "objects-00002"),
        KEY.cipher(b"s" * 32, "two", "objects-00001"),
        KEY.cipher(b"t" * 32, "one", "objects-00001"),
        BackupKey(b"l" * 32).cipher(b"s" * 32, "one", "objects-00001"),
    ):
        with pytest.raises(Broken):
            read(0, frame, other)


def test_what_is_encrypted_cannot_be_read_in_the_file() -> None:
    assert b"DICM" in frames.make(0, b"DICM" + os.urandom(500), None)
    assert b"DICM" not in frames.make(0, b"DICM" + os.urandom(500), CIPHER)


def test_a_frame_that_would_swell_is_refused_before_it_does() -> None:
    """The checksum is right, the size that zstandard would unpack to is not what the header says."""
    import zstandard
    from xxhash import xxh3_64

    payload = zstandard.compress(bytes(50 * MAX_RAW_BYTES))
    numbers = len(payload), 1000, 1, 0
    digest = xxh3_64(struct.pack("<IIII", *numbers) + payload).intdigest()
    with pytest.raises(Broken):
        read(0, struct.pack("<IIQII", *numbers[:2], digest, *numbers[2:]) + payload, None)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200))
def test_garbage_is_refused(garbage: bytes) -> None:
    with pytest.raises(Broken):
        read(0, garbage, None)
    with pytest.raises(Broken):
        frames.read_head(garbage)


def test_a_damaged_head_is_found() -> None:
    head = frames.head(encrypted=False, salt=bytes(32))
    assert frames.read_head(head) == (False, bytes(32))
    for place in range(len(head)):
        damaged = bytearray(head)
        damaged[place] ^= 0x40
        with pytest.raises(Broken):
            frames.read_head(bytes(damaged))
