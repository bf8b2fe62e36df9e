"""What store shows: a progress bar on a terminal, each failure as it happens, a summary as words or JSON."""

from __future__ import annotations

import sys
import time
from collections import Counter
from types import TracebackType
from typing import Any, Final

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from pacs_actors.dicom.client_send_job import Fate, Outcome, SendJob
from protocols.errors import PacsError
from supervisors.peer_options import DONE, FAILED, print_line

_MOST_FAILURES_KEPT: Final = 1000


class SendOutput:
    """Counts outcomes. Use as a context manager around the run."""

    def __init__(self, *, json: bool) -> None:
        self._json = json
        self._console = Console(stderr=True)
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[files]} files"),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=self._console,
            disable=json or not self._console.is_terminal,
        )
        self._task = self._bar.add_task("sending", total=None, files=0)
        self._job: SendJob | None = None
        self._counts: Counter[Fate] = Counter()
        self._reasons: Counter[str] = Counter()
        self._failures: list[dict[str, str]] = []
        self._bytes = 0
        self._began = time.monotonic()
        self._seconds = 0.0

    def __enter__(self) -> SendOutput:
        self._began = time.monotonic()
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._seconds = time.monotonic() - self._began
        self._bar.stop()

    def watch(self, job: SendJob) -> None:
        """The job whose totals the bar shows."""
        self._job = job

    def add(self, outcome: Outcome) -> None:
        self._counts[outcome.fate] += 1
        self._bytes += outcome.size_bytes
        if outcome.fate is Fate.FAILED:
            self._note_failure(outcome)
        sent = self._counts.total() - self._counts[Fate.SKIPPED]
        total = self._job.found_bytes if self._job is not None and self._job.scanned else None
        self._bar.update(self._task, completed=self._bytes, total=total, files=sent)

    def _note_failure(self, outcome: Outcome) -> None:
        self._reasons[outcome.words] += 1
        if len(self._failures) < _MOST_FAILURES_KEPT:
            self._failures.append({"path": str(outcome.path), "why": outcome.words})
        if not self._json:
            where = "" if outcome.words.startswith(str(outcome.path)) else f"{outcome.path}: "
            self._console.print(
                f"failed: {where}{outcome.words}", markup=False, highlight=False, soft_wrap=True
            )

    def end(self, gave_up: PacsError | None) -> int:
        """Print the summary; the exit code."""
        counts = self._counts
        sent = counts[Fate.STORED] + counts[Fate.WARNING]
        rate = sent / self._seconds if self._seconds else 0.0
        megabytes = self._bytes / 1e6
        facts: dict[str, Any] = {
            "sent": sent,
            "warnings": counts[Fate.WARNING],
            "failed": counts[Fate.FAILED],
            "skipped": counts[Fate.SKIPPED],
            "bytes": self._bytes,
            "seconds": round(self._seconds, 3),
            "instances_per_second": round(rate, 1),
            "megabytes_per_second": round(megabytes / self._seconds if self._seconds else 0.0, 2),
            "failures": self._failures,
            "gave_up": str(gave_up) if gave_up is not None else None,
        }
        if self._json:
            print_line(facts)
        else:
            self._print(facts, megabytes)
        return FAILED if counts[Fate.FAILED] or gave_up is not None else DONE

    def _print(self, facts: dict[str, Any], megabytes: float) -> None:
        print(
            f"{facts['sent']} sent ({facts['warnings']} with warnings), {facts['failed']} failed, "
            f"{facts['skipped']} skipped (no DICOM): {megabytes:.1f} MB in {facts['seconds']:.1f} s, "
            f"{facts['instances_per_second']:.0f} instances/s, {facts['megabytes_per_second']:.1f} MB/s"
        )
        if facts["failed"] > 1:
            for reason, times in self._reasons.most_common(5):
                print(f"  {times} × {reason}")
        if facts["gave_up"]:
            print(f"gave up: {facts['gave_up']}; start again to send the rest", file=sys.stderr)
