"""Objects cut short after they were opened: one answer fails, not the process, as it would at a mapping (SIGBUS)."""

from __future__ import annotations

import os
from typing import Any

import pytest

from pacs_actors.archive.conversions import Opened
from pacs_actors.archive.frame_index import BrokenFrames, index_object
from pacs_actors.threads import NativePool
from tests.pacs_actors.archive.transcoding_data import EXPLICIT
from tests.web.dicomweb.test_rendering import MPEG_4, PDF, film, opened, paper
from web.dicomweb import bulkdata
from web.dicomweb.passthrough import NothingInside, document, video

BEFORE = b"\x09\0\x01\x10OB\0\0" + (100_000).to_bytes(4, "little") + bytes(100_000)


@pytest.fixture
def cut(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Cuts the object down to its first page as soon as its size was looked at."""
    size_of = os.fstat

    def look(fd: int) -> os.stat_result:
        status = size_of(fd)
        os.truncate(fd, 4096)
        return status

    monkeypatch.setattr(os, "fstat", look)


def index(given: Opened) -> Any:
    return index_object(given.fd, offset=given.offset, length=given.length, transfer_syntax_uid=given.syntax)


def test_frames(cut: None) -> None:
    with pytest.raises(BrokenFrames):
        index(opened(BEFORE + film([b"stream"]), MPEG_4))


def test_a_value(cut: None) -> None:
    assert bulkdata._find(opened(BEFORE + paper(PDF), EXPLICIT), (0x00420011,)) is None


async def test_wrapped_content(cut: None) -> None:
    async with NativePool(1, "truncated") as native:
        with pytest.raises(NothingInside):
            await document(native, opened(BEFORE + paper(PDF), EXPLICIT))
        with pytest.raises(NothingInside):
            await video(native, opened(BEFORE + film([b"stream"]), MPEG_4))
