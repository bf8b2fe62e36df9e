"""How objects of a request are taken in: what the loop and the others on it are spared."""

from __future__ import annotations

from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any, cast

import trio

from pacs_actors.people.rights import Via
from protocols.dicomweb.store_response import CANNOT_UNDERSTAND, NotStored
from protocols.messages.audit import Actor
from web.dicomweb.store_intake import Intake


class Audit:
    def __init__(self) -> None:
        self.refused: list[tuple[str, str]] = []

    async def transferred(self, by: Actor, counts: object) -> None:
        assert not counts

    async def store_refused(self, by: Actor, uid: str, why: str) -> None:
        self.refused.append((uid, why))


async def test_each_of_thousands_of_bad_parts_leaves_the_others_their_turn() -> None:
    audit, turns, most = Audit(), 0, 200
    request = SimpleNamespace(
        actor=Actor("me", "session", "::1"), who=SimpleNamespace(name="me", via=Via.SESSION)
    )
    inflow = SimpleNamespace(waiting_since=None)
    intake = Intake(cast(Any, SimpleNamespace(audit=audit)), cast(Any, request), cast(Any, inflow), "")

    async def part() -> AsyncIterator[bytes]:
        yield b"this is no DICOM"

    async def somebody_else() -> None:
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    async def read(taking: Intake) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(somebody_else)
            for _ in range(most):
                await taking.take(part())
            nursery.cancel_scope.cancel()

    await intake.run(read)
    assert intake.items == [NotStored("", "", CANNOT_UNDERSTAND)] * most
    assert turns > most // 2
    assert len(audit.refused) == 51, "fifty, and how many more"
