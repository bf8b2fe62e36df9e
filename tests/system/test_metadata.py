"""WADO-RS metadata on the real server: complete, validated, made once, and remade when a series changes."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from dicomweb_client.api import DICOMwebClient
from dicomweb_client.session_utils import create_session
from pydicom import Dataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import generate_uid

from tests.stored_objects import StoredObject
from tests.system import peers
from tests.system.server import Server, running
from tests.system.web_peer import DICOM_JSON, Reply, fetch, value

INSTANCE = "00080018"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("metadata")
    with running(Server(folder / "data", workers=1)) as server:
        yield server


class Study:
    """Two series: of five images with a large private value, and of one."""

    def __init__(self) -> None:
        self.uid, self.series, self.other = generate_uid(), generate_uid(), generate_uid()
        self.images = [self.image(n) for n in range(1, 6)]
        self.single = peers.make(
            peers.MR, StudyInstanceUID=self.uid, SeriesInstanceUID=self.other, SeriesNumber=9, PatientID="META-1",
            PatientName="Wang^XiaoDong=王^小東", SpecificCharacterSet="ISO_IR 192",
        )  # fmt: skip

    def image(self, number: int) -> peers.Instance:
        item = Dataset()
        item.CodeValue, item.ICCProfile = "T-1", bytes(3000)
        return peers.make(
            StudyInstanceUID=self.uid, SeriesInstanceUID=self.series, SeriesNumber=2, InstanceNumber=number,
            PatientID="META-1", PatientName="Doe^John", ImagePositionPatient=[0, -1.5, number * 2.5],
            PixelSpacing=["0.500000", "0.488281"], Rows=64, Columns=64, BitsAllocated=16, BitsStored=12, HighBit=11,
            PixelRepresentation=1, SamplesPerPixel=1, PhotometricInterpretation="MONOCHROME2",
            OpticalPathSequence=Items([Dataset(), item]), PixelData=np.full(4096, number, "<i2").tobytes(),
        )  # fmt: skip


@pytest.fixture(scope="module")
def study(site: Server) -> Study:
    study = Study()
    assert set(peers.send(site, *study.images, study.single)) == {0}
    return study


def metadata(site: Server, path: str, **headers: str) -> Reply:
    return fetch(site, f"/dicom-web/studies/{path}/metadata", {"accept": DICOM_JSON, **headers})


def by_uid(reply: Reply) -> dict[str, dict[str, Any]]:
    assert (reply.status, reply.headers["content-type"]) == (200, DICOM_JSON), reply
    return {value(one, INSTANCE): one for one in reply.json()}


def series_of(study: Study) -> str:
    return f"{study.uid}/series/{study.series}"


def made(site: Server) -> int:
    return len(list((site.data / "cache" / "metadata").rglob("*.gz")))


def test_a_series_comes_whole_and_in_order_without_its_bulk_data(site: Server, study: Study) -> None:
    reply = metadata(site, series_of(study))
    assert [value(one, "00200013") for one in reply.json()] == [1, 2, 3, 4, 5]
    first = by_uid(reply)[study.images[0].uid]
    assert list(first) == sorted(first)
    assert first["00200032"] == {"vr": "DS", "Value": [0, -1.5, 2.5]}
    assert first["00280030"] == {"vr": "DS", "Value": [0.5, 0.488281]}
    assert first["00100010"] == {"vr": "PN", "Value": [{"Alphabetic": "Doe^John"}]}
    base = f"{site.url}/dicom-web/studies/{series_of(study)}/instances/{study.images[0].uid}/bulkdata"
    assert first["7FE00010"] == {"vr": "OW", "BulkDataURI": f"{base}/7FE00010"}
    empty, item = first["00480105"]["Value"]
    assert empty == {} and item["00282000"] == {"vr": "OB", "BulkDataURI": f"{base}/00480105/1/00282000"}


def test_a_study_is_the_series_one_after_the_other(site: Server, study: Study) -> None:
    whole = metadata(site, study.uid)
    both = (
        metadata(site, series_of(study)).json() + metadata(site, f"{study.uid}/series/{study.other}").json()
    )
    assert whole.json() == both and len(both) == 6
    assert value(both[5], "00100010") == {"Alphabetic": "Wang^XiaoDong", "Ideographic": "王^小東"}


def test_an_instance_is_what_it_is_in_its_series(site: Server, study: Study) -> None:
    for image in study.images[:2]:
        [alone] = metadata(site, f"{series_of(study)}/instances/{image.uid}").json()
        assert alone == by_uid(metadata(site, series_of(study)))[image.uid]


def test_bulk_data_is_where_the_uri_says(site: Server, study: Study) -> None:
    first = by_uid(metadata(site, series_of(study)))[study.images[0].uid]
    uri = first["7FE00010"]["BulkDataURI"].removeprefix(site.url)
    reply = fetch(site, uri, {"accept": "application/octet-stream"})
    assert (reply.status, reply.body) == (200, np.full(4096, 1, "<i2").tobytes())
    nested = first["00480105"]["Value"][1]["00282000"]["BulkDataURI"].removeprefix(site.url)
    assert fetch(site, nested, {"accept": "application/octet-stream"}).body == bytes(3000)


@pytest.mark.parametrize("where", ["study", "series", "instance"])
def test_compressed_and_plain_are_the_same(site: Server, study: Study, where: str) -> None:
    path = {"study": study.uid, "series": series_of(study)}.get(
        where, f"{series_of(study)}/instances/{study.images[0].uid}"
    )
    packed = metadata(site, path, **{"accept-encoding": "gzip"})
    plain = metadata(site, path)
    assert packed.headers["content-encoding"] == "gzip" and plain.headers["content-encoding"] is None
    assert json.loads(gzip.decompress(packed.raw)) == plain.json()
    assert {"accept", "accept-encoding"} <= {each.strip() for each in packed.headers["vary"].split(",")}
    assert packed.headers["etag"] != plain.headers["etag"]


@pytest.mark.parametrize("where", ["study", "series", "instance"])
def test_who_has_it_already_gets_304(site: Server, study: Study, where: str) -> None:
    path = {"study": study.uid, "series": series_of(study)}.get(
        where, f"{series_of(study)}/instances/{study.images[0].uid}"
    )
    etag = metadata(site, path).headers["etag"]
    for known in (etag, f'"other", W/{etag}', "*"):
        reply = metadata(site, path, **{"if-none-match": known})
        assert (reply.status, reply.raw, reply.headers["etag"]) == (304, b"", etag)
    assert metadata(site, path, **{"if-none-match": '"other"'}).status == 200


def test_a_series_that_grows_is_made_again(site: Server) -> None:
    study = Study()
    assert set(peers.send(site, *study.images[:3])) == {0}
    before = metadata(site, series_of(study))
    assert len(before.json()) == 3
    assert set(peers.send(site, *study.images[3:])) == {0}
    after = metadata(site, series_of(study), **{"if-none-match": before.headers["etag"]})
    assert (after.status, len(after.json())) == (200, 5)
    assert after.headers["etag"] != before.headers["etag"]
    assert len(metadata(site, study.uid).json()) == 5


def test_many_who_ask_for_a_cold_series_make_it_once(site: Server) -> None:
    study = Study()
    assert set(peers.send(site, *study.images)) == {0}
    before = made(site)
    replies = peers.at_once(*[lambda: metadata(site, series_of(study)).body] * 8)
    assert len(set(replies)) == 1
    assert made(site) == before + 1


def test_what_is_kept_survives_a_damaged_file(site: Server) -> None:
    study = Study()
    assert set(peers.send(site, *study.images)) == {0}
    whole = metadata(site, series_of(study)).json()
    for path in (site.data / "cache" / "metadata").rglob("*.gz"):
        path.write_bytes(path.read_bytes()[:-20])
    # Another root is another text: it is not in the worker's memory, nor is the damaged one's file of use to it.
    other = metadata(site, series_of(study), host=f"localhost:{site.web_port}").json()
    assert json.dumps(other).replace("localhost", "127.0.0.1") == json.dumps(whole)


def test_uris_begin_with_the_root_that_the_client_used(site: Server, study: Study) -> None:
    for host in (f"localhost:{site.web_port}", f"127.0.0.1:{site.web_port}"):
        for path in (study.uid, series_of(study), f"{series_of(study)}/instances/{study.images[0].uid}"):
            first = by_uid(metadata(site, path, host=host))[study.images[0].uid]
            assert first["7FE00010"]["BulkDataURI"].startswith(f"http://{host}/dicom-web/studies/")


@pytest.mark.parametrize(
    ("accept", "given"),
    [
        ("application/dicom+json, multipart/related; type=application/octet-stream; transfer-syntax=*", DICOM_JSON),
        ("*/*", DICOM_JSON), ("application/json", "application/json"),
    ],
)  # fmt: skip
def test_json_is_given_whatever_else_is_taken_too(
    site: Server, study: Study, accept: str, given: str
) -> None:
    for path in (study.uid, series_of(study), f"{series_of(study)}/instances/{study.images[0].uid}"):
        reply = metadata(site, path, accept=accept)
        assert (reply.status, reply.headers["content-type"]) == (200, given)
        assert metadata(site, path, accept="image/png").status == 406


def test_what_is_not_there_is_404_and_strangers_get_401(site: Server, study: Study) -> None:
    unknown = generate_uid()
    for path in (
        unknown, f"{study.uid}/series/{unknown}", f"{unknown}/series/{study.series}",
        f"{study.uid}/series/{study.other}/instances/{study.images[0].uid}", f"{series_of(study)}/instances/{unknown}",
        "..", f"{study.uid}/series/%2e%2e", "1.2%5C1.3",
    ):  # fmt: skip
        reply = metadata(site, path)
        assert reply.status == 404, path
    assert fetch(site, f"/dicom-web/studies/{study.uid}/metadata", token="").status == 401


def test_an_object_that_is_lost_costs_its_instance_only_and_nothing_is_kept(site: Server) -> None:
    study = Study()
    assert set(peers.send(site, *study.images)) == {0}
    # A search waits for the index.
    assert fetch(site, f"/dicom-web/studies?StudyInstanceUID={study.uid}").status == 200
    [key] = site.sql(f"SELECT object_key FROM instances WHERE sop_instance_uid = '{study.images[1].uid}'")
    lost = StoredObject(site.data, key)
    kept = lost.read_bytes()
    lost.unlink()
    before = made(site)
    assert len(metadata(site, series_of(study)).json()) == 4
    assert made(site) == before
    lost.write_bytes(kept)
    assert len(metadata(site, series_of(study)).json()) == 5


def test_hostile_data_sets_are_told_as_far_as_they_go(site: Server) -> None:
    study, series = generate_uid(), generate_uid()
    good = peers.make(StudyInstanceUID=study, SeriesInstanceUID=series, InstanceNumber=1, PatientID="H")
    torn = peers.make(StudyInstanceUID=study, SeriesInstanceUID=series, InstanceNumber=2, PatientID="H")
    tail = b"\x30\x30\x01\x00SQ\0\0" + (1 << 20).to_bytes(4, "little") + b"\xfe\xff\x00\xe0\xff\xff\xff\xff"
    hostile = peers.Instance(torn.sop_class, torn.uid, torn.syntax, torn.data + tail, study, series)
    assert set(peers.send(site, good)) == {0}
    peers.send(site, hostile)
    reply = metadata(site, f"{study}/series/{series}")
    assert reply.status == 200 and good.uid in by_uid(reply)
    assert all("00100020" in one for one in reply.json())


def test_looking_at_metadata_is_in_the_audit_once(site: Server) -> None:
    study = Study()
    assert set(peers.send(site, *study.images)) == {0}
    for _ in range(3):
        metadata(site, series_of(study))
    statement = f"SELECT count(*) FROM audit_events WHERE event = 'viewed' AND uids @> '{{{study.uid}}}'"
    peers.wait_until(lambda: site.sql(statement) == ["1"], "the audit")


def test_dicomweb_client_reads_series_and_study(site: Server, study: Study) -> None:
    session = create_session()
    session.headers["Authorization"] = f"Bearer {site.token}"
    client = DICOMwebClient(f"{site.url}/dicom-web", session=session)
    assert len(client.retrieve_series_metadata(study.uid, study.series)) == 5
    assert len(client.retrieve_study_metadata(study.uid)) == 6
    one = client.retrieve_instance_metadata(study.uid, study.series, study.images[0].uid)
    # This client leaves the port out of its Host header, so that the root it is told has none either.
    path = one["7FE00010"]["BulkDataURI"].partition("/dicom-web/")[2]
    pixels = client.retrieve_bulkdata(f"{site.url}/dicom-web/{path}")
    assert pixels[0] == np.full(4096, 1, "<i2").tobytes()


# -- capabilities -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("method", ["GET", "OPTIONS"])
def test_the_service_tells_what_it_can_do(site: Server, method: str) -> None:
    for path in ("/dicom-web", "/dicom-web/"):
        wadl = fetch(site, path, method=method, token="")
        assert (wadl.status, wadl.headers["content-type"]) == (200, "application/vnd.sun.wadl+xml")
        assert b"studies/{study}/series/{series}/metadata" in wadl.body
    told = fetch(site, "/dicom-web/", {"accept": "application/json"}, method=method, token="").json()
    assert told["base"] == f"{site.url}/dicom-web"
    paths = {resource["path"] for resource in told["resources"]}
    assert {"studies", "studies/{study}/series/{series}/instances/{instance}/metadata"} <= paths
