"""Settings that may change while the server runs, and how a change is put into the settings in force. Pure.

Each of them is read at the moment of its use, or handed on by ``pacs_actors.settings_book``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from msgspec import structs

from config import checks
from config.decode import from_toml
from config.keys import keys
from config.settings import Settings
from protocols.errors import ConfigError

LIVE: Final = frozenset(
    {
        "server.log_level",
        "dicom.max_associations",
        "dicom.max_associations_per_ae",
        "dicom.max_associations_per_address",
        "dicom.max_object_bytes",
        "dicom.max_find_results",
        "dicom.artim_s",
        "dicom.network_timeout_s",
        "dicom.idle_timeout_s",
        "dicom.minimum_rate_bytes_s",
        "web.max_query_results",
        "people.session_idle_s",
        "people.session_lifetime_s",
        "people.access_token_s",
        "people.api_token_most_s",
        "web.undo_s",
        "integrity.cycle_days",
        "integrity.rate_mb_s",
        "integrity.copies_cycle_days",
        "integrity.copies_rate_mb_s",
    }
)


def checked(path: str, value: Any) -> Any:
    """A value of a live setting, within the bounds that hold for a file. raises: ConfigError"""
    if path not in LIVE:
        raise ConfigError(f"{path}: cannot be changed while the server runs")
    return from_toml(keys()[path], path, value, "change")


def with_overrides(settings: Settings, overrides: Mapping[str, Any]) -> Settings:
    """The settings with these values, key path -> value. raises: ConfigError for the first that does not fit"""
    changed: dict[str, dict[str, Any]] = {}
    for path, value in overrides.items():
        section, _, name = path.partition(".")
        changed.setdefault(section, {})[name] = checked(path, value)
    made = structs.replace(
        settings,
        **{
            section: structs.replace(getattr(settings, section), **values)
            for section, values in changed.items()
        },
    )
    checks.check(made)
    return made


def value_of(settings: Settings, path: str) -> Any:
    """What a key path stands at."""
    section, _, name = path.partition(".")
    return getattr(getattr(settings, section), name)
