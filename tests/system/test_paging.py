"""C-FIND with more matches than one page of the catalogue: all of them, each once; until somebody says stop."""

from __future__ import annotations

import pytest
import trio

from pacs_actors.dicom import client
from tests.system import peers
from tests.system.peers import FIND
from tests.system.server import Server

SUCCESS, OUT_OF_RESOURCES, CANCELLED, PENDING = 0x0000, 0xA700, 0xFE00, 0xFF00
MATCHES, MORE, LIMIT, PAGE = 1120, 80, 1150, 400
KEY = {
    "PATIENT": "PatientID",
    "STUDY": "StudyInstanceUID",
    "SERIES": "SeriesInstanceUID",
    "IMAGE": "SOPInstanceUID",
}
ROOT = {"PATIENT": "patient", "STUDY": "study", "SERIES": "study", "IMAGE": "study"}


@pytest.fixture(scope="module")
def names() -> list[str]:
    return [f"{'PA' if n < MATCHES else 'PB'}-{n:04}" for n in range(MATCHES + MORE)]


@pytest.fixture(scope="module")
def filled(node: Server, names: list[str]) -> list[str]:
    """As many patients as names, each with one study, series and instance."""
    trio.run(fill, node, names)
    return names


async def fill(node: Server, names: list[str]) -> None:
    places = {"SOPInstanceUID": 6, "StudyInstanceUID": 7, "SeriesInstanceUID": 8}
    uids = {keyword: f"1.2.826.0.1.3680043.9.7433.3.{place}.900000" for keyword, place in places.items()}
    template = peers.make(PatientID="PX-0000", **uids)
    async with client.associate(
        "127.0.0.1",
        node.dicom_port,
        called=node.aet,
        calling="FILLER",
        contexts=client.for_storage([template.context]),
    ) as peer:
        for number, name in enumerate(names, 900_001):
            data = template.data.replace(b".900000", f".{number}".encode()).replace(b"PX-0000", name.encode())
            assert (await peer.store(data)).status == SUCCESS


@pytest.mark.parametrize("level", KEY)
def test_more_than_a_thousand_matches_are_complete_and_unique(
    node: Server, filled: list[str], level: str
) -> None:
    model = str(FIND[ROOT[level]])
    keys = {"PatientID": "PA-*", KEY[level]: "PA-*" if level == "PATIENT" else "", "PatientName": ""}
    answers = peers.find(node, level, keys, root=ROOT[level], extended={model: b"\x01"})
    assert answers.final == SUCCESS
    assert len(answers.data) == MATCHES
    assert answers.values("PatientID") == filled[:MATCHES]
    assert len(set(answers.values(KEY[level]))) == MATCHES


def test_more_matches_than_the_limit_end_in_a_failure_that_says_so(node: Server, filled: list[str]) -> None:
    answers = peers.find(node, "STUDY", {"PatientID": "P?-*"})
    assert answers.statuses == [PENDING] * LIMIT + [OUT_OF_RESOURCES]
    assert "more matches" in answers.comment


def test_a_cancelled_find_ends_after_the_page_at_hand(node: Server, filled: list[str]) -> None:
    with peers.opened(node, [(FIND["study"], peers.EXPLICIT)]) as association:
        answers = peers.ask(association, "STUDY", {"PatientID": "PA-*"}, cancel=True)
        assert answers.final == CANCELLED
        assert len(answers.data) in (PAGE, 2 * PAGE)
        again = peers.ask(association, "STUDY", {"PatientID": "PA-*"})
        assert (again.final, len(again.data)) == (SUCCESS, MATCHES), "the association goes on"


def test_a_cancel_of_another_request_changes_nothing(node: Server, filled: list[str]) -> None:
    with peers.opened(node, [(FIND["study"], peers.EXPLICIT)]) as association:
        answers = peers.ask(association, "STUDY", {"PatientID": "PA-*"}, cancel=True, cancelled=8)
        assert (answers.final, len(answers.data)) == (SUCCESS, MATCHES)
