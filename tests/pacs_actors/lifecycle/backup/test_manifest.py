"""The manifest: sealed, and read with suspicion."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from pacs_actors.lifecycle.backup import manifest as manifests
from pacs_actors.lifecycle.backup.frames import Broken
from pacs_actors.lifecycle.backup.manifest import Gone, Held, Part, Young
from pacs_actors.lifecycle.backup.sealing import BackupKey, read_key
from protocols.errors import ConfigError
from tests.pacs_actors.lifecycle.backup.test_chain import made

KEY, OTHER = BackupKey(b"k" * 32), BackupKey(b"o" * 32)


def encrypted() -> manifests.Manifest:
    return msgspec.structs.replace(made("f1"), key_check=KEY.check("f1"))


def test_a_manifest_is_read_as_it_was_written() -> None:
    assert manifests.decode(manifests.encode(made("f1"), None), None) == made("f1")
    assert manifests.decode(manifests.encode(encrypted(), KEY), KEY) == encrypted()


@pytest.mark.parametrize("key", [None, KEY], ids=["plain", "encrypted"])
def test_every_flipped_bit_of_a_manifest_is_found(key: BackupKey | None) -> None:
    told = made("f1") if key is None else encrypted()
    text = manifests.encode(told, key)
    for bit in range(0, (len(text) - 1) * 8, 3):
        flipped = bytearray(text)
        flipped[bit // 8] ^= 1 << bit % 8
        try:
            found = manifests.decode(bytes(flipped), key)
        except (Broken, ConfigError):
            continue
        assert (
            found == told
        )  # such as a capital in the hexadecimal seal's key name would be: none is accepted
        raise AssertionError(f"bit {bit} may be flipped")


def test_another_key_or_none_is_told_from_damage() -> None:
    text = manifests.encode(encrypted(), KEY)
    with pytest.raises(ConfigError, match="not the key"):
        manifests.decode(text, OTHER)
    with pytest.raises(ConfigError, match="is encrypted"):
        manifests.decode(text, None)
    assert manifests.decode(text, None, sealed=False).id == "f1"


def test_who_has_no_key_cannot_seal_what_they_changed() -> None:
    changed = msgspec.structs.replace(encrypted(), objects=7)
    with pytest.raises(Broken):
        manifests.decode(manifests.encode(changed, OTHER), KEY)
    with pytest.raises(Broken):
        manifests.decode(manifests.encode(changed, None), KEY)


def test_a_manifest_of_a_later_format_is_refused_by_its_number() -> None:
    text = manifests.encode(msgspec.structs.replace(made("f1"), format=2), None)
    with pytest.raises(Broken, match="another release"):
        manifests.decode(text, None)


@pytest.mark.parametrize("text", [b"", b"{}", b"\xff\xfe", b"[" * 100_000, b'{"format":1}\n{}'], ids=len)
def test_garbage_is_no_manifest(text: bytes) -> None:
    with pytest.raises(Broken):
        manifests.decode(text, None)


def test_lines_of_the_catalog_come_back() -> None:
    told = [
        Held("0/00000001/" + "a" * 32 + ".dcm", "1.2.3", "00", Part("objects-00001", 3, 48, 5)),
        Gone("k"),
        Young("k"),
    ]
    assert manifests.lines(b"\n".join(msgspec.json.encode(one) for one in told)) == told
    with pytest.raises(Broken):
        manifests.lines(b'["x","k"]\n')


def test_a_key_is_64_hexadecimal_digits_or_32_bytes(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("ab" * 32 + "\n")
    assert read_key(file).check("f1") == BackupKey(bytes.fromhex("ab" * 32)).check("f1")
    file.write_bytes(b"k" * 32)
    assert read_key(file).check("f1") == KEY.check("f1")
    for wrong in (b"", b"secret", b"zz" * 32, b"k" * 5000):
        file.write_bytes(wrong)
        with pytest.raises(ConfigError, match=r"backup\.key_file"):
            read_key(file)
    with pytest.raises(ConfigError, match=r"backup\.key_file"):
        read_key(tmp_path / "missing")
