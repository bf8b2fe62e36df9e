"""What the storage commitment service takes and gives as DICOM JSON (PS3.18 chapter 13 and annex J). Pure.

Instances are referenced either one by one (Referenced SOP Sequence) or by study and series (Referenced Study Sequence); the answer
has the form of the request.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import msgspec
from msgspec import Struct

from protocols.dimse.commitment import MOST_REFERENCES, CommitmentResult, Reference
from protocols.errors import CannotUnderstand

_REFERENCED: Final = "00081199"
_FAILED: Final = "00081198"
_REASON: Final = "00081197"
_STUDIES: Final = "00081110"
_FAILED_STUDIES: Final = "0008119B"
_SERIES: Final = "00081115"
_BY_CLASS: Final = "00081112"
_INSTANCES: Final = "0008114A"
_SOP_CLASS, _SOP_INSTANCE = "00081150", "00081155"
_STUDY_UID, _SERIES_UID = "0020000D", "0020000E"

Item = Mapping[str, Any]


class Asked(Struct, frozen=True):
    """places: (study, series) of each reference that was asked for so; empty: they were asked for one by one"""

    references: tuple[Reference, ...]
    places: dict[Reference, tuple[str, str]]


def read_request(text: bytes) -> Asked:
    """raises: CannotUnderstand"""
    try:
        data_set = msgspec.json.decode(text, type=dict[str, Any] | list[dict[str, Any]])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise CannotUnderstand(f"this is no DICOM JSON: {error}") from None
    if isinstance(data_set, list):
        if len(data_set) != 1:
            raise CannotUnderstand("one data set is wanted")
        data_set = data_set[0]
    places: dict[Reference, tuple[str, str]] = {}
    references = [
        Reference(_uid(item, _SOP_CLASS), _uid(item, _SOP_INSTANCE)) for item in _items(data_set, _REFERENCED)
    ]
    if not references:
        for study, series, reference in _by_study(data_set):
            references.append(reference)
            places[reference] = study, series
    if not 0 < len(references) <= MOST_REFERENCES:
        raise CannotUnderstand(f"{len(references)} references")
    return Asked(tuple(references), places)


def _by_study(data_set: Item) -> Iterator[tuple[str, str, Reference]]:
    for study in _items(data_set, _STUDIES):
        for series in _items(study, _SERIES):
            for each in _items(series, _BY_CLASS):
                for instance in _items(each, _INSTANCES):
                    reference = Reference(_uid(each, _SOP_CLASS), _uid(instance, _SOP_INSTANCE))
                    yield _uid(study, _STUDY_UID), _uid(series, _SERIES_UID), reference


def _items(data_set: Item, tag: str) -> list[Item]:
    attribute = data_set.get(tag) or {}
    values = attribute.get("Value", []) if isinstance(attribute, dict) else None
    if not isinstance(values, list) or not all(isinstance(value, dict) for value in values):
        raise CannotUnderstand(f"{tag} is no sequence")
    return values


def _uid(item: Item, tag: str) -> str:
    attribute = item.get(tag)
    values = attribute.get("Value") if isinstance(attribute, dict) else None
    if not isinstance(values, list) or len(values) != 1 or not isinstance(values[0], str):
        raise CannotUnderstand(f"{tag} is not one UID")
    if not 0 < len(values[0]) <= 64 or "\0" in values[0]:
        raise CannotUnderstand(f"{tag} is no UID")
    return values[0]


def response(asked: Asked, result: CommitmentResult) -> bytes:
    """The Storage Commitment Response Module (PS3.18 table J.2-1)."""
    committed = [(one, None) for one in result.committed]
    failed = [(Reference(one.sop_class_uid, one.sop_instance_uid), one.reason) for one in result.failed]
    answer: dict[str, Any] = {}
    if not asked.places:
        for tag, outcomes in ((_FAILED, failed), (_REFERENCED, committed)):
            if outcomes:
                items = [_class(one) | _instance(one, reason) for one, reason in outcomes]
                answer[tag] = _sequence(items)
        return msgspec.json.encode(answer)
    for tag, outcomes in ((_STUDIES, committed), (_FAILED_STUDIES, failed)):
        if outcomes:
            answer[tag] = _sequence(_nested(asked, outcomes))
    return msgspec.json.encode(answer)


def _nested(asked: Asked, outcomes: Iterable[tuple[Reference, int | None]]) -> list[dict[str, Any]]:
    tree: dict[str, dict[str, dict[str, list[dict[str, Any]]]]] = {}
    for one, reason in outcomes:
        study, series = asked.places[one]
        classes = tree.setdefault(study, {}).setdefault(series, {})
        classes.setdefault(one.sop_class_uid, []).append(_instance(one, reason))
    return [
        {
            _SERIES: _sequence(
                [
                    {
                        _BY_CLASS: _sequence(
                            [
                                {_INSTANCES: _sequence(instances), _SOP_CLASS: _ui(sop_class)}
                                for sop_class, instances in classes.items()
                            ]
                        ),
                        _SERIES_UID: _ui(series),
                    }
                    for series, classes in all_series.items()
                ]
            ),
            _STUDY_UID: _ui(study),
        }
        for study, all_series in tree.items()
    ]


def _class(one: Reference) -> dict[str, Any]:
    return {_SOP_CLASS: _ui(one.sop_class_uid)}


def _instance(one: Reference, reason: int | None) -> dict[str, Any]:
    instance = {_SOP_INSTANCE: _ui(one.sop_instance_uid)}
    return instance if reason is None else {**instance, _REASON: {"vr": "US", "Value": [reason]}}


def _ui(uid: str) -> dict[str, Any]:
    return {"vr": "UI", "Value": [uid]}


def _sequence(items: list[dict[str, Any]]) -> dict[str, Any]:
    return {"vr": "SQ", "Value": items}
