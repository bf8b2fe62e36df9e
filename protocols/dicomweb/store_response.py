"""What a Store transaction answers (PS3.18 10.5.3, table I.2-1): what was stored, what was not and why, as DICOM JSON. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec
from msgspec import Struct

PROCESSING_FAILURE: Final = 0x0110
DUPLICATE_INSTANCE: Final = 0x0111
SOP_CLASS_NOT_SUPPORTED: Final = 0x0122
OUT_OF_RESOURCES: Final = 0xA700
CANNOT_UNDERSTAND: Final = 0xC000
TRANSFER_SYNTAX_NOT_SUPPORTED: Final = 0xC122

_RETRIEVE_URL: Final = "00081190"
_REFERENCED: Final = "00081199"
_FAILED: Final = "00081198"
_OTHER_FAILURES: Final = "0008119A"


class StoredInstance(Struct, frozen=True):
    """An instance that is durable here. warning: a status that is not all well; 0: it is"""

    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str
    study_instance_uid: str
    digest: bytes = b""
    warning: int = 0


class NotStored(Struct, frozen=True):
    """Something that is not. reason: a status of PS3.4 B.2.3 or PS3.7 C; the UIDs: empty if it does not say them"""

    sop_class_uid: str
    sop_instance_uid: str
    reason: int


Item = StoredInstance | NotStored


def status_of(items: Sequence[Item]) -> int:
    """200: all is stored; 202: some, or some with warnings; 409: nothing is (PS3.18 table 10.5.3-1)."""
    stored = [item for item in items if isinstance(item, StoredInstance)]
    if not stored:
        return 409
    return 200 if len(stored) == len(items) and not any(item.warning for item in stored) else 202


def report(items: Sequence[Item], service_root: str, study_instance_uid: str = "") -> bytes:
    """The Store Instances Response Module as DICOM JSON.

    What names no instance belongs into Other Failures; it is in the Failed SOP Sequence as well, without UIDs, because
    clients look there only.

    service_root:       what the URLs begin with, such as ``https://host/dicom-web``
    study_instance_uid: the study that the request's path names
    """
    stored = [item for item in items if isinstance(item, StoredInstance)]
    failed = [item for item in items if isinstance(item, NotStored)]
    studies = {item.study_instance_uid for item in stored}
    answer: dict[str, Any] = {}
    if study_instance_uid or len(studies) == 1:
        study = study_instance_uid or next(iter(studies))
        answer[_RETRIEVE_URL] = _value("UR", f"{service_root}/studies/{study}")
    if failed:
        answer[_FAILED] = _sequence([_failure(item) for item in failed])
    if stored:
        answer[_REFERENCED] = _sequence([_success(item, service_root) for item in stored])
    others = [item for item in failed if not item.sop_instance_uid]
    if others:
        answer[_OTHER_FAILURES] = _sequence([{"00081197": _value("US", item.reason)} for item in others])
    return msgspec.json.encode(answer)


def _success(item: StoredInstance, service_root: str) -> dict[str, Any]:
    url = (
        f"{service_root}/studies/{item.study_instance_uid}/series/{item.series_instance_uid}"
        f"/instances/{item.sop_instance_uid}"
    )
    success = {**_reference(item), _RETRIEVE_URL: _value("UR", url)}
    if item.warning:
        success["00081196"] = _value("US", item.warning)
    return dict(sorted(success.items()))


def _failure(item: NotStored) -> dict[str, Any]:
    return {**_reference(item), "00081197": _value("US", item.reason)}


def _reference(item: Item) -> dict[str, Any]:
    pairs = (("00081150", item.sop_class_uid), ("00081155", item.sop_instance_uid))
    return {tag: _value("UI", uid) for tag, uid in pairs if uid}


def _value(vr: str, value: str | int) -> dict[str, Any]:
    return {"vr": vr, "Value": [value]}


def _sequence(items: list[dict[str, Any]]) -> dict[str, Any]:
    return {"vr": "SQ", "Value": items}
