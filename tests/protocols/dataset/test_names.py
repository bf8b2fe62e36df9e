from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.dataset.names import MAX_CHARACTERS, fold, groups


@pytest.mark.parametrize(
    ("pn", "expected"),
    [
        ("", ("", "", "")),
        ("Doe^Jane", ("Doe^Jane", "", "")),
        ("Wang^XiaoDong=王^小东=", ("Wang^XiaoDong", "王^小东", "")),
        ("=王", ("", "王", "")),
        ("a=b=c", ("a", "b", "c")),
        ("a=b=c=d", ("a", "b", "c")),
        ("A=一\\B", ("A\\B", "一", "")),
        ("A\\B=二", ("A\\B", "\\二", "")),
    ],
)
def test_groups(pn: str, expected: tuple[str, str, str]) -> None:
    assert groups(pn) == expected


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Müller^Jürgen", "MULLER^JURGEN"),
        ("Strauß", "STRAUSS"),
        ("Ørsted", "orsted"),
        ("Łukasz", "lukasz"),
        ("Æsop", "aesop"),
        ("İstanbul", "istanbul"),
        ("Nguyễn^Đức", "nguyen^duc"),
        ("Σίσυφος", "ΣΙΣΥΦΟΣ"),
        ("Фёдоров", "ФЕДОРОВ"),
        ("ﾔﾏﾀﾞ", "ヤマダ"),
        ("Ｄｏｅ", "doe"),
        ("مُحَمَّد", "محمد"),
        ("O’Neill", "O'NEILL"),
        (" Doe  ^ Jane^^ ", "doe^jane"),
        ("DOE^JANE", "Doe^Jane"),
    ],
)
def test_spellings_that_fold_together(one: str, other: str) -> None:
    assert fold(one) == fold(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Андрей", "Андреи"),
        ("ガ", "カ"),
        ("ぱ", "は"),
        ("홍", "헝"),
        ("王", "玉"),
        ("กี", "ก"),
        ("Doe^Jane", "Doe Jane"),
    ],
)
def test_letters_that_stay_apart(one: str, other: str) -> None:
    assert fold(one) != fold(other)


def test_hangul_and_kana_stay_composed_and_wildcards_pass() -> None:
    assert fold("홍길동*ガ?") == "홍길동*ガ?"


@pytest.mark.parametrize("text", ["a\u0301\u0316" * 200_000, "ﷺ" * 100_000, "x " * 100_000, "^" * 100_000])
def test_long_text_is_cut(text: str) -> None:
    folded = fold(text)
    assert len(folded) <= MAX_CHARACTERS
    assert fold(folded) == folded


@given(st.text())
def test_folding_twice_changes_nothing(text: str) -> None:
    assert fold(fold(text)) == fold(text)


def test_folding_any_character_that_changes_twice_changes_nothing() -> None:
    changing = [
        character
        for character in map(chr, range(0x110000))
        if unicodedata.combining(character)
        or unicodedata.normalize("NFKD", character).casefold() != character
    ]
    assert len(changing) > 10_000
    for character in changing:
        # Hangul is 11,172 times the same rule.
        if not "가" < character <= "힣":
            text = "aи" + character
            assert fold(fold(text)) == fold(text), hex(ord(character))
