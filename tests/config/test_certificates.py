"""Files of certificates and keys that cannot be used are named with their setting; those that have expired are warned of."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from config.certificates import problems, warnings
from config.settings import AuditSettings, PeopleSettings, Settings, TlsSettings, WebSettings
from tests.system.certificates import Authority, Certificate

Make = Callable[[str, str], Settings]
PAIRS: dict[str, tuple[str, str, Make]] = {
    "web": ("web.tls_certificate", "web.tls_key", lambda c, k: Settings(web=WebSettings(tls_certificate=c, tls_key=k))),
    "dicom": ("tls.certificate", "tls.key", lambda c, k: Settings(tls=TlsSettings(port=1, certificate=c, key=k))),
    "syslog": (
        "audit.syslog_certificate", "audit.syslog_key",
        lambda c, k: Settings(audit=AuditSettings(syslog_certificate=c, syslog_key=k)),
    ),
}  # fmt: skip
AUTHORITIES: dict[str, Callable[[str], Settings]] = {
    "tls.client_ca": lambda file: Settings(tls=TlsSettings(port=1, client_ca=file)),
    "audit.syslog_ca": lambda file: Settings(audit=AuditSettings(syslog_ca=file)),
    "people.oidc_ca": lambda file: Settings(people=PeopleSettings(oidc_ca=file)),
}


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "ca")


@pytest.fixture
def good(authority: Authority) -> Certificate:
    return authority.issue("pacs.example")


@pytest.mark.parametrize("kind", PAIRS)
def test_what_can_be_used_is_neither_a_problem_nor_warned_of(good: Certificate, kind: str) -> None:
    settings = PAIRS[kind][2](*good)
    assert (list(problems(settings)), list(warnings(settings))) == ([], [])


@pytest.mark.parametrize("kind", PAIRS)
@pytest.mark.parametrize(
    "content",
    [b"", b"no PEM\n", b"\0" * 5000, b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"],
)
def test_garbage_is_named_with_its_setting(
    good: Certificate, tmp_path: Path, kind: str, content: bytes
) -> None:
    garbage = tmp_path / "garbage.pem"
    garbage.write_bytes(content)
    certificate, key, make = PAIRS[kind]
    assert list(problems(make(str(garbage), good.key))) == [
        f"{certificate}: {garbage} holds no certificate (PEM)"
    ]
    assert list(problems(make(good.certificate, str(garbage)))) == [
        f"{key}: {garbage} holds no private key (PEM)"
    ]
    assert list(warnings(make(str(garbage), good.key))) == []


@pytest.mark.parametrize("kind", PAIRS)
def test_the_key_of_another_certificate_is_named(good: Certificate, authority: Authority, kind: str) -> None:
    _, key, make = PAIRS[kind]
    other = authority.issue("other.example")
    assert list(problems(make(good.certificate, other.key))) == [
        f"{key}: {other.key} is not the key of {good.certificate}"
    ]


@pytest.mark.parametrize("kind", PAIRS)
def test_a_file_that_cannot_be_read_is_named(good: Certificate, tmp_path: Path, kind: str) -> None:
    certificate, key, make = PAIRS[kind]
    (found,) = problems(make(str(tmp_path), good.key))
    assert found == f"{certificate}: cannot read {tmp_path}: Is a directory"
    (found,) = problems(make(good.certificate, str(tmp_path / "absent")))
    assert found.startswith(f"{key}: cannot read ")


def test_a_file_without_an_end_is_not_read_to_it(good: Certificate) -> None:
    (found,) = problems(Settings(web=WebSettings(tls_certificate="/dev/zero", tls_key=good.key)))
    assert found == "web.tls_certificate: /dev/zero is too large for a PEM file"


def test_an_encrypted_key_is_an_error_and_no_question(good: Certificate, tmp_path: Path) -> None:
    key = serialization.load_pem_private_key(Path(good.key).read_bytes(), None)
    locked = tmp_path / "locked.key"
    form = serialization.PrivateFormat.PKCS8
    locked.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, form, serialization.BestAvailableEncryption(b"secret"))
    )
    (found,) = problems(Settings(web=WebSettings(tls_certificate=good.certificate, tls_key=str(locked))))
    assert found.startswith("web.tls_key: ") and "encrypted" in found and "secret" not in found


def test_a_certificate_that_openssl_itself_refuses_is_named(authority: Authority, tmp_path: Path) -> None:
    short = rsa.generate_private_key(65537, 1024)
    certificate = authority.issue("short.example", key=short)
    (found,) = problems(
        Settings(web=WebSettings(tls_certificate=certificate.certificate, tls_key=certificate.key))
    )
    assert found.startswith("web.tls_certificate: cannot use ") and "TOO_SMALL" in found


@pytest.mark.parametrize("path", AUTHORITIES)
def test_authorities_are_looked_at_as_well(authority: Authority, tmp_path: Path, path: str) -> None:
    make = AUTHORITIES[path]
    assert list(problems(make(authority.file))) == []
    garbage = tmp_path / "garbage.pem"
    garbage.write_bytes(b"none")
    assert list(problems(make(str(garbage)))) == [f"{path}: {garbage} holds no certificate (PEM)"]


@pytest.mark.parametrize("kind", PAIRS)
def test_who_has_expired_or_soon_will_is_warned_of_and_no_problem(
    good: Certificate, authority: Authority, kind: str
) -> None:
    certificate, _, make = PAIRS[kind]
    settings, now = make(*good), datetime.now(UTC)
    for days, word in ((-40, "is not valid before"), (0, ""), (20, "expires on"), (40, "has expired on")):
        found = list(warnings(settings, now + timedelta(days=days)))
        assert [
            word in each and each.startswith(f"{certificate}: {good.certificate} ") for each in found
        ] == [True] * bool(word)
    expired = make(*authority.issue("old.example", valid=False))
    assert list(problems(expired)) == []
    assert ["has expired" in each for each in warnings(expired)] == [True]
