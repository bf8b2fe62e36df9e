"""From index entries to the arguments of the batch function: one group per series, one array per column.
Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec
from msgspec import Struct

from pacs_actors.archive.columns import column, limit, name_columns, stored
from pacs_actors.archive.key_values import storable
from protocols.dataset.attributes import BY_TAG, Level
from protocols.dataset.names import fold, groups
from protocols.dataset.record import IndexEntry

PATIENT_ID: Final = 0x00100020
ISSUER: Final = 0x00100021
_SOP_CLASS_UID: Final = 0x00080016
_SOP_INSTANCE_UID: Final = 0x00080018

_TO_JSON: Final = msgspec.json.Encoder().encode
_SQL_JSON: Final = msgspec.json.Decoder(list[dict[str, Any]])
_INSTANCE_TAGS: Final = tuple(attribute.tag for attribute in stored(Level.IMAGE))
_UPPER: Final = tuple(
    (attribute.tag, column(attribute), attribute.vr, limit(attribute.vr))
    for level in (Level.PATIENT, Level.STUDY, Level.SERIES)
    for attribute in stored(level)
)
_UPPER_TAGS: Final = frozenset(tag for tag, *_ in _UPPER)
_STUDY_TAGS: Final = frozenset(attribute.tag for attribute in stored(Level.STUDY))
_PATIENT_TAGS: Final = frozenset(attribute.tag for attribute in stored(Level.PATIENT))
_NAME_COLUMNS: Final = {tag: name_columns(BY_TAG[tag]) for tag, _, vr, _ in _UPPER if vr == "PN"}

# Those of one instance that decide which patient, study and series it belongs to:
# (Study Instance UID, Series Instance UID, Patient ID, Issuer of Patient ID)
GroupKey = tuple[str, str, str, str]


class Batch(Struct, frozen=True):
    """series: the groups; of each, the number of its first entry
    values:    of each group, what its entries say of patient, study and series: the first one's word, completed by the others
    """

    entries: Sequence[IndexEntry]
    series: dict[GroupKey, int]
    values: dict[GroupKey, Mapping[int, str]]
    group_of: list[int]

    def tags(self, key: GroupKey) -> frozenset[int]:
        """What a group says something about."""
        return _UPPER_TAGS & self.values[key].keys()


def group(entries: Sequence[IndexEntry]) -> Batch:
    """Gather entries by series; what the first of each does not say of its patient, study and series, a later one may."""
    series: dict[GroupKey, int] = {}
    said: dict[GroupKey, Mapping[int, str]] = {}
    numbers: dict[GroupKey, int] = {}
    group_of = []
    for number, entry in enumerate(entries):
        scanned = entry.scanned
        values = scanned.values
        key = (
            scanned.study_instance_uid,
            scanned.series_instance_uid,
            values.get(PATIENT_ID, "")[:_IDENTITY_LIMIT],
            values.get(ISSUER, "")[:_IDENTITY_LIMIT],
        )
        place = numbers.get(key)
        if place is None:
            place = numbers[key] = len(numbers) + 1
            series[key] = number
            said[key] = values
        elif not values.keys() <= said[key].keys():
            more = _UPPER_TAGS & (values.keys() - said[key].keys())
            said[key] = {**said[key], **{tag: values[tag] for tag in more}}
        group_of.append(place)
    if len(said) > 1:
        _complete(said, _STUDY_TAGS, lambda key: key[:1])
        _complete(said, _PATIENT_TAGS, lambda key: key[2:] if key[2] else key[:1])
    return Batch(entries, series, said, group_of)


def _complete(
    said: dict[GroupKey, Mapping[int, str]], tags: frozenset[int], row: Callable[[GroupKey], tuple[str, ...]]
) -> None:
    """Let groups that meet in one row of a level complete each other: only the first of them is looked at for it.

    A report that comes with the images of its study, and before them, says little about it.
    """
    known: dict[tuple[str, ...], dict[int, str]] = {}
    for key, values in said.items():
        first = known.setdefault(row(key), {})
        first.update({tag: values[tag] for tag in (tags & values.keys()) - first.keys()})
    for key, values in said.items():
        if lacking := known[row(key)].keys() - values.keys():
            said[key] = {**values, **{tag: known[row(key)][tag] for tag in lacking}}


def arguments(
    batch: Batch, custom: Mapping[int, str], mark: tuple[int, int] | None, *, with_groups: bool
) -> list[object]:
    """The arguments in the order of ``INDEX_FUNCTION``'s parameters.

    custom:      tag -> VR of the attributes indexed besides the built-in ones
    with_groups: send what the entries say about patients, studies and series, too
    """
    entries = batch.entries
    described = None
    if with_groups:
        described = _TO_JSON(
            [_describe(key, values, custom) for key, values in batch.values.items()]
        ).decode()
    keys = list(zip(*batch.series, strict=True))
    values = [entry.scanned.values for entry in entries]
    stored_objects = [entry.stored for entry in entries]
    folders = [folder(each.key) for each in stored_objects]
    own = {
        _SOP_CLASS_UID: [entry.scanned.sop_class_uid for entry in entries],
        _SOP_INSTANCE_UID: [entry.scanned.sop_instance_uid for entry in entries],
    }
    columns: list[list[Any]] = [
        own.get(tag) or [each.get(tag, "") for each in values] for tag in _INSTANCE_TAGS
    ]
    columns += [
        [entry.scanned.transfer_syntax_uid for entry in entries],
        [entry.scanned.character_set for entry in entries],
        [each.key for each in stored_objects],
        [slot for slot, _ in folders],
        [number for _, number in folders],
        [each.size_bytes for each in stored_objects],
        [each.data_offset for each in stored_objects],
        [each.digest for each in stored_objects],
        [each.source for each in stored_objects],
        [_custom_json(each, custom) for each in values],
        [each.received_ns for each in stored_objects],
    ]
    # Encoding an argument costs by the value; most columns hold one value throughout.
    short = [column[:1] if column.count(column[0]) == len(column) else column for column in columns]
    return [described, *map(list, keys), batch.group_of, *short, *(mark or (None, None))]


def folder(key: str) -> tuple[int, int]:
    """(slot, batch folder) of an object key ``slot/batch/hash.dcm``; the batch is written in hexadecimal."""
    slot, batch, _ = key.split("/", 2)
    return int(slot), int(batch, 16)


def cleaned(entry: IndexEntry) -> IndexEntry:
    """The entry without what PostgreSQL's text cannot hold: NUL and lone surrogates."""
    scanned = entry.scanned
    return IndexEntry(
        msgspec.structs.replace(
            scanned,
            character_set=storable(scanned.character_set),
            values={tag: storable(value) for tag, value in scanned.values.items()},
        ),
        msgspec.structs.replace(entry.stored, source=storable(entry.stored.source)),
    )


_IDENTITY_LIMIT: Final = limit("LO")


def _describe(key: GroupKey, values: Mapping[int, str], custom: Mapping[int, str]) -> dict[str, object]:
    described: dict[str, object] = {}
    for tag, name, vr, most in _UPPER:
        value = values.get(tag)
        if not value:
            continue
        if vr == "SQ":
            described[name] = _items(value)
            continue
        described[name] = value[:most]
        if vr == "PN":
            described.update(zip(_NAME_COLUMNS[tag], _folded(value), strict=True))
    study, series, patient_id, issuer = key
    described["study_instance_uid"], described["series_instance_uid"] = study, series
    described["patient_id"], described["issuer_of_patient_id"] = patient_id, issuer
    described["only_study"] = "" if patient_id else study
    if custom:
        described["custom"] = {f"{tag:08X}": values[tag] for tag in custom if tag in values}
    return described


def _folded(name: str) -> list[str]:
    most = limit("PN")
    return ["\\".join(fold(value)[:most] for value in each.split("\\"))[:most] for each in groups(name)]


def _items(text: str) -> list[dict[str, Any]] | None:
    """A sequence in the DICOM JSON model; None if it is none, so that one odd value cannot stop a batch."""
    if "\\u0000" in text:
        return None
    try:
        return _SQL_JSON.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return None


def _custom_json(values: Mapping[int, str], custom: Mapping[int, str]) -> str:
    found = {f"{tag:08X}": values[tag] for tag in custom if tag in values}
    return _TO_JSON(found).decode() if found else ""
