"""What the web front end asks of the rest of the node; the supervisor hands in the real source."""

from __future__ import annotations

from typing import Protocol

from protocols.messages.status import NodeStatus, StudySummary


class StatusSource(Protocol):
    """Where the status comes from."""

    def node(self) -> NodeStatus:
        """The node at this moment. Cheap, never waits: it reads the page that the workers share.

        ``last_studies`` may be empty: the front end fills it in from ``last_studies``.
        """
        ...

    def ready(self) -> tuple[bool, str]:
        """Whether images are accepted and queries answered; why not, or what is missing all the same."""
        ...

    async def last_studies(self) -> tuple[StudySummary, ...]:
        """The studies that were last received, newest first.

        raises: PacsError when the index does not answer
        """
        ...
