"""Query strings of QIDO-RS: what is read, what is ignored, what comes back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.dataset.attributes import INDEXED, Level
from protocols.dicomweb.query import DEFAULTS, Search, parse_search, returned, tag_of
from protocols.errors import BadIdentifier

TAG = {each.keyword: each.tag for each in INDEXED}
STUDY, SERIES = TAG["StudyInstanceUID"], TAG["SeriesInstanceUID"]
CUSTOM = {0x00081140: "SQ", 0x00180050: "DS", 0x00101081: "LO"}


def parse(level: Level, *pairs: tuple[str, str], path: dict[int, str] | None = None) -> Search:
    return parse_search(level, pairs, path=path or {}, custom=CUSTOM)


@pytest.mark.parametrize(
    ("name", "tag"),
    [
        ("PatientName", 0x00100010), ("00100010", 0x00100010), ("0020000d", 0x0020000D), ("patientname", None),
        ("0010001", None), ("001000100", None), ("", None), ("0010 010", None), ("٠٠١٠٠٠١٠", None), ("x" * 9999, None),
    ],
)  # fmt: skip
def test_an_attribute_is_named_by_keyword_or_tag(name: str, tag: int | None) -> None:
    assert tag_of(name) == tag


def test_keys_are_read_by_keyword_and_tag() -> None:
    search = parse(Level.STUDY, ("PatientName", "Doe*"), ("00100020", "A,B"), ("StudyDate", ""))
    assert search.keys == {0x00100010: "Doe*", 0x00100020: "A,B", 0x00080020: ""}


def test_commas_make_lists_of_uids_and_codes_only() -> None:
    search = parse(
        Level.SERIES, ("StudyInstanceUID", "1.2,1.3"), ("Modality", "CT,MR"), ("AccessionNumber", "A,B")
    )
    assert search.keys == {STUDY: "1.2\\1.3", TAG["Modality"]: "CT\\MR", TAG["AccessionNumber"]: "A,B"}


def test_a_repeated_key_asks_for_either_value() -> None:
    search = parse(Level.STUDY, ("ModalitiesInStudy", "CT"), ("00080061", "MR"), ("ModalitiesInStudy", ""))
    assert search.keys == {0x00080061: "CT\\MR"}


def test_modality_means_the_studys_modalities_at_study_level_only() -> None:
    assert parse(Level.STUDY, ("Modality", "CT")).keys == {0x00080061: "CT"}
    assert parse(Level.SERIES, ("Modality", "CT")).keys == {0x00080060: "CT"}


def test_what_is_no_attribute_is_ignored() -> None:
    assert parse(Level.STUDY, ("accept", "x"), ("_", "1"), ("nonsense", "y"), ("a.b", "1")) == Search(
        Level.STUDY
    )


def test_what_cannot_be_matched_is_named_unless_any_value_will_do() -> None:
    search = parse(
        Level.STUDY, ("InstanceNumber", "1"), ("SliceLocation", "2"), ("00091001", "x"), ("StudyArrivalDate", ""),
        ("RequestAttributesSequence", "x"), ("PatientSpeciesDescription", "*"),
    )  # fmt: skip
    assert search.keys == {}
    assert search.ignored == ("InstanceNumber", "SliceLocation", "00091001", "RequestAttributesSequence")


def test_custom_attributes_are_keys() -> None:
    search = parse(Level.STUDY, ("SliceThickness", "1.5"), ("00081140", "x"))
    assert search.keys == {0x00180050: "1.5"} and search.ignored == ("ReferencedImageSequence",)


def test_what_we_make_ourselves_is_no_filter() -> None:
    search = parse(Level.STUDY, ("TimezoneOffsetFromUTC", "+0100"), ("InstanceAvailability", "OFFLINE"))
    assert (search.keys, search.ignored) == ({}, ())


def test_a_dotted_path_is_a_key_of_the_sequences_item() -> None:
    search = parse(
        Level.SERIES, ("RequestAttributesSequence.RequestedProcedureID", "RP"), ("00400275.00400009", ""),
    )  # fmt: skip
    assert search.sequences == {0x00400275: {0x00401001: "RP", 0x00400009: ""}}
    deep = parse(Level.SERIES, ("00400275.00400008.00080100", "x"), ("00100010.00100020", "y"))
    assert deep.sequences == {} and deep.ignored == ("RequestAttributesSequence", "PatientName")
    assert parse(Level.STUDY, ("00400275.00401001", "x")).ignored == ("RequestAttributesSequence",)


@pytest.mark.parametrize(
    ("value", "fuzzy"), [("true", True), ("TRUE", True), ("1", True), ("false", False), ("", False)]
)
def test_fuzzy_matching_is_asked_for(value: str, fuzzy: bool) -> None:
    assert parse(Level.STUDY, ("fuzzymatching", value)).fuzzy is fuzzy


def test_limit_and_offset_are_numbers_from_zero_on() -> None:
    search = parse(Level.STUDY, ("limit", "10"), ("offset", "20"))
    assert (search.limit, search.offset) == (10, 20)
    assert parse(Level.STUDY, ("limit", ""), ("offset", "")) == Search(Level.STUDY)
    for bad in ("-1", "1.0", "ten", "1" * 16, "٣", "0x10"):
        for name in ("limit", "offset"):
            with pytest.raises(BadIdentifier):
                parse(Level.STUDY, (name, bad))


def test_a_key_that_contradicts_the_path_finds_nothing() -> None:
    def nothing(value: str) -> bool:
        return parse(Level.SERIES, ("StudyInstanceUID", value), path={STUDY: "1.2"}).nothing

    assert nothing("1.3") and nothing("1.3,1.4")
    assert not nothing("1.2") and not nothing("1.3,1.2") and not nothing("") and not nothing("*")
    assert parse(Level.SERIES, ("StudyInstanceUID", "1.2,1.3"), path={STUDY: "1.2"}).keys == {STUDY: "1.2"}


@pytest.mark.parametrize(
    ("level", "path", "levels"),
    [
        (Level.STUDY, {}, [Level.STUDY]), (Level.SERIES, {}, [Level.STUDY, Level.SERIES]),
        (Level.SERIES, {STUDY: "1"}, [Level.SERIES]), (Level.IMAGE, {}, [Level.STUDY, Level.SERIES, Level.IMAGE]),
        (Level.IMAGE, {STUDY: "1"}, [Level.SERIES, Level.IMAGE]), (Level.IMAGE, {STUDY: "1", SERIES: "2"}, [Level.IMAGE]),
    ],
)  # fmt: skip
def test_levels_that_the_path_does_not_name_are_returned_too(
    level: Level, path: dict[int, str], levels: list[Level]
) -> None:
    tags = set(returned(parse(level, path=path), path, CUSTOM))
    assert tags == {tag for each in levels for tag in DEFAULTS[each]} | set(path)


def test_keys_and_fields_are_returned_and_lower_levels_are_not() -> None:
    search = parse(
        Level.STUDY, ("PatientAge", "030Y"), ("includefield", "Occupation,00081080, ,Modality,Nonsense"),
        ("includefield", "00400275.00401001"), ("includefield", "SliceThickness"),
    )  # fmt: skip
    beside = set(returned(search, {}, CUSTOM)) - set(DEFAULTS[Level.STUDY])
    assert beside == {TAG["PatientAge"], TAG["Occupation"], 0x00081080, 0x00180050}


@pytest.mark.parametrize("word", ["all", "ALL", "StudyDate,all"])
def test_all_is_all_that_the_index_has_at_the_level(word: str) -> None:
    tags = returned(parse(Level.SERIES, ("includefield", word)), {}, CUSTOM)
    assert set(tags) == {each.tag for each in INDEXED if each.level is not Level.IMAGE} | set(CUSTOM)
    assert len(tags) == len(set(tags))


@given(st.lists(st.tuples(st.text(max_size=30), st.text(max_size=30)), max_size=20))
def test_any_text_is_read_or_refused(pairs: list[tuple[str, str]]) -> None:
    try:
        search = parse(Level.IMAGE, *pairs)
    except BadIdentifier:
        return
    returned(search, {}, CUSTOM)
