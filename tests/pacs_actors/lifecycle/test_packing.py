"""Compression at rest: what goes in comes out, and what is hostile comes out nowhere."""

from __future__ import annotations

import gzip
import os
import tempfile
from collections.abc import Iterator

import lz4.frame
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from pacs_actors.archive.objects.interface import ObjectFile
from pacs_actors.lifecycle.copies import Form
from pacs_actors.lifecycle.packing import Unpacker, pack
from protocols.errors import CannotUnderstand

FORMS: tuple[Form, ...] = ("gzip", "zstd", "lz4")
MIB = 1024 * 1024
BOMBS = {
    "gzip": gzip.compress(bytes(64 * MIB)), "zstd": zstandard.compress(bytes(64 * MIB)),
    "lz4": lz4.frame.compress(bytes(64 * MIB)),
}  # fmt: skip


@pytest.fixture
def scratch() -> Iterator[int]:
    with tempfile.TemporaryFile() as file:
        yield file.fileno()


def packed(data: bytes, form: Form, before: bytes = b"") -> bytes:
    with tempfile.TemporaryFile() as source, tempfile.TemporaryFile() as target:
        source.write(before + data + b"what lies behind")
        source.flush()
        size = pack(ObjectFile(source.fileno(), len(before), len(data)), form, target.fileno())
        return os.pread(target.fileno(), size + 1, 0)


@pytest.mark.parametrize("form", FORMS)
@given(data=st.binary(max_size=5000), cut=st.integers(1, 700))
def test_what_is_packed_comes_out_again_whatever_the_pieces(form: Form, data: bytes, cut: int) -> None:
    small = packed(data, form, before=b"neighbour")
    unpacker = Unpacker(form, len(data))
    pieces = [small[at : at + cut] for at in range(0, len(small), cut)]
    assert b"".join(made for piece in pieces for made in unpacker.feed(piece)) == data
    assert unpacker.complete


def test_other_programs_can_undo_it() -> None:
    data = os.urandom(3 * MIB) + bytes(MIB)
    assert gzip.decompress(packed(data, "gzip")) == data
    assert zstandard.ZstdDecompressor().decompressobj().decompress(packed(data, "zstd")) == data
    assert lz4.frame.decompress(packed(data, "lz4")) == data


@pytest.mark.parametrize("form", FORMS)
def test_a_bomb_is_refused_as_soon_as_it_is_more_than_the_object(form: Form) -> None:
    unpacker, made = Unpacker(form, MIB), 0
    with pytest.raises(CannotUnderstand, match="longer than its object"):
        for piece in unpacker.feed(BOMBS[form]):
            made += len(piece)
    assert made <= MIB


@pytest.mark.parametrize("form", FORMS)
def test_what_is_no_such_file_is_refused(form: Form) -> None:
    with pytest.raises(CannotUnderstand):
        list(Unpacker(form, MIB).feed(b"DICM" * 100))


@pytest.mark.parametrize("form", FORMS)
def test_what_is_cut_off_is_not_complete(form: Form) -> None:
    data = os.urandom(10_000)
    unpacker = Unpacker(form, len(data))
    list(unpacker.feed(packed(data, form)[:-4000]))
    assert not unpacker.complete
