"""Extended negotiation of the Query/Retrieve service (PS3.4 C.5)."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from protocols.ul.sop_classes import FIND, GET, MOVE

_MAX_QUERY_OPTIONS: Final = 7
"""Fields of PS3.4 table C.5-2."""


class QuerySupport(Struct, frozen=True):
    """Options of the Query/Retrieve service that we really do (PS3.4 C.5.1.1, C.5.2.1, C.5.3.1)."""

    relational: bool = False
    combined_datetime: bool = False
    fuzzy: bool = False
    timezone: bool = False

    @classmethod
    def agreed(cls, reply: bytes) -> QuerySupport:
        """What a reply promised: of ``Negotiated.extended``, where a C-FIND finds what it may do."""
        return cls(*(byte == 1 for byte in reply[: len(cls.__struct_fields__)]))

    def reply(self, sop_class_uid: str, requested: bytes) -> bytes | None:
        """What was asked for and is done, as many bytes as were asked; None: no reply."""
        if sop_class_uid in FIND:
            done: tuple[bool, ...] = (self.relational, self.combined_datetime, self.fuzzy, self.timezone)
        elif sop_class_uid in MOVE or sop_class_uid in GET:
            done = (self.relational,)
        else:
            return None
        asked = requested[:_MAX_QUERY_OPTIONS]
        return bytes(
            byte == 1 and position < len(done) and done[position] for position, byte in enumerate(asked)
        )
