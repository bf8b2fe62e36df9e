"""Rendered resources, thumbnails and WADO-URI's pictures of what was stored over DIMSE, by a browser's means."""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import os
import signal
import socket
import time
import urllib.error
import urllib.request
from dataclasses import replace
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import generate_uid

from tests.system import peers
from tests.system.peers import Instance
from tests.system.server import Server

WITHIN_S = 30.0
NEW = itertools.count(1000)
BROWSER_IMAGE = "image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8"
BROWSER_PAGE = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"
PDF = b"%PDF-1.4\n1 0 obj <<>> endobj\n%%EOF"
PDF_STORAGE = "1.2.840.10008.5.1.4.1.1.104.1"
SR_STORAGE = "1.2.840.10008.5.1.4.1.1.88.11"
VIDEO_STORAGE = "1.2.840.10008.5.1.4.1.1.77.1.4.1"
MPEG_4 = "1.2.840.10008.1.2.4.102"
HOSTILE = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "hostile" / "generated"


class Got:
    def __init__(self, status: int, headers: Any, body: bytes) -> None:
        self.status, self.headers, self.body = status, headers, body

    @property
    def type(self) -> str:
        return str(self.headers.get("content-type", ""))

    @property
    def jpeg(self) -> Any:
        assert (self.status, self.type) == (200, "image/jpeg"), (self.status, self.body[:300])
        return imagecodecs.jpeg8_decode(self.body)

    @property
    def png(self) -> Any:
        assert (self.status, self.type) == (200, "image/png"), (self.status, self.body[:300])
        return imagecodecs.png_decode(self.body)


def fetch(server: Server, path: str, *, token: str | None = None, **headers: str) -> Got:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    given["authorization"] = f"Bearer {server.token if token is None else token}"
    request = urllib.request.Request(f"{server.url}/dicom-web{path}", headers=given)
    try:
        with urllib.request.urlopen(request, timeout=WITHIN_S) as answer:
            return Got(answer.status, answer.headers, answer.read())
    except urllib.error.HTTPError as error:
        return Got(error.code, error.headers, error.read())


def path_of(instance: Instance, end: str = "") -> str:
    return f"/studies/{instance.study}/series/{instance.series}/instances/{instance.uid}{end}"


def grey(value: int, *, frames: int = 1, **attributes: Any) -> Instance:
    """An image of 8 x 16: the left half is black, the right half ``value``; frames add 1 each."""
    cells = np.zeros((frames, 8, 16), np.uint8)
    cells[:, :, 8:] = (value + np.arange(frames))[:, None, None]
    return peers.make(
        "1.2.840.10008.5.1.4.1.1.7",
        **{
            "Rows": 8, "Columns": 16, "BitsAllocated": 8, "BitsStored": 8, "HighBit": 7, "SamplesPerPixel": 1,
            "PixelRepresentation": 0, "PhotometricInterpretation": "MONOCHROME2", "NumberOfFrames": frames,
            "WindowCenter": 128, "WindowWidth": 256, "PixelData": cells.tobytes(), **attributes,
        },
    )  # fmt: skip


@pytest.fixture(scope="module")
def image(node: Server) -> Instance:
    """Five frames: 100 to 104."""
    instance = grey(100, frames=5, PatientName="Planted^Name")
    assert peers.send(node, instance) == [0]
    return instance


def test_an_instance_is_a_jpeg_in_its_window(node: Server, image: Instance) -> None:
    picture = fetch(node, path_of(image, "/rendered"), accept=BROWSER_IMAGE).jpeg
    assert picture.shape == (8, 16)
    assert abs(int(picture[4, 12]) - 100) <= 2 and picture[4, 2] <= 2


def test_a_frame_a_list_and_an_animation(node: Server, image: Instance) -> None:
    third = fetch(node, path_of(image, "/frames/3/rendered"), accept="image/png").png
    assert third[0, 15] == 102
    several = fetch(
        node, path_of(image, "/frames/5,1/rendered"), accept='multipart/related; type="image/png"'
    )
    assert several.type.startswith('multipart/related; type="image/png"')
    boundary = several.type.rpartition("boundary=")[2].encode()
    parts = several.body.split(b"--" + boundary)[1:-1]
    values = [imagecodecs.png_decode(part.partition(b"\r\n\r\n")[2][:-2])[0, 15] for part in parts]
    assert values == [104, 100] and all(b"\r\nContent-Type: image/png\r\n" in part for part in parts)
    moving = fetch(node, path_of(image, "/rendered"), accept="image/gif")
    assert moving.type == "image/gif" and moving.body[:6] == b"GIF89a" and b"NETSCAPE" in moving.body
    assert fetch(node, path_of(image, "/frames/6/rendered")).status == 404
    for wrong in ("0", "x", "1,,2", "1-3"):
        assert fetch(node, path_of(image, f"/frames/{wrong}/rendered")).status == 400
    assert fetch(node, path_of(image, "/frames/1,2/rendered"), accept="image/jpeg").status == 406


def test_the_query_changes_the_picture(node: Server, image: Instance) -> None:
    path = path_of(image, "/frames/1/rendered?accept=image/png")
    assert fetch(node, f"{path}&window=100,2,linear-exact").png[0, 15] == 128
    assert fetch(node, f"{path}&viewport=32,32").png.shape == (16, 32)
    mirrored = fetch(node, f"{path}&viewport=16,8,,,-16,").png
    assert mirrored[0, 0] == 100 and mirrored[0, 15] == 0
    part = fetch(node, f"{path}&viewport=4,4,8,0,4,4").png
    assert part.shape == (4, 4) and part.min() == 100
    large, small = (
        len(fetch(node, path_of(image, f"/rendered?quality={quality}&viewport=512,512")).body)
        for quality in (100, 1)
    )
    assert large > small
    warned = fetch(node, f"{path}&annotation=patient,technique")
    assert warned.status == 200 and warned.headers["warning"].startswith("299 ")


@pytest.mark.parametrize(
    "query",
    [
        "quality=0", "quality=101", "quality=x", "viewport=0,5", "viewport=5", "viewport=5,5,5", "viewport=1e9,1",
        "viewport=99999,9", "viewport=10,10,-1,0,5,5", "viewport=10,10,nan,0,5,5", "window=1", "window=a,b,linear",
        "window=1,0,sigmoid", "window=1,0.5,linear", "window=1,2,square", "window=inf,1", "iccprofile=cmyk", "annotation=name",
    ],
)  # fmt: skip
def test_a_bad_parameter_is_named_in_a_problem(node: Server, image: Instance, query: str) -> None:
    got = fetch(node, path_of(image, f"/rendered?{query}"))
    assert (got.status, got.type) == (400, "application/problem+json")
    assert query.partition("=")[0] in json.loads(got.body)["detail"]


def test_a_region_outside_of_the_image_is_refused(node: Server, image: Instance) -> None:
    assert fetch(node, path_of(image, "/rendered?viewport=10,10,500,0,5,5")).status == 406


def test_what_we_cannot_give_is_not_acceptable(node: Server, image: Instance) -> None:
    assert fetch(node, path_of(image, "/rendered"), accept="video/mp4").status == 406
    got = fetch(node, path_of(image, "/rendered?accept=image/png"), accept="image/jpeg")
    assert got.type == "image/png"
    assert fetch(node, path_of(image, "/rendered"), accept="image/webp").type == "image/webp"


def test_a_picture_the_browser_has_is_not_sent_again(node: Server, image: Instance) -> None:
    for end in ("/rendered", "/thumbnail"):
        got = fetch(node, path_of(image, end))
        tag = got.headers["etag"]
        assert got.headers["cache-control"] == "private, no-cache"
        again = fetch(node, path_of(image, end), if_none_match=tag)
        assert (again.status, again.body, again.headers["etag"]) == (304, b"", tag)
        assert fetch(node, path_of(image, f"{end}?window=1,1"), if_none_match=tag).status == 200


def test_a_series_and_a_study_show_their_middle_and_all(node: Server) -> None:
    study, series = generate_uid(), generate_uid()
    common = {
        "StudyInstanceUID": study,
        "SeriesInstanceUID": series,
        "SeriesNumber": 2,
        "PatientID": "MIDDLE",
    }
    slices = [grey(50 + number, InstanceNumber=number, **common) for number in range(1, 6)]
    report = peers.make(SR_STORAGE, StudyInstanceUID=study, Modality="SR", SeriesNumber=1, PatientID="MIDDLE")
    assert set(peers.send(node, report, *slices)) == {0}
    for path in (f"/studies/{study}", f"/studies/{study}/series/{series}"):
        assert fetch(node, f"{path}/rendered?accept=image/png").png[0, 15] == 53
        assert fetch(node, f"{path}/thumbnail", accept="image/png").png[0, 15] == 53
        every = fetch(node, f"{path}/rendered", accept='multipart/related; type="image/jpeg"')
        assert every.status == 200 and every.body.count(b"Content-Type: image/jpeg") == 5
    assert fetch(node, f"/studies/{study}/series/1.2.3/rendered").status == 404


def test_nobody_without_rights_sees_anything(node: Server, image: Instance) -> None:
    for end in ("/rendered", "/thumbnail", "/frames/1/rendered"):
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(f"{node.url}/dicom-web{path_of(image, end)}", timeout=WITHIN_S)
        assert refused.value.code == 401
    stranger = replace(image, series=generate_uid())
    for end in ("/rendered", "/thumbnail"):
        assert fetch(node, path_of(stranger, end)).status == 404
        assert fetch(node, f"/studies/{generate_uid()}{end}").status == 404
        assert fetch(node, f"/studies/..%2f..{end}").status == 404


def test_what_has_no_picture_has_letters_for_a_thumbnail(node: Server) -> None:
    report = peers.make(SR_STORAGE, Modality="SR")
    assert peers.send(node, report) == [0]
    got = fetch(node, path_of(report, "/thumbnail"), accept=BROWSER_IMAGE)
    assert got.png.shape == (200, 200) and len(np.unique(got.png)) > 3
    assert fetch(node, path_of(report, "/rendered"), accept="image/jpeg").status == 406


def test_a_report_is_a_page_and_its_words_are_inert(node: Server) -> None:
    item = Dataset()
    item.ValueType, item.RelationshipType = "TEXT", "CONTAINS"
    item.TextValue = "<script>alert(1)</script> & more"
    name = Dataset()
    name.CodeValue, name.CodingSchemeDesignator, name.CodeMeaning = "1", "99", "Finding <b>"
    item.ConceptNameCodeSequence = [name]
    report = peers.make(
        SR_STORAGE, ValueType="CONTAINER", ContentSequence=[item], PatientName="<img src=x>^A", Modality="SR"
    )
    assert peers.send(node, report) == [0]
    got = fetch(node, path_of(report, "/rendered"), accept=BROWSER_PAGE)
    assert (got.status, got.type) == (200, "text/html; charset=utf-8")
    page = got.body.decode()
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; more" in page and "Finding &lt;b&gt;" in page
    assert "<script" not in page and "<img" not in page
    assert "default-src 'none'" in got.headers["content-security-policy"]


def test_a_pdf_is_given_as_it_is(node: Server) -> None:
    padded = PDF + b"\0" * (len(PDF) % 2)
    given = {
        "MIMETypeOfEncapsulatedDocument": "application/pdf",
        "EncapsulatedDocument": padded,
        "Modality": "DOC",
    }
    paper = peers.make(PDF_STORAGE, EncapsulatedDocumentLength=len(PDF), **given)
    empty = peers.make(PDF_STORAGE, **{**given, "EncapsulatedDocument": b"<html>  "})
    assert peers.send(node, paper, empty) == [0, 0]
    got = fetch(node, path_of(paper, "/rendered"), accept=BROWSER_PAGE)
    assert (got.status, got.type, got.body) == (200, "application/pdf", PDF)
    assert "frame-ancestors 'self'" in got.headers["content-security-policy"]
    part = fetch(node, path_of(paper, "/rendered"), range="bytes=0-4")
    assert (part.status, part.body) == (206, b"%PDF-")
    assert fetch(node, path_of(paper, "/rendered"), accept="image/jpeg").status == 406
    assert fetch(node, path_of(paper, "/thumbnail")).status == 200
    assert fetch(node, path_of(empty, "/rendered")).status == 406


def test_a_video_is_given_as_it_is_and_in_parts(node: Server) -> None:
    stream = b"\0\0\0\x18ftypmp42" + bytes(range(256)) * 40
    film = peers.make(
        VIDEO_STORAGE, MPEG_4, Modality="XC", Rows=1080, Columns=1920, BitsAllocated=8, BitsStored=8, HighBit=7,
        SamplesPerPixel=3, PixelRepresentation=0, PhotometricInterpretation="YBR_PARTIAL_420", NumberOfFrames=25,
    )  # fmt: skip
    cut = [stream[:5000], stream[5000:]]
    value = (
        b"\xe0\x7f\x10\0OB\0\0\xff\xff\xff\xff"
        + encapsulate(cut, has_bot=False)
        + b"\xfe\xff\xdd\xe0\0\0\0\0"
    )
    film = replace(film, data=film.data + value)
    assert peers.send(node, film) == [0]
    got = fetch(node, path_of(film, "/rendered"), accept="video/*")
    assert (got.status, got.type, got.body) == (200, "video/mp4", stream)
    part = fetch(node, path_of(film, "/rendered"), range="bytes=4990-5009")
    assert (part.status, part.body) == (206, stream[4990:5010])
    assert part.headers["content-range"] == f"bytes 4990-5009/{len(stream)}"
    assert fetch(node, path_of(film, "/rendered"), range=f"bytes={len(stream)}-").status == 416
    assert fetch(node, path_of(film, "/thumbnail")).png.shape == (200, 200)


def test_wado_uri_gives_pictures(node: Server, image: Instance) -> None:
    path = f"/wado?requestType=WADO&studyUID={image.study}&seriesUID={image.series}&objectUID={image.uid}"
    assert fetch(node, path).jpeg.shape == (8, 16)
    png = f"{path}&contentType=image/png"
    assert fetch(node, f"{png}&frameNumber=4").png[0, 15] == 103
    assert fetch(node, f"{png}&windowCenter=100&windowWidth=1").png[0, 15] == 255
    assert fetch(node, f"{png}&rows=4").png.shape == (4, 8)
    assert fetch(node, f"{png}&region=0.5,0,1,1").png.shape == (8, 8)
    for wrong in (
        "windowCenter=1",
        "frameNumber=0",
        "region=1,1,0,0",
        "region=0,0,1",
        "rows=0",
        "imageQuality=0",
    ):
        assert fetch(node, f"{path}&{wrong}").status == 400, wrong


@pytest.mark.parametrize(
    "syntax", ["1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.201"]
)
def test_an_image_is_given_in_the_compressed_form_that_is_asked_for(
    node: Server, image: Instance, syntax: str
) -> None:
    got = fetch(node, path_of(image), accept=f"application/dicom; transfer-syntax={syntax}")
    assert (got.status, got.type) == (200, f"application/dicom; transfer-syntax={syntax}")
    found = dcmread(io.BytesIO(got.body))
    assert found.file_meta.TransferSyntaxUID == syntax
    last = list(generate_frames(found.PixelData, number_of_frames=5))[4]
    decode = imagecodecs.jpegls_decode if syntax.endswith("80") else imagecodecs.jpeg2k_decode
    assert decode(last)[0, 15] == 104
    report = peers.make(SR_STORAGE, Modality="SR")
    assert peers.send(node, report) == [0]
    assert fetch(node, path_of(report), accept=f"application/dicom; transfer-syntax={syntax}").status == 406


def test_every_file_has_a_thumbnail_and_nothing_crashes(node: Server) -> None:
    found = {}
    for path in peers.bundled():
        instance = peers.from_file(path)
        if instance is not None and set(instance.uid) <= set("0123456789."):
            found[instance.uid] = instance
    instances = list(found.values())
    statuses = peers.send(node, *instances)
    stored = [one for one, status in zip(instances, statuses, strict=True) if status == 0]
    assert len(stored) > 50
    shown = 0
    for one in stored:
        got = fetch(node, path_of(one, "/thumbnail"))
        if got.status == 404:  # of another study, under the same UID, and first
            continue
        assert got.status == 200 and got.type in ("image/jpeg", "image/png"), (one.uid, got.body)
        got = fetch(node, path_of(one, "/rendered"))
        assert got.status in (200, 406), (one.uid, got.body)
        shown += got.status == 200
    assert shown > 40


@pytest.mark.skipif(not HOSTILE.is_dir(), reason="no hostile files here")
def test_hostile_files_hurt_nobody(node: Server, image: Instance) -> None:
    # The large ones take pydicom long to read and send; here they would only say again what the tests of ``render`` say.
    small = [path for path in sorted(HOSTILE.iterdir()) if path.stat().st_size < 500_000]
    instances = [one for path in small if (one := peers.from_file(path)) is not None]
    lies = grey(9, Rows=65535, Columns=65535, NumberOfFrames=10**9)
    bits = grey(9, BitsAllocated=12)
    short = grey(9, Rows=9000, Columns=9000)
    instances += [lies, bits, short]
    for one in instances:
        try:
            (status,) = peers.send(node, one)
        except Exception:  # cut off by the server, as it should
            continue
        if status == 0:
            for end in ("/rendered", "/thumbnail"):
                assert fetch(node, path_of(one, end)).status in (200, 404, 406), one.uid
    assert fetch(node, path_of(lies, "/rendered")).status == 406
    assert fetch(node, path_of(image, "/frames/2/rendered?accept=image/png")).png[0, 15] == 101


def draw(node: Server, image: Instance) -> None:
    """A picture that nobody has asked for, so that there is a process that made it."""
    deadline = time.monotonic() + WITHIN_S
    while fetch(node, path_of(image, f"/rendered?window={next(NEW)},9,linear")).status != 200:
        assert time.monotonic() < deadline


def test_a_killed_pixel_process_costs_one_picture(node: Server, image: Instance) -> None:
    draw(node, image)
    for pid in pixel_processes(node):
        os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + WITHIN_S
    while fetch(node, path_of(image, "/rendered?window=7,7")).status != 200:
        assert time.monotonic() < deadline


def test_the_killed_template_of_pixel_processes_is_replaced(node: Server, image: Instance) -> None:
    draw(node, image)
    for pid in {parent_of(pid) for pid in pixel_processes(node)}:
        os.kill(pid, signal.SIGKILL)
    draw(node, image)


def test_nobody_waits_for_a_picture_whose_client_has_left(node: Server, image: Instance) -> None:
    """A process that stands still is given up at once then, not at the end of the rendering's deadline."""
    draw(node, image)
    stopped = pixel_processes(node)
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    head = f"GET /dicom-web{path_of(image, '/rendered?quality=3')} HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    asked = f"{head}Authorization: Bearer {node.token}\r\n\r\n".encode()
    deadline = time.monotonic() + 20
    while not any(is_gone(pid) for pid in stopped):
        assert time.monotonic() < deadline
        with socket.create_connection(("127.0.0.1", node.web_port), timeout=1) as client:
            client.sendall(asked)
            client.settimeout(0.3)
            with contextlib.suppress(TimeoutError):
                client.recv(1)
    for pid in stopped:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def is_gone(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists()


def pixel_processes(server: Server) -> list[int]:
    """Those that have jobs: they are forked from templates."""
    templates = [pid for pid in server.pids() if is_of_pixels(pid)]
    found = [pid for pid in templates if parent_of(pid) in templates]
    assert found
    return found


def is_of_pixels(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return b"pacs_actors.pixels" in Path(f"/proc/{pid}/cmdline").read_bytes()
    return False


def parent_of(pid: int) -> int:
    with contextlib.suppress(OSError):
        return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
    return 0


def test_no_name_of_a_patient_is_logged(node: Server, image: Instance) -> None:
    fetch(node, path_of(image, "/rendered"))
    assert "Planted" not in node.log.read_text(errors="replace")
