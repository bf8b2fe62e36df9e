"""What can go wrong between us and a peer that we called, as facts and as a sentence that says what to do."""

from __future__ import annotations

from typing import Final

from pacs_actors.dicom.wire import PeerGone, PeerSilent
from protocols.dimse.status import StatusKind, kind_of, name_of
from protocols.errors import PacsError, PeerError
from protocols.uid_names import name_of as uid_name

_RESULTS: Final = {1: "for good", 2: "for now"}
_REASONS: Final[dict[tuple[int, int], str]] = {
    (1, 1): "no reason given",
    (1, 2): "application context not supported",
    (1, 3): "it does not know our calling AE title",
    (1, 7): "it does not answer to this called AE title",
    (2, 1): "no reason given by its upper layer",
    (2, 2): "protocol version not supported",
    (3, 1): "temporary congestion",
    (3, 2): "its limit of associations is reached",
}
_ADVICE: Final[dict[tuple[int, int], str]] = {
    (1, 3): "register our AE title there, or use one that it knows",
    (1, 7): "check the called AE title",
    (3, 1): "try again later",
    (3, 2): "try again later, or with fewer associations",
}
_ABORT_REASONS: Final = {
    0: "no reason given",
    1: "it did not recognise a PDU",
    2: "it did not expect a PDU",
    4: "it did not recognise a PDU parameter",
    5: "it did not expect a PDU parameter",
    6: "a PDU parameter had an invalid value",
}


class AssociationRejected(PacsError):
    """A-ASSOCIATE-RJ. ``result``, ``source``, ``reason``: PS3.8 table 9-21."""

    def __init__(self, result: int, source: int, reason: int) -> None:
        super().__init__(result, source, reason)
        self.result, self.source, self.reason = result, source, reason

    @property
    def is_transient(self) -> bool:
        """True if the same request may be accepted later."""
        return self.result == 2

    def __str__(self) -> str:
        why = _REASONS.get((self.source, self.reason), f"source {self.source}, reason {self.reason}")
        advice = _ADVICE.get((self.source, self.reason))
        sentence = f"the peer rejected the association {_RESULTS.get(self.result, 'somehow')}: {why}"
        return f"{sentence}; {advice}" if advice else sentence


class AssociationAborted(PacsError):
    """A-ABORT. ``source``: 0 the peer's application, 2 its upper layer; ``reason``: PS3.8 table 9-26."""

    def __init__(self, source: int, reason: int) -> None:
        super().__init__(source, reason)
        self.source, self.reason = source, reason

    def __str__(self) -> str:
        if self.source == 0:
            return "the peer's application aborted the association"
        why = _ABORT_REASONS.get(self.reason, f"reason {self.reason}")
        return f"the peer's upper layer aborted the association: {why}"


class AssociationOver(PacsError):
    """The association has ended; open a new one.

    why:  what ended it
    """

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why

    def __str__(self) -> str:
        return f"the association has ended: {self.why}"


ASSOCIATION_ERRORS: Final = (
    AssociationRejected,
    AssociationAborted,
    AssociationOver,
    PeerError,
    PeerGone,
    PeerSilent,
)
"""What keeps an association from being opened, or ends it. For ``except``."""


class ContextNotAccepted(PacsError):
    """The peer accepted no presentation context for this.

    transfer_syntax_uid:  None if any of the proposed ones would have done
    """

    def __init__(self, sop_class_uid: str, transfer_syntax_uid: str | None = None) -> None:
        super().__init__(sop_class_uid, transfer_syntax_uid)
        self.sop_class_uid, self.transfer_syntax_uid = sop_class_uid, transfer_syntax_uid

    def __str__(self) -> str:
        syntax = f" in {_named(self.transfer_syntax_uid)}" if self.transfer_syntax_uid else ""
        return f"the peer does not take {_named(self.sop_class_uid)}{syntax}"


class RequestFailed(PacsError):
    """A request was answered with a failure status.

    command_field:  of the request
    comment:        the peer's Error Comment (0000,0902), empty if it gave none
    """

    def __init__(self, command_field: int, status: int, comment: str = "") -> None:
        super().__init__(command_field, status, comment)
        self.command_field, self.status, self.comment = command_field, status, comment

    @property
    def kind(self) -> StatusKind:
        return kind_of(self.status)

    def __str__(self) -> str:
        return status_words(self.status, self.command_field, self.comment)


def _named(uid: str) -> str:
    """A UID with its name in PS3.6, if it has one."""
    name = uid_name(uid)
    return f"{name.partition(':')[0]} ({uid})" if name != uid else uid


def status_words(status: int, command_field: int, comment: str = "") -> str:
    """A status as words, its number, and what the peer says about it."""
    words = f"{name_of(status, command_field)} ({status:04X}H)"
    return f"{words}: {comment}" if comment else words
