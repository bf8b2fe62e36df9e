"""Makes ``reference.md`` and ``pacs.toml`` from the settings: ``python -m config.reference`` writes both."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

from msgspec import Struct, structs

from config.keys import SECRETS, Key, node_keys, section_description, sections, store_keys
from config.scope import NodeScope, ScopeRule

FOLDER: Final = Path(__file__).resolve().parent
_EXAMPLES: Final = {  # of what has no default
    "tls.port": 2762,
    "tls.certificate": "/etc/pacs/certificate.pem",
    "tls.key": "/etc/pacs/key.pem",
    "tls.client_ca": "/etc/pacs/client-ca.pem",
    "database.url": "postgresql://pacs_app@db.example/pacs",
    "database.owner_url": "postgresql://pacs@db.example/pacs",
    "audit.source_id": "PACS-NORTH",
    "audit.syslog_host": "syslog.example",
    "audit.syslog_ca": "/etc/pacs/syslog-ca.pem",
    "audit.syslog_certificate": "/etc/pacs/certificate.pem",
    "audit.syslog_key": "/etc/pacs/key.pem",
    "web.tls_certificate": "/etc/pacs/certificate.pem",
    "web.tls_key": "/etc/pacs/key.pem",
    "web.public_root": "https://pacs.example",
    "people.oidc_issuer": "https://login.example/realms/clinic",
    "people.oidc_client_id": "pacs",
    "people.oidc_client_secret": "…",
    "people.oidc_ca": "/etc/pacs/oidc-ca.pem",
    "backup.to": "/mnt/backup/pacs",
    "backup.key_file": "/etc/pacs/backup.key",
    "stores.kind": "s3",
    "stores.endpoint": "https://s3.example",
    "stores.bucket": "pacs-copies",
    "stores.access_key": "…",
    "stores.secret_key": "…",
    "stores.ca": "/etc/pacs/s3-ca.pem",
    "stores.storage_class": "STANDARD_IA",
    "stores.encryption": "aws:kms",
    "stores.kms_key": "alias/pacs",
    "stores.path": "/mnt/second-disk/pacs",
    "nodes.ae_title": "MODALITY1",
    "nodes.host": "10.1.2.3",
    "nodes.port": 104,
    "nodes.destinations": ("MODALITY1",),
    "nodes.certificate_name": "modality1.example",
    "nodes.scope": NodeScope(rules=(ScopeRule(modalities=("CT",), institutions=("North Clinic",)),)),
}
_TABLES: Final = {"nodes": "[[nodes]]", "stores": "[stores.NAME]"}

_INTRODUCTION: Final = """\
# Settings

Made from `config/settings.py` by `make docs`; change it there.

Every setting may be given in four places. Later ones win:

1. the default below
2. the TOML file: `--config FILE`, else the file that `PACS_CONFIG` names, else `pacs.toml` in the
   working directory
3. the environment: `PACS_DICOM__PORT=104`. Lists are separated by commas.
   `PACS_DATABASE__URL_FILE=/run/secrets/url` reads the value from a file (works for every setting)
4. the command line: `--dicom.port 104`

Nodes are `[[nodes]]` tables in the file, `PACS_NODES=NAME=HOST:PORT,…` or `--node NAME=HOST:PORT`
(repeatable; IPv6 in brackets). A later place replaces a node of the same AE title.

Stores are `[stores.NAME]` tables in the file; `PACS_STORES__NAME__SECRET_KEY` and the like, also with `_FILE`, set
single values of them (an underscore in NAME is a hyphen of the name).

`pacs-actors config check` says what is wrong, `config show` what is in force and where each value comes from.
"""

_TOML_INTRODUCTION: Final = """\
# Sample configuration: every setting with its default. Made from config/settings.py by `make docs`.
# Copy it to the working directory, uncomment what you change, and run `pacs-actors config check`.
"""


def reference() -> str:
    """The text of ``reference.md``."""
    return "\n".join([_INTRODUCTION, *_reference_sections()]).rstrip("\n") + "\n"


def sample() -> str:
    """The text of ``pacs.toml``: valid TOML with everything commented out."""
    return "\n".join([_TOML_INTRODUCTION, *_sample_sections()]).rstrip("\n") + "\n"


def toml_value(value: Any) -> str:
    """A TOML literal of a setting's value (text, bool, int, float, tuple, Struct of such: without its defaults)."""
    if isinstance(value, Struct):
        given = (field for field in structs.fields(value) if getattr(value, field.name) != field.default)
        written = ", ".join(f"{field.name} = {toml_value(getattr(value, field.name))}" for field in given)
        return f"{{ {written} }}" if written else "{}"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return "[" + ", ".join(toml_value(item) for item in value) + "]"
    if isinstance(value, str):
        return json.dumps(value)
    return str(value)


def _reference_sections() -> Iterator[str]:
    tables = [("nodes", tuple(node_keys().values())), ("stores", tuple(store_keys().values()))]
    for name, keys in [*sections().items(), *tables]:
        yield f"## {_TABLES.get(name, f'[{name}]')}\n"
        if section_description(name):
            yield section_description(name) + "\n"
        yield "| setting | what you give | default | meaning |\n|---|---|---|---|"
        yield from (f"| `{key.name}` | {key.kind} | {_default_cell(key)} | {_meaning(key)} |" for key in keys)
        yield ""


def _default_cell(key: Key) -> str:
    if key.required:
        return "required"
    return "none" if key.default is None else f"`{toml_value(key.default)}`"


def _meaning(key: Key) -> str:
    return (key.description + (" Never shown." if key.path in SECRETS else "")).replace("|", "\\|")


def _sample_sections() -> Iterator[str]:
    for name, keys in sections().items():
        yield f"[{name}]"
        yield from _sample_lines(keys)
        yield ""
    yield f"# {section_description('nodes')}"
    yield "# [[nodes]]"
    yield from _sample_lines(node_keys().values())
    yield ""
    yield f"# {section_description('stores')}"
    yield "# [stores.cold]"
    yield from _sample_lines(store_keys().values())


def _sample_lines(keys: Iterable[Key]) -> Iterator[str]:
    for key in keys:
        without = key.default is None
        yield f"# {key.description} ({key.kind}{'; an example:' if without else ''})"
        yield f"# {key.name} = {toml_value(_EXAMPLES[key.path] if without else key.default)}"


def main() -> None:
    (FOLDER / "reference.md").write_text(reference(), encoding="utf-8")
    (FOLDER / "pacs.toml").write_text(sample(), encoding="utf-8")


if __name__ == "__main__":
    main()
