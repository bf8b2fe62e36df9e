"""The difference between two states as a JSON Merge Patch (RFC 7396), and its application."""

from __future__ import annotations

from typing import TypeAlias

Json: TypeAlias = "dict[str, Json] | list[Json] | str | int | float | bool | None"
State: TypeAlias = "dict[str, Json]"


def changes(old: State, new: State) -> State:
    """The merge patch that makes ``new`` of ``old``. Lists are replaced whole."""
    patch: State = {key: None for key in old if key not in new}
    for key, value in new.items():
        before = old.get(key)
        if isinstance(value, dict) and isinstance(before, dict):
            if inner := changes(before, value):
                patch[key] = inner
        elif key not in old or before != value:
            patch[key] = value
    return patch


def merged(old: State, patch: State) -> State:
    """``old`` with the merge patch applied (RFC 7396 section 2); ``old`` is left as it was."""
    result = dict(old)
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, dict):
            before = result.get(key)
            result[key] = merged(before if isinstance(before, dict) else {}, value)
        else:
            result[key] = value
    return result
