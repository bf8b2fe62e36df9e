"""The first administrator: made when nobody is there, with the password of ``PACS_ADMIN_PASSWORD`` or a generated one."""

from __future__ import annotations

from typing import Final

from pacs_actors.operations import logs
from pacs_actors.people import passwords
from pacs_actors.people.directory import Directory
from protocols.errors import ConfigError

USERNAME: Final = "admin"
VARIABLE: Final = "PACS_ADMIN_PASSWORD"
_AT_LEAST: Final = 8  # whoever sets a variable decides; people's own passwords need more


def check_given(password: str) -> None:
    """raises: ConfigError for one that everybody guesses"""
    problem = passwords.password_problem(password, USERNAME, at_least=_AT_LEAST)
    if problem is not None:
        raise ConfigError(f"{VARIABLE}: {problem}")


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
