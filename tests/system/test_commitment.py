"""Storage commitment with requesters that are not ours, and with our own client (PS3.4 annex J)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
from pydicom import Dataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import generate_uid
from pynetdicom import evt
from pynetdicom.association import Association

from pacs_actors.dicom import client
from protocols.dimse.commands import DATA_SET, Command, CommandField, encode_command
from protocols.ul.pdata import encode_message
from tests.system import peers
from tests.system.peers import Instance
from tests.system.raw_peer import CONTEXTS, RawPeer
from tests.system.server import Server

MODEL, WELL_KNOWN = "1.2.840.10008.1.20.1", "1.2.840.10008.1.20.1.1"
SUCCESS, NO_SUCH_INSTANCE, CONFLICT = 0x0000, 0x0112, 0x0119
ALL_COMMITTED, FAILURES = 1, 2


class Reports:
    """Takes N-EVENT-REPORTs. statuses: to answer, one after the other; then success"""

    def __init__(self, *statuses: int) -> None:
        self.events: list[tuple[int, Dataset]] = []
        self.associations: list[Any] = []
        self.statuses = list(statuses)

    def take(self, event: Any) -> tuple[int, None]:
        status = self.statuses.pop(0) if self.statuses else SUCCESS
        self.associations.append(event.assoc)
        self.events.append((event.event_type, event.event_information))
        return status, None

    @property
    def handlers(self) -> list[tuple[Any, ...]]:
        return [(evt.EVT_N_EVENT_REPORT, self.take)]

    def wait(self, count: int = 1) -> tuple[int, Dataset]:
        peers.wait_until(lambda: len(self.events) >= count, "the report")
        return self.events[count - 1]


def action(references: Sequence[tuple[str, str]]) -> Dataset:
    information = Dataset()
    information.TransactionUID = generate_uid()
    items = []
    for sop_class, uid in references:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, uid
        items.append(item)
    information.ReferencedSOPSequence = Items(items)
    return information


def request(
    association: Association, information: Dataset | None, *, kind: int = 1, instance: str = WELL_KNOWN
) -> int:
    status, _ = association.send_n_action(information, kind, MODEL, instance)
    return int(status.Status)


@contextmanager
def asking(
    node: Server, calling: str, reports: Reports | None = None, syntax: str = peers.EXPLICIT
) -> Iterator[Association]:
    handlers = reports.handlers if reports is not None else ()
    with peers.opened(node, [(MODEL, syntax)], calling=calling, handlers=handlers) as association:
        yield association


def listed(information: Dataset, keyword: str = "ReferencedSOPSequence") -> set[tuple[str, str]]:
    return {
        (str(item.ReferencedSOPClassUID), str(item.ReferencedSOPInstanceUID))
        for item in information.get(keyword) or ()
    }


def named(*instances: Instance) -> list[tuple[str, str]]:
    return [(one.sop_class, one.uid) for one in instances]


@pytest.fixture(scope="module")
def instances(node: Server) -> list[Instance]:
    study = generate_uid()
    instances = [peers.make(StudyInstanceUID=study, InstanceNumber=n) for n in range(3)]
    assert peers.send(node, *instances) == [SUCCESS] * 3
    return instances


@pytest.mark.parametrize("syntax", [peers.EXPLICIT, peers.IMPLICIT])
def test_a_known_ae_is_told_on_an_association_of_our_own(
    node: Server, node_port: int, instances: list[Instance], syntax: str
) -> None:
    reports, wrong = Reports(), Reports()
    with peers.listening(node_port, [(peers.CT, syntax)], handlers=reports.handlers, scu=[MODEL]):
        information = action(named(*instances))
        with asking(node, "DEST", wrong, syntax) as association:
            assert request(association, information) == SUCCESS
            kind, told = reports.wait()
    assert kind == ALL_COMMITTED
    assert told.TransactionUID == information.TransactionUID
    assert told.RetrieveAETitle == node.aet
    assert listed(told) == set(named(*instances))
    assert "FailedSOPSequence" not in told
    assert reports.associations[0].requestor.ae_title == node.aet
    assert wrong.events == []


def test_an_ae_that_is_not_known_is_told_on_the_association_on_which_it_asked(
    node: Server, instances: list[Instance]
) -> None:
    reports = Reports()
    with asking(node, "STRANGER", reports) as association:
        assert request(association, action(named(*instances))) == SUCCESS
        kind, told = reports.wait()
        assert association.is_established
        assert request(association, action(named(*instances))) == SUCCESS, "the association goes on"
        reports.wait(2)
    assert kind == ALL_COMMITTED
    assert listed(told) == set(named(*instances))
    assert reports.associations[0] is association


def test_a_known_ae_that_cannot_be_reached_is_told_on_the_association_on_which_it_asked(
    node: Server, instances: list[Instance]
) -> None:
    reports = Reports()
    with asking(node, "GONE", reports) as association:
        assert request(association, action(named(*instances))) == SUCCESS
        assert reports.wait()[0] == ALL_COMMITTED


def test_what_is_not_safe_here_is_listed_with_the_reason(node: Server, instances: list[Instance]) -> None:
    lost = peers.make()
    assert peers.send(node, lost) == [SUCCESS]
    peers.find(node, "STUDY", {"StudyInstanceUID": lost.study})
    (key,) = node.sql(f"SELECT object_key FROM instances WHERE sop_instance_uid = '{lost.uid}'")
    (path,) = [one for one in node.objects() if one.key == key]
    kept = path.read_bytes()
    never, other_class = (peers.CT, generate_uid()), (peers.MR, instances[1].uid)
    reports = Reports()
    path.unlink()
    try:
        with asking(node, "STRANGER", reports) as association:
            assert request(association, action([*named(instances[0], lost), never, other_class])) == SUCCESS
            kind, told = reports.wait()
    finally:
        path.write_bytes(kept)
    assert kind == FAILURES
    assert listed(told) == set(named(instances[0]))
    reasons = {str(item.ReferencedSOPInstanceUID): item.FailureReason for item in told.FailedSOPSequence}
    assert reasons == {lost.uid: NO_SUCH_INSTANCE, never[1]: NO_SUCH_INSTANCE, instances[1].uid: CONFLICT}


def test_what_was_stored_a_moment_ago_is_committed(node: Server) -> None:
    """The request waits for the index, as a query does."""
    reports = Reports()
    with asking(node, "STRANGER", reports) as association:
        for round_number in range(1, 6):
            instance = peers.make()
            assert peers.send(node, instance) == [SUCCESS]
            assert request(association, action(named(instance))) == SUCCESS
            kind, told = reports.wait(round_number)
            assert (kind, listed(told)) == (ALL_COMMITTED, set(named(instance)))


def test_a_report_that_is_refused_is_made_again(
    node: Server, node_port: int, instances: list[Instance]
) -> None:
    reports = Reports(0x0110)
    information = action(named(instances[0]))
    row = f"commitment_requests WHERE transaction_uid = '{information.TransactionUID}'"
    with peers.listening(node_port, [(peers.CT, peers.EXPLICIT)], handlers=reports.handlers, scu=[MODEL]):
        with asking(node, "DEST") as association:
            assert request(association, information) == SUCCESS
        reports.wait(1)
        put_off = "state = 'checked' AND next_attempt_at < now() + interval '1 minute'"
        peers.wait_until(lambda: node.sql(f"SELECT 1 FROM {row} AND {put_off}"), "the report to be put off")
        node.sql(f"UPDATE {row.replace('WHERE', 'SET next_attempt_at = now() WHERE')}")  # its time has come
        reports.wait(2)
        peers.wait_until(
            lambda: node.sql(f"SELECT state FROM {row}") == ["reported"], "the request to be done"
        )
    assert [told.TransactionUID for _, told in reports.events] == [information.TransactionUID] * 2


@pytest.mark.parametrize(
    ("what", "expected"),
    [
        ("no references", 0x0115),
        ("no transaction", 0x0115),
        ("no information", 0x0120),
        ("action", 0x0123),
        ("instance", 0x0112),
    ],
)
def test_a_request_that_is_none_is_refused_and_the_association_goes_on(
    node: Server, instances: list[Instance], what: str, expected: int
) -> None:
    information: Dataset | None = action(named(*instances))
    assert information is not None
    if what == "no references":
        information = action([])
    elif what == "no transaction":
        del information.TransactionUID
    elif what == "no information":
        information = None
    reports = Reports()
    with asking(node, "STRANGER", reports) as association:
        kind = 2 if what == "action" else 1
        place = "1.2.3" if what == "instance" else WELL_KNOWN
        assert request(association, information, kind=kind, instance=place) == expected
        assert request(association, action(named(*instances))) == SUCCESS
        reports.wait()


@pytest.mark.parametrize("status", [SUCCESS, 0x0110])
def test_a_request_that_crosses_the_report_is_served_whatever_the_answer_to_that(
    node: Server, instances: list[Instance], status: int
) -> None:
    information = action(named(*instances))
    number, syntax = 7, peers.IMPLICIT
    command = Command(
        command_field=CommandField.N_ACTION_RQ,
        message_id=1,
        requested_sop_class_uid=MODEL,
        requested_sop_instance_uid=WELL_KNOWN,
        action_type_id=1,
        data_set_type=DATA_SET,
    )
    with RawPeer(node.dicom_port) as peer:
        peer.established(calling="STRANGER", contexts=(*CONTEXTS, (MODEL, (syntax,))))
        peer.send(encode_message(number, encode_command(command), command=True, max_pdu_bytes=16384))
        peer.send(
            encode_message(number, peers.encode(information, syntax), command=False, max_pdu_bytes=16384)
        )
        assert peer.receive_command().status == SUCCESS
        report = peer.receive_command()
        assert report.command_field == CommandField.N_EVENT_REPORT_RQ
        assert peer.echo(2) == SUCCESS
        answer = Command(
            command_field=CommandField.N_EVENT_REPORT_RSP,
            message_id_responded_to=report.message_id,
            status=status,
        )
        peer.send(encode_message(number, encode_command(answer), command=True, max_pdu_bytes=16384))
        assert peer.echo(3) == SUCCESS
        peer.release()
    if status == SUCCESS:
        row = f"commitment_requests WHERE transaction_uid = '{information.TransactionUID}'"
        peers.wait_until(lambda: node.sql(f"SELECT state FROM {row}") == ["reported"], "the end of it")
    else:
        refused = f"STRANGER answered the report with {status:04X}H"
        peers.wait_until(
            lambda: refused in [line["why"] for line in node.logged("commitment_put_off")],
            "the report to be put off",
        )


async def test_our_own_client_hears_of_what_is_committed_and_of_what_is_not(
    node: Server, instances: list[Instance]
) -> None:
    missing = generate_uid()
    references = [client.Reference(*each) for each in [*named(*instances), (peers.CT, missing)]]
    async with client.associate(
        "127.0.0.1", node.dicom_port, called=node.aet, calling="CLIENT", contexts=client.COMMITMENT
    ) as peer:
        result = await peer.commit(references, within_s=30)
    assert set(result.committed) == {one.uid for one in instances}
    assert result.failed == {missing: NO_SUCH_INSTANCE}
