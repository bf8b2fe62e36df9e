"""The settings as a flat list of keys: what the loader, the command line and the reference are made from."""

from __future__ import annotations

from functools import cache
from types import UnionType
from typing import Any, Final, Union, get_args, get_origin

import msgspec
from msgspec import Struct

from config.settings import NodeSettings, Settings
from config.stores import LifecycleStoreSettings

SECRETS: Final = frozenset(
    {"database.url", "database.owner_url", "people.oidc_client_secret", "stores.secret_key"}
)
"""Keys whose value is never shown."""


class Key(Struct, frozen=True):
    """One setting.

    kind:      what a person types: "integer, 0 to 65535", "text", "list of text" …
    required:  without default (only in ``[[nodes]]`` and ``[stores.NAME]``)
    """

    section: str
    name: str
    annotation: Any
    kind: str
    description: str
    default: Any
    required: bool = False

    @property
    def path(self) -> str:
        return f"{self.section}.{self.name}"

    @property
    def environment(self) -> str:
        return f"PACS_{self.section}__{self.name}".upper()

    @property
    def flag(self) -> str:
        return f"--{self.path}"

    @property
    def is_switch(self) -> bool:
        return self.kind == "true or false"


@cache
def sections() -> dict[str, tuple[Key, ...]]:
    """Section name -> its keys, in the order of ``settings.py``; without ``nodes`` and ``stores``: see ``node_keys``."""
    return {
        section.name: _keys(section.name, section.type)
        for section in msgspec.structs.fields(Settings)
        if section.name not in ("nodes", "stores")
    }


@cache
def keys() -> dict[str, Key]:
    """Key path -> key, of every section."""
    return {key.path: key for section in sections().values() for key in section}


@cache
def node_keys() -> dict[str, Key]:
    """Name -> key of one ``[[nodes]]`` table."""
    return {key.name: key for key in _keys("nodes", NodeSettings)}


@cache
def store_keys() -> dict[str, Key]:
    """Name -> key of one ``[stores.NAME]`` table."""
    return {key.name: key for key in _keys("stores", LifecycleStoreSettings)}


def section_description(section: str) -> str:
    """First line of the section's docstring, "" if it has none of its own."""
    named: dict[str, type[Struct]] = {"nodes": NodeSettings, "stores": LifecycleStoreSettings}
    kind = named.get(section) or type(getattr(Settings(), section))
    written = kind.__dict__.get("__doc__") or ""
    return "" if written.startswith(kind.__name__) else written.partition("\n")[0]


def _keys(section: str, struct: type[Struct]) -> tuple[Key, ...]:
    return tuple(
        Key(
            section=section,
            name=field.name,
            annotation=field.type,
            kind=_kind(field.type),
            description=_description(field.type),
            default=None if field.required else field.default,
            required=field.required,
        )
        for field in msgspec.structs.fields(struct)
    )


def _metas(annotation: Any) -> tuple[msgspec.Meta, ...]:
    return tuple(meta for meta in getattr(annotation, "__metadata__", ()) if isinstance(meta, msgspec.Meta))


def _description(annotation: Any) -> str:
    return next((meta.description for meta in reversed(_metas(annotation)) if meta.description), "")


def _kind(annotation: Any) -> str:
    bare = getattr(annotation, "__origin__", annotation) if _metas(annotation) else annotation
    if get_origin(bare) in (Union, UnionType):
        (inner,) = (choice for choice in get_args(bare) if choice is not type(None))
        return f"{_kind(inner)}, or none"
    if get_origin(bare) is tuple:
        return "list of text"
    if bare is bool:
        return "true or false"
    if isinstance(bare, type) and issubclass(bare, Struct):
        return "table"
    low, high = _bounds(_metas(annotation))
    word = {int: "integer", float: "number", str: "text"}[bare]
    if bare is str or not (low or high):
        return word
    if low and high and not low.startswith("more"):
        return f"{word}, {low} to {high}"
    return f"{word}, " + " and ".join(filter(None, (_from(low), f"at most {high}" if high else "")))


def _from(low: str) -> str:
    return low if not low or low.startswith("more") else f"at least {low}"


def _bounds(metas: tuple[msgspec.Meta, ...]) -> tuple[str, str]:
    low = high = ""
    for meta in metas:
        if meta.ge is not None:
            low = f"{meta.ge}"
        if meta.gt is not None:
            low = f"more than {meta.gt}"
        if meta.le is not None:
            high = f"{meta.le}"
    return low, high
