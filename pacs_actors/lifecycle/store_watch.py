"""Store watch: asks every tier store now and then whether it answers, so that somebody hears of it before it is needed.

Receives and sends nothing; one in each node. Asked is for a copy that is never there: that it is missing is an answer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Final

import trio

from pacs_actors.lifecycle.stores.errors import CopyMissing
from pacs_actors.lifecycle.stores.interface import TierStore
from pacs_actors.mail import Ready
from pacs_actors.operations import logs
from protocols.errors import PacsError

EVERY_S: Final = 15.0
_WITHIN_S: Final = 15.0
_NOTHING: Final = "watch/nothing"


async def ask(store: TierStore) -> None:
    """Have it answer something. raises: StoreError; OSError"""
    with suppress(CopyMissing):
        await store.size(_NOTHING)


class StoreWatch:
    """stores: by name; clock: monotonic seconds"""

    def __init__(
        self,
        stores: Mapping[str, TierStore],
        *,
        every_s: float = EVERY_S,
        within_s: float = _WITHIN_S,
        clock: Callable[[], float] = trio.current_time,
    ) -> None:
        self._stores, self._every_s, self._within_s, self._clock = stores, every_s, within_s, clock
        self._silent_since: dict[str, float] = {}

    async def run(self, *, task_status: Ready = trio.TASK_STATUS_IGNORED) -> None:
        task_status.started()
        while True:
            await self.look()
            await trio.sleep(self._every_s)

    async def look(self) -> None:
        """Ask all of them once, together."""
        async with trio.open_nursery() as nursery:
            for name in self._stores:
                nursery.start_soon(self._ask, name)

    def silent_s(self) -> dict[str, int]:
        """Of the stores that do not answer or refuse: for how long that has been so, as far as somebody asked."""
        now = self._clock()
        return {name: int(now - since) for name, since in self._silent_since.items()}

    async def _ask(self, name: str) -> None:
        began, why = self._clock(), f"no answer in {self._within_s:g} s"
        with trio.move_on_after(self._within_s):
            try:
                await ask(self._stores[name])
                why = ""
            except (PacsError, OSError) as failure:
                why = str(failure)
        if why and name not in self._silent_since:
            self._silent_since[name] = began
            logs.warning("store_does_not_answer", store=name, why=why)
        elif not why and name in self._silent_since:
            silent_s = self._clock() - self._silent_since.pop(name)
            logs.event("store_answers_again", store=name, after_s=round(silent_s, 1))
