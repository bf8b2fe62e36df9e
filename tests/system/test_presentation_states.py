"""Presentation states over WADO-URI: a picture as somebody left it, on the real server."""

from __future__ import annotations

import urllib.error
import urllib.request
from dataclasses import dataclass
from email.message import Message

import imagecodecs
import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from tests.system.associations import send
from tests.system.instances import Instance, make
from tests.system.server import Server

WITHIN_S = 30.0
CELLS = np.arange(128, dtype=np.uint8).reshape(8, 16)
STATE_CLASS = "1.2.840.10008.5.1.4.1.1.11.1"


@dataclass
class Case:
    image: Instance
    state: Instance
    stranger: Instance


def state_of(image: Instance, study: str) -> Instance:
    """Rotated by a quarter, upside down in grey."""
    reference, series = Dataset(), Dataset()
    reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = image.sop_class, image.uid
    series.SeriesInstanceUID, series.ReferencedImageSequence = image.series, [reference]
    return make(
        STATE_CLASS,
        StudyInstanceUID=study, PatientID="PRESENTED", Modality="PR", ReferencedSeriesSequence=[series],
        ImageRotation=90, ImageHorizontalFlip="N", PresentationLUTShape="INVERSE",
    )  # fmt: skip


@pytest.fixture(scope="module")
def case(node: Server) -> Case:
    image = make(
        "1.2.840.10008.5.1.4.1.1.7",
        PatientID="PRESENTED", Rows=8, Columns=16, BitsAllocated=8, BitsStored=8, HighBit=7, SamplesPerPixel=1,
        PixelRepresentation=0, PhotometricInterpretation="MONOCHROME2", WindowCenter=3, WindowWidth=2,
        PixelData=CELLS.tobytes(),
    )  # fmt: skip
    found = Case(image, state_of(image, image.study), state_of(image, generate_uid()))
    assert send(node, found.image, found.state, found.stranger) == [0, 0, 0]
    return found


def picture(node: Server, image: Instance, state: Instance, more: str = "") -> tuple[int, Message, bytes]:
    path = (
        f"/dicom-web/wado?requestType=WADO&studyUID={image.study}&seriesUID={image.series}&objectUID={image.uid}"
        f"&contentType=image/png&presentationSeriesUID={state.series}&presentationUID={state.uid}{more}"
    )
    asked = urllib.request.Request(f"{node.url}{path}", headers={"authorization": f"Bearer {node.token}"})
    try:
        with urllib.request.urlopen(asked, timeout=WITHIN_S) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read()


def test_a_state_is_applied_and_the_answer_says_what_is_left_out(node: Server, case: Case) -> None:
    status, headers, body = picture(node, case.image, case.state)
    assert status == 200, body
    assert np.array_equal(imagecodecs.png_decode(body), np.rot90(255 - CELLS, -1))
    assert headers["warning"].startswith("299 ") and "not drawn" in headers["warning"]
    plain = picture(node, case.image, case.state)[1]["etag"]
    assert plain == headers["etag"]
    small = picture(node, case.image, case.state, "&rows=8")
    assert imagecodecs.png_decode(small[2]).shape == (8, 4) and small[1]["etag"] != plain


def test_only_a_state_of_the_same_study_that_refers_to_the_image_is_applied(node: Server, case: Case) -> None:
    assert picture(node, case.image, case.stranger)[0] == 404
    assert picture(node, case.image, case.image)[0] == 400
    assert picture(node, case.state, case.state)[0] == 406
