"""People keeper: every few minutes forgets what has expired: logins, tokens, keys, failures, usual places, share links.

Receives and sends nothing. Nothing depends on it but the size of the tables: what has expired is worth nothing already.
"""

from __future__ import annotations

from typing import Final

import trio

from pacs_actors.mail import Ready
from pacs_actors.people.reception import Reception
from pacs_actors.people.shares import Shares
from protocols.errors import Unavailable

_EVERY_S: Final = 300.0


class PeopleKeeper:
    def __init__(self, people: Reception, shares: Shares) -> None:
        self.people, self.shares = people, shares

    async def run(self, *, task_status: Ready = trio.TASK_STATUS_IGNORED) -> None:
        task_status.started()
        while True:
            await trio.sleep(_EVERY_S)
            try:
                await self.people.credentials.prune()
                await self.shares.prune()
            except Unavailable:
                continue
