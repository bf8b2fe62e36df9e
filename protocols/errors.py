"""What can go wrong, by who has to act on it.

Attributes carry the facts; ``__str__`` composes the sentence. Edges (DIMSE, HTTP, command line) translate in one file each.
"""

from __future__ import annotations


class PacsError(Exception):
    """Expected. The asker hears it and the actor that raised it lives on."""


class PeerError(PacsError):
    """The peer broke the standard.

    section:       where the standard says so, for example "PS3.8 9.3.2"
    abort_reason:  reason field of the A-ABORT to send (PS3.8 table 9-26)
    """

    def __init__(self, what: str, *, section: str, abort_reason: int = 0) -> None:
        super().__init__(what, section, abort_reason)
        self.what, self.section, self.abort_reason = what, section, abort_reason

    def __str__(self) -> str:
        return f"{self.what} ({self.section})"


class Refusal(PacsError):
    """We say no, for a reason that the asker can act on.

    dimse_status:  PS3.7 annex C or the service's own table in PS3.4
    http_status:   what the same refusal is over HTTP
    """

    def __init__(self, what: str, *, dimse_status: int, http_status: int) -> None:
        super().__init__(what, dimse_status, http_status)
        self.what, self.dimse_status, self.http_status = what, dimse_status, http_status

    def __str__(self) -> str:
        return self.what


class OutOfResources(Refusal):
    """A700H / 507: no space, no index backlog left, the node is read-only."""

    def __init__(self, what: str) -> None:
        super().__init__(what, dimse_status=0xA700, http_status=507)


class DataSetMismatch(Refusal):
    """A900H / 409: the data set is not what the command set said it was."""

    def __init__(self, what: str) -> None:
        super().__init__(what, dimse_status=0xA900, http_status=409)


class CannotUnderstand(Refusal):
    """C000H / 400: the data set cannot be parsed within our limits."""

    def __init__(self, what: str) -> None:
        super().__init__(what, dimse_status=0xC000, http_status=400)


class BadIdentifier(Refusal):
    """A900H / 400: a query or retrieve identifier breaks its SOP class (PS3.4 C.4)."""

    def __init__(self, what: str) -> None:
        super().__init__(what, dimse_status=0xA900, http_status=400)


class Unavailable(PacsError):
    """Not now: ask again later."""

    retry_after_s: int = 2


class ConfigError(PacsError):
    """A setting is wrong; the text begins with its key path."""


class Misuse(Exception):
    """Our own bug: crash, restart, alert."""
