"""How large a folder of copies that can be made again may get, and what goes first when it is larger. For native threads."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

_EVICT_TO: Final = 0.9
_LOOK_EVERY: Final = 0.05  # of the limit


class CacheLimit:
    """limit_bytes: what the folder may take; a little more for a moment"""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._written = limit_bytes  # the first write looks at what is there

    def wrote(self, size_bytes: int) -> bool:
        """Whether so much has been written since the last time that it is time to look again."""
        self._written += size_bytes
        if self._written <= self._limit_bytes * _LOOK_EVERY:
            return False
        self._written = 0
        return True

    def evict(self, files: Iterable[tuple[int, int, str]]) -> int:
        """Remove what was not used for longest until the rest is small enough; how many.

        files: when last used, bytes, path
        """
        known = sorted(files)
        total, gone = sum(size for _, size, _ in known), 0
        if total <= self._limit_bytes:
            return gone
        for _, size, path in known:
            if total <= self._limit_bytes * _EVICT_TO:
                break
            with suppress(OSError):
                Path(path).unlink()
                total -= size
                gone += 1
        return gone
