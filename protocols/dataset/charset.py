"""Text of data sets: Specific Character Set (0008,0005), PS3.3 C.12.1.1.2 and PS3.5 6.1.

Only the standard's defined terms select a codec, never a name that Python happens to know. Decoding never
fails: what a character set does not have becomes U+FFFD, and an unknown term counts as Latin-1.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Final

from msgspec import Struct

UTF8: Final = "ISO_IR 192"
MAX_TERMS: Final = 16

Decode = Callable[[bytes], str]


def _codec(name: str) -> Decode:
    decoder = codecs.getdecoder(name)
    return lambda raw: decoder(raw, "replace")[0]


# JIS X 0201: the lower half is kept as ASCII, because 5CH separates values before it is a yen sign.
_JIS_X_0201: Final = "".join(
    chr(byte) if byte < 0x80 else chr(0xFF61 + byte - 0xA1) if 0xA1 <= byte <= 0xDF else "\ufffe"
    for byte in range(256)
)
_JIS_X_0201_ENCODING: Final = codecs.charmap_build(_JIS_X_0201)


def _katakana(raw: bytes) -> str:
    return codecs.charmap_decode(raw, "replace", _JIS_X_0201)[0]


_HIGH_BIT: Final = bytes(byte | 0x80 for byte in range(256))


def _jis(lead: bytes, raw: bytes) -> str:
    """94x94 characters in G0, by way of EUC, where ``lead`` (SS3 or nothing) tells the plane."""
    high = raw.translate(_HIGH_BIT)
    if lead:
        high = b"".join(lead + high[at : at + 2] for at in range(0, len(high), 2))
    return codecs.decode(high, "euc_jp", "replace")


_latin1: Final = _codec("latin_1")

# PS3.3 tables C.12-2 and C.12-3: number in the defined term -> (Python codec, last byte of its escape).
_SINGLE_BYTE: Final[dict[str, tuple[str, bytes]]] = {
    "100": ("latin_1", b"A"),
    "101": ("iso8859_2", b"B"),
    "109": ("iso8859_3", b"C"),
    "110": ("iso8859_4", b"D"),
    "126": ("iso8859_7", b"F"),
    "127": ("iso8859_6", b"G"),
    "138": ("iso8859_8", b"H"),
    "144": ("iso8859_5", b"L"),
    "148": ("iso8859_9", b"M"),
    "166": ("iso8859_11", b"T"),
    "203": ("iso8859_15", b"b"),
}
_G1_OF_TERM: Final[dict[str, Decode]] = {
    **{number: _codec(name) for number, (name, _) in _SINGLE_BYTE.items()},
    "13": _katakana,
    "149": _codec("euc_kr"),
    "58": _codec("gb2312"),
}
_WITHOUT_EXTENSIONS: Final = {UTF8: "utf_8", "GB18030": "gb18030", "GBK": "gbk"}
_ALIASES: Final = {"UTF-8": UTF8, "UTF8": UTF8, "ISO 2022 GBK": "GBK", "ISO 2022 58": "ISO 2022 IR 58"}

# PS3.3 tables C.12-3 and C.12-4, what follows the escape character. Width is bytes a character in G0.
_TO_G0: Final[dict[bytes, tuple[int, Decode]]] = {
    b"(B": (1, _latin1),
    b"(J": (1, _latin1),
    b"$B": (2, partial(_jis, b"")),
    b"$@": (2, partial(_jis, b"")),
    b"$(D": (2, partial(_jis, b"\x8f")),
}
_TO_G1: Final[dict[bytes, Decode]] = {
    **{b"-" + final: _codec(name) for name, final in _SINGLE_BYTE.values()},
    b")I": _katakana,
    b"$)C": _codec("euc_kr"),
    b"$)A": _codec("gb2312"),
}
_ESCAPE: Final = re.compile(
    b"\x1b(" + b"|".join(re.escape(code) for code in sorted([*_TO_G0, *_TO_G1], key=len, reverse=True)) + b")"
)
_TERM: Final = re.compile(r"ISO(?P<extended>[ _-]?2022)?[ _-]?IR[ _-]?(?P<number>\d{1,3})")
# Pairs of G0 may look like \\, ^ or =: only control characters and spaces stand apart from them.
_RUN_OF_PAIRS: Final = re.compile(rb"[\x80-\xff]+|[\x00-\x20]|[^\x00-\x20\x80-\xff]+")


class _Delimiters(Struct, frozen=True):
    """What ends code extensions (PS3.5 6.1.2.5.3), and a pattern that tells them from runs of G0 and G1."""

    delimiters: frozenset[bytes]
    run: re.Pattern[bytes]


def _delimited_by(characters: bytes) -> _Delimiters:
    escaped = re.escape(characters)
    run = re.compile(b"[\x80-\xff]+|[" + escaped + b"]|[^\x80-\xff" + escaped + b"]+")
    return _Delimiters(frozenset(bytes([character]) for character in characters), run)


_IN_TEXT: Final = _delimited_by(b"\n\f\r\\")
_IN_PERSON_NAME: Final = _delimited_by(b"\n\f\r\\^=")


class CharacterSet(Struct, frozen=True):
    """What one value of (0008,0005) means.

    codec:      Python codec of the whole value, where code extensions cannot occur
    initial_g1: what bytes from 80H on mean at the beginning of a value and behind a delimiter; None: not said
    encoder:    what ``encode`` uses for text that is not ASCII; None: nothing else than ASCII can be written
    """

    codec: Decode | None
    initial_g1: Decode | None
    encoder: str | None

    def decode(self, raw: bytes, *, person_name: bool = False) -> str:
        """Decode one attribute's value; several values stay separated by backslashes.

        person_name: ^ and = end a code extension too (PS3.5 6.1.2.5.3)
        """
        if self.codec is not None:
            return self.codec(raw)
        if b"\x1b" not in raw:
            return (self.initial_g1 or _latin1)(raw)
        return self._decode_extended(raw, _IN_PERSON_NAME if person_name else _IN_TEXT)

    def _decode_extended(self, raw: bytes, rules: _Delimiters) -> str:
        initial_g0 = _TO_G0[b"(B"]
        (width, g0), g1 = initial_g0, self.initial_g1
        text: list[str] = []
        # The pattern has one group: plain, escape code, plain, escape code, ... plain.
        for number, part in enumerate(_ESCAPE.split(raw)):
            if number & 1:
                if part in _TO_G0:
                    width, g0 = _TO_G0[part]
                else:
                    g1 = _TO_G1[part]
                continue
            for run in (_RUN_OF_PAIRS if width == 2 else rules.run).findall(part):
                if run[0] >= 0x80:
                    text.append((g1 or _latin1)(run))
                elif run in rules.delimiters:
                    text.append(run.decode("ascii"))
                    # A set that only extensions brought in stays in G1: nothing else can be meant by writers
                    # who forget to designate it again.
                    (width, g0), g1 = initial_g0, self.initial_g1 or g1
                else:
                    text.append(run.decode("ascii") if run[0] <= 0x20 else g0(run))
        return "".join(text)


@lru_cache(maxsize=256)
def character_set(specific_character_set: str) -> CharacterSet:
    """Look up what a value of (0008,0005) means, several terms separated by backslashes.

    Spelling is forgiven (``ISO IR 100``, ``iso_ir 192``), anything that is no defined term counts as Latin-1.
    """
    terms = [term.strip(" \0").upper() for term in specific_character_set.split("\\", MAX_TERMS)[:MAX_TERMS]]
    first = _ALIASES.get(terms[0], terms[0])
    match = _TERM.fullmatch(first)
    number = match["number"] if match else ""
    if number == "192":
        first = UTF8
    if first in _WITHOUT_EXTENSIONS:
        name = _WITHOUT_EXTENSIONS[first]
        return CharacterSet(_codec(name), None, name)
    if number == "13":
        return CharacterSet(None, _katakana, "jis_x_0201")
    single = _SINGLE_BYTE.get(number)
    return CharacterSet(None, _G1_OF_TERM.get(number), single[0] if single else None)


def decode(raw: bytes, specific_character_set: str, *, person_name: bool = False) -> str:
    """Decode one attribute's value; never fails. See ``CharacterSet.decode``."""
    if raw.isascii() and b"\x1b" not in raw:
        return raw.decode("ascii")
    return character_set(specific_character_set).decode(raw, person_name=person_name)


def encode(text: str, specific_character_set: str = UTF8) -> bytes:
    """Encode text for an answer that declares ``specific_character_set``; what it cannot write becomes "?".

    Code extensions are not written: of several terms the first is used.
    """
    if text.isascii():
        return text.encode("ascii")
    encoder = character_set(specific_character_set).encoder or "ascii"
    if encoder == "jis_x_0201":
        return codecs.charmap_encode(text, "replace", _JIS_X_0201_ENCODING)[0]
    return text.encode(encoder, "replace")
