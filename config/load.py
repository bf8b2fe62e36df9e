"""Settings from four places, later ones win: defaults, TOML file, ``PACS_SECTION__NAME``, command line.

Every mistake is a ConfigError that begins with the key path and names the place it was written in.
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from msgspec import Struct

from config import checks
from config.decode import from_text, from_toml, refuse
from config.keys import Key, keys, node_keys, sections, store_keys
from config.settings import NodeSettings, Settings
from config.stores import LifecycleStoreSettings
from protocols.errors import ConfigError

DEFAULT_FILE: Final = "pacs.toml"
MAX_FILE_BYTES: Final = 1024 * 1024
_PREFIX: Final = "PACS_"
_FROM_FILE: Final = "_FILE"
_STORES: Final = "PACS_STORES__"


class Loaded(Struct, frozen=True):
    """Settings, and who wrote each: key path, "nodes[0]" or "stores.NAME" -> "default", a file, a variable or a flag."""

    settings: Settings
    origins: dict[str, str]


class _Draft:
    """What has been written so far; a later place overwrites an earlier one."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.nodes: dict[str, NodeSettings] = {}
        self.origins: dict[str, str] = {}
        self.node_origins: dict[str, str] = {}
        self.stores: dict[str, dict[str, Any]] = {}
        self.store_origins: dict[str, dict[str, None]] = {}

    def put(self, key: Key, value: Any, source: str) -> None:
        self.values[key.path], self.origins[key.path] = value, source

    def put_node(self, at: str, node: NodeSettings, source: str) -> None:
        """A place may replace a node of an earlier place, but not name one AE twice itself."""
        if self.node_origins.get(node.ae_title) == source:
            refuse(f"{at}.ae_title", f"{node.ae_title!r} is already another node", source)
        self.nodes[node.ae_title], self.node_origins[node.ae_title] = node, source

    def put_store_value(self, name: str, key: Key, value: Any, source: str) -> None:
        self.stores.setdefault(name, {})[key.name] = value
        self.store_origins.setdefault(name, {})[source] = None

    def finish(self) -> Loaded:
        made = {
            name: type(getattr(Settings(), name))(
                **{key.name: self.values[key.path] for key in section if key.path in self.values}
            )
            for name, section in sections().items()
        }
        origins = {path: self.origins.get(path, "default") for path in keys()}
        origins |= {f"nodes[{number}]": self.node_origins[title] for number, title in enumerate(self.nodes)}
        origins |= {f"stores.{name}": ", ".join(sources) for name, sources in self.store_origins.items()}
        for name, values in self.stores.items():
            if "kind" not in values:
                refuse(f"stores.{name}.kind", "is required", origins[f"stores.{name}"])
        stores = {name: LifecycleStoreSettings(**values) for name, values in self.stores.items()}
        settings = Settings(nodes=tuple(self.nodes.values()), stores=stores, **made)
        for problem in checks.problems(settings):
            raise ConfigError(problem + written_in(problem, origins))
        return Loaded(settings, origins)


def load(
    *,
    config: str | None = None,
    flags: Mapping[str, str] | None = None,
    nodes: Sequence[str] = (),
    environ: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> Settings:
    """As ``load_with_origins``, without the origins."""
    return load_with_origins(config=config, flags=flags, nodes=nodes, environ=environ, folder=folder).settings


def load_with_origins(
    *,
    config: str | None = None,
    flags: Mapping[str, str] | None = None,
    nodes: Sequence[str] = (),
    environ: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> Loaded:
    """Read every place.

    config:   TOML file; none: what PACS_CONFIG names, else ``pacs.toml`` in ``folder`` if there is one
    flags:    key path -> text, from the command line
    nodes:    NAME=HOST:PORT, from the command line
    environ:  none: this process's
    folder:   none: the working directory
    raises:   ConfigError
    """
    environ = os.environ if environ is None else environ
    draft = _Draft()
    file = _file(config or environ.get("PACS_CONFIG"), folder or Path())
    if file is not None:
        _read_toml(file, draft)
    _read_environment(environ, draft)
    for path, text in (flags or {}).items():
        key = keys().get(path) or _unknown(path, keys(), f"--{path}")
        draft.put(key, from_text(key, path, text, key.flag), key.flag)
    for number, text in enumerate(nodes):
        draft.put_node(f"nodes[{number}]", parse_node(text, f"nodes[{number}]", "--node"), "--node")
    return draft.finish()


def parse_node(text: str, at: str = "nodes", source: str = "--node") -> NodeSettings:
    """``NAME=HOST:PORT``, an IPv6 address in brackets. The node calls from its host only and has every right.

    raises: ConfigError
    """
    title, equals, address = text.rpartition("=")
    host, colon, port = address.rpartition(":")
    if not (equals and colon and host) or (":" in host and not (host.startswith("[") and host.endswith("]"))):
        refuse(at, f"expected NAME=HOST:PORT ([HOST] for IPv6), not {text!r}", source)
    table = {"ae_title": title.strip(), "host": host.removeprefix("[").removesuffix("]"), "port": port}
    return NodeSettings(
        **{name: from_text(node_keys()[name], f"{at}.{name}", value, source) for name, value in table.items()}
    )


def _file(named: str | None, folder: Path) -> Path | None:
    if named is not None:
        return Path(named)
    usual = folder / DEFAULT_FILE
    return usual if usual.is_file() else None


def _read_toml(file: Path, draft: _Draft) -> None:
    source = str(file)
    try:
        text = _text_of(file)
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as mistake:
        raise ConfigError(f"{source}: {mistake}") from None
    except (OSError, ValueError) as mistake:
        raise ConfigError(f"{source}: {_reason(mistake)}") from None
    for name, table in document.items():
        if name == "nodes":
            _read_node_tables(table, draft, source)
        elif name == "stores":
            _read_store_tables(table, draft, source)
        elif name not in sections():
            _unknown(name, [*sections(), "nodes", "stores"], source)
        elif not isinstance(table, dict):
            refuse(name, f"expected a table: [{name}]", source)
        else:
            for key_name, value in table.items():
                path = f"{name}.{key_name}"
                key = keys().get(path) or _unknown(path, keys(), source)
                draft.put(key, from_toml(key, path, value, source), source)


def _read_node_tables(tables: object, draft: _Draft, source: str) -> None:
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        refuse("nodes", "expected tables: [[nodes]]", source)
    for number, table in enumerate(tables):
        at, values = f"nodes[{number}]", {}
        for name, value in table.items():
            key = node_keys().get(name) or _unknown(
                f"{at}.{name}", [f"{at}.{key}" for key in node_keys()], source
            )
            values[name] = from_toml(key, f"{at}.{name}", value, source)
        for name, key in node_keys().items():
            if key.required and name not in values:
                refuse(f"{at}.{name}", "is required", source)
        draft.put_node(at, NodeSettings(**values), source)


def _read_store_tables(tables: object, draft: _Draft, source: str) -> None:
    if not isinstance(tables, dict) or not all(isinstance(table, dict) for table in tables.values()):
        refuse("stores", "expected tables: [stores.NAME]", source)
    for name, table in tables.items():
        at = f"stores.{name}"
        for key_name, value in table.items():
            path = f"{at}.{key_name}"
            key = store_keys().get(key_name) or _unknown(
                path, [f"{at}.{key}" for key in store_keys()], source
            )
            draft.put_store_value(name, key, from_toml(key, path, value, source), source)


def _read_store_variable(variable: str, text: str, environ: Mapping[str, str], draft: _Draft) -> None:
    """``PACS_STORES__NAME__KEY``, or the same with ``_FILE``."""
    written_name, _, written_key = variable.removeprefix(_STORES).partition("__")
    name, key_name = written_name.lower().replace("_", "-"), written_key.lower()
    key, written = store_keys().get(key_name), text
    if key is None and key_name.endswith(_FROM_FILE.lower()):
        key = store_keys().get(key_name.removesuffix(_FROM_FILE.lower()))
        if key is not None:
            if variable.removesuffix(_FROM_FILE) in environ:
                refuse(f"stores.{name}.{key.name}", "is given twice", variable)
            written = _secret(key, text, variable)
    if key is None or not name:
        known = [f"{_STORES}{written_name}__{key.upper()}" for key in store_keys()]
        key = _unknown(variable, known, "environment")
    draft.put_store_value(name, key, from_text(key, f"stores.{name}.{key.name}", written, variable), variable)


def _read_environment(environ: Mapping[str, str], draft: _Draft) -> None:
    by_variable = {key.environment: key for key in keys().values()}
    for variable, text in sorted(environ.items()):
        # One underscore alone is not ours: Kubernetes sets PACS_PORT and the like for a service named "pacs".
        if not variable.startswith(_PREFIX) or "__" not in variable:
            continue
        if variable.startswith(_STORES):
            _read_store_variable(variable, text, environ, draft)
            continue
        key, written = by_variable.get(variable), text
        if key is None and variable.endswith(_FROM_FILE):
            key = by_variable.get(variable.removesuffix(_FROM_FILE))
            if key is not None:
                if key.environment in environ:
                    refuse(key.path, f"is given twice, also as {key.environment}", variable)
                written = _secret(key, text, variable)
        if key is None:
            key = _unknown(variable, by_variable, "environment")
        draft.put(key, from_text(key, key.path, written, variable), variable)
    for number, text in enumerate(filter(None, environ.get("PACS_NODES", "").split(","))):
        at = f"nodes[{number}]"
        draft.put_node(at, parse_node(text.strip(), at, "PACS_NODES"), "PACS_NODES")


def _secret(key: Key, file: str, variable: str) -> str:
    try:
        return _text_of(Path(file)).rstrip("\r\n")
    except (OSError, ValueError) as mistake:
        refuse(key.path, f"cannot read {file}: {_reason(mistake)}", variable)


def _text_of(file: Path) -> str:
    with file.open("rb") as opened:
        content = opened.read(MAX_FILE_BYTES + 1)
    if len(content) > MAX_FILE_BYTES:
        raise ValueError(f"larger than {MAX_FILE_BYTES} bytes")
    return content.decode("utf-8")


def _reason(mistake: OSError | ValueError) -> str:
    if isinstance(mistake, OSError):
        return (mistake.strerror or "cannot be read").lower()
    return "not UTF-8" if isinstance(mistake, UnicodeDecodeError) else str(mistake)


def _unknown(path: str, known: Iterable[str], source: str) -> Any:
    close = difflib.get_close_matches(path, list(known), n=1, cutoff=0.6)
    refuse(path, f"no such setting{f'; did you mean {close[0]}?' if close else ''}", source)


def written_in(problem: str, origins: Mapping[str, str]) -> str:
    """Where the keys that a sentence mentions were written, for rules between settings."""
    mentioned = re.findall(r"nodes\[\d+\]|stores\.[^.:\s]+|[a-z]+\.[a-z_]+", problem)
    places = dict.fromkeys(origins[path] for path in mentioned if origins.get(path, "default") != "default")
    return f" ({', '.join(places)})" if places else ""
