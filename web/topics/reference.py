"""Makes ``docs/live.md`` from ``protocols/messages/live.py``: ``python -m web.topics.reference`` writes it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import msgspec

from protocols.messages import live, status
from protocols.messages.live import STATES, Change, ClientMessage, Refused, Snapshot, Topic

FILE: Final = Path(__file__).resolve().parents[2] / "docs" / "live.md"
_NEEDS: Final = {Topic.STUDIES: "study.search"}
_INTRODUCTION: Final = """\
# The live websocket

Made from `protocols/messages/live.py` by `make docs`; change it there.

`GET /api/v1/live` upgrades to a websocket. Every message is one JSON object in a text frame.

1. Show who you are: by the session's cookie or `Authorization: Bearer …` in the handshake, or else by `token` in the first
   message, within 5 s. Pages of another origin are refused (403).
2. Say which topics you want. Each answers with a snapshot, then with changes: JSON Merge Patches (RFC 7396) on the state. `n`
   counts without gaps in each topic; if a number is missing, subscribe again.
3. Who reads too slowly gets snapshots with `resync: true` in place of what was missed. Nobody is waited for.

The server closes with 4400 what is no message, with 4401 within 5 s after the login has ended, with 1001 when it goes down,
and with 1013 when all places are taken. `pacs-actors watch` tails it in a terminal.
"""


def reference() -> str:
    """The text of ``live.md``."""
    parts = [_INTRODUCTION, "## The client says\n", *_shape(ClientMessage), "## The server says\n"]
    messages: tuple[type[msgspec.Struct], ...] = (Snapshot, Change, Refused)
    for kind in messages:
        parts += [f"### kind: {kind.__struct_config__.tag}\n", *_shape(kind)]
    parts.append("## Topics\n")
    for topic, state in STATES.items():
        needs = _NEEDS.get(topic, "system.read")
        parts += [f"### {topic.value}\n", f"Needs the permission `{needs}`.\n", *_shape(state)]
    parts += ["## What states hold\n", *_inner()]
    return "\n".join(parts).rstrip("\n") + "\n"


def _inner() -> list[str]:
    """The shapes that states refer to, each once."""
    _, components = msgspec.json.schema_components(list(STATES.values()), ref_template="{name}")
    kinds = {kind.__name__: kind for kind in _structs()}
    told = {kind.__name__ for kind in STATES.values()}
    parts = []
    for name in sorted(components.keys() - told):
        if name in kinds:
            parts += [f"### {name}\n", *_shape(kinds[name])]
        else:
            words = ", ".join(f"`{word}`" for word in components[name].get("enum", []))
            parts.append(f"### {name}\n\nOne of {words}.\n")
    return parts


def _structs() -> list[type[msgspec.Struct]]:
    named = [*vars(live).values(), *vars(status).values()]
    return [kind for kind in named if isinstance(kind, type) and issubclass(kind, msgspec.Struct)]


def _shape(kind: type[msgspec.Struct]) -> list[str]:
    told = [line.strip() for line in (kind.__doc__ or "").strip().splitlines()]
    lines = [f"{told[0]}\n"] if told and told[0] else []
    meanings = [f"- {line}" if ":" in line else f"  {line}" for line in told[1:] if line]
    if meanings:
        lines.append("\n".join(meanings) + "\n")
    schema = msgspec.json.schema_components([kind], ref_template="{name}")[1][kind.__name__]
    required = set(schema.get("required", ()))
    lines.append("| field | what it is | |\n|---|---|---|")
    lines += [
        f"| `{name}` | {_kind(field)} | {'' if name in required else 'may be left out'} |"
        for name, field in schema["properties"].items()
    ]
    return [*lines, ""]


def _kind(field: dict[str, Any]) -> str:
    if "$ref" in field:
        return str(field["$ref"])
    if "anyOf" in field:
        return " or ".join(_kind(choice) for choice in field["anyOf"])
    match field.get("type"):
        case "object" if "additionalProperties" in field:
            inner = field["additionalProperties"]
            return f"by key: {_kind(inner)}" if isinstance(inner, dict) and inner else "object"
        case "array":
            return f"list of {_kind(field.get('items') or field['prefixItems'][0])}"
        case None:
            return ", ".join(f"`{value}`" for value in field.get("enum", ["anything"]))
        case word:
            return {"string": "text", "null": "null", "boolean": "true or false"}.get(str(word), str(word))


def main() -> None:
    FILE.parent.mkdir(exist_ok=True)
    FILE.write_text(reference(), encoding="utf-8")


if __name__ == "__main__":
    main()
