"""An instance as the bytes that go on the wire, made before the clock runs.

A stream has a short head (command set and first PDU of the data set; each association has its own copy) and a
long tail, shared by all. Per instance only values of fixed width in the head are overwritten.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from bench import wire
from bench.population import Run, Study
from bench.templates import (
    ACCESSION,
    INSTANCE_NUMBER,
    PATIENT_ID,
    PATIENT_NAME,
    PLACEHOLDERS,
    SERIES_UID,
    SOP_INSTANCE,
    STUDY_DATE,
    STUDY_UID,
    Template,
)


@dataclass(slots=True)
class Stream:
    """One C-STORE-RQ with its data set, ready for one sendmsg of ``head`` and ``tail``.

    offsets:         attribute -> position in ``head``
    command_uid_at:  position of the Affected SOP Instance UID in ``head``
    message_id_at:   position of the Message ID in ``head``
    size_bytes:      of the data set
    """

    head: bytearray
    tail: memoryview
    offsets: dict[int, int]
    command_uid_at: int
    message_id_at: int
    size_bytes: int

    def copy(self) -> Stream:
        """A stream for another association: own head, same tail."""
        return Stream(
            bytearray(self.head),
            self.tail,
            self.offsets,
            self.command_uid_at,
            self.message_id_at,
            self.size_bytes,
        )

    def _put(self, tag: int, value: str, fill: str = " ") -> None:
        width = len(PLACEHOLDERS[tag])
        raw = value.ljust(width, fill).encode("latin-1")
        if len(raw) != width:
            raise ValueError(f"{tag:08X}: {len(raw)} bytes do not fit in {width}")
        at = self.offsets[tag]
        self.head[at : at + width] = raw

    def begin_study(self, study: Study) -> None:
        """Overwrite what all instances of a study share."""
        self._put(STUDY_UID, study.study_uid, "\0")
        self._put(SERIES_UID, study.series_uid, "\0")
        self._put(PATIENT_ID, study.patient_id)
        self._put(PATIENT_NAME, study.patient_name)
        self._put(STUDY_DATE, study.study_date)
        self._put(ACCESSION, study.accession_number)

    def begin_instance(self, run: Run, study: Study, number: int, message_id: int) -> None:
        """Overwrite what is the instance's own. number: from 1; message_id: 1 to 65535."""
        uid = run.instance_uid(study.number, number)
        self._put(SOP_INSTANCE, uid, "\0")
        self._put(INSTANCE_NUMBER, f"{number:08d}")
        self.head[self.command_uid_at : self.command_uid_at + len(uid)] = uid.encode()
        struct.pack_into("<H", self.head, self.message_id_at, message_id)


def build(template: Template, context_id: int, max_pdu_bytes: int) -> Stream:
    """Cut a template into P-DATA-TF PDUs for a peer.

    max_pdu_bytes: what the peer takes, 0 for any
    raises:        PeerFailed if the header does not fit in one PDU of that peer
    """
    command = wire.command_set(
        {
            wire.AFFECTED_CLASS: template.sop_class_uid,
            wire.COMMAND_FIELD: wire.C_STORE,
            wire.MESSAGE_ID: 1,
            wire.PRIORITY: 0,
            wire.DATA_SET_TYPE: wire.DATA_SET,
            wire.AFFECTED_INSTANCE: PLACEHOLDERS[SOP_INSTANCE],
        }
    )
    room = wire.fragment_bytes(max_pdu_bytes)
    if template.header_bytes > room:
        raise wire.PeerFailed(
            f"the peer's PDUs of {room} bytes cannot hold a header of {template.header_bytes}"
        )
    request = wire.p_data(context_id, command, command=True, max_pdu_bytes=max_pdu_bytes)
    data = wire.p_data(context_id, template.data, command=False, max_pdu_bytes=max_pdu_bytes)
    first = 12 + min(room, len(template.data))
    message_id = struct.pack("<HHIH", 0, wire.MESSAGE_ID, 2, 1)
    return Stream(
        head=bytearray(request + data[:first]),
        tail=memoryview(data)[first:],
        offsets={tag: len(request) + 12 + at for tag, at in template.offsets.items()},
        command_uid_at=request.index(PLACEHOLDERS[SOP_INSTANCE].encode()),
        message_id_at=request.index(message_id) + 8,
        size_bytes=len(template.data),
    )
