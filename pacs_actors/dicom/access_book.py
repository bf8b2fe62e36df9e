"""Access book: keeps the access policy current: the settings' known AEs, and the database's, read again every few seconds.

A node of the settings wins over one of the same AE title in the database. While PostgreSQL is away the last known ones hold.
"""

from __future__ import annotations

import trio

from config.settings import Settings
from pacs_actors.archive.ledger import Ledger
from pacs_actors.dicom.access import AccessPolicy, known_ae, policy
from pacs_actors.mail import Ready
from pacs_actors.operations import logs
from protocols.errors import Unavailable

_REREAD_S = 5.0


class AccessBook:
    def __init__(self, settings: Settings, ledger: Ledger) -> None:
        self.settings, self.ledger = settings, ledger
        self._fixed = [known_ae(node) for node in settings.nodes]
        self._policy = policy(settings.dicom.ae_title, settings.dicom.promiscuous, self._fixed)

    def policy(self) -> AccessPolicy:
        return self._policy

    async def run(self, *, task_status: Ready = trio.TASK_STATUS_IGNORED) -> None:
        task_status.started()
        while True:
            await self.reread()
            await trio.sleep(_REREAD_S)

    async def reread(self) -> None:
        """Take in the database's nodes as they are now."""
        try:
            stored = await self.ledger.ae_nodes()
        except Unavailable:
            return
        known = {}
        for node in stored:
            try:
                known[node.ae_title] = known_ae(node)
            except ValueError as error:
                logs.warning("ae_node_ignored", ae_title=node.ae_title, why=str(error))
        known.update({node.ae_title: node for node in self._fixed})
        self._policy = policy(self.settings.dicom.ae_title, self.settings.dicom.promiscuous, known.values())
