"""Index entries for tests, made of small numbers."""

from __future__ import annotations

import hashlib

from protocols.dataset.record import IndexEntry, ScannedInstance, StoredObject

CT, MR = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4"
EXPLICIT = "1.2.840.10008.1.2.1"


def entry(
    instance: int,
    *,
    series: int = 1,
    study: int = 1,
    patient: str = "P1",
    content: str = "",
    copy: int = 0,
    sop_class: str = CT,
    slot: int = 0,
    batch: int = 1,
    **values: str,
) -> IndexEntry:
    """content: makes other bytes of the same instance; copy: another object of it; t00100010: a value."""
    uid = f"1.2.3.{study}.{series}.{instance}"
    modality = {CT: "CT", MR: "MR"}.get(sop_class, "OT")
    defaults = {
        0x00100020: patient, 0x00100010: f"Name^{patient}", 0x00080060: modality, 0x00200013: str(instance),
        0x00200011: str(series), 0x00080020: "20240102", 0x00080030: "101530",
    }  # fmt: skip
    given = {int(name[1:], 16): value for name, value in values.items()}
    found = {tag: value for tag, value in (defaults | given).items() if value}
    digest = hashlib.md5(f"{uid} {content}".encode()).digest()
    name = hashlib.md5(f"{uid} {content} {copy}".encode()).hexdigest()
    return IndexEntry(
        ScannedInstance(
            sop_class, uid, f"1.2.3.{study}", f"1.2.3.{study}.{series}", EXPLICIT, "ISO_IR 100", found
        ),
        StoredObject(
            f"{slot}/{batch:08x}/{name}.dcm",
            1000 + len(content),
            400,
            digest,
            1_700_000_000_123_456_789,
            "MODALITY",
        ),
    )
