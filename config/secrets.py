"""What a secret looks like when it is shown."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import quote, urlsplit

from config.keys import SECRETS

HIDDEN: Final = "***"
_SECRET_PARAMETERS: Final = frozenset({"password", "sslpassword"})


def shown(path: str, value: Any) -> Any:
    """The value of a key as people may see it."""
    return without_password(value) if path in SECRETS and isinstance(value, str) else value


def without_password(url: str) -> str:
    """A URL with its password replaced; of what cannot be parsed nothing is shown."""
    try:
        parts = urlsplit(url)
        password = parts.password
    except ValueError:
        return HIDDEN
    if not parts.scheme or not url.startswith(f"{parts.scheme}://"):
        return HIDDEN
    userinfo, at, address = parts.netloc.rpartition("@")
    if password is not None:
        userinfo = f"{userinfo.partition(':')[0]}:{HIDDEN}"
    query = "&".join(_parameter(parameter) for parameter in parts.query.split("&") if parameter)
    return parts._replace(netloc=userinfo + at + address, query=query).geturl()


def _parameter(parameter: str) -> str:
    name, equals, _ = parameter.partition("=")
    return f"{quote(name)}{equals}{HIDDEN}" if name.lower() in _SECRET_PARAMETERS else parameter
