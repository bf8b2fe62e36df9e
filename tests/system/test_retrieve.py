"""C-GET and C-MOVE: what is sent, what is told, and what happens when somebody leaves (PS3.4 C.4.2, C.4.3; F31)."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.dataset import FileMetaDataset
from pydicom.uid import UID, generate_uid

from tests.system import peers
from tests.system.peers import GET, MOVE, Inbox, Instance
from tests.system.server import Server

SUCCESS, WARNING, CANCELLED, PENDING = 0x0000, 0xB000, 0xFE00, 0xFF00
ALL_FAILED, UNKNOWN_DESTINATION, MISMATCH, OUT_OF_RESOURCES = 0xA702, 0xA801, 0xA900, 0xA700


def stored_study(node: Server, count: int, *, sop_class: str = peers.CT, **attributes: Any) -> list[Instance]:
    """A study of one series, in the order of its instance numbers."""
    shared = {
        "StudyInstanceUID": generate_uid(), "SeriesInstanceUID": generate_uid(), "PatientID": generate_uid()[-12:],
    }  # fmt: skip
    instances = [
        peers.make(sop_class, **{**shared, "InstanceNumber": n, **attributes}) for n in range(1, count + 1)
    ]
    assert set(peers.send(node, *instances)) == {SUCCESS}
    return instances


class Archive:
    """A patient with two studies; the first has two series."""

    def __init__(self) -> None:
        self.patient = "R-1"
        self.study = [generate_uid(), generate_uid()]
        self.series = [generate_uid() for _ in range(3)]
        self.instances = [
            peers.make(
                PatientID=self.patient,
                StudyInstanceUID=self.study[0 if n < 2 else 1],
                SeriesInstanceUID=series,
                InstanceNumber=k,
            )
            for n, series in enumerate(self.series)
            for k in (1, 2, 3)
        ]

    def where(
        self, *, study: Sequence[str] = (), series: Sequence[str] = (), uids: Sequence[str] = ()
    ) -> set[str]:
        return {
            one.uid
            for one in self.instances
            if (not study or one.study in study)
            and (not series or one.series in series)
            and (not uids or one.uid in uids)
        }


@pytest.fixture(scope="module")
def archive(node: Server) -> Archive:
    archive = Archive()
    assert set(peers.send(node, *archive.instances)) == {SUCCESS}
    return archive


@pytest.fixture
def inbox(node: Server, node_port: int) -> Iterator[Inbox]:
    """The AE DEST, listening for CT in either uncompressed transfer syntax."""
    inbox = Inbox()
    with peers.listening(node_port, [(peers.CT, [peers.EXPLICIT, peers.IMPLICIT])], inbox=inbox):
        yield inbox


# -- levels -----------------------------------------------------------------------------------------------------------------
def requests(archive: Archive) -> list[tuple[str, str, dict[str, Any], set[str]]]:
    """Root, level, keys, and the instances that they name."""
    first, second = archive.study
    some = [archive.instances[0].uid, archive.instances[2].uid]
    patient = {"PatientID": archive.patient}
    one_series = {"StudyInstanceUID": first, "SeriesInstanceUID": archive.series[0]}
    return [
        ("patient", "PATIENT", patient, archive.where()),
        ("patient", "STUDY", {**patient, "StudyInstanceUID": second}, archive.where(study=[second])),
        ("patient", "SERIES", {**patient, **one_series}, archive.where(series=archive.series[:1])),
        (
            "patient",
            "IMAGE",
            {**patient, **one_series, "SOPInstanceUID": some[0]},
            archive.where(uids=some[:1]),
        ),
        ("study", "STUDY", {"StudyInstanceUID": first}, archive.where(study=[first])),
        ("study", "STUDY", {"StudyInstanceUID": [first, second]}, archive.where()),
        ("study", "SERIES", one_series, archive.where(series=archive.series[:1])),
        (
            "study",
            "SERIES",
            {**one_series, "SeriesInstanceUID": archive.series[:2]},
            archive.where(study=[first]),
        ),
        ("study", "IMAGE", {**one_series, "SOPInstanceUID": some[0]}, archive.where(uids=some[:1])),
        ("study", "IMAGE", {**one_series, "SOPInstanceUID": some}, archive.where(uids=some)),
    ]


@pytest.mark.parametrize("place", range(10))
def test_get_at_every_level_with_lists_of_uids(node: Server, archive: Archive, place: int) -> None:
    root, level, keys, expected = requests(archive)[place]
    told, inbox = peers.get(node, archive.instances, level, keys, root=root)
    assert (told.status, told.counts()) == (SUCCESS, (None, len(expected), 0, 0))
    assert set(inbox.received) == expected


@pytest.mark.parametrize("place", range(10))
def test_move_at_every_level_with_lists_of_uids(
    node: Server, archive: Archive, inbox: Inbox, place: int
) -> None:
    root, level, keys, expected = requests(archive)[place]
    told = peers.move(node, level, keys, root=root)
    assert (told.status, told.counts()) == (SUCCESS, (None, len(expected), 0, 0))
    assert set(inbox.received) == expected
    assert {
        (one.MoveOriginatorApplicationEntityTitle, one.MoveOriginatorMessageID) for one in inbox.requests
    } == {("SCU", 9)}


def test_moved_instances_are_byte_for_byte_what_was_stored(
    node: Server, archive: Archive, inbox: Inbox
) -> None:
    assert peers.move(node, "PATIENT", {"PatientID": archive.patient}, root="patient").status == SUCCESS
    assert inbox.received == {one.uid: (one.syntax, one.data) for one in archive.instances}


@pytest.mark.parametrize(
    ("root", "level", "keys"),
    [
        ("study", "STUDY", {}),
        ("study", "STUDY", {"StudyInstanceUID": ""}),
        ("study", "SERIES", {"SeriesInstanceUID": "1.2.3"}),
        ("study", "IMAGE", {"StudyInstanceUID": "1.2.3", "SOPInstanceUID": "1.2.3.4"}),
        ("patient", "STUDY", {"StudyInstanceUID": "1.2.3"}),
        ("patient", "PATIENT", {"PatientID": "*"}),
        ("study", "FRAME", {"StudyInstanceUID": "1.2.3"}),
        ("study", None, {"StudyInstanceUID": "1.2.3"}),
    ],
)
def test_a_request_without_its_unique_keys_is_a900(
    node: Server, inbox: Inbox, root: str, level: str | None, keys: dict[str, Any]
) -> None:
    with peers.opened(
        node,
        [(GET[root], peers.EXPLICIT), (MOVE[root], peers.EXPLICIT), (peers.CT, peers.EXPLICIT)],
        scp=[peers.CT],
    ) as association:
        got = peers.retrieve(association, level, keys, root=root)
        moved = peers.retrieve(association, level, keys, root=root, destination="DEST")
    assert [one.Status for one in (*got.responses, *moved.responses)] == [MISMATCH, MISMATCH]
    assert inbox.received == {}


def test_nothing_found_is_success_with_nothing_done(node: Server, inbox: Inbox) -> None:
    keys = {"StudyInstanceUID": generate_uid()}
    told, received = peers.get(node, [peers.make()], "STUDY", keys)
    assert (told.status, told.counts(), received.received) == (SUCCESS, (None, 0, 0, 0), {})
    told = peers.move(node, "STUDY", keys)
    assert (told.status, told.counts(), inbox.received) == (SUCCESS, (None, 0, 0, 0), {})


# -- counters and final statuses --------------------------------------------------------------------------------------------
def check_pendings(told: peers.Retrieved, total: int) -> None:
    """All four counters in every pending response, adding up, never going back."""
    pendings = told.responses[:-1]
    assert pendings, "it took long enough to be told of progress"
    counts = [peers.counts_of(one) for one in pendings]
    assert {one.Status for one in pendings} == {PENDING}
    assert all(None not in each and sum(each) == total for each in counts)  # type: ignore[arg-type]
    done = [each[1] for each in counts]
    assert done == sorted(done)  # type: ignore[type-var]


def test_pending_responses_tell_the_progress_of_a_slow_move(node: Server, node_port: int) -> None:
    study = stored_study(node, 4)
    heard = threading.Event()
    inbox = Inbox(lambda _: SUCCESS if heard.wait(20) else 0xA700)
    with (
        peers.listening(node_port, [(peers.CT, peers.EXPLICIT)], inbox=inbox),
        peers.opened(node, [(MOVE["study"], peers.EXPLICIT)]) as association,
    ):
        told = peers.retrieve(
            association,
            "STUDY",
            {"StudyInstanceUID": study[0].study},
            destination="DEST",
            heard=lambda _: heard.set(),
        )
    assert told.counts() == (None, 4, 0, 0), "a destination that is slow with one instance leaves no silence"
    check_pendings(told, 4)


def test_pending_responses_tell_the_progress_of_a_slow_get(node: Server) -> None:
    study = stored_study(node, 4)
    slow = threading.Event()
    inbox = Inbox(lambda _: slow.wait(0.3) or SUCCESS)
    told, _ = peers.get(node, study, "STUDY", {"StudyInstanceUID": study[0].study}, inbox=inbox)
    assert told.counts() == (None, 4, 0, 0)
    check_pendings(told, 4)


@pytest.mark.parametrize("how", ["get", "move"])
def test_some_failures_are_b000_with_the_list_of_them(node: Server, node_port: int, how: str) -> None:
    study = stored_study(node, 5)
    refused = {study[1].uid, study[3].uid}
    inbox = Inbox(lambda uid: OUT_OF_RESOURCES if uid in refused else SUCCESS)
    told = retrieved(node, node_port, how, study, inbox)
    assert (told.status, told.counts()) == (WARNING, (None, 3, 2, 0))
    assert set(told.failed) == refused
    assert not any(one.Identifier and one.Identifier.getvalue() for one in told.responses[:-1])


@pytest.mark.parametrize("how", ["get", "move"])
def test_warnings_and_duplicates_of_the_receiver_are_warnings(node: Server, node_port: int, how: str) -> None:
    study = stored_study(node, 3)
    answers = {study[0].uid: 0xB000, study[1].uid: 0x0111}
    told = retrieved(node, node_port, how, study, Inbox(lambda uid: answers.get(uid, SUCCESS)))
    assert (told.status, told.counts(), told.failed) == (WARNING, (None, 1, 0, 2), [])


@pytest.mark.parametrize("how", ["get", "move"])
def test_nothing_but_failures_is_a702_with_the_list_of_all(node: Server, node_port: int, how: str) -> None:
    study = stored_study(node, 3)
    told = retrieved(node, node_port, how, study, Inbox(lambda _: OUT_OF_RESOURCES))
    assert (told.status, told.counts()) == (ALL_FAILED, (None, 0, 3, 0))
    assert set(told.failed) == {one.uid for one in study}


def retrieved(node: Server, port: int, how: str, study: Sequence[Instance], inbox: Inbox) -> peers.Retrieved:
    keys = {"StudyInstanceUID": study[0].study}
    if how == "get":
        return peers.get(node, study, "STUDY", keys, inbox=inbox)[0]
    with peers.listening(port, [(study[0].sop_class, [peers.EXPLICIT, peers.IMPLICIT])], inbox=inbox):
        return peers.move(node, "STUDY", keys)


def test_an_unknown_destination_is_a801(node: Server, archive: Archive) -> None:
    told = peers.move(node, "STUDY", {"StudyInstanceUID": archive.study[0]}, destination="NOWHERE")
    assert [one.Status for one in told.responses] == [UNKNOWN_DESTINATION]
    peers.wait_until(
        lambda: node.sql(
            "SELECT outcome FROM audit_events WHERE event = 'move' AND details ->> 'destination' = 'NOWHERE'"
        ),
        "the audit of the refusal",
    )


def test_a_destination_that_is_not_there_fails_every_instance(node: Server, archive: Archive) -> None:
    told = peers.move(node, "STUDY", {"StudyInstanceUID": archive.study[1]}, destination="GONE")
    assert (told.status, told.counts()) == (ALL_FAILED, (None, 0, 3, 0))
    assert set(told.failed) == archive.where(study=archive.study[1:])


def test_a_destination_that_takes_no_such_class_fails_these_instances_alone(
    node: Server, inbox: Inbox
) -> None:
    study = generate_uid()
    image = peers.make(StudyInstanceUID=study)
    other = peers.make(peers.MR, StudyInstanceUID=study)
    assert peers.send(node, image, other) == [SUCCESS, SUCCESS]
    told = peers.move(node, "STUDY", {"StudyInstanceUID": study})
    assert (told.status, told.counts(), told.failed) == (WARNING, (None, 1, 1, 0), [other.uid])
    assert set(inbox.received) == {image.uid}


# -- roles ------------------------------------------------------------------------------------------------------------------
def test_get_sends_nothing_to_a_peer_that_did_not_ask_to_be_receiver(node: Server, archive: Archive) -> None:
    inbox = Inbox()
    contexts = [(GET["study"], peers.EXPLICIT), (peers.CT, peers.EXPLICIT)]
    with peers.opened(node, contexts, handlers=inbox.handlers) as association:
        told = peers.retrieve(association, "STUDY", {"StudyInstanceUID": archive.study[1]})
    assert (told.status, told.counts(), inbox.received) == (ALL_FAILED, (None, 0, 3, 0), {})
    assert set(told.failed) == archive.where(study=archive.study[1:])


def test_roles_are_answered_for_what_was_asked(node: Server) -> None:
    with peers.opened(
        node, [(peers.CT, peers.EXPLICIT), (peers.MR, peers.EXPLICIT)], scp=[peers.CT]
    ) as association:
        roles = {one.abstract_syntax: (one.as_scu, one.as_scp) for one in association.accepted_contexts}
    assert roles[peers.CT] == (False, True)
    assert roles[peers.MR] == (True, False)


# -- cancel -----------------------------------------------------------------------------------------------------------------
def test_a_cancelled_get_ends_with_fe00_and_what_remains(node: Server) -> None:
    study = stored_study(node, 6)
    association: list[Any] = []

    def cancel_second(uid: str) -> int:
        if uid == study[1].uid and not inbox.received.keys() & {uid}:
            association[0].send_c_cancel(9, None, GET["study"])
        return SUCCESS

    inbox = Inbox(cancel_second)
    contexts = [(GET["study"], peers.EXPLICIT), (peers.CT, peers.EXPLICIT)]
    with peers.opened(node, contexts, scp=[peers.CT], handlers=inbox.handlers) as opened:
        association.append(opened)
        told = peers.retrieve(opened, "STUDY", {"StudyInstanceUID": study[0].study})
        assert (told.status, told.counts()) == (CANCELLED, (4, 2, 0, 0))
        again = peers.retrieve(opened, "STUDY", {"StudyInstanceUID": study[0].study})
        assert again.counts() == (None, 6, 0, 0), "the association goes on"
    assert set(inbox.received) == {one.uid for one in study}


@pytest.mark.parametrize("how", ["get", "move"])
def test_a_cancel_of_another_request_changes_nothing(node: Server, node_port: int, how: str) -> None:
    study = stored_study(node, 4)
    contexts = [(GET["study"], peers.EXPLICIT), (MOVE["study"], peers.EXPLICIT), (peers.CT, peers.EXPLICIT)]
    model = GET["study"] if how == "get" else MOVE["study"]
    opened: list[Any] = []

    def cancel_another(_: str) -> int:
        opened[0].send_c_cancel(8, None, model)
        return SUCCESS

    inbox = Inbox(cancel_another)
    with (
        peers.listening(node_port, [(peers.CT, peers.EXPLICIT)], inbox=inbox),
        peers.opened(node, contexts, scp=[peers.CT], handlers=inbox.handlers) as association,
    ):
        opened.append(association)
        to = None if how == "get" else "DEST"
        told = peers.retrieve(association, "STUDY", {"StudyInstanceUID": study[0].study}, destination=to)
    assert (told.status, told.counts()) == (SUCCESS, (None, 4, 0, 0))


def test_a_cancelled_move_ends_with_fe00_and_what_remains(node: Server, node_port: int) -> None:
    study = stored_study(node, 20)
    asked, ended = threading.Event(), threading.Event()

    def meet(uid: str) -> int:
        if uid == study[2].uid and not asked.is_set():
            association.send_c_cancel(9, None, MOVE["study"])
            asked.set()
        if asked.is_set():
            ended.wait(0.1)  # give the cancel time to be read; at most two seconds in all
        return SUCCESS

    inbox = Inbox(meet)
    with (
        peers.listening(node_port, [(peers.CT, peers.EXPLICIT)], inbox=inbox),
        peers.opened(node, [(MOVE["study"], peers.EXPLICIT)]) as association,
    ):
        told = peers.retrieve(association, "STUDY", {"StudyInstanceUID": study[0].study}, destination="DEST")
        ended.set()
        remaining, completed, failed, warning = told.counts()
        assert (told.status, failed, warning) == (CANCELLED, 0, 0)
        assert remaining and completed == len(inbox.received) == 20 - remaining
        again = peers.retrieve(association, "STUDY", {"StudyInstanceUID": study[0].study}, destination="DEST")
        assert again.counts() == (None, 20, 0, 0), "the association goes on"


def test_a_flood_of_cancels_for_nothing_is_ignored(node: Server, archive: Archive) -> None:
    """F31."""
    contexts = [(MOVE["study"], peers.EXPLICIT), (peers.FIND["study"], peers.EXPLICIT)]
    with peers.opened(node, contexts) as association:
        for number in range(500):
            association.send_c_cancel(number, None, MOVE["study"])
        answers = peers.ask(association, "STUDY", {"StudyInstanceUID": archive.study[0]})
    assert answers.statuses == [PENDING, SUCCESS]


# -- somebody leaves --------------------------------------------------------------------------------------------------------
def test_a_requester_that_aborts_ends_the_move_and_nothing_crashes(node: Server, node_port: int) -> None:
    study = stored_study(node, 12)
    crashes, aborts = len(node.logged("association_crashed")), len(node.logged("association_aborted"))
    gone = threading.Event()

    def meet(uid: str) -> int:
        if uid == study[1].uid:
            association.abort()
            gone.set()
        if gone.is_set():
            peers.wait_until(
                lambda: len(node.logged("association_aborted")) > aborts or crashed(),
                "the abort to arrive",
                10,
            )
        return SUCCESS

    def crashed() -> bool:
        return len(node.logged("association_crashed")) > crashes

    inbox = Inbox(meet)
    with peers.listening(node_port, [(peers.CT, peers.EXPLICIT)], inbox=inbox) as running:
        association = peers.associate(node, [(MOVE["study"], peers.EXPLICIT)], calling="LEAVER")
        request, number = peers.retrieval(
            association, "STUDY", {"StudyInstanceUID": study[0].study}, destination="DEST"
        )
        association.dimse.send_msg(request, number)
        assert gone.wait(30)
        peers.wait_until(lambda: not running.active_associations, "the association to the destination to end")
    assert len(inbox.received) <= 3, "nobody goes on sending"
    peers.wait_until(lambda: broken_off(node, "move", study[0].study), "the audit of what has left")
    assert not crashed()
    assert node.logged("association_aborted")[aborts]["calling"] == "LEAVER"


def test_what_a_requester_got_before_it_left_is_in_the_audit(node: Server) -> None:
    study = stored_study(node, 12)

    def meet(uid: str) -> int:
        if uid == study[2].uid:
            association.abort()
        return SUCCESS

    inbox = Inbox(meet)
    contexts = [(str(peers.GET["study"]), peers.EXPLICIT), *{one.context for one in study}]
    classes = [one.sop_class for one in study[:1]]
    with peers.opened(node, contexts, scp=classes, handlers=inbox.handlers) as association:
        request, number = peers.retrieval(association, "STUDY", {"StudyInstanceUID": study[0].study})
        association.dimse.send_msg(request, number)
        peers.wait_until(lambda: broken_off(node, "retrieve", study[0].study), "the audit of what has left")
    ((outcome, completed, remaining),) = broken_off(node, "retrieve", study[0].study)
    assert outcome == "warning" and 1 <= int(completed) <= 3 and int(completed) + int(remaining) == 12


def broken_off(node: Server, event: str, study: str) -> list[list[str]]:
    """(outcome, completed, remaining) of what the audit has of a retrieval that nobody finished."""
    rows = node.sql(
        "SELECT outcome, details ->> 'completed', details ->> 'remaining' FROM audit_events"
        f" WHERE event = '{event}' AND uids = ARRAY['{study}'] AND details ->> 'why' = 'broken off'"
    )
    return [row.split("|") for row in rows]


@pytest.mark.parametrize("how", ["abort", "close"])
def test_a_destination_that_dies_gives_exact_counters_and_a_final_response(
    node: Server, node_port: int, how: str
) -> None:
    """F31."""
    study = stored_study(node, 8)
    inbox = Inbox()

    def take(event: Any) -> int:
        if len(inbox.received) == 3:
            if how == "abort":
                event.assoc.abort()
            else:
                event.assoc.dul.socket.close()
            return OUT_OF_RESOURCES
        return inbox.take(event)

    with (
        peers.listening(node_port, [(peers.CT, peers.EXPLICIT)], handlers=[(peers.evt.EVT_C_STORE, take)]),
        peers.opened(node, [(MOVE["study"], peers.EXPLICIT)]) as association,
    ):
        told = peers.retrieve(association, "STUDY", {"StudyInstanceUID": study[0].study}, destination="DEST")
        assert (told.status, told.counts()) == (WARNING, (None, 3, 5, 0))
        assert set(told.failed) == {one.uid for one in study[3:]}
        again = peers.retrieve(association, "STUDY", {"StudyInstanceUID": study[0].study}, destination="GONE")
        assert again.status == ALL_FAILED, "the association goes on"


def test_an_object_that_is_lost_fails_alone(node: Server, inbox: Inbox) -> None:
    study = stored_study(node, 3)
    peers.find(node, "STUDY", {"StudyInstanceUID": study[0].study})
    (key,) = node.sql(f"SELECT object_key FROM instances WHERE sop_instance_uid = '{study[1].uid}'")
    (lost,) = [one for one in node.objects() if one.key == key]
    kept = lost.read_bytes()
    lost.unlink()
    try:
        told = peers.move(node, "STUDY", {"StudyInstanceUID": study[0].study})
        assert (told.status, told.counts(), told.failed) == (WARNING, (None, 2, 1, 0), [study[1].uid])
    finally:
        lost.write_bytes(kept)


# -- transfer syntaxes ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "name",
    ["CT_small.dcm", "JPEG2000.dcm", "MR_small_RLE.dcm", "SC_rgb_jpeg_dcmtk.dcm", "MR_small_bigendian.dcm"],
)
def test_a_peer_that_takes_only_implicit_gets_the_image_in_it(
    node: Server, node_port: int, name: str
) -> None:
    instance = peers.example(name)
    assert peers.send(node, instance) == [SUCCESS]
    inbox = Inbox()
    with peers.listening(node_port, [(instance.sop_class, peers.IMPLICIT)], inbox=inbox):
        told = peers.move(node, "STUDY", {"StudyInstanceUID": instance.study})
    syntax, data = inbox.received[instance.uid]
    assert (told.final.NumberOfFailedSuboperations, syntax) == (0, peers.IMPLICIT)
    sent, original = peers.decode(data, syntax), dcmread(str(get_testdata_file(name, download=False)))
    sent.file_meta = FileMetaDataset()
    sent.file_meta.TransferSyntaxUID = UID(peers.IMPLICIT)
    assert (sent.pixel_array == original.pixel_array).all()
    assert (sent.SOPInstanceUID, sent.PatientName) == (instance.uid, original.PatientName)


def test_an_object_goes_as_it_is_stored_where_the_peer_takes_that(node: Server, node_port: int) -> None:
    instance = peers.example("JPEG2000.dcm")
    assert peers.send(node, instance) == [SUCCESS]
    inbox = Inbox()
    offered = [(instance.sop_class, [peers.IMPLICIT, peers.EXPLICIT, instance.syntax])]
    with peers.listening(node_port, offered, inbox=inbox):
        told = peers.move(node, "STUDY", {"StudyInstanceUID": instance.study})
    assert told.final.NumberOfFailedSuboperations == 0
    assert inbox.received[instance.uid] == (instance.syntax, instance.data)


# -- DCMTK ------------------------------------------------------------------------------------------------------------------
def test_dcmtk_gets_and_moves_a_study(node: Server, node_port: int, archive: Archive, tmp_path: Path) -> None:
    got, moved = tmp_path / "got", tmp_path / "moved"
    got.mkdir(), moved.mkdir()
    keys = ("-k", "0008,0052=STUDY", "-k", f"0020,000D={archive.study[0]}")
    where = ("127.0.0.1", node.dicom_port)
    done = peers.dcmtk("getscu", "-S", "-aec", node.aet, "-od", got, "+B", *where, *keys)
    assert done.returncode == 0, done.stderr
    expected = archive.where(study=archive.study[:1])
    assert {str(dcmread(path).SOPInstanceUID) for path in got.iterdir()} == expected
    done = peers.dcmtk(
        "movescu", "-S", "-aec", node.aet, "-aet", "DEST", "-aem", "DEST", "--port", node_port, "-od", moved, *where, *keys
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert {str(dcmread(path).SOPInstanceUID) for path in moved.iterdir()} == expected
