"""How long a process was ready to run and got no processor: what a busy machine does to it, not what it does itself."""

from __future__ import annotations

from pathlib import Path


class RunQueue:
    """Of one process, from now on. Knows nothing where the kernel keeps no such figures: then nobody ever waits."""

    def __init__(self, pid: int) -> None:
        self._threads = Path(f"/proc/{pid}/task")
        self._seen = self._read()

    def waited_s(self) -> float:
        """Since it was last asked: of the thread that waited longest, for all others may be waiting for that one."""
        before, self._seen = self._seen, self._read()
        longest = max((now - before.get(thread, 0) for thread, now in self._seen.items()), default=0)
        return max(0, longest) / 1e9

    def _read(self) -> dict[str, int]:
        """Nanoseconds by thread: the second number of ``schedstat``."""
        found: dict[str, int] = {}
        try:
            for thread in self._threads.iterdir():
                found[thread.name] = int((thread / "schedstat").read_text().split()[1])
        except (OSError, ValueError, IndexError):  # it has just ended, or is not told
            pass
        return found
