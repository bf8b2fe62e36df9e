"""Secrets that a server hands out: 256 random bits each, kept as their SHA-256 only. Pure but for the random numbers.

A fast hash is enough: nobody guesses 256 bits, and looking one up by its hash takes no secret-dependent time.
"""

from __future__ import annotations

import hashlib
import secrets
from typing import Final

SESSION: Final = "ses_"
REFRESH: Final = "ref_"
API_TOKEN: Final = "pat_"  # noqa: S105 - how such a token begins
SHARE: Final = "lnk_"
SHARE_SESSION: Final = "shs_"
_BYTES: Final = 32
_LENGTH: Final = 4 + 43


def new_secret(kind: str) -> str:
    """kind: one of the prefixes above; they make a leaked secret recognisable."""
    return kind + secrets.token_urlsafe(_BYTES)


def looks_like(text: str, kind: str) -> bool:
    """Whether it is worth looking up."""
    return len(text) == _LENGTH and text.startswith(kind) and text.isascii()


def digest(secret: str) -> bytes:
    """(32,) bytes: what is stored."""
    return hashlib.sha256(secret.encode()).digest()
