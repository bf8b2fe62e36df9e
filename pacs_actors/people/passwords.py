"""Passwords: which are taken, and their argon2id hashes. Hashing takes about 50 ms and 32 MiB: never on the Trio loop."""

from __future__ import annotations

import base64
import os
import secrets
from typing import Final

import argon2

from pacs_actors.people.accounts import fold_username

MIN_LENGTH: Final = 12
MAX_LENGTH: Final = 1024
_HASHER: Final = argon2.PasswordHasher(time_cost=3, memory_cost=32 * 1024, parallelism=1)
# Those of which the first guesses consist, as far as they are long enough, and what examples are full of.
_COMMON: Final = frozenset(
    """
    123456789012 1234567890123 12345678901234 123123123123 111111111111 000000000000 qwertyuiop12 qwertyuiop123
    qwertyuiopasdf qwerty123456 qwerty1234567 1qaz2wsx3edc 1q2w3e4r5t6y zaq12wsxcde3 asdfghjkl123 abcdefghijkl
    abcdefgh1234 abcd12345678 password1234 password12345 password123456 passwordpassword passw0rd1234 p@ssword1234
    p@ssw0rd1234 administrator administrator1 administrator123 admin1234567 admin12345678 admin123admin adminadminadmin
    adminpassword adminpassword1 administration changeme1234 changemechangeme changeme12345 letmeinletmein letmein12345
    welcome12345 welcome123456 iloveyou1234 iloveyouiloveyou orthancorthanc radiology123 radiology1234 radiologist1
    hospital1234 hospital12345 pacspacspacs pacs-actors-admin trustno1trustno1 football1234 baseball1234 superman1234
    monkey123456 dragon123456 sunshine1234 princess1234 correcthorsebatterystaple secretsecret secret123456 supersecret123
    changeit changeme changeme! password passw0rd p@ssw0rd admin admin123 admin1234 administrator! orthanc secret letmein
    example example1 test test1234 demo demo1234 default 12345678 123456789 1234567890 qwertyui qwerty123 password1
    password12 password123 welcome1 pacspacs pacsadmin
    """.split()  # noqa: SIM905 - a list of words, not of quotation marks
)


def password_problem(password: str, username: str, *, at_least: int = MIN_LENGTH) -> str | None:
    """Why a password is refused, as a sentence for whoever chose it; None if it is good."""
    if len(password) < at_least:
        return f"The password needs at least {at_least} characters."
    if len(password) > MAX_LENGTH or "\0" in password:
        return f"The password has at most {MAX_LENGTH} characters, and no NUL among them."
    folded, name = password.casefold(), fold_username(username)
    if name and folded in (name, name * 2, name[::-1]):
        return "The password must not be the user name."
    if folded in _COMMON or len(set(folded)) < 4:
        return "The password is one of those that are guessed first."
    return None


def generated() -> str:
    """A password of 119 random bits that can be read and typed: five groups of four, no letters that look alike."""
    letters = "abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789"
    return "-".join("".join(secrets.choice(letters) for _ in range(4)) for _ in range(5))


def hashed(password: str) -> str:
    """argon2id, as a PHC string that names its parameters."""
    return _HASHER.hash(password)


def _of_nothing() -> str:
    """A hash that no password has, and that cost nothing to make: random bytes in the place of the result."""
    salt, result = (
        base64.b64encode(os.urandom(n)).decode().rstrip("=") for n in (_HASHER.salt_len, _HASHER.hash_len)
    )
    costs = f"m={_HASHER.memory_cost},t={_HASHER.time_cost},p={_HASHER.parallelism}"
    return f"$argon2id$v={argon2.low_level.ARGON2_VERSION}${costs}${salt}${result}"


DUMMY_HASH: Final = _of_nothing()
"""Compared with when there is no user of that name, so that it takes as long as when there is."""


def matches(password: str, stored: str | None) -> bool:
    """Whether this is the password; as slow without a stored hash as with one."""
    try:
        right = _HASHER.verify(stored or DUMMY_HASH, password[: MAX_LENGTH + 1])
    except (argon2.exceptions.VerificationError, argon2.exceptions.InvalidHashError):
        return False
    return right and stored is not None


def is_outdated(stored: str) -> bool:
    """Whether a hash was made with other parameters than those of this release."""
    return _HASHER.check_needs_rehash(stored)
