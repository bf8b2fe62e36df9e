"""C-FIND at every level of both roots: what matches, what comes back, with which status (PS3.4 C.2.2.2, C.4.1, C.6)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset, dcmread
from pydicom.sequence import Sequence as Items
from pydicom.uid import generate_uid
from pynetdicom.association import Association

from tests.system import peers
from tests.system.peers import FIND, Answers, Instance
from tests.system.server import Server

PENDING, PENDING_UNSUPPORTED, SUCCESS, MISMATCH = 0xFF00, 0xFF01, 0x0000, 0xA900
RELATIONAL, COMBINED, FUZZY = b"\x01", b"\x00\x01", b"\x00\x00\x01"


def requested(procedure: str, step: str, description: str) -> Dataset:
    item = Dataset()
    item.RequestedProcedureID, item.ScheduledProcedureStepID = procedure, step
    item.ScheduledProcedureStepDescription = description
    return item


class Corpus:
    """Five studies of five patients; accession numbers QA1 to QA5 tell them apart."""

    def __init__(self) -> None:
        self.study = {n: generate_uid() for n in range(1, 6)}
        self.series = {name: generate_uid() for name in ("CT", "MR", "2", "3", "4", "5")}
        self.instances: list[Instance] = []
        john: dict[str, Any] = {
            "PatientID": "Q-1", "IssuerOfPatientID": "HOSPITAL", "PatientName": "Doe^John", "PatientSex": "M",
            "PatientBirthDate": "19700101", "StudyDate": "20240110", "StudyTime": "083000",
            "AccessionNumber": "QA1", "StudyDescription": "CT Thorax", "StudyInstanceUID": self.study[1],
            "ReferringPhysicianName": "House^Gregory",
        }  # fmt: skip
        ct: dict[str, Any] = {
            "SeriesInstanceUID": self.series["CT"], "Modality": "CT", "SeriesNumber": 1,
            "SeriesDescription": "Lung 1.0", "BodyPartExamined": "CHEST",
            "RequestAttributesSequence": Items([requested("RP1", "SPS1", "First"), requested("RP2", "SPS2", "Second")]),
        }  # fmt: skip
        self.images = [
            self.add(**john, **ct, InstanceNumber=n, ContentDate="20240110", Rows=64) for n in (1, 2, 3)
        ]
        self.add(
            peers.MR,
            **john,
            SeriesInstanceUID=self.series["MR"],
            Modality="MR",
            SeriesNumber=2,
            InstanceNumber=1,
        )
        self.add(
            peers.MR, SpecificCharacterSet="ISO_IR 192", PatientID="Q-2", PatientName="Wang^XiaoDong=王^小東=ワン^シャオ",
            StudyDate="20240115", StudyTime="120000.5", AccessionNumber="QA2", StudyDescription="100%_done",
            StudyInstanceUID=self.study[2], SeriesInstanceUID=self.series["2"], Modality="MR",
        )  # fmt: skip
        self.add(
            SpecificCharacterSet="ISO_IR 100", PatientID="Q-3", PatientName="Müller^Jérôme^^Dr", StudyDate="20240120",
            StudyTime="235959", AccessionNumber="QA3", StudyDescription="ct thorax", StudyInstanceUID=self.study[3],
            SeriesInstanceUID=self.series["3"], SeriesNumber=7,
        )  # fmt: skip
        self.add(
            PatientID="Q-1", IssuerOfPatientID="ELSEWHERE", PatientName="Other^Person", AccessionNumber="QA4",
            StudyInstanceUID=self.study[4], SeriesInstanceUID=self.series["4"],
        )  # fmt: skip
        self.add(
            PatientID="q-5", PatientName="Doe^Jane", StudyDate="20240210", StudyTime="01", AccessionNumber="QA5",
            StudyInstanceUID=self.study[5], SeriesInstanceUID=self.series["5"], StudyDescription="100 percent_done",
        )  # fmt: skip

    def add(self, sop_class: str = peers.CT, **attributes: Any) -> Instance:
        self.instances.append(peers.make(sop_class, **attributes))
        return self.instances[-1]


@pytest.fixture(scope="module")
def corpus(node: Server) -> Corpus:
    corpus = Corpus()
    assert set(peers.send(node, *corpus.instances)) == {SUCCESS}
    return corpus


@pytest.fixture(scope="module")
def asking(node: Server, corpus: Corpus) -> Iterator[Association]:
    """An association with both roots and nothing negotiated."""
    with peers.opened(node, [(uid, peers.EXPLICIT) for uid in FIND.values()]) as association:
        yield association


def studies(association: Association, **keys: Any) -> list[str]:
    """Accession numbers of the studies that match."""
    answers = peers.ask(association, "STUDY", {"AccessionNumber": "QA?", **keys})
    assert answers.final == SUCCESS
    return answers.values("AccessionNumber")


# -- levels and roots -------------------------------------------------------------------------------------------------------
def test_patient_level(asking: Association) -> None:
    keys = {
        "PatientID": "Q-1", "IssuerOfPatientID": "", "PatientName": "", "PatientBirthDate": "", "PatientSex": "",
        "NumberOfPatientRelatedStudies": "", "NumberOfPatientRelatedSeries": "", "NumberOfPatientRelatedInstances": "",
    }  # fmt: skip
    answers = peers.ask(asking, "PATIENT", keys, root="patient")
    assert answers.values("IssuerOfPatientID") == ["ELSEWHERE", "HOSPITAL"], (
        "one number, two issuers: two patients"
    )
    john = next(one for one in answers.data if one.IssuerOfPatientID == "HOSPITAL")
    assert (john.PatientName, john.PatientBirthDate, john.PatientSex) == ("Doe^John", "19700101", "M")
    assert john.QueryRetrieveLevel == "PATIENT"
    assert john.RetrieveAETitle == "PACS"
    counts = (
        john.NumberOfPatientRelatedStudies,
        john.NumberOfPatientRelatedSeries,
        john.NumberOfPatientRelatedInstances,
    )
    assert counts == (1, 2, 4)


@pytest.mark.parametrize("root", ["patient", "study"])
def test_study_series_and_image_level(asking: Association, corpus: Corpus, root: str) -> None:
    above = {"PatientID": "Q-1"} if root == "patient" else {}
    keys = {
        **above,
        "AccessionNumber": "QA1",
        "StudyInstanceUID": "",
        "ModalitiesInStudy": "",
        "NumberOfStudyRelatedInstances": "",
    }
    (study,) = peers.ask(asking, "STUDY", keys, root=root).data
    assert study.StudyInstanceUID == corpus.study[1]
    assert sorted(study.ModalitiesInStudy) == ["CT", "MR"]
    assert study.NumberOfStudyRelatedInstances == 4

    above["StudyInstanceUID"] = corpus.study[1]
    keys = {
        **above,
        "SeriesInstanceUID": "",
        "Modality": "",
        "SeriesNumber": "",
        "NumberOfSeriesRelatedInstances": "",
    }
    found = peers.ask(asking, "SERIES", keys, root=root).data
    assert {
        (one.Modality, int(one.SeriesNumber), int(one.NumberOfSeriesRelatedInstances)) for one in found
    } == {
        ("CT", 1, 3),
        ("MR", 2, 1),
    }

    above["SeriesInstanceUID"] = corpus.series["CT"]
    keys = {**above, "SOPInstanceUID": "", "SOPClassUID": "", "InstanceNumber": "", "Rows": None}
    images = peers.ask(asking, "IMAGE", keys, root=root)
    assert images.values("SOPInstanceUID") == sorted(one.uid for one in corpus.images)
    assert images.values("InstanceNumber") == ["1", "2", "3"]
    assert {(one.SOPClassUID, one.Rows) for one in images.data} == {(peers.CT, 64)}
    assert images.statuses == [PENDING] * 3 + [SUCCESS]


def test_attributes_of_a_level_above_come_with_the_answer(asking: Association, corpus: Corpus) -> None:
    keys = {
        "StudyInstanceUID": corpus.study[1],
        "SeriesInstanceUID": "",
        "Modality": "MR",
        "PatientName": "",
        "StudyDescription": "",
    }
    (series,) = peers.ask(asking, "SERIES", keys).data
    assert (series.PatientName, series.StudyDescription) == ("Doe^John", "CT Thorax")


@pytest.mark.parametrize(
    ("root", "level", "missing"),
    [
        ("study", "PATIENT", ()),
        ("study", "FRAME", ()),
        ("study", "study", ()),
        ("study", "", ()),
        ("study", None, ()),
        ("study", "SERIES", ("StudyInstanceUID",)),
        ("study", "IMAGE", ("SeriesInstanceUID",)),
        ("patient", "STUDY", ("PatientID",)),
        ("patient", "SERIES", ("StudyInstanceUID",)),
    ],
)
def test_a_level_that_is_none_or_a_missing_unique_key_is_a900(
    asking: Association, corpus: Corpus, root: str, level: str | None, missing: tuple[str, ...]
) -> None:
    keys = {"PatientID": "Q-1", "StudyInstanceUID": corpus.study[1], "SeriesInstanceUID": corpus.series["CT"]}
    answers = peers.ask(
        asking, level, {tag: value for tag, value in keys.items() if tag not in missing}, root=root
    )
    assert answers.statuses == [MISMATCH]
    assert answers.comment


def test_relational_queries_need_no_unique_keys_above_when_negotiated(node: Server, corpus: Corpus) -> None:
    model = str(FIND["study"])
    keys = {"AccessionNumber": "QA1", "SeriesInstanceUID": "", "Modality": "CT"}
    assert peers.find(node, "SERIES", keys).final == MISMATCH
    answers = peers.find(node, "SERIES", keys, extended={model: RELATIONAL})
    assert answers.values("SeriesInstanceUID") == [str(corpus.series["CT"])]
    everything = {"AccessionNumber": "QA?", "SOPInstanceUID": ""}
    answers = peers.find(node, "IMAGE", everything, extended={model: RELATIONAL})
    assert answers.values("SOPInstanceUID") == sorted(one.uid for one in corpus.instances)


@pytest.mark.parametrize(
    ("asked", "granted"),
    [
        (b"\x01", b"\x01"),
        (b"\x01\x01", b"\x01\x01"),
        (b"\x01\x01\x01", b"\x01\x01\x01"),
        (b"\x01\x01\x01\x01", b"\x01\x01\x01\x00"),
        (b"\x00\x01\x00", b"\x00\x01\x00"),
        (b"\x01\x01\x01\x01\x01\x01", b"\x01\x01\x01\x00\x00\x00"),
    ],
)
def test_extended_negotiation_claims_only_what_is_done(node: Server, asked: bytes, granted: bytes) -> None:
    model = str(FIND["study"])
    with peers.opened(node, [(model, peers.EXPLICIT)], extended={model: asked}) as association:
        assert association.acceptor.sop_class_extended[model] == granted


# -- matching ---------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("CT Thorax", ["QA1"]),
        ("CT*", ["QA1"]),
        ("*horax", ["QA1", "QA3"]),
        ("*Thorax*", ["QA1"]),
        ("?? ?horax", ["QA1", "QA3"]),
        ("100%*", ["QA2"]),
        ("100?_done", ["QA2"]),
        ("100%_done", ["QA2"]),
        ("100*_done", ["QA2", "QA5"]),
        ("%", []),
        ("ct thorax", ["QA3"]),
        ("CT", []),
        ("'", []),
        ("*", ["QA1", "QA2", "QA3", "QA4", "QA5"]),
        ("**", ["QA1", "QA2", "QA3", "QA4", "QA5"]),
        ("", ["QA1", "QA2", "QA3", "QA4", "QA5"]),
    ],
)
def test_wildcards_of_text(asking: Association, key: str, expected: list[str]) -> None:
    assert studies(asking, StudyDescription=key) == expected


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("Doe^John", ["QA1"]),
        ("DOE^JOHN", ["QA1"]),
        ("doe*", ["QA1", "QA5"]),
        ("*john*", ["QA1"]),
        ("Doe^J?hn", ["QA1"]),
        ("Doe", []),
        ("Müller^Jérôme^^Dr", ["QA3"]),
        ("muller*", ["QA3"]),
        ("MÜLLER^JEROME*", ["QA3"]),
        ("=王*", ["QA2"]),
        ("=王^小東", ["QA2"]),
        ("Wang^XiaoDong=王^小東", ["QA2"]),
        ("==ワン*", ["QA2"]),
        ("Wang*", ["QA2"]),
        ("王*", ["QA2"]),
        ("Wang*=李*", []),
        ("*", ["QA1", "QA2", "QA3", "QA4", "QA5"]),
    ],
)
def test_names_by_component_group_without_case_and_accents(
    asking: Association, key: str, expected: list[str]
) -> None:
    assert studies(asking, SpecificCharacterSet="ISO_IR 192", PatientName=key) == expected


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("20240110", ["QA1"]),
        ("20240110-20240115", ["QA1", "QA2"]),
        ("20240116-", ["QA3", "QA5"]),
        ("-20240115", ["QA1", "QA2"]),
        ("20240115-20240110", []),
        ("", ["QA1", "QA2", "QA3", "QA4", "QA5"]),
        ("*", ["QA1", "QA2", "QA3", "QA4", "QA5"]),
    ],
)
def test_ranges_of_dates_include_their_ends(asking: Association, key: str, expected: list[str]) -> None:
    assert studies(asking, StudyDate=key) == expected


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("083000", ["QA1"]),
        ("120000-120000.5", ["QA2"]),
        ("08-12", ["QA1", "QA2"]),
        ("120001-", ["QA3"]),
        ("-083000", ["QA1", "QA5"]),
        ("230000-020000", []),
    ],
)
def test_ranges_of_times_do_not_cross_midnight(asking: Association, key: str, expected: list[str]) -> None:
    assert studies(asking, StudyTime=key) == expected


def test_date_and_time_match_apart_unless_combined_matching_was_negotiated(
    node: Server, asking: Association
) -> None:
    keys = {"StudyDate": "20240110-20240120", "StudyTime": "100000-130000"}
    assert studies(asking, **keys) == ["QA2"]
    model = str(FIND["study"])
    with peers.opened(node, [(model, peers.EXPLICIT)], extended={model: COMBINED}) as association:
        assert studies(association, **keys) == ["QA2"]
        assert studies(association, StudyDate="20240110-20240120", StudyTime="090000-080000") == ["QA2"]
        assert studies(association, StudyDate="20240110-20240121", StudyTime="080000-080000") == [
            "QA1",
            "QA2",
            "QA3",
        ]


@pytest.mark.parametrize("key", ["2024011X-", "20240110-2024-01", "-", "20241301-20241401"])
def test_a_range_that_is_none_is_refused(asking: Association, key: str) -> None:
    raw = peers.encode(peers.identifier("STUDY", {"AccessionNumber": "QA?", "StudyDate": "X" * 20}))
    padded = key.encode() + b" " * (20 - len(key))
    assert peers.ask(asking, None, raw.replace(b"X" * 20, padded)).statuses == [MISMATCH]


def test_lists_of_uids(asking: Association, corpus: Corpus) -> None:
    assert studies(asking, StudyInstanceUID=[corpus.study[n] for n in (1, 3, 5)]) == ["QA1", "QA3", "QA5"]
    many = [generate_uid() for _ in range(500)]
    assert studies(asking, StudyInstanceUID=[*many, corpus.study[2]]) == ["QA2"]
    keys = {
        "StudyInstanceUID": corpus.study[1],
        "SeriesInstanceUID": [corpus.series["CT"], corpus.series["MR"]],
    }
    assert len(peers.ask(asking, "SERIES", keys).data) == 2
    wanted = [one.uid for one in corpus.images[:2]]
    keys = {
        "StudyInstanceUID": corpus.study[1],
        "SeriesInstanceUID": corpus.series["CT"],
        "SOPInstanceUID": wanted,
    }
    assert peers.ask(asking, "IMAGE", keys).values("SOPInstanceUID") == sorted(wanted)


def test_a_wildcard_in_a_uid_is_no_wildcard(asking: Association, corpus: Corpus) -> None:
    uid = str(corpus.study[1]).encode()
    raw = peers.encode(peers.identifier("STUDY", {"StudyInstanceUID": uid.decode()}))
    assert len(peers.ask(asking, None, raw).data) == 1
    assert peers.ask(asking, None, raw.replace(uid, uid[:-1] + b"*")).data == []


def test_modalities_in_study(asking: Association) -> None:
    assert studies(asking, ModalitiesInStudy="CT") == ["QA1", "QA3", "QA4", "QA5"]
    assert studies(asking, ModalitiesInStudy="MR") == ["QA1", "QA2"]
    assert studies(asking, ModalitiesInStudy=["MR", "US"]) == ["QA1", "QA2"]
    assert studies(asking, ModalitiesInStudy="M?") == ["QA1", "QA2"]
    assert studies(asking, ModalitiesInStudy="US") == []


def test_numbers_match_by_value(asking: Association, corpus: Corpus) -> None:
    for spelled in ("1", " 1", "+1", "01"):
        keys = {"StudyInstanceUID": corpus.study[1], "SeriesNumber": spelled, "Modality": ""}
        raw = peers.encode(peers.identifier("SERIES", {**keys, "SeriesNumber": ""}))
        field = spelled.encode() + b" " * (len(spelled) % 2)
        empty = b"\x20\x00\x11\x00IS\x00\x00"
        assert empty in raw
        filled = raw.replace(empty, empty[:6] + len(field).to_bytes(2, "little") + field)
        assert peers.ask(asking, None, filled).values("Modality") == ["CT"]


def test_fuzzy_names_are_found_only_when_negotiated(node: Server, asking: Association) -> None:
    assert studies(asking, PatientName="Jon Doe") == []
    model = str(FIND["study"])
    with peers.opened(node, [(model, peers.EXPLICIT)], extended={model: FUZZY}) as association:
        assert "QA1" in studies(association, PatientName="Jon Doe")
        assert "QA5" in studies(association, PatientName="Doe^Jane")
        assert "QA3" not in studies(association, PatientName="Jon Doe")


# -- sequences --------------------------------------------------------------------------------------------------------------
def series_with(association: Association, corpus: Corpus, item: Dataset | None) -> Answers:
    keys = {
        "StudyInstanceUID": corpus.study[1],
        "Modality": "",
        "RequestAttributesSequence": Items([] if item is None else [item]),
    }
    return peers.ask(association, "SERIES", keys)


def test_the_keys_of_a_sequence_match_within_one_item(asking: Association, corpus: Corpus) -> None:
    both = Dataset()
    both.RequestedProcedureID, both.ScheduledProcedureStepID = "RP2", "SPS2"
    (series,) = series_with(asking, corpus, both).data
    assert series.Modality == "CT"
    (item,) = series.RequestAttributesSequence
    assert (item.RequestedProcedureID, item.ScheduledProcedureStepID) == ("RP2", "SPS2")
    assert "ScheduledProcedureStepDescription" not in item, "only what was asked for comes back"
    crossed = Dataset()
    crossed.RequestedProcedureID, crossed.ScheduledProcedureStepID = "RP1", "SPS2"
    assert series_with(asking, corpus, crossed).data == []


def test_an_item_of_universal_keys_returns_these_attributes_of_all_items(
    asking: Association, corpus: Corpus
) -> None:
    asked = Dataset()
    asked.ScheduledProcedureStepID = ""
    answers = series_with(asking, corpus, asked)
    assert answers.values("Modality") == ["CT", "MR"]
    ct = next(one for one in answers.data if one.Modality == "CT")
    assert [[element.keyword for element in item] for item in ct.RequestAttributesSequence] == [
        ["ScheduledProcedureStepID"]
    ] * 2


@pytest.mark.parametrize("item", [None, Dataset()], ids=["no item", "empty item"])
def test_an_empty_sequence_returns_it_whole(
    asking: Association, corpus: Corpus, item: Dataset | None
) -> None:
    ct = next(one for one in series_with(asking, corpus, item).data if one.Modality == "CT")
    descriptions = [one.ScheduledProcedureStepDescription for one in ct.RequestAttributesSequence]
    assert descriptions == ["First", "Second"]


def test_a_sequence_of_two_items_is_refused(asking: Association, corpus: Corpus) -> None:
    keys = {"StudyInstanceUID": corpus.study[1], "RequestAttributesSequence": Items([Dataset(), Dataset()])}
    assert peers.ask(asking, "SERIES", keys).statuses == [MISMATCH]


# -- answers ----------------------------------------------------------------------------------------------------------------
def test_the_character_set_comes_with_what_is_not_ascii_asked_for_or_not(asking: Association) -> None:
    keys = {"PatientName": "", "StudyInstanceUID": ""}
    by_accession = {}
    for accession in ("QA1", "QA2", "QA3"):
        (by_accession[accession],) = peers.ask(asking, "STUDY", {**keys, "AccessionNumber": accession}).data
    assert "SpecificCharacterSet" not in by_accession["QA1"]
    assert by_accession["QA2"].SpecificCharacterSet == "ISO_IR 192"
    assert by_accession["QA2"].PatientName == "Wang^XiaoDong=王^小東=ワン^シャオ"
    assert by_accession["QA3"].SpecificCharacterSet == "ISO_IR 192"
    assert by_accession["QA3"].PatientName == "Müller^Jérôme^^Dr"


@pytest.mark.parametrize(
    ("character_set", "codec"),
    [("ISO_IR 100", "latin-1"), ("ISO_IR 192", "utf-8"), ("ISO_IR 148", "iso8859-9")],
)
def test_keys_are_read_in_the_character_set_of_the_request(
    asking: Association, character_set: str, codec: str
) -> None:
    name = "Müller^Jérôme*".encode(codec)
    keys = {
        "SpecificCharacterSet": character_set,
        "AccessionNumber": "QA?",
        "PatientName": "N" * (len(name) + len(name) % 2),
    }
    raw = peers.encode(peers.identifier("STUDY", keys))
    raw = raw.replace(b"N" * (len(name) + len(name) % 2), name + b" " * (len(name) % 2))
    assert peers.ask(asking, None, raw).values("AccessionNumber") == ["QA3"]


def test_an_optional_key_that_is_not_supported_makes_every_pending_ff01(asking: Association) -> None:
    known = peers.ask(asking, "STUDY", {"AccessionNumber": "QA?", "StudyDescription": ""})
    assert known.statuses == [PENDING] * 5 + [SUCCESS]
    unknown = peers.ask(asking, "STUDY", {"AccessionNumber": "QA?", "PatientTelephoneNumbers": "1"})
    assert unknown.statuses == [PENDING_UNSUPPORTED] * 5 + [SUCCESS], "neither matched nor refused"
    below = peers.ask(asking, "STUDY", {"AccessionNumber": "QA?", "Modality": ""})
    assert below.statuses == [PENDING_UNSUPPORTED] * 5 + [SUCCESS]


def test_group_lengths_in_an_identifier_are_ignored(asking: Association) -> None:
    plain = peers.encode(peers.identifier("STUDY", {"AccessionNumber": "QA1", "StudyDescription": ""}))
    with_length = b"\x08\x00\x00\x00UL\x04\x00" + len(plain).to_bytes(4, "little") + plain
    answers = peers.ask(asking, None, with_length)
    assert answers.statuses == [PENDING, SUCCESS]
    assert answers.raw == peers.ask(asking, None, plain).raw


def test_the_order_of_the_answers_attributes_is_ascending(asking: Association) -> None:
    keys = {
        "PatientName": "",
        "StudyInstanceUID": "",
        "StudyDate": "",
        "AccessionNumber": "QA1",
        "ModalitiesInStudy": "",
    }
    (raw,) = peers.ask(asking, "STUDY", keys).raw
    tags = [element.tag for element in peers.decode(raw)]
    assert tags == sorted(tags)


@pytest.mark.parametrize(
    "raw", [b"\x08\x00\x52\x00CS\xff\xff", b"garbage", b"\x08\x00"], ids=["too long", "garbage", "short"]
)
def test_an_identifier_that_cannot_be_read_is_a_failure(asking: Association, raw: bytes) -> None:
    answers = peers.ask(asking, None, raw)
    assert answers.statuses[0] & 0xF000 in (0xA000, 0xC000)
    assert studies(asking, StudyDescription="CT Thorax") == ["QA1"], "the association goes on"


def test_identifiers_in_implicit_vr_are_answered_alike(
    node: Server, asking: Association, corpus: Corpus
) -> None:
    keys = {"AccessionNumber": "QA?", "PatientName": "*", "StudyInstanceUID": ""}
    with peers.opened(node, [(FIND["study"], peers.IMPLICIT)]) as association:
        implicit = peers.ask(association, "STUDY", keys)
    assert implicit.data == peers.ask(asking, "STUDY", keys).data
    assert len(implicit.data) == 5


def test_dcmtk_finds_the_same(node: Server, corpus: Corpus, tmp_path: Path) -> None:
    keys = ("-k", "0008,0052=STUDY", "-k", "0008,0050=QA*", "-k", "0010,0010=Doe*", "-k", "0020,000D")
    done = peers.dcmtk(
        "findscu", "-S", "-aec", node.aet, "-X", "-od", tmp_path, *keys, "127.0.0.1", node.dicom_port
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = [dcmread(path, force=True) for path in sorted(tmp_path.iterdir())]
    assert {str(one.StudyInstanceUID) for one in found} == {str(corpus.study[1]), str(corpus.study[5])}


def test_no_name_of_a_patient_is_logged(node: Server, corpus: Corpus) -> None:
    log = node.log.read_text()
    assert not any(name in log for name in ("Doe^John", "doe^john", "XiaoDong", "Müller", "muller"))


# -- who is who -------------------------------------------------------------------------------------------------------------
def test_patients_without_a_number_are_not_taken_for_one(node: Server) -> None:
    name = "Nobody^Knows"
    strangers = [peers.make(PatientID=None, PatientName=name) for _ in range(2)]
    assert peers.send(node, *strangers) == [SUCCESS, SUCCESS]
    answers = peers.find(
        node, "PATIENT", {"PatientName": name, "NumberOfPatientRelatedStudies": ""}, root="patient"
    )
    assert answers.values("NumberOfPatientRelatedStudies") == ["1", "1"]


def test_a_number_belongs_to_its_issuer(node: Server) -> None:
    number = "SHARED-1"
    here = [peers.make(PatientID=number, IssuerOfPatientID="HERE") for _ in range(2)]
    there = peers.make(PatientID=number, IssuerOfPatientID="THERE")
    nowhere = peers.make(PatientID=number)
    assert peers.send(node, *here, there, nowhere) == [SUCCESS] * 4
    keys = {"PatientID": number, "IssuerOfPatientID": "", "NumberOfPatientRelatedStudies": ""}
    found = peers.find(node, "PATIENT", keys, root="patient").data
    studies_by_issuer = {
        str(one.get("IssuerOfPatientID") or ""): int(one.NumberOfPatientRelatedStudies) for one in found
    }
    assert studies_by_issuer == {"HERE": 2, "THERE": 1, "": 1}
    only = peers.find(node, "PATIENT", {**keys, "IssuerOfPatientID": "THERE"}, root="patient")
    assert only.values("NumberOfPatientRelatedStudies") == ["1"]
    of_issuer = {"PatientID": number, "IssuerOfPatientID": "HERE", "StudyInstanceUID": ""}
    assert peers.find(node, "STUDY", of_issuer, root="patient").values("StudyInstanceUID") == sorted(
        one.study for one in here
    )
