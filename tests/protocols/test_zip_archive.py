"""Archives as Python's zipfile reads them, also beyond the limits of the first format."""

from __future__ import annotations

import io
import zipfile
import zlib
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from protocols.zip_archive import ZipWriter, archive_length, safe_name

_ENTRIES = st.lists(
    st.tuples(st.from_regex(r"[a-z0-9./]{1,40}", fullmatch=True), st.binary(max_size=200)), max_size=8
)


@given(_ENTRIES)
def test_what_is_written_is_read(entries: list[tuple[str, bytes]]) -> None:
    writer = ZipWriter()
    body = b"".join(writer.entry(name, len(data), zlib.crc32(data)) + data for name, data in entries)
    whole = body + b"".join(writer.end())
    assert len(whole) == archive_length((name, len(data)) for name, data in entries)
    with zipfile.ZipFile(io.BytesIO(whole)) as archive:
        assert archive.testzip() is None
        assert [info.filename for info in archive.infolist()] == [name for name, _ in entries]
        assert [archive.read(info) for info in archive.infolist()] == [data for _, data in entries]


def test_entries_and_archives_beyond_4_gib(tmp_path: Path) -> None:
    """In a file with holes, so that it costs no space."""
    size, path = 5 * 1024**3, tmp_path / "large.zip"
    writer = ZipWriter()
    with path.open("wb") as file:
        for name in ("first", "second"):
            file.write(writer.entry(name, size, 0))
            file.seek(size, io.SEEK_CUR)
        file.write(writer.entry("small", 3, zlib.crc32(b"abc")) + b"abc")
        file.writelines(writer.end())
    assert path.stat().st_size == archive_length([("first", size), ("second", size), ("small", 3)])
    with zipfile.ZipFile(path) as archive:
        assert [info.file_size for info in archive.infolist()] == [size, size, 3]
        assert archive.read("small") == b"abc"
        with archive.open("second") as second:
            assert second.read(10) == bytes(10)


def test_more_entries_than_16_bits_count() -> None:
    writer, count = ZipWriter(), 66_000
    body = b"".join(writer.entry(str(number), 0, 0) for number in range(count))
    with zipfile.ZipFile(io.BytesIO(body + b"".join(writer.end()))) as archive:
        assert len(archive.infolist()) == count


def test_a_uid_that_is_a_path_becomes_no_path() -> None:
    assert safe_name("1.2.840.10008.1") == "1.2.840.10008.1"
    for bad in ("..", ".", "1..2", "", "1.2.", "../x", "1/2", "a", "\ud800"):
        name = safe_name(bad)
        assert len(name) == 32
        assert name.isalnum()
