"""Files of made metadata under ``DIR/cache/metadata``: a copy that can be made again, so nothing is synced. For native threads.

All workers of the node share the folder. Names are made of hashes only, that of the series first, so that all of a series can
be removed with it. A file is checked when it is read, because a crash may leave one torn, and removed when the folder is too
large: what has not been asked for longest goes first.
"""

from __future__ import annotations

import os
import re
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from secrets import token_hex
from typing import Final

from xxhash import xxh3_128

from pacs_actors.archive.cache_limit import CacheLimit
from pacs_actors.operations import logs

_MAGIC: Final = b"PACSMETA"
_HEADER_BYTES: Final = len(_MAGIC) + 16
_SERIES: Final = re.compile(r"[0-9a-f]{16}", re.ASCII)
_NAME: Final = re.compile(r"[0-9a-f]{16}-[0-9a-f]{32}", re.ASCII)
_USED_EVERY_S: Final = 3600.0

FOLDER: Final = Path("cache", "metadata")
"""In the server's folder."""


def series_name(study_instance_uid: str, series_instance_uid: str) -> str:
    """What the names of all files of a series begin with: 16 hexadecimal digits."""
    uids = f"{study_instance_uid}\0{series_instance_uid}"
    return blake2b(uids.encode("utf-8", "backslashreplace"), digest_size=8).hexdigest()


class MetadataFiles:
    """limit_bytes: what the folder may take; a little more for a moment"""

    def __init__(self, folder: Path, limit_bytes: int) -> None:
        self.folder, self._limit = folder, CacheLimit(limit_bytes)

    def read(self, name: str) -> bytes | None:
        """None if there is none, or a damaged one."""
        path = self._path(name)
        try:
            data = path.read_bytes()
            if time.time() - path.stat().st_mtime > _USED_EVERY_S:
                os.utime(path)
        except OSError:
            return None
        body = data[_HEADER_BYTES:]
        if not data.startswith(_MAGIC) or data[len(_MAGIC) : _HEADER_BYTES] != xxh3_128(body).digest():
            with suppress(OSError):
                path.unlink()
            return None
        return body

    def write(self, name: str, body: bytes) -> None:
        """What cannot be written is not kept: it is made again next time."""
        path = self._path(name)
        half = path.with_suffix(f".{token_hex(8)}")
        try:
            path.parent.mkdir(0o700, parents=True, exist_ok=True)
            half.write_bytes(_MAGIC + xxh3_128(body).digest() + body)
            half.rename(path)
        except OSError as error:
            logs.warning("metadata_not_kept", why=type(error).__name__)
            with suppress(OSError):
                half.unlink()
            return
        if self._limit.wrote(len(body) + _HEADER_BYTES):
            self.evict()

    def remove(self, series: Iterable[str]) -> None:
        """Remove all files of these series, by their ``series_name``. raises: OSError"""
        shards: defaultdict[str, set[str]] = defaultdict(set)
        for name in series:
            if not _SERIES.fullmatch(name):
                raise ValueError("no name of a series")
            shards[name[:2]].add(name)
        for shard, names in shards.items():
            with suppress(FileNotFoundError), os.scandir(self.folder / shard) as entries:
                for entry in entries:
                    if entry.name[:16] in names:
                        Path(entry.path).unlink(missing_ok=True)

    def evict(self) -> None:
        """Remove the files not used for longest until the folder is small enough, and what nobody would ever ask for."""
        self._limit.evict(self._files())

    def _files(self) -> Iterator[tuple[int, int, str]]:
        """(last used, bytes, path) of each."""
        for shard in self.folder.glob("[0-9a-f][0-9a-f]"):
            with suppress(OSError), os.scandir(shard) as entries:
                for entry in entries:
                    with suppress(OSError):
                        if not _NAME.match(entry.name):
                            Path(entry.path).unlink()  # of an earlier version
                            continue
                        status = entry.stat(follow_symlinks=False)
                        yield status.st_mtime_ns, status.st_size, entry.path

    def _path(self, name: str) -> Path:
        if not _NAME.fullmatch(name):
            raise ValueError("no name of made metadata")
        return self.folder / name[:2] / f"{name}.gz"
