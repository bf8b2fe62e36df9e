"""The PDUs of the DICOM upper layer (PS3.8 9.3): their data, ``encode`` and ``decode``.

P-DATA-TF has its own module, ``pdata``: it is the hot path and is parsed in place.
"""

from __future__ import annotations

from protocols.ul.decoding import decode
from protocols.ul.encoding import encode
from protocols.ul.model import (
    MAX_ASSOCIATE_BYTES,
    MAX_CONTEXTS,
    Abort,
    AbortReason,
    AcceptedContext,
    AssociateAccept,
    AssociateReject,
    AssociateRequest,
    CommonExtended,
    ContextResult,
    Pdu,
    PduType,
    ProposedContext,
    ReleaseReply,
    ReleaseRequest,
    Role,
    UserIdentity,
)

__all__ = [
    "MAX_ASSOCIATE_BYTES",
    "MAX_CONTEXTS",
    "Abort",
    "AbortReason",
    "AcceptedContext",
    "AssociateAccept",
    "AssociateReject",
    "AssociateRequest",
    "CommonExtended",
    "ContextResult",
    "Pdu",
    "PduType",
    "ProposedContext",
    "ReleaseReply",
    "ReleaseRequest",
    "Role",
    "UserIdentity",
    "decode",
    "encode",
]
