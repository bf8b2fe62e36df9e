"""Programs of others that tests start."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest


def program(name: str) -> str:
    """Path of one of DCMTK's tools; skips the test where DCMTK is not installed."""
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} (DCMTK) is not installed")
    return str(Path(path))
