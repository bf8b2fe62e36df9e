"""What move and get show: a progress bar on a terminal, then counters, as words or JSON."""

from __future__ import annotations

import argparse
import sys
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from pacs_actors.dicom.client import RetrieveResult, SubOperationCounts
from protocols.dimse.status import StatusKind
from supervisors.peer_options import DONE, FAILED, print_line

_MOST_UIDS_SHOWN = 20


class RetrieveOutput:
    """Use as a context manager around the retrieval; give it ``progress``, then call ``end``."""

    def __init__(self, arguments: argparse.Namespace, doing: str) -> None:
        self._json: bool = arguments.json
        console = Console(stderr=True)
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[failed]} failed"),
            TimeElapsedColumn(),
            console=console,
            disable=self._json or not console.is_terminal,
        )
        self._task = self._bar.add_task(doing, total=None, failed=0)
        self._began = time.monotonic()

    def __enter__(self) -> RetrieveOutput:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def progress(self, counts: SubOperationCounts) -> None:
        done = counts.completed + counts.failed + counts.warning
        total = done + counts.remaining if counts.remaining is not None else None
        self._bar.update(self._task, completed=done, total=total or done, failed=counts.failed)

    def end(self, result: RetrieveResult) -> int:
        """Say how it ended; the exit code."""
        counts = result.counts
        seconds = round(time.monotonic() - self._began, 3)
        if self._json:
            facts = {
                "status": f"{result.status:04X}",
                "words": result.words,
                "completed": counts.completed,
                "failed": counts.failed,
                "warning": counts.warning,
                "failed_uids": result.failed_uids,
                "seconds": seconds,
            }
            print_line(facts)
        else:
            print(
                f"{result.words}: {counts.completed} completed, {counts.warning} with warnings, {counts.failed} failed, "
                f"in {seconds:.1f} s"
            )
            for uid in result.failed_uids[:_MOST_UIDS_SHOWN]:
                print(f"failed: {uid}", file=sys.stderr)
            if len(result.failed_uids) > _MOST_UIDS_SHOWN:
                print(f"… and {len(result.failed_uids) - _MOST_UIDS_SHOWN} more", file=sys.stderr)
        failed = result.kind in (StatusKind.FAILURE, StatusKind.CANCEL) or counts.failed > 0
        return FAILED if failed else DONE
