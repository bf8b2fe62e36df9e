"""The services that we offer on an association, a file each: ``async def serve(association, incoming)``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from pacs_actors.dicom.association import Service
from pacs_actors.dicom.services import commitment, query, retrieval, storage, verification
from protocols.dimse.commands import CommandField

SERVICES: Final[Mapping[int, Service]] = {
    CommandField.C_ECHO_RQ: verification.serve,
    CommandField.C_STORE_RQ: storage.serve,
    CommandField.C_FIND_RQ: query.serve,
    CommandField.C_GET_RQ: retrieval.serve_get,
    CommandField.C_MOVE_RQ: retrieval.serve_move,
    CommandField.N_ACTION_RQ: commitment.serve,
}
