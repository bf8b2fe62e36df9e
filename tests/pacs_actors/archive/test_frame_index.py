"""Where frames are: arithmetic for native ones, offset tables or a look for encapsulated ones; lies and noise are refused."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pacs_actors.archive.frame_index import (
    MAX_FRAGMENTS_A_FRAME,
    BrokenFrames,
    FrameIndex,
    NoFrames,
    Span,
    find_frames,
    index_object,
    unpacked,
)
from protocols.dataset.elements import NeedMore
from protocols.errors import CannotUnderstand, Refusal

EXPLICIT, J2K, MPEG4 = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.102"
_PIXELS = b"\xe0\x7f\x10\0OW\0\0"


def number(tag: int, value: int) -> bytes:
    return struct.pack("<HH2sHH", tag >> 16, tag & 0xFFFF, b"US", 2, value)


def text(tag: int, vr: bytes, value: str) -> bytes:
    raw = value.encode() + b" " * (len(value) % 2)
    return struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, vr, len(raw)) + raw


def header(
    frames: str = "1",
    rows: int = 2,
    columns: int = 3,
    bits: int = 8,
    samples: int = 1,
    kind: str = "MONOCHROME2",
) -> bytes:
    return (
        number(0x00280002, samples) + text(0x00280004, b"CS", kind) + text(0x00280008, b"IS", frames)
        + number(0x00280010, rows) + number(0x00280011, columns) + number(0x00280100, bits)
    )  # fmt: skip


def native(length: int, **facts: object) -> bytes:
    return header(**facts) + _PIXELS + struct.pack("<I", length) + bytes(length)  # type: ignore[arg-type]


def item(data: bytes) -> bytes:
    return b"\xfe\xff\x00\xe0" + struct.pack("<I", len(data)) + data


def encapsulated(frames: str, table: bytes, *fragments: bytes, before: bytes = b"") -> bytes:
    end = b"\xfe\xff\xdd\xe0\0\0\0\0"
    pixels = _PIXELS + b"\xff\xff\xff\xff" + item(table) + b"".join(map(item, fragments)) + end
    return header(frames) + before + pixels


def frames_of(data: bytes, syntax: str = J2K) -> list[bytes]:
    index = find_frames(memoryview(data), 0, syntax)
    return [
        b"".join(data[span.offset : span.offset + span.length] for span in index.spans(frame))
        for frame in range(1, index.frames + 1)
    ]


@pytest.mark.parametrize(
    ("facts", "length", "frame_bytes"),
    [
        ({"frames": "3"}, 18, 6), ({"bits": 16}, 12, 12), ({"samples": 3, "kind": "RGB", "frames": "2"}, 36, 18),
        ({"samples": 3, "kind": "YBR_FULL_422", "columns": 4}, 16, 16), ({"bits": 1, "rows": 8, "frames": "2"}, 6, 3),
    ],
)  # fmt: skip
def test_native_frames_are_cut_by_arithmetic(facts: dict[str, object], length: int, frame_bytes: int) -> None:
    data = native(length, **facts)
    index = find_frames(memoryview(data), 0, EXPLICIT)
    start = len(data) - length
    assert [index.spans(frame + 1) for frame in range(index.frames)] == [
        [Span(start + frame * frame_bytes, frame_bytes)] for frame in range(index.frames)
    ]
    for none in (0, index.frames + 1, -1):
        with pytest.raises(NoFrames):
            index.spans(none)


@given(st.integers(1, 40), st.integers(1, 5), st.data())
def test_bits_that_begin_within_a_byte_are_moved(bits: int, frames: int, data: st.DataObject) -> None:
    cells = data.draw(st.lists(st.integers(0, (1 << bits) - 1), min_size=frames, max_size=frames))
    packed = sum(cell << at * bits for at, cell in enumerate(cells)).to_bytes(
        (bits * frames + 7) // 8, "little"
    )
    index = FrameIndex(frames, bits, 0)
    for frame, cell in enumerate(cells, 1):
        (span,) = index.spans(frame)
        around = packed[span.offset : span.offset + span.length]
        assert unpacked(around, index.shift(frame), bits) == cell.to_bytes((bits + 7) // 8, "little")


def test_a_fragment_a_frame_needs_no_table() -> None:
    assert frames_of(encapsulated("3", b"", b"aa", b"bbbb", b"cc")) == [b"aa", b"bbbb", b"cc"]


def test_one_frame_has_all_fragments() -> None:
    assert frames_of(encapsulated("1", b"", b"aa", b"bb")) == [b"aabb"]


def test_the_basic_table_says_where_frames_begin() -> None:
    assert frames_of(encapsulated("2", struct.pack("<2I", 0, 20), b"aa", b"bb", b"cc")) == [b"aabb", b"cc"]


def test_the_extended_table_goes_before_a_look() -> None:
    table = struct.pack("<HH2sHI2Q", 0x7FE0, 1, b"OV", 0, 16, 0, 10)
    assert frames_of(encapsulated("2", b"", b"aa", b"bb", b"cc", before=table)) == [b"aa", b"bbcc"]


def test_without_a_table_frames_begin_where_codestreams_do() -> None:
    start = b"\xff\x4f\xff\x51"
    assert frames_of(encapsulated("2", b"", start, b"bb", start, b"dd")) == [start + b"bb", start + b"dd"]


def test_a_video_is_one_stream() -> None:
    assert frames_of(encapsulated("250", b"", b"aa", b"bb"), MPEG4) == [b"aabb"]


def test_a_frame_in_too_many_fragments_is_refused() -> None:
    one = item(b"\xff\xd8") * MAX_FRAGMENTS_A_FRAME
    most = encapsulated("1", b"", before=b"")[:-8] + one
    assert find_frames(memoryview(most), 0, J2K).pieces([1]) == MAX_FRAGMENTS_A_FRAME
    with pytest.raises(CannotUnderstand, match="fragments"):
        find_frames(memoryview(most + item(b"\xff\xd8")), 0, J2K)


def test_the_pieces_of_frames_are_counted_before_they_are_made() -> None:
    index = find_frames(memoryview(encapsulated("2", struct.pack("<2I", 0, 20), b"ab", b"cd", b"ef")), 0, J2K)
    assert [index.pieces(numbers) for numbers in ([1], [2], [2, 1])] == [2, 1, 3]
    assert index.pieces([1]) == len(index.spans(1))
    assert FrameIndex(3, frame_bits=8, start=0).pieces([3, 1]) == 2


def test_fragments_that_are_whole_are_served_of_an_object_that_was_cut() -> None:
    data = encapsulated("3", b"", b"aa", b"bb", b"cc")
    assert frames_of(data[:-8]) == [b"aa", b"bb", b"cc"]
    with pytest.raises(BrokenFrames):
        frames_of(data[:-12])


@pytest.mark.parametrize(
    "data",
    [
        native(6, frames="2"), native(6, rows=65535, columns=65535, frames="9999999"), native(6, bits=0), native(6, rows=0),
        native(6, frames="x"), native(6, frames="-1"), native(6, frames="0"), native(6, frames="9" * 13),
        encapsulated("2", b"", b"aa", b"bb", b"cc"), encapsulated("2", struct.pack("<2I", 0, 7), b"aa", b"bb", b"cc"),
        encapsulated("2", struct.pack("<2I", 20, 0), b"aa", b"bb", b"cc"), encapsulated("9", b"", b"aa"),
        header() + _PIXELS + b"\xff\xff\xff\xff" + b"\x08\0\x05\0CS\0\0" * 4,
    ],
)  # fmt: skip
def test_lies_are_refused(data: bytes) -> None:
    with pytest.raises(BrokenFrames) as refused:
        frames_of(data)
    assert refused.value.http_status == 409


def test_without_pixels_there_are_no_frames() -> None:
    for data in (header(), b"", encapsulated("1", b"")):
        with pytest.raises(NoFrames):
            frames_of(data)


@settings(max_examples=300)
@given(st.binary(max_size=100), st.integers(0, 60))
def test_noise_is_refused(noise: bytes, cut: int) -> None:
    good = encapsulated("2", struct.pack("<2I", 0, 20), b"aa", b"bb", b"cc")
    for data in (noise, header() + noise, good[:-cut] + noise, header() + _PIXELS + noise):
        try:
            frames_of(data)
        except (Refusal, NeedMore):
            pass


def test_an_object_shorter_than_it_says_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "object"
    data = native(6)
    path.write_bytes(b"head" + data)
    with path.open("rb") as file:
        index = index_object(file.fileno(), offset=4, length=len(data), transfer_syntax_uid=EXPLICIT)
        assert index.spans(1) == [Span(4 + len(data) - 6, 6)]
        for length in (len(data) + 1, 0, len(data) - 3):
            with pytest.raises(BrokenFrames):
                index_object(file.fileno(), offset=4, length=length, transfer_syntax_uid=EXPLICIT)
