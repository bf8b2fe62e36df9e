"""An embedded database that is made once and copied for every new server: a first start waits for initdb and migrations most.

Making one from nothing has tests of its own: tests/supervisors/test_postgres.py, test_cli.py.
"""

from __future__ import annotations

import atexit
import functools
import shutil
import subprocess
import sys
import tempfile
from hashlib import sha256
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_SOURCES = ("config/migrations/*.sql", "supervisors/postgres*.py")


def seed(data: Path) -> None:
    """Give a data folder that has nothing yet the database of a server that has met nobody."""
    if data.exists() and any(data.iterdir()):
        return
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    command = ["cp", "--archive", "--reflink=auto", _made(_state_of_the_sources()), data / "postgres"]
    subprocess.run(command, check=True, timeout=60)


def _state_of_the_sources() -> str:
    """They may change while tests run."""
    files = sorted(path for pattern in _SOURCES for path in ROOT.glob(pattern))
    return sha256(b"\0".join(path.read_bytes() for path in files)).hexdigest()


@functools.cache
def _made(_: str) -> Path:
    folder = Path(tempfile.mkdtemp(prefix="seed-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    command = [sys.executable, "-m", "supervisors.cli", "db", "migrate", "--data", str(folder / "data")]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=120)
    return folder / "data" / "postgres"
