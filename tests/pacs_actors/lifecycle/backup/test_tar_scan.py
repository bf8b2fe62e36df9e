"""A base backup as it passes, against PostgreSQL's own manifest of it."""

from __future__ import annotations

import io
import json
import os
import tarfile
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pacs_actors.lifecycle.backup.frames import Broken
from pacs_actors.lifecycle.backup.tar_scan import TarScanner, differences

FILES = {
    "PG_VERSION": b"18\n",
    "base/5/1234": os.urandom(20_000),
    "base/5/empty": b"",
    "x" * 90 + "/" + "y" * 20: b"z" * 512,
}


def manifest(files: dict[str, bytes]) -> bytes:
    """As PostgreSQL writes it: the last line seals those before it."""
    told = [
        {
            "Path": name,
            "Size": len(content),
            "Checksum-Algorithm": "SHA256",
            "Checksum": sha256(content).hexdigest(),
        }
        for name, content in files.items()
    ]
    body = json.dumps({"PostgreSQL-Backup-Manifest-Version": 2, "Files": told})[:-1].encode() + b",\n"
    return body + b'"Manifest-Checksum": "' + sha256(body).hexdigest().encode() + b'"}\n'


def archive(files: dict[str, bytes], listing: bytes | None) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as made:
        folder = tarfile.TarInfo("base")
        folder.type = tarfile.DIRTYPE
        made.addfile(folder)
        everything = files | {"pg_wal/000000010000000000000002": b"w" * 700}
        for name, content in (
            everything if listing is None else everything | {"backup_manifest": listing}
        ).items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            made.addfile(info, io.BytesIO(content))
    return out.getvalue()


def scanned(data: bytes, piece: int = 1 << 20) -> TarScanner:
    scanner = TarScanner(hashing=True)
    for at in range(0, len(data), piece):
        scanner.feed(data[at : at + piece])
    return scanner


@pytest.mark.parametrize("piece", [1, 511, 513, 1 << 20])
def test_a_whole_backup_agrees_with_its_manifest_however_it_comes(piece: int) -> None:
    found = scanned(archive(FILES, manifest(FILES)), piece)
    assert bytes(found.manifest) == manifest(FILES)
    assert differences(found) == []


def test_a_file_that_is_changed_missing_or_too_many_is_named() -> None:
    changed = FILES | {"base/5/1234": b"other"}
    assert differences(scanned(archive(changed, manifest(FILES)))) == ["base/5/1234 is not as it was"]
    fewer = {name: content for name, content in FILES.items() if name != "PG_VERSION"}
    assert differences(scanned(archive(fewer, manifest(FILES)))) == ["PG_VERSION is missing"]
    more = FILES | {"base/5/9": b"new"}
    assert differences(scanned(archive(more, manifest(FILES)))) == ["base/5/9 does not belong here"]


def test_a_manifest_that_is_missing_or_changed_proves_nothing() -> None:
    listing = manifest(FILES)
    for wrong in (None, b"", b"{}", listing.replace(b"PG_VERSION", b"PG_VERSIOM"), listing[:-3]):
        with pytest.raises(Broken):
            differences(scanned(archive(FILES, wrong)))


def test_an_archive_that_is_cut_off_or_goes_on_is_broken() -> None:
    whole = archive(FILES, manifest(FILES))
    with pytest.raises(Broken):
        differences(scanned(whole[:5000]))
    with pytest.raises(Broken):
        scanned(whole + archive(FILES, None))


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=2000))
def test_garbage_is_refused_or_ignored_but_never_believed(garbage: bytes) -> None:
    with pytest.raises(Broken):
        differences(scanned(garbage))
