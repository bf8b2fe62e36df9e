"""multipart/related both ways: any split of the bytes gives the same parts, any bytes give parts or a refusal."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.dicomweb.media_type import parse_media_type
from protocols.dicomweb.multipart import (
    DEFAULT_LIMITS,
    MAX_PREAMBLE_BYTES,
    MalformedMultipart,
    MultipartLimits,
    MultipartReader,
    MultipartWriter,
    PartBegun,
    PartData,
    PartEnded,
    boundary_of,
    read_parts,
)
from protocols.errors import Misuse

Parts = list[tuple[dict[str, str], bytes]]
# Pieces that are like delimiters, so that content comes as near to one as it can.
_TEASING = st.lists(
    st.sampled_from([b"\r", b"\n", b"\r\n", b"-", b"--", b"--b", b"\r\n--b", b"b", b"c", b" ", b"\0"]),
    max_size=12,
).map(b"".join)
_SPLITS = st.lists(st.integers(1, 9), max_size=400)


def read(chunks: Iterable[bytes], boundary: bytes = b"b", limits: MultipartLimits = DEFAULT_LIMITS) -> Parts:
    reader, parts, content, ended = MultipartReader(boundary, limits), [], b"", True
    for chunk in chunks:
        for event in reader.feed(chunk):
            match event:
                case PartBegun(headers):
                    assert ended
                    ended, content = False, b""
                    parts.append((dict(headers), b""))
                case PartData(data):
                    assert data
                    assert not ended
                    content += data
                case PartEnded():
                    parts[-1] = (parts[-1][0], content)
                    ended = True
    reader.finish()
    return parts


def cut(data: bytes, sizes: Iterable[int]) -> Iterable[bytes]:
    at = 0
    for size in sizes:
        yield data[at : at + size]
        at += size
    yield data[at:]


def write(contents: Iterable[bytes], boundary: str = "b") -> bytes:
    writer = MultipartWriter(boundary)
    return (
        b"".join(writer.head(("Content-Type", "application/dicom")) + content for content in contents)
        + writer.end
    )


@given(st.lists(_TEASING.filter(lambda content: b"\r\n--b" not in b"\r\n" + content), max_size=4), _SPLITS)
def test_what_is_written_is_read_however_it_is_cut(contents: list[bytes], sizes: list[int]) -> None:
    expected = [({"content-type": "application/dicom"}, content) for content in contents]
    assert read(cut(write(contents), sizes)) == expected


def test_what_only_looks_like_a_delimiter_is_content() -> None:
    near = b"x\r\n--bb\r\n\r\n--b x\r\n\r\n--b" + b" " * 70 + b"\r\n-\r\n--b-\r\n"
    body = write([near])
    for size in range(1, len(body)):
        assert read([body[:size], body[size:]])[0][1] == near


@given(_TEASING, _SPLITS)
def test_any_split_gives_the_same(body: bytes, sizes: list[int]) -> None:
    def outcome(chunks: Iterable[bytes]) -> object:
        try:
            return read(chunks)
        except MalformedMultipart as refused:
            return str(refused)

    begun = b"--b\r\nContent-Type: a/b\r\n\r\n" + body
    for whole in (body, begun, begun + b"\r\n--b--"):
        assert outcome(cut(whole, sizes)) == outcome([whole])


@settings(max_examples=300)
@given(st.binary(max_size=200))
def test_random_bytes_are_parts_or_a_refusal(body: bytes) -> None:
    for whole in (body, b"--b\r\n" + body, b"--b\r\n\r\n" + body + b"\r\n--b--"):
        try:
            read([whole])
        except MalformedMultipart as refused:
            assert refused.http_status in (400, 413)


def test_a_preamble_an_epilogue_padding_and_folded_headers_are_taken() -> None:
    body = (
        b"This is a message.\r\n--b \t\r\nContent-Type: application/dicom;\r\n\t transfer-syntax=1.2\r\n"
        b"X-One: 1\r\nx-one: 2\r\n\r\ncontent\r\n--b--\r\nand some more\r\n--b\r\n\r\n"
    )
    assert read([body]) == [
        ({"content-type": "application/dicom; transfer-syntax=1.2", "x-one": "1, 2"}, b"content")
    ]


def test_parts_without_headers_or_content_are_parts() -> None:
    assert read([b"--b\r\n\r\ncontent\r\n--b--"]) == [({}, b"content")]
    assert read([b"--b\r\nA: 1\r\n\r\n\r\n--b--"]) == [({"a": "1"}, b"")]
    assert read([b"--b\r\nA: 1\r\n\r\n--b\r\nB: 2\r\n\r\n--b--"]) == [({"a": "1"}, b""), ({"b": "2"}, b"")]
    assert read([b"--b--"]) == []


@pytest.mark.parametrize(
    "body",
    [
        b"", b"--b", b"--b\r\n", b"--b\r\nA: 1\r\n\r\ncontent", b"--b\r\nA: 1\r\n\r\ncontent\r\n--b\r\n",
        b"--b\r\nno colon\r\n\r\n\r\n--b--", b"--b\r\n: none\r\n\r\n\r\n--b--", b"--b\r\nA\0B: 1\r\n\r\n\r\n--b--",
        b"--other--", b"x" * (MAX_PREAMBLE_BYTES + 100),
    ],
)  # fmt: skip
def test_what_is_no_multipart_is_refused(body: bytes) -> None:
    with pytest.raises(MalformedMultipart) as refused:
        read([body])
    assert refused.value.http_status == 400


@pytest.mark.parametrize(
    ("limits", "body"),
    [
        (MultipartLimits(parts=2), b"--b\r\n\r\n1\r\n" * 3 + b"--b--"),
        (MultipartLimits(header_bytes=50), b"--b\r\nA: " + b"x" * 60 + b"\r\n\r\n1\r\n--b--"),
        (MultipartLimits(header_bytes=50), b"--b\r\nA: " + b"x" * 10_000),
        (MultipartLimits(headers=3), b"--b\r\n" + b"A: 1\r\n" * 4 + b"\r\n1\r\n--b--"),
        (MultipartLimits(part_bytes=5), b"--b\r\n\r\n123456\r\n--b--"),
        (MultipartLimits(total_bytes=10), b"--b\r\n\r\n123456\r\n--b--"),
    ],
)
def test_limits_are_kept_and_answered_413(limits: MultipartLimits, body: bytes) -> None:
    for size in (len(body), 1, 7):
        with pytest.raises(MalformedMultipart) as refused:
            read((body[at : at + size] for at in range(0, len(body), size)), limits=limits)
        assert refused.value.http_status == 413


def test_content_as_large_as_the_limit_is_taken() -> None:
    assert read([b"--b\r\n\r\n12345\r\n--b--"], limits=MultipartLimits(part_bytes=5, parts=1)) == [
        ({}, b"12345")
    ]


def test_nothing_of_a_part_is_held_beyond_a_delimiters_length() -> None:
    reader = MultipartReader(b"b" * 70)
    list(reader.feed(b"--" + b"b" * 70 + b"\r\n\r\n"))
    given = 0
    for _ in range(50):
        given += sum(
            len(event.data) for event in reader.feed(b"\r\n--b" * 200) if isinstance(event, PartData)
        )
    assert given > 50 * 1000 - 80


@pytest.mark.parametrize(
    ("content_type", "boundary"),
    [
        ('multipart/related; type="application/dicom"; boundary="a b:c"', b"a b:c"),
        ("multipart/related; boundary=abc; type=application/dicom; transfer-syntax=1.2", b"abc"),
        ("multipart/related;BOUNDARY=----=_Part_1;type=application/dicom", b"----=_Part_1"),
        ('multipart/related; type="application/dicom"; boundary="' + "x" * 70 + '"', b"x" * 70),
    ],
)
def test_the_boundary_is_taken_quoted_or_bare(content_type: str, boundary: bytes) -> None:
    media = parse_media_type(content_type)
    assert media is not None
    assert boundary_of(media) == boundary
    assert media.parameter("type") == "application/dicom"


@pytest.mark.parametrize("bad", ["", '""', "x" * 71, '"x "', '"a\r\nb"', "\u00e9"])
def test_a_boundary_that_is_none_is_refused(bad: str) -> None:
    media = parse_media_type(f"multipart/related; boundary={bad}")
    assert media is not None
    with pytest.raises(MalformedMultipart):
        boundary_of(media)


def test_parts_come_one_after_the_other_and_what_nobody_reads_is_passed_over() -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for piece in cut(write([b"first", b"second" * 10, b"third"]), [7] * 40):
            yield piece

    async def main() -> list[bytes]:
        contents: list[bytes] = []
        async for part in read_parts(chunks(), MultipartReader(b"b")):
            if len(contents) == 1:
                contents.append(bytes(await anext(part)))  # the rest of it is left
            else:
                contents.append(b"".join([chunk async for chunk in part]))
            assert part.headers["content-type"] == "application/dicom"
        return contents

    first, some, third = asyncio.run(main())
    assert (first, third) == (b"first", b"third")
    assert (b"second" * 10).startswith(some)


def test_a_body_that_breaks_off_is_told_to_who_reads_the_part() -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield b"--b\r\n\r\nhalf of it"

    async def main() -> None:
        async for part in read_parts(chunks(), MultipartReader(b"b")):
            async for _ in part:
                pass

    with pytest.raises(MalformedMultipart):
        asyncio.run(main())


def test_the_answers_content_type_quotes_the_type() -> None:
    writer = MultipartWriter("b0")
    assert writer.content_type("image/jp2", "1.2") == (
        'multipart/related; type="image/jp2"; transfer-syntax=1.2; boundary=b0'
    )
    assert writer.head(("Content-Type", "a/b")) == b"--b0\r\nContent-Type: a/b\r\n\r\n"
    assert writer.head(("Content-Type", "a/b")) == b"\r\n--b0\r\nContent-Type: a/b\r\n\r\n"
    with pytest.raises(Misuse):
        MultipartWriter("a b")


def test_content_is_handed_on_without_a_copy() -> None:
    reader = MultipartReader(b"b")
    list(reader.feed(b"--b\r\n\r\nx"))
    chunk = b"y" * 100_000
    (event,) = reader.feed(chunk)
    assert isinstance(event, PartData)
    assert event.data.obj is chunk
