"""Person names: their component groups, and the folding under which they are searched.

Pure text rules. ``fold`` is used when a name is indexed and again when a query comes in: both sides must
agree, so a change here means that the folded columns have to be made again.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

MAX_CHARACTERS: Final = 1024

# Letters that Unicode does not decompose, although readers take them for a variant of the plain letter.
_SPELLED_OUT: Final = str.maketrans(
    {
        "ß": "ss", "æ": "ae", "œ": "oe", "ø": "o", "đ": "d", "ð": "d", "þ": "th", "ł": "l", "ħ": "h",
        "ı": "i", "ŧ": "t", "ŋ": "n", "ĸ": "k", "ƶ": "z", "ё": "е",
        "‘": "'", "’": "'", "ʼ": "'", "‐": "-", "‑": "-", "–": "-", "—": "-",
    }
)  # fmt: skip

# Accents (Latin, Greek), Hebrew points and Arabic vowel signs are optional in writing. Other marks are not:
# Thai and Indic vowels, and the kana sound marks, make different words.
_OPTIONAL_MARKS: Final = re.compile(
    "[\u0300-\u036f\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u064b-\u065f\u0670\u0640]+"
)
_CYRILLIC_WITH_MARK: Final = re.compile("([\u0400-\u052f])[\u0300-\u036f]+")
_AROUND_CARETS: Final = re.compile(r" ?\^ ?")


def groups(pn: str) -> tuple[str, str, str]:
    """Split a person name into its component groups (PS3.5 6.2.1.2).

    pn:      value of a PN attribute; several values are separated by backslashes
    returns: (alphabetic, ideographic, phonetic), absent ones empty; several values stay so in each group
    """
    if "\\" in pn:
        split = [groups(value) for value in pn.split("\\")]
        alphabetic, ideographic, phonetic = (
            "\\".join(group).rstrip("\\") for group in zip(*split, strict=True)
        )
        return alphabetic, ideographic, phonetic
    if "=" not in pn:
        return pn, "", ""
    parts = pn.split("=", 3)
    return parts[0], parts[1], parts[2] if len(parts) > 2 else ""


def fold(text: str) -> str:
    """Fold a name so that spellings which people take for the same compare equal.

    Case and width are ignored; accents of Latin and Greek letters are dropped (Müller, Muller), ß is ss, ø o,
    æ ae, ё е; Hebrew points and Arabic vowel signs are dropped. Cyrillic й stays apart from и, as do kana,
    Hangul, CJK, Thai and Indic letters. White space collapses to one space and goes away at both ends and
    around ^; trailing ^ goes away. Wildcards ``*`` and ``?`` pass. At most 1,024 characters count, before and
    after. Idempotent.
    """
    # Unicode's ordering of long runs of marks takes quadratic time.
    text = text[:MAX_CHARACTERS]
    if text.isascii():
        folded = text.lower()
    else:
        folded = _decomposed(text)
        marked = _CYRILLIC_WITH_MARK.sub(lambda found: unicodedata.normalize("NFC", found[0]), folded)
        bare = _OPTIONAL_MARKS.sub("", marked).translate(_SPELLED_OUT)
        folded = unicodedata.normalize("NFC", bare)
    folded = " ".join(folded.split())[:MAX_CHARACTERS].rstrip()
    if "^" in folded:
        folded = _AROUND_CARETS.sub("^", folded).rstrip("^ ")
    return folded


def _decomposed(text: str) -> str:
    # Compatibility forms and case feed each other (ﬁ, ᾳ, K): repeated until nothing moves, which is soon.
    while True:
        further = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold())
        if further == text:
            return text
        text = further
