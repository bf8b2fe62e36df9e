"""The backup's part of a worker's tree: in the first worker the backup keeper, and the process that it has the work done by."""

from __future__ import annotations

import os
import shutil
import sys
from typing import Final

import msgspec

from pacs_actors.database import Database
from pacs_actors.lifecycle.backup.keeper import BackupKeeper
from pacs_actors.lifecycle.backup.manifest import Kind
from supervisors.child_process import finish
from supervisors.orders import BackupOrder, WorkerOrders
from supervisors.supervisor import Child

_LONGEST_S: Final = 7 * 86400.0


class BackupBranch:
    def __init__(self, orders: WorkerOrders, database: Database) -> None:
        self.orders = orders
        self.keeper: BackupKeeper | None = None
        if orders.slot == 0 and orders.settings.backup.to is not None:
            self.keeper = BackupKeeper(orders.settings.backup, database, self._work)

    def children(self) -> list[Child]:
        return [Child("backup keeper", self.keeper.run)] if self.keeper is not None else []

    def counters(self) -> dict[str, int]:
        return self.keeper.counters() if self.keeper is not None else {}

    async def _work(self, number: int, kind: Kind) -> str:
        tied = ("setpriv", "--pdeathsig", "KILL") if shutil.which("setpriv") is not None else ()
        order = msgspec.json.encode(BackupOrder(self.orders.settings, number, kind)) + b"\n"
        try:
            done = await finish(
                [*tied, sys.executable, "-m", "supervisors.backup_process"],
                environment=os.environ, feed=order, limit_s=_LONGEST_S,
            )  # fmt: skip
        except OSError as error:
            return f"the process of the backup could not be started: {error.strerror}"
        if done.code == 0:
            return ""
        lines = [line for line in done.output.splitlines() if line.strip()]
        return lines[-1] if lines else f"the process of the backup ended with {done.code}"
