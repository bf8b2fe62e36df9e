"""Rules between the settings of the audit, and of the database's two roles."""

from __future__ import annotations

from pathlib import Path

import pytest

from config.load import load
from config.secrets import shown
from protocols.errors import ConfigError

REFUSED = [
    ({"audit.syslog_ca": "missing.pem"}, r"audit\.syslog_ca: no such file"),
    ({"audit.syslog_certificate": "there.pem"}, r"audit\.syslog_key: needed"),
    ({"audit.syslog_key": "there.pem"}, r"audit\.syslog_certificate: needed"),
    ({"audit.syslog_message_id": "OTHER"}, r"audit\.syslog_message_id"),
    ({"audit.syslog_port": "0"}, r"audit\.syslog_port"),
    ({"audit.anchor_rows": "0"}, r"audit\.anchor_rows"),
    ({"database.owner_url": "postgresql://a@b/c"}, r"database\.owner_url: needs database\.url"),
    (
        {"database.url": "postgresql://a@b/c", "database.owner_url": "mysql://a:hunter2@b/c"},
        r"database\.owner_url: expected postgresql://",
    ),
]


@pytest.mark.parametrize(
    ("flags", "why"), REFUSED, ids=lambda value: "" if isinstance(value, str) else str(list(value))
)
def test_what_cannot_work_is_refused_by_its_key(
    flags: dict[str, str], why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there.pem").touch()
    with pytest.raises(ConfigError, match=why) as refusal:
        load(flags=flags, environ={}, folder=tmp_path)
    assert "hunter2" not in str(refusal.value)


def test_the_password_of_the_owner_is_never_shown() -> None:
    assert "hunter2" not in shown("database.owner_url", "postgresql://pacs:hunter2@db/pacs")
