"""What becomes of an object that is not good: it is noted, taken out of the way, and healed from another copy if there is one."""

from __future__ import annotations

from typing import Final, Protocol

import trio

from pacs_actors.archive.objects.interface import ObjectStore
from pacs_actors.archive.objects.keys import ObjectMissing
from pacs_actors.lifecycle.integrity_book import Finding, IntegrityBook
from pacs_actors.lifecycle.integrity_reading import Condition
from pacs_actors.lifecycle.integrity_runs import Kind
from pacs_actors.lifecycle.scrubbing import Damage
from pacs_actors.operations import logs
from protocols.errors import OutOfResources, PacsError

_HEAL_WITHIN_S: Final = 600.0


class Healer(Protocol):
    """Whoever has other copies of objects."""

    async def heal(self, sop_instance_uid: str) -> bool:
        """Give an instance whose object is gone a verified one again. False: there is no other copy.

        raises: PacsError, OSError if it cannot be done now
        """
        ...


class DamageKeeper:
    """healer: None: there are no other copies"""

    def __init__(self, store: ObjectStore, book: IntegrityBook, healer: Healer | None = None) -> None:
        self.store, self.book, self.healer = store, book, healer

    async def keep(self, damage: Damage, found_by: Kind, *, quarantine: bool) -> bool:
        """Note it; move a corrupt object to quarantine, so that nobody is sent it; heal the instance. True if it is healed.

        What the disk does not give is left where it is: nobody can be sent it either, and a move may lose what could be saved.
        raises: Unavailable: then it is to be done again
        """
        noted = await self.book.damaged(damage, found_by)
        tell = logs.error if noted.new else logs.debug
        tell(
            "object_damaged", key=damage.key, uid=damage.sop_instance_uid, condition=damage.condition.value,
            why=damage.why,
        )  # fmt: skip
        if damage.condition is Condition.CORRUPT:
            if not quarantine or not await self._put_aside(noted.id, damage):
                return False
            if not damage.indexed:
                await self.book.settle([noted.id], "aside")
                return False
        return await self._heal(damage.sop_instance_uid) if damage.indexed else False

    async def go_on(self, findings: list[Finding]) -> None:
        """Move what an earlier process found, and died before it had moved it. raises: Unavailable"""
        for one in findings:
            damage = Damage(Condition.CORRUPT, one.subject, one.sop_instance_uid, one.detail)
            if await self._put_aside(one.id, damage) and one.sop_instance_uid:
                await self._heal(one.sop_instance_uid)

    async def _put_aside(self, finding: int, damage: Damage) -> bool:
        try:
            moved = await self.store.quarantine(damage.key, "damaged")
        except ObjectMissing:
            return False  # deleted, or healed, meanwhile
        except OutOfResources as why:
            logs.error("object_damaged_stays", key=damage.key, why=str(why))
            return False
        await self.book.put_aside(finding, damage, moved)
        return True

    async def _heal(self, sop_instance_uid: str) -> bool:
        if self.healer is None:
            return False
        try:
            with trio.fail_after(_HEAL_WITHIN_S):
                healed = await self.healer.heal(sop_instance_uid)
        except (PacsError, OSError, trio.TooSlowError) as why:
            logs.warning("object_not_healed", uid=sop_instance_uid, why=str(why) or "it took too long")
            return False
        if healed:
            await self.book.settle_what_is_well()
        return healed
