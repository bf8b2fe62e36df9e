"""The key of encrypted backups: read from a file, never kept; a key of its own for each container and purpose."""

from __future__ import annotations

import hmac
import os
import re
from hashlib import sha256
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from protocols.errors import ConfigError

KEY_BYTES: Final = 32
_MOST_FILE_BYTES: Final = 4096
_HEXADECIMAL: Final = re.compile(rb"[0-9a-fA-F]{64}")
_ADVICE: Final = "make one with: openssl rand -hex 32"


class BackupKey:
    """256 secret bits. Containers, seals and the check that a key is the right one each get a key derived from them."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def cipher(self, salt: bytes, backup: str, container: str) -> AESGCM:
        """Of one container: as its key is used for nothing else, its frames may be numbered from 0 (NIST SP 800-38D 8.2.1)."""
        return AESGCM(self._derived(f"container {backup}/{container}", salt))

    def seal(self, text: bytes) -> str:
        """An HMAC-SHA-256, hexadecimal."""
        return hmac.new(self._derived("seal"), text, sha256).hexdigest()

    def check(self, backup: str) -> str:
        """Stands in the manifest, so that another key is recognised as such."""
        return hmac.new(self._derived("check"), backup.encode(), sha256).hexdigest()[:32]

    def _derived(self, purpose: str, salt: bytes | None = None) -> bytes:
        info = f"pacs-actors backup {purpose}".encode()
        return HKDF(SHA256(), KEY_BYTES, salt, info).derive(self._secret)


def read_key(path: str | os.PathLike[str]) -> BackupKey:
    """raises: ConfigError if the file cannot be read or holds no key: 64 hexadecimal digits, or 32 bytes"""
    try:
        with Path(path).open("rb") as file:
            content = file.read(_MOST_FILE_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"backup.key_file: cannot read {path}: {error.strerror}") from None
    if _HEXADECIMAL.fullmatch(content.strip()):
        return BackupKey(bytes.fromhex(content.strip().decode("ascii")))
    if len(content) == KEY_BYTES:
        return BackupKey(content)
    raise ConfigError(f"backup.key_file: {path} holds no key of 64 hexadecimal digits; {_ADVICE}")


def seal(key: BackupKey | None, text: bytes) -> str:
    """What shows that a text is as it was written; without a key against accidents only."""
    return key.seal(text) if key is not None else sha256(text).hexdigest()


def fits(key: BackupKey | None, text: bytes, sealed: str) -> bool:
    return hmac.compare_digest(seal(key, text), sealed)
