"""multipart/related (RFC 2387, RFC 2046 section 5.1), both ways, a piece at a time.

``MultipartReader`` takes a body in chunks of any size and says what is in it; of a part it copies nothing and holds no more than
a delimiter's length. ``read_parts`` makes asynchronous iterators of that. ``MultipartWriter`` makes what goes between the parts.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterator, Mapping, Sequence
from contextlib import aclosing
from typing import Final

from msgspec import Struct

from protocols.dicomweb.media_type import MediaType
from protocols.errors import Misuse, Refusal

MAX_BOUNDARY_CHARACTERS: Final = 70
MAX_PREAMBLE_BYTES: Final = 65536
_MAX_PADDING_BYTES: Final = 64
# What RFC 2046 allows, and then some that clients use.
_BOUNDARY: Final = re.compile(r"[!-~](?:[ -~]{0,68}[!-~])?", re.ASCII)
_FIELD_NAME: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_FOLD: Final = re.compile(rb"\r\n[ \t]+")


class MalformedMultipart(Refusal):
    """400: the body is not the multipart that its Content-Type says it is."""

    def __init__(self, what: str, http_status: int = 400) -> None:
        super().__init__(what, dimse_status=0xC000, http_status=http_status)


class MultipartLimits(Struct, frozen=True):
    """Of one body: parts; of one part: bytes of its headers, their number, bytes of its content. Beyond: 413."""

    parts: int = 100_000
    header_bytes: int = 16384
    headers: int = 32
    part_bytes: int = 16 * 1024**3
    total_bytes: int = 1 << 62


DEFAULT_LIMITS: Final = MultipartLimits()


class PartBegun(Struct, frozen=True):
    """headers: names in lower case; a repeated one's values joined by a comma."""

    headers: Mapping[str, str]


class PartData(Struct, frozen=True):
    """Some more of the part's content. data: a piece of the chunk that was fed, not a copy of it"""

    data: memoryview


class PartEnded(Struct, frozen=True):
    """The part is complete."""


Event = PartBegun | PartData | PartEnded


def boundary_of(content_type: MediaType) -> bytes:
    """The boundary that a multipart's Content-Type names. raises: MalformedMultipart if it names none"""
    boundary = content_type.parameter("boundary")
    if not _BOUNDARY.fullmatch(boundary):
        raise MalformedMultipart("The Content-Type names no boundary of 1 to 70 characters.")
    return boundary.encode("ascii")


class MultipartReader:
    """Takes a body apart.

    complete: the closing delimiter has been seen; what follows it is ignored
    """

    def __init__(self, boundary: bytes, limits: MultipartLimits = DEFAULT_LIMITS) -> None:
        self._limits = limits
        self._delimiter = b"\r\n--" + boundary
        # Behind a delimiter comes the end of its line, or two hyphens if it was the last.
        self._tail = re.compile(rb"--|[ \t]{0,%d}\r\n" % _MAX_PADDING_BYTES)
        self._partial_tail = re.compile(rb"-?|[ \t]{0,%d}\r?" % _MAX_PADDING_BYTES)
        # What could not be judged yet. The first delimiter may stand at the very beginning: as if a line had ended before it.
        self._rest = b"\r\n"
        self._state = _PREAMBLE
        self._taken = self._parts = self._part_bytes = self._preamble = self._skip = 0
        # The chunk that is being taken apart, how far it is, and where there are delimiters in it, the first one last.
        self._chunk, self._at, self._marks = b"", 0, list[int]()

    @property
    def complete(self) -> bool:
        return self._state == _EPILOGUE

    def feed(self, data: bytes) -> Iterator[Event]:
        """What some more bytes of the body bring; the iterator must be used up before the next call.

        raises: MalformedMultipart
        """
        self._taken += len(data)
        if self._taken > self._limits.total_bytes:
            raise MalformedMultipart(f"The body is larger than {self._limits.total_bytes} bytes.", 413)
        if self._state == _EPILOGUE:
            return
        self._chunk, self._at = self._rest + data if self._rest else data, 0
        self._marks = self._find_delimiters()
        while (state := self._state) != _EPILOGUE:
            if state == _HEADERS:
                event = self._headers()
                if event is None:
                    break
                yield event
            else:
                yield from self._content()
                if self._state == state:
                    break
        self._rest = b"" if self._state == _EPILOGUE else self._chunk[self._at :]
        self._chunk = b""

    def finish(self) -> None:
        """The body is over. raises: MalformedMultipart if it was cut short"""
        if not self.complete:
            raise MalformedMultipart("The body ends before its closing delimiter.")

    def _find_delimiters(self) -> list[int]:
        """Whatever looks like one. From the end, because for a short text Python searches backwards in a quarter of the time."""
        marks, end = [], len(self._chunk)
        while (end := self._chunk.rfind(self._delimiter, 0, end)) >= 0:
            marks.append(end)
        return marks

    def _content(self) -> Iterator[Event]:
        """Give what belongs to the part, up to the delimiter or to what may be the beginning of one."""
        chunk, marks = self._chunk, self._marks
        while marks:
            found = marks[-1]
            behind = found + len(self._delimiter)
            if found < self._at:
                marks.pop()  # in a header
            elif (match := self._tail.match(chunk, behind)) is not None:
                yield from self._data(found)
                if self._state == _CONTENT:
                    yield PartEnded()
                self._delimited(last=match[0] == b"--", end=match.end())
                return
            elif self._partial_tail.fullmatch(chunk, behind) is not None:
                yield from self._data(found)
                return
            else:
                marks.pop()  # it only looks like one
        yield from self._data(self._certain())

    def _certain(self) -> int:
        """Up to where it is content, however the body goes on: up to what may be the beginning of a delimiter."""
        chunk = self._chunk
        begins = chunk.rfind(b"\r", max(self._at, len(chunk) - len(self._delimiter) + 1))
        return begins if begins >= 0 and self._delimiter.startswith(chunk[begins:]) else len(chunk)

    def _data(self, end: int) -> Iterator[Event]:
        """Take what comes before ``end``."""
        begin, self._at = self._at, end
        if begin == end:
            return
        if self._state == _PREAMBLE:
            self._preamble += end - begin
            if self._preamble > MAX_PREAMBLE_BYTES:
                raise MalformedMultipart("The body does not begin with its boundary.")
            return
        begin, self._skip = begin + self._skip, 0
        self._part_bytes += end - begin
        if self._part_bytes > self._limits.part_bytes:
            raise MalformedMultipart(f"A part is larger than {self._limits.part_bytes} bytes.", 413)
        if begin < end:
            yield PartData(memoryview(self._chunk)[begin:end])

    def _delimited(self, *, last: bool, end: int) -> None:
        """A delimiter's line is over at ``end``."""
        if last:
            self._state = _EPILOGUE
            return
        self._parts += 1
        if self._parts > self._limits.parts:
            raise MalformedMultipart(f"The body has more than {self._limits.parts} parts.", 413)
        # The end of the delimiter's line stays: headers that are not there end with it.
        self._at = end - 2
        self._state, self._part_bytes = _HEADERS, 0

    def _headers(self) -> PartBegun | None:
        """The headers of a part once they are all there; what is left begins with the end of the delimiter's line."""
        limit, begin = self._limits.header_bytes, self._at
        end = self._chunk.find(_BLANK_LINE, begin, begin + limit + len(_BLANK_LINE))
        if end < 0:
            if len(self._chunk) - begin >= limit + len(_BLANK_LINE):
                raise MalformedMultipart(f"A part's headers are longer than {limit} bytes.", 413)
            return None
        lines = _FOLD.sub(b" ", self._chunk[begin + 2 : end]).split(b"\r\n") if end > begin else []
        if len(lines) > self._limits.headers:
            raise MalformedMultipart(f"A part has more than {self._limits.headers} headers.", 413)
        # The line end before the content stays: where there is no content, clients let it begin the delimiter.
        self._at = end + 2
        self._skip, self._state = 2, _CONTENT
        return PartBegun(_fields(lines))


def _fields(lines: Sequence[bytes]) -> dict[str, str]:
    fields: dict[str, str] = {}
    for line in lines:
        raw_name, colon, raw_value = line.partition(b":")
        if not colon or not _FIELD_NAME.fullmatch(raw_name.rstrip()):
            raise MalformedMultipart("A part has a header line that is none.")
        name, value = raw_name.rstrip().decode("ascii").lower(), raw_value.strip().decode("latin-1")
        fields[name] = f"{fields[name]}, {value}" if name in fields else value
    return fields


class Part:
    """One part of a body that is being read: its headers, and its content as an asynchronous iterator, once."""

    def __init__(self, headers: Mapping[str, str], events: AsyncIterator[Event]) -> None:
        self.headers, self._events, self._ended = headers, events, False

    def __aiter__(self) -> Part:
        return self

    async def __anext__(self) -> memoryview:
        """raises: MalformedMultipart, and what the body's own iterator raises"""
        if self._ended:
            raise StopAsyncIteration
        event = await anext(self._events)
        if isinstance(event, PartData):
            return event.data
        self._ended = True
        raise StopAsyncIteration


async def read_parts(chunks: AsyncIterable[bytes], reader: MultipartReader) -> AsyncIterator[Part]:
    """The parts of a body, one after the other. What is left of a part when the next is asked for is passed over.

    raises: MalformedMultipart, and what ``chunks`` raises
    """
    async with aclosing(_events(chunks, reader)) as events:
        async for event in events:
            if isinstance(event, PartBegun):
                part = Part(event.headers, events)
                yield part
                async for _ in part:
                    pass


async def _events(chunks: AsyncIterable[bytes], reader: MultipartReader) -> AsyncGenerator[Event, None]:
    async for chunk in chunks:
        for event in reader.feed(chunk):
            yield event
    reader.finish()


class MultipartWriter:
    """What goes before, between and behind the parts of an answer.

    boundary: must not occur in the parts: random, 1 to 70 letters and digits
    end:      what follows the last part
    """

    def __init__(self, boundary: str) -> None:
        if not (boundary.isascii() and boundary.isalnum() and len(boundary) <= MAX_BOUNDARY_CHARACTERS):
            raise Misuse("a boundary that is not made of letters and digits")
        self.boundary = boundary
        self.end = f"\r\n--{boundary}--\r\n".encode("ascii")
        self._first = True

    def content_type(self, part_type: str, transfer_syntax_uid: str = "") -> str:
        """Of the answer. The type is quoted because it holds a slash (RFC 2387 section 3.1)."""
        syntax = f"; transfer-syntax={transfer_syntax_uid}" if transfer_syntax_uid else ""
        return f'multipart/related; type="{part_type}"{syntax}; boundary={self.boundary}'

    def head(self, *headers: tuple[str, str]) -> bytes:
        """What goes before the next part. Viewers look for ``Content-Type`` in exactly that case."""
        before, self._first = ("" if self._first else "\r\n"), False
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers)
        return f"{before}--{self.boundary}\r\n{lines}\r\n".encode("latin-1")


_PREAMBLE, _HEADERS, _CONTENT, _EPILOGUE = range(4)
_BLANK_LINE: Final = b"\r\n\r\n"
