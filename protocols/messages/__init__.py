"""What actors say to each other: plain data, a file per wing.

A request is an order (``StoreObject``), an event is a fact (``InstanceStored``). Bodies never ride in mailboxes: a message
names a staged or stored object.
"""

from __future__ import annotations

from typing import Generic, TypeVar

from msgspec import Struct

R_co = TypeVar("R_co", covariant=True)


class Message(Struct, frozen=True):
    """Anything that a mailbox carries."""


class Ask(Message, Generic[R_co], frozen=True):
    """Answered with an ``R_co``."""
