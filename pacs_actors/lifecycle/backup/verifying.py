"""Reading a backup back: every byte of it, compared with what was written. Blocks: for native threads."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Final

import msgspec
from msgspec import Struct
from xxhash import xxh3_128

from pacs_actors.lifecycle.backup import manifest as manifests
from pacs_actors.lifecycle.backup.containers import Containers
from pacs_actors.lifecycle.backup.frames import Broken
from pacs_actors.lifecycle.backup.manifest import Held, Manifest, Verified, lines
from pacs_actors.lifecycle.backup.places import Place
from pacs_actors.lifecycle.backup.sealing import BackupKey
from pacs_actors.lifecycle.backup.tar_scan import TarScanner, differences

MOST_FINDINGS: Final = 1000
VERIFIED: Final = "verified"


class Finding(Struct, frozen=True):
    """What is not as it was written. uid: SOP Instance UID, where it is an object"""

    backup: str
    what: str
    uid: str = ""
    key: str = ""


class Shelf(Struct, frozen=True):
    """What a place holds.

    backups:     whole ones, oldest first; broken: those whose manifest cannot be read, and why
    unfinished:  folders without a manifest: of a backup that is being made, or was cut short
    """

    backups: list[Manifest]
    broken: dict[str, str]
    unfinished: list[str]


def shelf(place: Place) -> Shelf:
    """Everything there is; seals are not looked at. raises: Unavailable"""
    found = Shelf([], {}, [])
    for backup in place.ids():
        try:
            content = place.get(backup, manifests.NAME)
            if content is None:
                found.unfinished.append(backup)
            else:
                found.backups.append(read(backup, content, None, sealed=False))
        except Broken as broken:
            found.broken[backup] = str(broken)
    found.backups.sort(key=lambda one: (one.sequence, one.id))
    return found


def sealed(place: Place, backup: Manifest, key: BackupKey | None) -> Manifest:
    """The same, once its seal has been looked at. raises: Broken, ConfigError as ``manifest.decode``"""
    content = place.get(backup.id, manifests.NAME)
    if content is None:
        raise Broken(f"backup {backup.id}: the manifest is gone")
    return read(backup.id, content, key, sealed=True)


def read(backup: str, content: bytes, key: BackupKey | None, *, sealed: bool = True) -> Manifest:
    """The manifest of a folder. raises: Broken, ConfigError"""
    try:
        found = manifests.decode(content, key, sealed=sealed)
        if found.id != backup:
            raise Broken("the manifest is that of another one")
    except Broken as broken:
        raise Broken(f"backup {backup}: {broken}") from None
    return found


def held(containers: Containers, backup: Manifest) -> Iterator[list[manifests.Line]]:
    """The catalog, some lines at a time. raises: Broken"""
    for frame in containers.stream(backup.streams["catalog"]):
        yield lines(frame)


def content_of(containers: Containers, line: Held) -> Iterator[bytes]:
    """An object, compared with its digest at the end. raises: Broken"""
    digest = xxh3_128()
    for piece in containers.pieces(line.part):
        digest.update(piece)
        yield piece
    if digest.hexdigest() != line.digest:
        raise Broken("its digest is wrong")


def verify(
    place: Place,
    backup: Manifest,
    key: BackupKey | None,
    told: Callable[[int, int], None] = lambda objects, size: None,
) -> list[Finding]:
    """What of one backup is not as it was written, the first thousand findings; notes in the place that there are none.

    key:     None also for a backup that is not encrypted
    told:    called after each object with objects and bytes so far
    raises:  ConfigError if the key is missing or another; Unavailable if the place does not answer
    """
    findings: list[Finding] = []

    def find(what: str, line: Held | None = None) -> None:
        if len(findings) < MOST_FINDINGS:
            named = (line.uid, line.key) if line is not None else ("", "")
            findings.append(Finding(backup.id, what, *named))

    try:
        sealed(place, backup, key)
    except Broken as broken:
        find(str(broken))
        return findings
    key = key if backup.key_check else None
    with Containers(place, backup.id, backup.containers, key) as containers:
        for name in sorted(set(backup.streams) - {"catalog"}):
            try:
                _verify_stream(containers, backup, name, find)
            except Broken as broken:
                find(f"{name}: {broken}")
        objects = size = 0
        with Containers(place, backup.id, backup.containers, key) as bodies:
            try:
                for some in held(containers, backup):
                    for line in some:
                        if isinstance(line, Held):
                            try:
                                size += sum(len(piece) for piece in content_of(bodies, line))
                            except Broken as broken:
                                find(f"object {line.uid or line.key}: {broken}", line)
                            objects += 1
                            told(objects, size)
            except Broken as broken:
                find(f"catalog: {broken}")
    if not findings and objects != backup.objects:
        find(f"there are {objects} objects, not {backup.objects}")
    if not findings:
        now = datetime.now(UTC).isoformat(timespec="seconds")
        place.put(backup.id, VERIFIED, msgspec.json.encode(Verified(now)))
    return findings


def verified_at(place: Place, backup: str) -> str:
    """When it was last found whole; "" if it was not."""
    content = place.get(backup, VERIFIED)
    if content is None:
        return ""
    try:
        return msgspec.json.decode(content, type=Verified).at
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return ""


def _verify_stream(containers: Containers, backup: Manifest, name: str, find: Callable[[str], None]) -> None:
    if name != "index" or backup.index.method != "physical":
        for _ in containers.stream(backup.streams[name]):
            pass
        return
    scanner = TarScanner(hashing=True)
    for piece in containers.stream(backup.streams[name]):
        scanner.feed(piece)
    for difference in differences(scanner):
        find(f"index: {difference}")
