"""Attributes that the settings add to the index."""

from __future__ import annotations

from collections.abc import Iterable

from protocols.dataset.attributes import BY_TAG
from protocols.dataset.dictionaries import entry_of, tags_by_keyword
from protocols.errors import ConfigError


def custom_attributes(names: Iterable[str]) -> dict[int, str]:
    """Tag to VR of each keyword or 8-digit tag.

    raises: ConfigError for an unknown keyword; a tag that the dictionary does not know is taken as LO
    """
    found: dict[int, str] = {}
    for name in names:
        tag = tags_by_keyword().get(name)
        if tag is None:
            try:
                tag = int(name, 16)
            except ValueError:
                tag = -1
            if len(name) != 8 or tag < 0:
                raise ConfigError(
                    f"index.custom_attributes: {name} is neither a keyword nor a tag of 8 hexadecimal digits"
                )
        if tag in BY_TAG:
            continue
        entry = entry_of(tag)
        found[tag] = entry[0] if entry is not None else "LO"
    return found
