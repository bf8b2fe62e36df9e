"""``pacs-actors config``: check and show the settings in force, print the reference."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from supervisors.options import Commands, add_json_option, add_settings_options, loaded_from, print_json

if TYPE_CHECKING:
    from config.load import Loaded
    from config.settings import NodeSettings
    from config.stores import LifecycleStoreSettings


def register(commands: Commands) -> None:
    parser = commands.add_parser("config", help="check and show the settings")
    actions = parser.add_subparsers(
        title="actions", metavar="ACTION", required=True, parser_class=type(parser)
    )
    check = actions.add_parser(
        "check", help="say what is wrong with the settings; exit code 2 if something is"
    )
    show = actions.add_parser("show", help="show every setting and where it comes from, without secrets")
    for action, run in ((check, run_check), (show, run_show)):
        add_json_option(action)
        action.later = add_settings_options
        action.set_defaults(run=run)
    reference = actions.add_parser("reference", help="print the reference of all settings")
    reference.add_argument("--toml", action="store_true", help="as a sample file instead")
    reference.set_defaults(run=run_reference)


def run_check(arguments: argparse.Namespace) -> int:
    loaded = loaded_from(arguments)
    from config import certificates
    from config.checks import warnings

    certificates.check(loaded.settings, loaded.origins)
    found = [*warnings(loaded.settings), *certificates.warnings(loaded.settings)]
    changed = sorted({origin for origin in loaded.origins.values() if origin != "default"})
    if arguments.json:
        print_json({"valid": True, "warnings": found, "read": changed})
    else:
        print("\n".join([*(f"warning: {warning}" for warning in found), "The settings are fine."]))
    return 0


def run_show(arguments: argparse.Namespace) -> int:
    loaded = loaded_from(arguments)
    if arguments.json:
        print_json(_as_json(loaded))
    else:
        print("\n".join(_as_toml(loaded)))
    return 0


def run_reference(arguments: argparse.Namespace) -> int:
    from config import reference

    print(reference.sample() if arguments.toml else reference.reference(), end="")
    return 0


def _values(loaded: Loaded, section: str) -> dict[str, Any]:
    """Name -> value as it may be shown."""
    from config.keys import sections
    from config.secrets import shown

    struct = getattr(loaded.settings, section)
    return {key.name: shown(key.path, getattr(struct, key.name)) for key in sections()[section]}


def _as_json(loaded: Loaded) -> dict[str, Any]:
    import msgspec

    from config.keys import sections

    found: dict[str, Any] = {
        section: {
            name: {"value": value, "from": loaded.origins[f"{section}.{name}"]}
            for name, value in _values(loaded, section).items()
        }
        for section in sections()
    }
    found["nodes"] = [
        msgspec.to_builtins(node) | {"from": loaded.origins[f"nodes[{number}]"]}
        for number, node in enumerate(loaded.settings.nodes)
    ]
    found["stores"] = {
        name: _store_values(store) | {"from": loaded.origins[f"stores.{name}"]}
        for name, store in loaded.settings.stores.items()
    }
    return found


def _store_values(store: LifecycleStoreSettings) -> dict[str, Any]:
    """Name -> value as it may be shown."""
    from config.keys import store_keys
    from config.secrets import shown

    return {key.name: shown(key.path, getattr(store, key.name)) for key in store_keys().values()}


def _as_toml(loaded: Loaded) -> list[str]:
    from config.keys import sections
    from config.reference import toml_value

    lines = []
    for section in sections():
        lines.append(f"[{section}]")
        for name, value in _values(loaded, section).items():
            written = f"{name} = {toml_value(value)}" if value is not None else f"# {name} is not set"
            origin = loaded.origins[f"{section}.{name}"]
            lines.append(written if origin == "default" else f"{written}  # {origin}")
        lines.append("")
    for number, node in enumerate(loaded.settings.nodes):
        lines += [f"[[nodes]]  # {loaded.origins[f'nodes[{number}]']}", *_node_lines(node), ""]
    for name, store in loaded.settings.stores.items():
        lines.append(f"[stores.{name}]  # {loaded.origins[f'stores.{name}']}")
        lines += [
            f"{key} = {toml_value(value)}" for key, value in _store_values(store).items() if value is not None
        ]
        lines.append("")
    return lines[:-1]


def _node_lines(node: NodeSettings) -> list[str]:
    import msgspec

    from config.reference import toml_value

    given = msgspec.structs.asdict(node)
    return [f"{name} = {toml_value(value)}" for name, value in given.items() if value is not None]
