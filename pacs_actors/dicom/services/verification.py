"""Verification service as SCP: C-ECHO (PS3.4 annex A)."""

from __future__ import annotations

from pacs_actors.dicom.association import Association
from pacs_actors.dicom.link import Incoming


async def serve(association: Association, incoming: Incoming) -> None:
    association.doing = "C-ECHO"
    await association.respond(incoming, 0x0000)
