"""Counting the C-STORE sub-operations of a C-MOVE or C-GET (PS3.7 9.1.3.1, 9.1.4.1; PS3.4 C.4.2, C.4.3)."""

from __future__ import annotations

from typing import Final

from protocols.dimse.commands import DATA_SET, NO_DATA_SET, Command

SUCCESS: Final = 0x0000
WARNING_FAILURES: Final = 0xB000
OUT_OF_RESOURCES_SUB_OPERATIONS: Final = 0xA702
CANCELLED: Final = 0xFE00
PENDING: Final = 0xFF00
DUPLICATE_SOP_INSTANCE: Final = 0x0111

_LARGEST_COUNT: Final = 0xFFFF
_MOST_FAILED_UIDS: Final = 1008  # of 64 characters are what a value with a 16-bit length holds (PS3.5 7.1.2)


class SubOperations:
    """How far a retrieval is.

    total:  instances to send
    """

    def __init__(self, total: int) -> None:
        self.remaining = total
        self.completed = self.failed = self.warning = 0
        self.failed_uids: list[str] = []

    def count(self, sop_instance_uid: str, status: int) -> None:
        """One sub-operation ended with this C-STORE status. A duplicate is a warning: the peer has the instance."""
        self.remaining -= 1
        if status == SUCCESS:
            self.completed += 1
        elif status & 0xF000 == 0xB000 or status in (DUPLICATE_SOP_INSTANCE, 0x0001, 0x0107, 0x0116):
            self.warning += 1
        else:
            self.fail(sop_instance_uid)

    def fail(self, sop_instance_uid: str) -> None:
        """Note a failure that ``count`` has not been told of as remaining."""
        self.failed += 1
        if len(self.failed_uids) < _MOST_FAILED_UIDS:
            self.failed_uids.append(sop_instance_uid)

    def give_up(self, sop_instance_uids: list[str]) -> None:
        """Everything that was still to come fails: the sub-association is gone."""
        for uid in sop_instance_uids:
            self.remaining -= 1
            self.fail(uid)

    def response(self, request: Command, response_field: int, status: int) -> Command:
        """A pending or final response. The final one omits Remaining, except on cancel; counts above 65,535 are capped."""
        with_remaining = status in (PENDING, CANCELLED)
        return Command(
            command_field=response_field,
            message_id_responded_to=request.message_id,
            affected_sop_class_uid=request.affected_sop_class_uid,
            status=status,
            remaining=min(self.remaining, _LARGEST_COUNT) if with_remaining else None,
            completed=min(self.completed, _LARGEST_COUNT),
            failed=min(self.failed, _LARGEST_COUNT),
            warning=min(self.warning, _LARGEST_COUNT),
            data_set_type=DATA_SET if status != PENDING and self.failed_uids else NO_DATA_SET,
        )

    def final_status(self) -> int:
        """Success; B000H when some failed or were stored with warnings; A702H when all failed."""
        if self.failed and not self.completed and not self.warning:
            return OUT_OF_RESOURCES_SUB_OPERATIONS
        return WARNING_FAILURES if self.failed or self.warning else SUCCESS
