"""What a rule of the alerts finds."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from protocols.messages.live import Severity

NODE: Final = -1


class Finding(Struct, frozen=True):
    """A rule that is met. name: the alert's key; worker: whose it is"""

    name: str
    severity: Severity
    what: str
    detail: str
    worker: int = NODE
