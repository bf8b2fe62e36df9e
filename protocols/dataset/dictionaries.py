"""The tables of PS3.6 and of private elements, as pydicom has them, without importing all of pydicom.

That takes several times as long as everything else a pixel process imports, and a third of a worker's start. The tables are
modules of nothing but literals, so they are loaded as such, under their own names: whoever imports pydicom later gets the same
ones.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any, Final, TypeAlias


def _table(name: str) -> ModuleType:
    """A module of the package, without the package. raises: ImportError"""
    full = f"pydicom.{name}"
    if full in sys.modules:
        return sys.modules[full]
    package = find_spec("pydicom")
    folder = next(iter(package.submodule_search_locations or ()), "") if package is not None else ""
    spec = spec_from_file_location(full, Path(folder, f"{name}.py"))
    if spec is None or spec.loader is None:
        raise ImportError(f"there is no {full}")
    module = sys.modules[full] = module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[full]
        raise
    return module


Entry: TypeAlias = tuple[str, str, str, str, str]
"""VR, VM, name, retired, keyword"""

_standard: Final = _table("_dicom_dict")

DicomDictionary: Final[dict[int, Entry]] = _standard.DicomDictionary
"""By tag."""

RepeatersDictionary: Final[dict[str, Entry]] = _standard.RepeatersDictionary
"""By tag with an x where any digit may stand."""

UIDDictionary: Final[dict[str, tuple[str, str, str, str, str]]] = _table("_uid_dict").UID_dictionary
"""UID -> name, type, info, retired, keyword"""


def entry_of(tag: int) -> Entry | None:
    """A standard attribute's, those of repeating groups and elements included (PS3.6 6); None if there is none."""
    entry = DicomDictionary.get(tag)
    if entry is not None or tag >> 16 & 1:
        return entry
    text = f"{tag:08X}"
    masks = (
        f"{text[:2]}xx{text[4:]}", f"{text[:6]}xx", f"{text[:6]}x{text[7]}", f"{text[:4]}xxx{text[7]}", f"{text[:4]}xxxx",
    )  # fmt: skip
    return next((RepeatersDictionary[mask] for mask in masks if mask in RepeatersDictionary), None)


@cache
def tags_by_keyword() -> Mapping[str, int]:
    """Keyword -> tag; some attributes have no keyword."""
    return MappingProxyType({entry[4]: tag for tag, entry in DicomDictionary.items() if entry[4]})


@cache
def private_dictionaries() -> dict[str, dict[str, Any]]:
    """private creator -> element with an x where any digit may stand -> VR, VM, name, retired. Large: loaded when asked for."""
    tables: dict[str, dict[str, Any]] = _table("_private_dict").private_dictionaries
    return tables


def private_vr(tag: int, creator: str) -> str | None:
    """VR of an element in a private creator's block (PS3.5 7.8.1); None if nobody has told what it is."""
    known = private_dictionaries().get(creator)
    if known is None:
        return None
    text = f"{tag:08X}"
    for mask in (text, f"{text[:4]}xx{text[6:]}", f"{text[:2]}xxxx{text[6:]}"):
        if mask in known:
            return str(known[mask][0])
    return None
