"""A process that makes one backup for a running server: compressing takes processor time that its workers need."""

from __future__ import annotations

import os
import sys
from typing import Final

import msgspec
import trio

from pacs_actors.operations import logs
from protocols.errors import PacsError
from supervisors.backup_work import back_up
from supervisors.orders import BackupOrder

_NICE: Final = 10


def main() -> int:
    """The last line on standard output says why it failed."""
    order = msgspec.json.decode(sys.stdin.buffer.readline(), type=BackupOrder)
    logs.configure("warning", "backup")
    os.nice(_NICE)
    backup = order.settings.backup
    assert backup.to is not None, "the keeper runs only with a place"

    async def work() -> str:
        made = await back_up(
            order.settings, order.kind, str(backup.to), backup.key_file, "", number=order.number,
            or_full=True, keep_full=backup.keep_full,
        )  # fmt: skip
        return made.findings[0].what if made.findings else ""

    try:
        problem = trio.run(work)
    except PacsError as error:
        problem = str(error)
    except BaseExceptionGroup as group:
        problem = str(group.exceptions[0])
    if problem:
        print(f"\n{problem}", flush=True)
    return 1 if problem else 0


if __name__ == "__main__":
    sys.exit(main())
