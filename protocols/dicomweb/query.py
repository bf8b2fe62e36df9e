"""Search requests of QIDO-RS (PS3.18 8.3.4 and 10.6): what a query string asks for, and what an answer holds. Pure.

Parameters that are no attributes are ignored; so is, with a warning, an attribute that cannot be matched at the level asked
for: an answer that is too long is better than none.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

from msgspec import Struct, field

from protocols.dataset.attributes import BY_TAG, INDEXED, SPECIFIC_CHARACTER_SET, Level
from protocols.dataset.dictionaries import DicomDictionary, tags_by_keyword
from protocols.dataset.transfer_syntax import dictionary_vr
from protocols.errors import BadIdentifier

STUDY_INSTANCE_UID: Final = 0x0020000D
SERIES_INSTANCE_UID: Final = 0x0020000E
SOP_INSTANCE_UID: Final = 0x00080018
MODALITY: Final = 0x00080060
MODALITIES_IN_STUDY: Final = 0x00080061
RETRIEVE_URL: Final = 0x00081190
INSTANCE_AVAILABILITY: Final = 0x00080056
TIMEZONE_OFFSET: Final = 0x00080201

# Known, and never matched: what we make ourselves, and the time zone of a request, which is no filter.
UNMATCHED: Final = frozenset(
    {SPECIFIC_CHARACTER_SET, RETRIEVE_URL, INSTANCE_AVAILABILITY, TIMEZONE_OFFSET, 0x00080054}
)

_LEVELS: Final = (Level.PATIENT, Level.STUDY, Level.SERIES, Level.IMAGE)
_UID: Final = {
    Level.STUDY: STUDY_INSTANCE_UID, Level.SERIES: SERIES_INSTANCE_UID, Level.IMAGE: SOP_INSTANCE_UID,
}  # fmt: skip
_TAG: Final = re.compile(r"[0-9A-Fa-f]{8}", re.ASCII)
_NUMBER: Final = re.compile(r"[0-9]{1,15}", re.ASCII)
_MAX_DEPTH: Final = 8

# What each level is answered with unasked (PS3.18 tables 10.6.3-3 to 10.6.3-5, and the study's description).
DEFAULTS: Final[Mapping[Level, tuple[int, ...]]] = {
    Level.STUDY: (
        0x00080020, 0x00080030, 0x00080050, 0x00080061, 0x00080090, 0x00081030, 0x00100010, 0x00100020,
        0x00100030, 0x00100040, 0x0020000D, 0x00200010, 0x00201206, 0x00201208,
    ),
    Level.SERIES: (
        0x00080060, 0x0008103E, 0x0020000E, 0x00200011, 0x00201209, 0x00400244, 0x00400245, 0x00400275,
    ),
    Level.IMAGE: (
        0x00080016, 0x00080018, 0x00200013, 0x00280008, 0x00280010, 0x00280011, 0x00280100,
    ),
}  # fmt: skip


class Search(Struct, frozen=True):
    """A search request.

    level:     of what is looked for: STUDY, SERIES or IMAGE
    keys:      tag -> text to match, lists separated by backslashes; "" asks for the attribute
    sequences: tag -> the keys of its one item
    fields:    tags asked for beside the keys
    whole:     all attributes that there are
    limit:     results wanted at most; None: not said
    ignored:   attributes that are keys of the request and are not matched, by keyword or tag
    nothing:   the keys contradict the path: there can be no match
    """

    level: Level
    keys: dict[int, str] = field(default_factory=dict)
    sequences: dict[int, dict[int, str]] = field(default_factory=dict)
    fields: tuple[int, ...] = ()
    whole: bool = False
    fuzzy: bool = False
    limit: int | None = None
    offset: int = 0
    ignored: tuple[str, ...] = ()
    nothing: bool = False


def parse_search(
    level: Level,
    parameters: Iterable[tuple[str, str]],
    *,
    path: Mapping[int, str],
    custom: Mapping[int, str],
) -> Search:
    """Read a query string.

    parameters: (name, value) pairs, percent-decoded
    path:       tags of the UIDs in the path
    custom:     tag -> VR of the attributes that are indexed besides the built-in ones
    raises:     BadIdentifier for a limit or offset that is no number
    """
    parser = _Parser(level, custom)
    for name, value in parameters:
        parser.add(name, value)
    return parser.search(path)


def returned(search: Search, path: Mapping[int, str], custom: Mapping[int, str]) -> tuple[int, ...]:
    """Tags of the attributes in the answer, apart from what is the same in each.

    Levels above that the path does not name are answered too (relational queries, PS3.18 10.6.3.3).
    """
    place = _LEVELS.index(search.level)
    if search.whole:
        tags = [each.tag for each in INDEXED if _LEVELS.index(each.level) <= place]
        return tuple(dict.fromkeys([*tags, *custom]))
    tags = []
    for level in _LEVELS[1 : place + 1]:
        if level is search.level or _UID[level] not in path:
            tags += DEFAULTS[level]
        else:
            tags.append(_UID[level])
    tags += [*search.keys, *search.sequences, *search.fields]
    return tuple(tag for tag in dict.fromkeys(tags) if _is_known(tag, place, custom))


def tag_of(name: str) -> int | None:
    """The tag that a keyword, or 8 hexadecimal digits, stands for."""
    if _TAG.fullmatch(name):
        return int(name, 16)
    return tags_by_keyword().get(name)


class _Parser:
    def __init__(self, level: Level, custom: Mapping[int, str]) -> None:
        self._level, self._place, self._custom = level, _LEVELS.index(level), custom
        self._keys: dict[int, str] = {}
        self._sequences: dict[int, dict[int, str]] = {}
        self._fields: dict[int, None] = {}
        self._ignored: dict[str, None] = {}
        self._limit: int | None = None
        self._offset = 0
        self._whole = self._fuzzy = False

    def add(self, name: str, value: str) -> None:
        match name:
            case "limit":
                self._limit = _number(name, value)
            case "offset":
                self._offset = _number(name, value) or 0
            case "fuzzymatching":
                self._fuzzy = value.strip().lower() in ("true", "1")
            case "includefield":
                for each in value.split(","):
                    self._include(each.strip())
            case _:
                self._key(name, value)

    def search(self, path: Mapping[int, str]) -> Search:
        nothing = False
        for tag, uid in path.items():
            asked = self._keys.get(tag, "")
            nothing = nothing or (asked.strip(" *") != "" and uid not in asked.split("\\"))
            self._keys[tag] = uid
        return Search(
            self._level, self._keys, self._sequences, tuple(self._fields), self._whole, self._fuzzy,
            self._limit, self._offset, tuple(self._ignored), nothing,
        )  # fmt: skip

    def _include(self, name: str) -> None:
        if name.lower() == "all":
            self._whole = True
            return
        tag = tag_of(name.partition(".")[0])
        if tag is not None:
            self._fields[tag] = None

    def _key(self, name: str, value: str) -> None:
        tags = [tag_of(part) for part in name.split(".", _MAX_DEPTH)]
        if None in tags:
            return
        first, *below = (tag for tag in tags if tag is not None)
        if below:
            self._item_key(first, below, value)
            return
        if first == MODALITY and self._level is Level.STUDY:
            first = MODALITIES_IN_STUDY  # nothing else can be meant
        if first in UNMATCHED:
            self._fields[first] = None
        elif not _is_known(first, self._place, self._custom) or self._vr(first) == "SQ":
            self._ignore(first, value)
        else:
            asked = _values(self._vr(first), value)
            known = self._keys.get(first)
            self._keys[first] = f"{known}\\{asked}" if known and asked else known or asked

    def _item_key(self, sequence: int, below: list[int], value: str) -> None:
        if len(below) > 1 or self._vr(sequence) != "SQ" or not _is_known(sequence, self._place, {}):
            self._ignore(sequence, value)
            return
        self._sequences.setdefault(sequence, {})[below[0]] = _values(dictionary_vr(below[0]), value)

    def _ignore(self, tag: int, value: str) -> None:
        if value.strip(" *"):
            entry = DicomDictionary.get(tag)
            self._ignored[str(entry[4]) if entry is not None and entry[4] else f"{tag:08X}"] = None

    def _vr(self, tag: int) -> str:
        attribute = BY_TAG.get(tag)
        return attribute.vr if attribute is not None else self._custom.get(tag) or dictionary_vr(tag)


def _is_known(tag: int, place: int, custom: Mapping[int, str]) -> bool:
    attribute = BY_TAG.get(tag)
    return tag in custom if attribute is None else _LEVELS.index(attribute.level) <= place


def _values(vr: str, value: str) -> str:
    """A comma separates UIDs (PS3.18 8.3.4.1); a code string cannot hold one, so there it separates as well."""
    return value.replace(",", "\\") if vr in ("UI", "CS") else value


def _number(name: str, value: str) -> int | None:
    text = value.strip()
    if not text:
        return None
    if not _NUMBER.fullmatch(text):
        raise BadIdentifier(f"The parameter {name} is a number from 0 on.")
    return int(text)
