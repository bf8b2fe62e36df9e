from __future__ import annotations

from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.uid import UID

from bench import identifiers, population

RUN = population.Run.new()


@given(st.integers(0, 10**9 - 1), st.integers(1, 10**6))
def test_values_fit_their_attributes(number: int, instance: int) -> None:
    study = RUN.study(number)
    assert len(study.patient_id) == 16 and len(study.accession_number) == 16
    assert len(study.patient_name) <= 32
    datetime.strptime(study.study_date, "%Y%m%d")
    uids = {study.study_uid, study.series_uid, RUN.instance_uid(number, instance)}
    assert len(uids) == 3
    assert all(len(uid) == 64 and UID(uid).is_valid for uid in uids)


def test_runs_share_nothing() -> None:
    other = population.Run.new()
    assert other.uid_root != RUN.uid_root
    assert other.study(1).study_uid != RUN.study(1).study_uid
    assert RUN.study(1) == RUN.study(1)


def test_a_run_is_made_again_from_its_name() -> None:
    assert population.Run.named(RUN.name) == RUN
    with pytest.raises(ValueError, match="not the name of a run"):
        population.Run.named("2.25.1/ABC")


def test_every_question_has_an_answer_of_the_intended_size() -> None:
    studies = [RUN.study(number) for number in range(3000)]
    sizes = {
        kind: [sum(map(question.matches, studies)) for question in make(RUN, len(studies), 20)]
        for kind, make in identifiers.KINDS.items()
    }
    assert set(sizes["patient"]) == {1}
    assert all(20 <= size <= 100 for size in sizes["name"])
    assert all(60 <= size <= 140 for size in sizes["date"])


def test_date_ranges_stay_inside_the_years() -> None:
    for span in population.date_ranges(10, 1000, 50):
        first, last = (datetime.strptime(day, "%Y%m%d").date() for day in span.split("-"))
        assert population.FIRST_DAY <= first <= last
        assert (last - population.FIRST_DAY).days < population.DAYS


def test_an_identifier_is_read_back_by_pydicom() -> None:
    keys = {
        identifiers.PATIENT_ID: "ABC",
        identifiers.STUDY_INSTANCE_UID: "1.2.3",
        identifiers.PATIENT_NAME: "",
    }
    read = identifiers.decode(identifiers.encode(keys))
    assert (read.QueryRetrieveLevel, read.PatientID, read.StudyInstanceUID) == ("STUDY", "ABC", "1.2.3")
    assert read.PatientName == ""
    assert [element.tag for element in read] == sorted(element.tag for element in read)
