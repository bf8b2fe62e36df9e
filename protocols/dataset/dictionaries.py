"""The tables of PS3.6 and of private elements, as pydicom has them, without importing all of pydicom.

That takes several times as long as everything else a pixel process imports. The tables are modules of nothing but literals,
so they are loaded as such, under their own names: whoever imports pydicom later gets the same ones.
"""

from __future__ import annotations

import sys
from functools import cache
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any, Final


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


_standard: Final = _table("_dicom_dict")

DicomDictionary: Final[dict[int, tuple[str, str, str, str, str]]] = _standard.DicomDictionary
"""tag -> VR, VM, name, retired, keyword"""

RepeatersDictionary: Final[dict[str, tuple[str, str, str, str, str]]] = _standard.RepeatersDictionary
"""As above, for tags with an x where any digit may stand."""


@cache
def private_dictionaries() -> dict[str, dict[str, Any]]:
    """private creator -> element with an x where any digit may stand -> VR, VM, name, retired. Large: loaded when asked for."""
    tables: dict[str, dict[str, Any]] = _table("_private_dict").private_dictionaries
    return tables
