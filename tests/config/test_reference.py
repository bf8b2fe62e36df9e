"""The generated files say what the settings say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from config import reference
from config.keys import keys, node_keys, store_keys
from config.load import load_with_origins

EXAMPLES = {
    "tls.port", "tls.certificate", "tls.key", "tls.client_ca", "database.url", "database.owner_url", "audit.source_id",
    "audit.syslog_host", "audit.syslog_ca", "audit.syslog_certificate", "audit.syslog_key", "web.public_root",
    "web.tls_certificate", "web.tls_key",
    "people.oidc_issuer", "people.oidc_client_id", "people.oidc_client_secret", "people.oidc_ca", "backup.to", "backup.key_file",
}  # fmt: skip


def uncommented(sample: str) -> str:
    """The sample with every ``# name = value`` line switched on."""
    return re.sub(r"^# (?=\w+ = |\[)", "", sample, flags=re.MULTILINE)


def test_every_setting_is_described() -> None:
    for key in [*keys().values(), *node_keys().values(), *store_keys().values()]:
        assert key.description.endswith("."), key.path
        assert f"| `{key.name}` |" in reference.reference()


def test_the_sample_as_it_is_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "pacs.toml").write_text(reference.sample(), encoding="utf-8")
    everything = load_with_origins(environ={}, folder=tmp_path)
    assert set(everything.origins.values()) == {"default"}


def test_the_sample_with_every_line_switched_on_loads_and_names_every_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    text = uncommented(reference.sample())
    for name in ("certificate.pem", "key.pem", "client-ca.pem", "syslog-ca.pem", "oidc-ca.pem", "s3-ca.pem"):
        (tmp_path / name).touch()
        text = text.replace(f"/etc/pacs/{name}", name)
    (tmp_path / "pacs.toml").write_text(text, encoding="utf-8")
    everything = load_with_origins(environ={}, folder=tmp_path)
    assert set(everything.origins) == {*keys(), "nodes[0]", "stores.cold"}
    assert "default" not in everything.origins.values()
    for path, key in keys().items():
        section, _, name = path.partition(".")
        if path not in EXAMPLES:
            assert getattr(getattr(everything.settings, section), name) == key.default, path


def test_writing_them_leaves_both_files_as_generated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reference, "FOLDER", tmp_path)
    reference.main()
    assert (tmp_path / "reference.md").read_text(encoding="utf-8") == reference.reference()
    assert (tmp_path / "pacs.toml").read_text(encoding="utf-8") == reference.sample()
