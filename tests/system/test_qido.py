"""QIDO-RS on the real server: what clients rely on (PS3.18 8.3.4 and 10.6), and what the OHIF viewer asks for."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from dicomweb_client.api import DICOMwebClient
from dicomweb_client.session_utils import create_session
from pydicom import Dataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import generate_uid

from tests.system import peers
from tests.system.server import Server, running
from tests.system.web_peer import DICOM_JSON, Reply, fetch, search, value

MOST = 40
STUDY, SERIES, INSTANCE = "0020000D", "0020000E", "00080018"
ACCESSION, MODALITIES = "00080050", "00080061"
OHIF = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "ohif_requests.json"


def requested(procedure: str, step: str) -> Dataset:
    item = Dataset()
    item.RequestedProcedureID, item.ScheduledProcedureStepID = procedure, step
    return item


class Corpus:
    """Accession numbers WA1 to WA6 tell the studies apart, which came in this order; MANY has more than the server's maximum."""

    def __init__(self) -> None:
        self.study = {n: generate_uid() for n in range(1, 7)}
        self.series = {name: generate_uid() for name in ("CT", "MR", "2", "3", "4", "5", "6")}
        self.batches: list[list[peers.Instance]] = []
        john: dict[str, Any] = {
            "PatientID": "Vafk,T,6", "PatientName": "Doe^John", "PatientSex": "M", "PatientBirthDate": "19700101",
            "StudyDate": "20240110", "StudyTime": "083000", "AccessionNumber": "WA1", "StudyDescription": "CT Thorax",
            "StudyInstanceUID": self.study[1], "ReferringPhysicianName": "House^Gregory", "StudyID": "S1",
            "TimezoneOffsetFromUTC": "+0100",
        }  # fmt: skip
        ct: dict[str, Any] = {
            "SeriesInstanceUID": self.series["CT"], "Modality": "CT", "SeriesNumber": 3, "SeriesDescription": "Lung",
            "SeriesDate": "20240110", "SeriesTime": "083100",
            "RequestAttributesSequence": Items([requested("RP1", "SPS1"), requested("RP2", "SPS2")]),
        }  # fmt: skip
        self.images = [
            peers.make(
                **john, **ct, InstanceNumber=n, Rows=64, Columns=32, BitsAllocated=16, NumberOfFrames=1
            )
            for n in (1, 2, 3)
        ]
        mr = peers.make(peers.MR, **john, SeriesInstanceUID=self.series["MR"], Modality="MR", SeriesNumber=4)
        self.batches += [[*self.images, mr]]
        self.add(
            2,
            "Wang^XiaoDong=王^小東=ワン^シャオ",
            "W-2",
            "20240115",
            "100%_done",
            peers.MR,
            SpecificCharacterSet="ISO_IR 192",
        )
        self.add(3, "Müller^Jérôme", "W-3", "20240120", "ct thorax", SpecificCharacterSet="ISO_IR 100")
        self.add(4, "O'Brien^Pat", "W-4", "", "100 percent done")
        self.add(5, "Doe^Jane", "W,CT", "20240210", 'quote " back')
        self.add(6, "Jon^Doe", "W-6", "20240301", "")

    def add(
        self,
        n: int,
        name: str,
        patient: str,
        date: str,
        description: str,
        sop_class: str = peers.CT,
        **more: Any,
    ) -> None:
        instance = peers.make(
            sop_class, PatientName=name, PatientID=patient, StudyDate=date, StudyDescription=description,
            AccessionNumber=f"WA{n}", StudyInstanceUID=self.study[n], SeriesInstanceUID=self.series[str(n)],
            Modality="MR" if sop_class == peers.MR else "CT", **more,
        )  # fmt: skip
        self.batches.append([instance])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("qido")
    with running(Server(folder / "data", options=[f"--web.max-query-results={MOST}"])) as server:
        yield server


@pytest.fixture(scope="module")
def corpus(site: Server) -> Corpus:
    corpus = Corpus()
    for batch in corpus.batches:
        assert set(peers.send(site, *batch)) == {0}
        search(site, "studies", limit="1")  # a search waits for the index: so each comes after the one before
    return corpus


@pytest.fixture(scope="module")
def many(site: Server, corpus: Corpus) -> list[str]:
    """More studies than the server gives at once, oldest first; of another accession number, so that others do not see them."""
    instances = [peers.make(AccessionNumber="MANY", PatientID=f"M{n}") for n in range(MOST + 15)]
    assert set(peers.send(site, *instances)) == {0}
    return [instance.study for instance in instances]


def found(site: Server, *pairs: tuple[str, str], **keys: str) -> list[str]:
    """Accession numbers of the studies that match, in their order."""
    given = [*pairs, *keys.items()]
    if not any(name in ("AccessionNumber", ACCESSION) for name, _ in given):
        given.append(("AccessionNumber", "WA?"))
    return [value(result, ACCESSION) for result in search(site, "studies", *given)]


def get(site: Server, query: str, **headers: str) -> Reply:
    return fetch(site, f"/dicom-web/{query}", {"accept": DICOM_JSON, **headers})


# -- results and their number -----------------------------------------------------------------------------------------------
def test_no_match_is_200_with_an_empty_array(site: Server, corpus: Corpus) -> None:
    for query in (
        "studies?PatientID=nobody",
        f"studies/{generate_uid()}/series",
        "instances?SOPInstanceUID=1.2.3",
    ):
        reply = get(site, query)
        assert (reply.status, reply.body) == (200, b"[]")
        assert reply.headers["content-type"] == DICOM_JSON


def test_the_newest_come_first_and_pages_join_without_gap_or_repetition(
    site: Server, many: list[str]
) -> None:
    whole = [
        value(result, STUDY) for result in search(site, "studies", AccessionNumber="MANY", limit="100000")
    ]
    assert len(whole) == MOST
    seen: list[str] = []
    for offset in range(0, len(many) + 7, 7):
        page = search(site, "studies", AccessionNumber="MANY", limit="7", offset=str(offset))
        assert len(page) == max(0, min(7, len(many) - offset))
        seen += [value(result, STUDY) for result in page]
    assert sorted(seen) == sorted(many)
    assert seen[:MOST] == whole
    assert found(site) == ["WA6", "WA5", "WA4", "WA3", "WA2", "WA1"]


def test_the_number_of_results_is_the_least_of_matches_limit_and_maximum(
    site: Server, many: list[str]
) -> None:
    def number(**keys: str) -> int:
        return len(search(site, "studies", AccessionNumber="MANY", **keys))

    assert number() == MOST
    assert number(limit="3") == 3
    assert number(limit="0") == 0
    assert number(limit=str(MOST + 5)) == MOST
    assert number(offset=str(MOST)) == 15
    assert number(offset=str(MOST), limit="4") == 4


def test_an_offset_past_the_end_gives_an_empty_array(site: Server, many: list[str]) -> None:
    for offset in (len(many), 10**6, 10**15 - 1):
        assert search(site, "studies", AccessionNumber="MANY", offset=str(offset)) == []


@pytest.mark.parametrize(
    "query", ["limit=-1", "limit=x", "offset=1.5", "offset=-1", "limit=9999999999999999"]
)
def test_a_limit_that_is_no_number_is_400(site: Server, query: str) -> None:
    reply = get(site, f"studies?{query}")
    assert reply.status == 400
    assert reply.headers["content-type"].startswith("application/problem+json")


def test_a_cut_off_result_says_how_many_there_are_behind_it(site: Server, many: list[str]) -> None:
    host = f"127.0.0.1:{site.web_port}"
    for query, left in (("", 15), ("&limit=50", 15), ("&limit=5", MOST + 10), ("&limit=5&offset=40", 10)):
        warning = get(site, f"studies?AccessionNumber=MANY{query}").headers["warning"]
        assert warning == f"299 {host}: There are {left} additional results that can be requested"
    assert get(site, "studies?AccessionNumber=MANY&offset=15").headers["warning"] is None
    assert get(site, "studies?AccessionNumber=MANY&limit=20&offset=35").headers["warning"] is None


def test_dicomweb_client_reads_page_by_page_to_the_end(site: Server, many: list[str]) -> None:
    session = create_session()
    session.headers["Authorization"] = f"Bearer {site.token}"
    client = DICOMwebClient(f"{site.url}/dicom-web", session=session)
    results = client.search_for_studies(
        search_filters={"AccessionNumber": "MANY"}, limit=25, get_remaining=True
    )
    assert sorted(value(result, STUDY) for result in results) == sorted(many)


# -- parameters -------------------------------------------------------------------------------------------------------------
def test_fuzzy_matching_finds_what_sounds_alike(site: Server, corpus: Corpus) -> None:
    assert found(site, PatientName="Doe^Jon") == []
    assert {"WA1", "WA6"} <= set(found(site, PatientName="Doe^Jon", fuzzymatching="true"))
    assert found(site, PatientName="O'Brien", fuzzymatching="true") == ["WA4"]
    assert found(site, PatientName='"%_\\', fuzzymatching="true") == []


def test_unknown_parameters_are_ignored(site: Server, corpus: Corpus) -> None:
    assert found(site, AccessionNumber="WA1", nonsense="x", emptyvaluematching="true", _="17") == ["WA1"]


def test_a_key_that_cannot_be_matched_is_ignored_with_a_warning(site: Server, corpus: Corpus) -> None:
    reply = get(site, "studies?AccessionNumber=WA1&PatientSpeciesDescription=cat&00200013=1&00091001=x")
    assert [value(result, ACCESSION) for result in reply.json()] == ["WA1"]
    warning = reply.headers["warning"]
    assert warning.endswith("Not matched at this level: PatientSpeciesDescription, InstanceNumber, 00091001")


def test_includefield_takes_keywords_tags_lists_and_paths(site: Server, corpus: Corpus) -> None:
    [plain] = search(site, "studies", AccessionNumber="WA1")
    [named] = search(
        site,
        "studies",
        ("includefield", "PatientAge"),
        ("includefield", "00080062,00102180"),
        AccessionNumber="WA1",
    )
    assert named.keys() - plain.keys() == {"00101010", "00080062", "00102180"}
    assert named["00080062"]["Value"] == [peers.CT, peers.MR]


def test_includefield_all_gives_all_that_is_indexed(site: Server, corpus: Corpus) -> None:
    [whole] = search(site, "studies", AccessionNumber="WA1", includefield="all")
    assert {"00101010", "00081080", "00080062", "00201200", "00104000"} <= whole.keys()
    [image] = search(site, "instances", SOPInstanceUID=corpus.images[0].uid, includefield="all")
    assert {"00101010", "00080080", "00080008", "00100010"} <= image.keys()


def test_a_field_of_a_lower_level_or_an_unknown_one_neither_errs_nor_appears(
    site: Server, corpus: Corpus
) -> None:
    fields = "00080060,00200013,SeriesDescription,Nonsense,00400275.00401001,12345678,"
    [study] = search(site, "studies", AccessionNumber="WA1", includefield=fields)
    assert not {"00080060", "00200013", "0008103E", "00400275", "12345678"} & study.keys()
    assert sorted(study[MODALITIES]["Value"]) == ["CT", "MR"]


def test_keys_go_by_keyword_tag_or_path_and_come_back(site: Server, corpus: Corpus) -> None:
    assert found(site, ("00081030", "CT Thorax")) == ["WA1"]
    assert found(site, ("0008103e", "x"), AccessionNumber="WA1") == ["WA1"]
    [study] = search(site, "studies", AccessionNumber="WA1", PatientWeight="")
    assert "00101030" in study
    path = f"studies/{corpus.study[1]}/series"
    for key in ("RequestAttributesSequence.RequestedProcedureID", "00400275.00401001"):
        [series] = search(site, path, (key, "RP2"))
        assert value(series, SERIES) == corpus.series["CT"]
        assert [item["00401001"]["Value"] for item in series["00400275"]["Value"]] == [["RP2"]]
        assert search(site, path, (key, "RP9")) == []


def test_a_comma_separates_uids_and_codes_and_nothing_else(site: Server, corpus: Corpus) -> None:
    assert found(site, PatientID="Vafk,T,6") == ["WA1"]
    assert found(site, PatientID="W,CT") == ["WA5"]
    both = f"{corpus.study[1]},{corpus.study[3]}"
    assert found(site, StudyInstanceUID=both) == ["WA3", "WA1"]
    assert found(site, StudyInstanceUID=both.replace(",", "\\")) == ["WA3", "WA1"]
    assert found(site, ModalitiesInStudy="MR,PT") == ["WA2", "WA1"]
    assert found(site, ModalitiesInStudy="CT,MR") == ["WA6", "WA5", "WA4", "WA3", "WA2", "WA1"]
    assert found(site, ("ModalitiesInStudy", "PT"), ("ModalitiesInStudy", "MR")) == ["WA2", "WA1"]


def test_the_modality_of_a_study_is_any_of_its_modalities(site: Server, corpus: Corpus) -> None:
    assert found(site, Modality="MR") == found(site, ModalitiesInStudy="MR") == ["WA2", "WA1"]


def test_ranges_may_be_open(site: Server, corpus: Corpus) -> None:
    assert found(site, StudyDate="20240115-20240210") == ["WA5", "WA3", "WA2"]
    assert found(site, StudyDate="-20240115") == ["WA2", "WA1"]
    assert found(site, StudyDate="20240210-") == ["WA6", "WA5"]
    assert get(site, "studies?StudyDate=yesterday-today").status == 400


def test_the_time_zone_is_no_filter(site: Server, corpus: Corpus) -> None:
    assert found(site, AccessionNumber="WA1", TimezoneOffsetFromUTC="-0500") == ["WA1"]
    assert found(site, ("00080201", "+0900"), AccessionNumber="WA1") == ["WA1"]


def test_percent_and_underscore_are_themselves_and_wildcards_are_not(site: Server, corpus: Corpus) -> None:
    assert found(site, StudyDescription="100%*") == ["WA2"]
    assert found(site, StudyDescription="100?_done") == ["WA2"]
    assert found(site, StudyDescription="*done") == ["WA4", "WA2"]
    assert found(site, PatientName="=王*") == ["WA2"]
    assert found(site, PatientName="muller*") == ["WA3"]


# -- what comes back --------------------------------------------------------------------------------------------------------
def test_a_study_comes_with_what_the_standard_lists(site: Server, corpus: Corpus) -> None:
    [study] = search(site, "studies", AccessionNumber="WA1")
    assert list(study) == sorted(study)
    assert study["00100010"] == {"vr": "PN", "Value": [{"Alphabetic": "Doe^John"}]}
    assert study["00080005"] == {"vr": "CS", "Value": ["ISO_IR 192"]}
    assert (study["00201206"], study["00201208"]) == ({"vr": "IS", "Value": [2]}, {"vr": "IS", "Value": [4]})
    assert value(study, "00081190") == f"{site.url}/dicom-web/studies/{corpus.study[1]}"
    assert value(study, "00080056") == "ONLINE"
    assert value(study, "00080090") == {"Alphabetic": "House^Gregory"}
    assert [value(study, tag) for tag in ("00080020", "00080030", "00100020", "00100030", "00100040", "00200010")] == [
        "20240110", "083000", "Vafk,T,6", "19700101", "M", "S1",
    ]  # fmt: skip
    [empty] = search(site, "studies", AccessionNumber="WA4")
    assert empty["00080020"] == {"vr": "DA"}


def test_names_have_their_component_groups(site: Server, corpus: Corpus) -> None:
    [study] = search(site, "studies", AccessionNumber="WA2")
    groups = {"Alphabetic": "Wang^XiaoDong", "Ideographic": "王^小東", "Phonetic": "ワン^シャオ"}
    assert value(study, "00100010") == groups


def test_a_series_comes_with_what_the_standard_lists(site: Server, corpus: Corpus) -> None:
    of_study = {value(one, "00080060"): one for one in search(site, f"studies/{corpus.study[1]}/series")}
    assert of_study.keys() == {"CT", "MR"}
    ct = of_study["CT"]
    assert (value(ct, "00200011"), value(ct, "0008103E"), value(ct, "00201209")) == (3, "Lung", 3)
    assert [item["00401001"]["Value"] for item in ct["00400275"]["Value"]] == [["RP1"], ["RP2"]]
    url = f"{site.url}/dicom-web/studies/{corpus.study[1]}/series/{corpus.series['CT']}"
    assert value(ct, "00081190") == url
    assert {"00400244", "00400245"} <= ct.keys() and "00100010" not in ct


def test_an_instance_comes_with_what_the_standard_lists(site: Server, corpus: Corpus) -> None:
    path = f"studies/{corpus.study[1]}/series/{corpus.series['CT']}/instances"
    images = {value(image, INSTANCE): image for image in search(site, path)}
    assert images.keys() == {image.uid for image in corpus.images}
    first = images[corpus.images[0].uid]
    numbers = [value(first, tag) for tag in ("00200013", "00280008", "00280010", "00280011", "00280100")]
    assert numbers == [1, 1, 64, 32, 16]
    assert (value(first, "00080016"), value(first, "00080056")) == (peers.CT, "ONLINE")
    assert value(first, "00081190") == f"{site.url}/dicom-web/{path}/{corpus.images[0].uid}"


def test_levels_that_the_path_does_not_name_are_answered_and_matched_too(
    site: Server, corpus: Corpus
) -> None:
    everywhere = search(site, "series", PatientID="Vafk,T,6")
    assert {value(one, SERIES) for one in everywhere} == {corpus.series["CT"], corpus.series["MR"]}
    assert all(value(one, ACCESSION) == "WA1" and value(one, "00100020") == "Vafk,T,6" for one in everywhere)
    images = search(site, "instances", AccessionNumber="WA1", Modality="CT")
    assert len(images) == 3 and all(value(one, "0008103E") == "Lung" for one in images)
    of_study = search(site, f"studies/{corpus.study[1]}/instances", InstanceNumber="2")
    assert [value(one, INSTANCE) for one in of_study] == [corpus.images[1].uid]
    assert value(of_study[0], "00080060") == "CT" and "00100010" not in of_study[0]


def test_the_path_and_a_key_that_contradicts_it_find_nothing(site: Server, corpus: Corpus) -> None:
    path = f"studies/{corpus.study[1]}/series"
    assert search(site, path, StudyInstanceUID=corpus.study[2]) == []
    both = f"{corpus.study[2]},{corpus.study[1]}"
    assert len(search(site, path, StudyInstanceUID=both)) == 2
    assert search(site, f"studies/{corpus.study[2]}/series/{corpus.series['CT']}/instances") == []


def test_a_path_that_names_no_uid_is_400(site: Server) -> None:
    for uid in ("1.2%5C1.3", "1.2*", "..", "%27", "1" * 65):
        assert get(site, f"studies/{uid}/series").status in (400, 404)


# -- media type, compression, addresses -------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "accept",
    [
        DICOM_JSON, "*/*", "application/*", "application/json;q=0.5, application/dicom+json",
        "application/dicom+json, multipart/related; type=application/octet-stream; transfer-syntax=*",
    ],
)  # fmt: skip
def test_json_is_given_whatever_else_is_taken_too(site: Server, corpus: Corpus, accept: str) -> None:
    for path in ("studies", f"studies/{corpus.study[1]}/series"):
        reply = get(site, path, accept=accept)
        assert (reply.status, reply.headers["content-type"]) == (200, DICOM_JSON)


def test_what_is_not_json_is_406(site: Server) -> None:
    assert get(site, "studies", accept="image/png").status == 406


def test_json_is_compressed_for_who_offers_it(site: Server, many: list[str]) -> None:
    packed = get(site, "studies", **{"accept-encoding": "br, gzip;q=0.8"})
    plain = get(site, "studies", **{"accept-encoding": "identity"})
    refused = get(site, "studies", **{"accept-encoding": "gzip;q=0, *;q=0"})
    assert packed.headers["content-encoding"] == "gzip" and len(packed.raw) < len(plain.raw) / 4
    assert plain.headers["content-encoding"] is None and refused.headers["content-encoding"] is None
    assert packed.json() == plain.json() == refused.json()
    assert "accept-encoding" in plain.headers["vary"]


def test_head_says_what_get_would(site: Server, corpus: Corpus) -> None:
    reply = fetch(site, "/dicom-web/studies?AccessionNumber=WA1", {"accept": DICOM_JSON}, method="HEAD")
    assert (reply.status, reply.raw, reply.headers["content-type"]) == (200, b"", DICOM_JSON)
    assert int(reply.headers["content-length"]) > 100


# -- who, and what is noted -------------------------------------------------------------------------------------------------
def test_a_stranger_finds_nothing(site: Server, corpus: Corpus) -> None:
    for path in ("studies", "series", "instances", f"studies/{corpus.study[1]}/series"):
        assert fetch(site, f"/dicom-web/{path}", token="").status == 401


def test_a_search_sees_what_was_stored_just_before(site: Server) -> None:
    for n in range(5):
        instance = peers.make(AccessionNumber="FRESH")
        assert peers.send(site, instance) == [0]
        assert len(search(site, "studies", AccessionNumber="FRESH")) == n + 1
        [series] = search(site, f"studies/{instance.study}/series")
        assert value(series, SERIES) == instance.series


def test_a_search_is_in_the_audit_without_the_names_it_asked_for(site: Server, corpus: Corpus) -> None:
    search(site, "studies", PatientName="Doe*", StudyInstanceUID=corpus.study[1])
    statement = f"""SELECT who, via, outcome, details FROM audit_events WHERE event = 'query'
        AND details ->> 'study' = '{corpus.study[1]}' AND details ->> 'keys' = '00100010,0020000D'"""
    peers.wait_until(lambda: site.sql(statement), "the audit")
    row = site.sql(statement)[0]
    assert row.startswith(("admin|token|success|", "admin|session|success|"))
    details = json.loads(row.split("|", 3)[3])
    assert (details["level"], details["matches"]) == ("STUDY", 1)
    assert "Doe" not in row


# -- hostile ----------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("PatientName=" + "*a" * 200, 200),
        ("PatientName=" + quote("\x00\x01\u202e'; DROP TABLE studies"), 200),
        ("StudyInstanceUID=" + ",".join(["1.2.3"] * 2000), 200),
        ("&".join(f"PatientID=P{n}" for n in range(200)), 200),
        ("&".join(f"x{n}=1" for n in range(300)), 400),
        ("PatientName=" + "a" * 20_000, 414),
        ("PatientID=%FF%FE", 400),
        ("includefield=" + ",".join(["PatientAge"] * 500), 200),
        (".".join(["00400275"] * 50) + "=1", 200),
        ("PatientName=" + "x" * 5000, 400),
    ],
)  # fmt: skip
def test_a_hostile_query_is_answered_or_refused_and_nothing_breaks(
    site: Server, corpus: Corpus, query: str, status: int
) -> None:
    assert get(site, f"studies?{query}").status == status
    assert found(site, AccessionNumber="WA1") == ["WA1"]


# -- the viewer -------------------------------------------------------------------------------------------------------------
@pytest.mark.skipif(not OHIF.is_file(), reason="the recorded requests are not here")
def test_every_search_that_ohif_sends_is_answered_with_what_it_reads(site: Server, corpus: Corpus) -> None:
    replayed = 0
    for request in json.loads(OHIF.read_text()):
        path = request["path"]
        if request["method"] != "GET" or not path.endswith(("/studies", "/series")):
            continue
        for place, given in (
            ("{study}", corpus.study[1]), ("{series}", corpus.series["CT"]), ("{pid}", quote("Vafk,T,6")),
            ("{uid}", corpus.series["CT"] if path.endswith("/series") else corpus.study[1]),
        ):  # fmt: skip
            path, request["query"] = path.replace(place, given), request["query"].replace(place, given)
        headers = {"accept": request["accept"]} if request["accept"] else {}
        reply = fetch(site, f"/dicom-web{path}?{request['query']}", headers)
        assert (reply.status, reply.headers["content-type"]) == (200, DICOM_JSON), request
        results = reply.json()
        reads = (
            {STUDY, "00080020", "00080030", ACCESSION, MODALITIES, "00080090", "00100010", "00100020", "00100030",
             "00201208", "00081030"}
            if path.endswith("/studies")
            else {SERIES, "00080060", "00201209", "00200011", "0008103E"}
        )  # fmt: skip
        assert all(reads <= result.keys() or "0008103E" in reads for result in results)
        named = "{uid}" not in request["query"] and (
            "Vafk" in request["query"] or "InstanceUID" in request["query"]
        )
        assert results or not named, request
        replayed += 1
    assert replayed >= 15
