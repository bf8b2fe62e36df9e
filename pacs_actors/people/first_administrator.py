"""The first administrator: made when nobody is there, with the password of ``PACS_ADMIN_PASSWORD`` or a generated one."""

from __future__ import annotations

from collections.abc import MutableMapping
from pathlib import Path
from typing import Final

from pacs_actors.operations import logs
from pacs_actors.people import passwords
from pacs_actors.people.directory import Directory
from protocols.errors import ConfigError

USERNAME: Final = "admin"
VARIABLE: Final = "PACS_ADMIN_PASSWORD"
_AT_LEAST: Final = 8  # whoever sets a variable decides; people's own passwords need more


def given(environ: MutableMapping[str, str]) -> str | None:
    """The password that the environment gives, which is taken out of it: no process that we start needs it.

    raises: ConfigError for one that everybody guesses, or a file that cannot be read
    """
    password, file = environ.pop(VARIABLE, None), environ.pop(f"{VARIABLE}_FILE", None)
    if password is None and file is not None:
        try:
            password = Path(file).read_text(encoding="utf-8").rstrip("\r\n")
        except (OSError, UnicodeDecodeError):
            raise ConfigError(f"{VARIABLE}_FILE: cannot read {file}") from None
    if not password:
        return None
    problem = passwords.password_problem(password, USERNAME, at_least=_AT_LEAST)
    if problem is not None:
        raise ConfigError(f"{VARIABLE}: {problem}")
    return password


async def ensure(directory: Directory, given: str | None) -> str | None:
    """Make the first administrator unless there is anybody.

    given:   the password; None: one is generated
    returns: the generated password, to be shown once; None if there is nothing to show
    raises:  Unavailable
    """
    if not await directory.is_empty():
        return None
    password = passwords.generated() if given is None else given
    # Once in the life of a database, before anybody is served: the loop may wait for it.
    if not await directory.add_first_administrator(USERNAME, passwords.hashed(password)):
        return None
    logs.event("first_administrator_made", username=USERNAME, generated=given is None)
    return password if given is None else None
