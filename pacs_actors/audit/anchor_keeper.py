"""Anchor keeper: notes the end of the audit outside of the database, now and then, and looks whether the last note still holds.

Receives nothing; reads ``Trail``; appends to ``anchors.jsonl``. One worker of a node runs it; every worker notes the end when
it drains.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import trio

from config.settings import AuditSettings
from pacs_actors.audit import anchors
from pacs_actors.audit.audit import Audit
from pacs_actors.audit.chain import Anchor
from pacs_actors.audit.trail import Trail
from pacs_actors.mail import Ready
from pacs_actors.operations import logs
from protocols.errors import Unavailable

_LOOK_EVERY_S: Final = 2.0


class AnchorKeeper:
    """data: the server's folder; anchored: number of the last row noted"""

    def __init__(self, settings: AuditSettings, trail: Trail, audit: Audit, data: Path) -> None:
        self.settings, self.trail, self.audit = settings, trail, audit
        self.file = anchors.file_of(data)
        self.anchored = 0
        self._checked = False

    async def run(self, *, task_status: Ready = trio.TASK_STATUS_IGNORED) -> None:
        task_status.started()
        due = trio.current_time()
        while True:
            try:
                if not self._checked:
                    await self._check()
                rows = (await self.trail.head())[0] - self.anchored
                if rows >= self.settings.anchor_rows or (rows and trio.current_time() >= due):
                    await self.anchor()
                    due = trio.current_time() + self.settings.anchor_s
            except Unavailable:
                pass  # the next look is soon
            except OSError as trouble:
                logs.error("audit_not_anchored", why=str(trouble))
            await trio.sleep(_LOOK_EVERY_S)

    async def anchor(self) -> None:
        """Note the end of the audit. raises: Unavailable, OSError"""
        row, row_hash = await self.trail.head()
        if row == self.anchored:
            return
        anchor = Anchor(datetime.now(UTC).isoformat(timespec="seconds"), row, row_hash)
        await trio.to_thread.run_sync(anchors.append, self.file, anchor)
        self.anchored = row
        logs.event("audit_anchored", row=row, hash=row_hash)

    async def _check(self) -> None:
        """Is the row of the last anchor still what it was? ``pacs-actors audit verify`` looks at all of them."""
        role = await self.trail.changeable_by()
        if role is not None:
            logs.warning(
                "audit_changeable", role=role, advice="give workers the role pacs_app: database.owner_url"
            )
        known, unreadable = await trio.to_thread.run_sync(anchors.read, self.file)
        if unreadable:
            logs.warning("audit_anchors_unreadable", lines=unreadable[:10])
        if known:
            last = max(known, key=lambda anchor: anchor.id)
            if await self.trail.hash_of(last.id) == last.hash:
                self.anchored = last.id
            else:
                logs.error("audit_damaged", row=last.id, anchor=last.at)
                await self.audit.audit_damaged(f"row {last.id} is not the one of the anchor of {last.at}")
        self._checked = True
