"""What is agreed at the start of an association (PS3.8 7.1, PS3.7 annex D, PS3.4 C.5): pure rules over PDUs.

The acceptor calls ``answer``, then ``interpret`` with ``Side.ACCEPTOR``; the requestor ``request``, then
``interpret``.
"""

from __future__ import annotations

from protocols.ul.acceptor import (
    MAX_USER_IDENTITY_BYTES,
    IdentityVerdict,
    Policy,
    Service,
    answer,
    identity_fits,
    is_ae_title,
)
from protocols.ul.agreement import Context, Negotiated, interpret, request
from protocols.ul.association import Side
from protocols.ul.pdata import DEFAULT_PDU_BYTES, MIN_PEER_PDU_BYTES
from protocols.ul.query_options import QuerySupport

__all__ = [
    "DEFAULT_PDU_BYTES",
    "MAX_USER_IDENTITY_BYTES",
    "MIN_PEER_PDU_BYTES",
    "Context",
    "IdentityVerdict",
    "Negotiated",
    "Policy",
    "QuerySupport",
    "Service",
    "Side",
    "answer",
    "identity_fits",
    "interpret",
    "is_ae_title",
    "request",
]
