"""Keys on the command line: ``-k PatientName='SMI*'``, for find, move and get."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import Any, Final

from protocols.errors import ConfigError

LEVELS: Final = ("PATIENT", "STUDY", "SERIES", "IMAGE")
_UNIQUE_KEYS: Final = (
    ("SOPInstanceUID", "IMAGE"),
    ("SeriesInstanceUID", "SERIES"),
    ("StudyInstanceUID", "STUDY"),
    ("PatientID", "PATIENT"),
)
RETURNED: Final[dict[str, tuple[str, ...]]] = {
    "PATIENT": ("PatientID", "PatientName", "PatientBirthDate", "PatientSex"),
    "STUDY": (
        "PatientID", "PatientName", "StudyDate", "StudyTime", "AccessionNumber", "ModalitiesInStudy",
        "StudyDescription", "NumberOfStudyRelatedInstances", "StudyInstanceUID",
    ),
    "SERIES": (
        "Modality", "SeriesNumber", "SeriesDescription", "NumberOfSeriesRelatedInstances", "StudyInstanceUID",
        "SeriesInstanceUID",
    ),
    "IMAGE": ("InstanceNumber", "SOPClassUID", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"),
}  # fmt: skip
"""What is asked to be returned besides the keys given."""


def add_key_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-k",
        dest="keys",
        metavar="KEY[=VALUE]",
        action="append",
        default=[],
        help="attribute to match, by keyword or tag; without a value it is only returned. Wildcards * and ?, "
        "ranges 20240101-20241231, lists a\\b. Repeat for more; inside a sequence: Sequence.Key=VALUE",
    )
    parser.add_argument(
        "--root",
        choices=("study", "patient"),
        default="study",
        help="information model (default: %(default)s)",
    )
    parser.add_argument("--level", choices=LEVELS, help="default: STUDY, or that of the unique key given")


def parse_keys(given: Sequence[str]) -> dict[str, Any]:
    """``Key=value`` texts as keys of an identifier. Raises ConfigError for one that names no attribute."""
    from pacs_actors.dicom.client_identifiers import tag_of  # noqa: PLC0415

    keys: dict[str, Any] = {}
    for text in given:
        path, _, value = text.partition("=")
        *sequences, last = path.split(".")
        level = keys
        for name in (*sequences, last):
            tag_of(name)
        for name in sequences:
            items = level.setdefault(name, [{}])
            if isinstance(items, str):
                raise ConfigError(f"-k {text}: {name} has a value already")
            level = items[0]
        level[last] = value
    return keys


def level_of(keys: Mapping[str, Any], root: str) -> str:
    """The level of the lowest unique key that has a value (PS3.4 C.6)."""
    for keyword, level in _UNIQUE_KEYS:
        if keys.get(keyword) and (level != "PATIENT" or root == "patient"):
            return level
    return "STUDY"


def retrieve_keys(arguments: argparse.Namespace) -> tuple[dict[str, Any], str]:
    """Keys and level of a retrieval. Raises ConfigError without the level's unique key: that would be everything."""
    keys = parse_keys(arguments.keys)
    level = arguments.level or level_of(keys, arguments.root)
    unique = next(keyword for keyword, of in _UNIQUE_KEYS if of == level)
    if not keys.get(unique):
        raise ConfigError(f"say what to retrieve: -k {unique}=…")
    return keys, level
