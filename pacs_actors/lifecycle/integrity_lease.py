"""Keeping the lease of a run while one is at it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

import trio

from pacs_actors.lifecycle.integrity_runs import IntegrityRuns, LeaseLost, Work
from pacs_actors.operations import logs
from protocols.errors import Unavailable

_RENEW_EVERY_S: Final = 4.0


async def holding(runs: IntegrityRuns, work: Work, walk: Callable[[], Awaitable[None]]) -> None:
    """Walk, and write now and then how far it is.

    raises: LeaseLost, with the walk cancelled, if somebody else is at the run by now; what the walk raises
    """
    failures: list[Exception] = []
    async with trio.open_nursery() as nursery:

        async def renew() -> None:
            while True:
                await trio.sleep(_RENEW_EVERY_S)
                try:
                    await runs.renew(work)
                except Unavailable as away:  # the walk itself notices when it needs the index
                    logs.debug("integrity_run_not_noted", run=work.run, why=str(away))
                except LeaseLost as gone:
                    failures.append(gone)
                    nursery.cancel_scope.cancel()
                    return

        nursery.start_soon(renew)
        try:
            await walk()
        except Exception as failure:
            failures.append(failure)  # raised outside: a nursery would wrap it in a group
        nursery.cancel_scope.cancel()
    if failures:
        raise failures[0]
