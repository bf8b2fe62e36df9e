"""People keeper: every few minutes forgets what has expired: logins, tokens, keys, failures, usual places, share links.

Receives nothing. Tells the audit each minute how often attempts had to wait. Nothing else depends on it but the size of the
tables: what has expired is worth nothing already.
"""

from __future__ import annotations

from itertools import count
from typing import Final

import trio

from pacs_actors.mail import Ready
from pacs_actors.people.reception import Reception
from pacs_actors.people.share_desk import ShareDesk
from protocols.errors import Unavailable

_EVERY_S: Final = 60.0
_FORGETS_EVERY: Final = 5


class PeopleKeeper:
    def __init__(self, people: Reception, shares: ShareDesk) -> None:
        self.people, self.shares = people, shares

    async def run(self, *, task_status: Ready = trio.TASK_STATUS_IGNORED) -> None:
        task_status.started()
        for minute in count(1):
            await trio.sleep(_EVERY_S)
            await self.people.tell_throttled()
            await self.shares.tell_throttled()
            if minute % _FORGETS_EVERY:
                continue
            try:
                await self.people.credentials.prune()
                await self.shares.shares.prune()
            except Unavailable:
                continue
