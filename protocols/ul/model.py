"""The PDUs of the upper layer as plain data, and their limits (PS3.8 9.3, PS3.7 annex D).

Text that comes from a peer is decoded byte by byte (Latin-1), so nothing a peer sends makes it undecodable;
``negotiation`` says whether it is acceptable.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct, field

APPLICATION_CONTEXT: Final = "1.2.840.10008.3.1.1.1"
PROTOCOL_VERSION: Final = 1

MAX_ASSOCIATE_BYTES: Final = 256 * 1024
"""Longest A-ASSOCIATE-RQ or -AC taken: 128 contexts with all 60 transfer syntaxes each come to 220 KiB."""
MIN_ASSOCIATE_BYTES: Final = 68
"""The fixed fields in front of the items."""
MAX_CONTEXTS: Final = 128
"""As many as there are odd numbers in one byte."""
MAX_AE_TITLE_BYTES: Final = 16
MAX_UID_BYTES: Final = 64


class PduType:
    """First byte of every PDU. Plain integers: the receiver compares them for every PDU."""

    ASSOCIATE_REQUEST: Final = 1
    ASSOCIATE_ACCEPT: Final = 2
    ASSOCIATE_REJECT: Final = 3
    DATA: Final = 4
    RELEASE_REQUEST: Final = 5
    RELEASE_REPLY: Final = 6
    ABORT: Final = 7


class AbortReason:
    """Reason of an A-ABORT whose source is the provider (PS3.8 table 9-26)."""

    NOT_SPECIFIED: Final = 0
    UNRECOGNIZED_PDU: Final = 1
    UNEXPECTED_PDU: Final = 2
    UNRECOGNIZED_PARAMETER: Final = 4
    UNEXPECTED_PARAMETER: Final = 5
    INVALID_PARAMETER_VALUE: Final = 6


class ContextResult:
    """What became of a proposed presentation context (PS3.8 table 9-18)."""

    ACCEPTANCE: Final = 0
    USER_REJECTION: Final = 1
    PROVIDER_REJECTION: Final = 2
    ABSTRACT_SYNTAX_NOT_SUPPORTED: Final = 3
    TRANSFER_SYNTAXES_NOT_SUPPORTED: Final = 4


class ProposedContext(Struct, frozen=True):
    """Presentation context item of a request (PS3.8 9.3.2.2). ``context_id``: odd, 1 to 255."""

    context_id: int
    abstract_syntax: str
    transfer_syntaxes: tuple[str, ...]


class AcceptedContext(Struct, frozen=True):
    """Presentation context item of an answer (PS3.8 9.3.3.2).

    result:           of ``ContextResult``
    transfer_syntax:  means nothing unless the result is acceptance
    """

    context_id: int
    result: int
    transfer_syntax: str


class Role(Struct, frozen=True):
    """Roles of the association-requestor for one SOP class (PS3.7 D.3.3.4)."""

    scu: bool
    scp: bool


class CommonExtended(Struct, frozen=True):
    """SOP Class Common Extended Negotiation (PS3.7 D.3.3.6)."""

    service_class_uid: str
    related: tuple[str, ...] = ()


class UserIdentity(Struct, frozen=True):
    """User identity (PS3.7 D.3.3.7). Its repr shows no secret.

    kind:       1 user name, 2 user name and passcode, 3 Kerberos ticket, 4 SAML assertion, 5 JSON Web Token
    primary:    up to 65,535 bytes, and so is secondary
    secondary:  the passcode of kind 2, else empty
    """

    kind: int
    response_requested: bool
    primary: bytes
    secondary: bytes = b""

    def __repr__(self) -> str:
        return f"UserIdentity(kind={self.kind}, response_requested={self.response_requested})"


class AssociateRequest(Struct, frozen=True, kw_only=True):
    """A-ASSOCIATE-RQ (PS3.8 9.3.2).

    max_pdu_bytes:        what the requestor can receive; 0: no limit, or none stated
    roles, extended, common_extended:  by SOP Class UID
    asynchronous_window:  operations invoked and performed (PS3.7 D.3.3.3); 0 means unlimited
    """

    called_ae: str
    calling_ae: str
    contexts: tuple[ProposedContext, ...]
    max_pdu_bytes: int = 0
    implementation_class_uid: str = ""
    implementation_version_name: str = ""
    roles: dict[str, Role] = field(default_factory=dict)
    extended: dict[str, bytes] = field(default_factory=dict)
    common_extended: dict[str, CommonExtended] = field(default_factory=dict)
    user_identity: UserIdentity | None = None
    asynchronous_window: tuple[int, int] | None = None
    application_context: str = APPLICATION_CONTEXT
    protocol_version: int = PROTOCOL_VERSION


class AssociateAccept(Struct, frozen=True, kw_only=True):
    """A-ASSOCIATE-AC (PS3.8 9.3.3). The AE titles repeat the request's and are not tested.

    user_identity_response:  None: no such sub-item. Its repr is hidden: it may hold a ticket.
    """

    called_ae: str
    calling_ae: str
    contexts: tuple[AcceptedContext, ...]
    max_pdu_bytes: int = 0
    implementation_class_uid: str = ""
    implementation_version_name: str = ""
    roles: dict[str, Role] = field(default_factory=dict)
    extended: dict[str, bytes] = field(default_factory=dict)
    user_identity_response: bytes | None = None
    asynchronous_window: tuple[int, int] | None = None
    application_context: str = APPLICATION_CONTEXT
    protocol_version: int = PROTOCOL_VERSION

    def __repr__(self) -> str:
        return (
            f"AssociateAccept(called_ae={self.called_ae!r}, contexts={self.contexts!r}, roles={self.roles!r})"
        )


class AssociateReject(Struct, frozen=True):
    """A-ASSOCIATE-RJ (PS3.8 table 9-21)."""

    result: int
    source: int
    reason: int


class ReleaseRequest(Struct, frozen=True):
    """A-RELEASE-RQ (PS3.8 9.3.6)."""


class ReleaseReply(Struct, frozen=True):
    """A-RELEASE-RP (PS3.8 9.3.7)."""


class Abort(Struct, frozen=True):
    """A-ABORT (PS3.8 9.3.8).

    source:  0 service user, 2 service provider
    reason:  of ``AbortReason``
    """

    source: int
    reason: int


Pdu = AssociateRequest | AssociateAccept | AssociateReject | ReleaseRequest | ReleaseReply | Abort

REJECTED_PERMANENT: Final = 1
REJECTED_TRANSIENT: Final = 2
NO_REASON_GIVEN: Final = AssociateReject(REJECTED_PERMANENT, 1, 1)
APPLICATION_CONTEXT_NOT_SUPPORTED: Final = AssociateReject(REJECTED_PERMANENT, 1, 2)
CALLING_AE_NOT_RECOGNIZED: Final = AssociateReject(REJECTED_PERMANENT, 1, 3)
CALLED_AE_NOT_RECOGNIZED: Final = AssociateReject(REJECTED_PERMANENT, 1, 7)
PROTOCOL_VERSION_NOT_SUPPORTED: Final = AssociateReject(REJECTED_PERMANENT, 2, 2)
TEMPORARY_CONGESTION: Final = AssociateReject(REJECTED_TRANSIENT, 3, 1)
LOCAL_LIMIT_EXCEEDED: Final = AssociateReject(REJECTED_TRANSIENT, 3, 2)
