"""Storage Commitment: the report on our association, on one of the peer's, with failures, or never."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
import trio
from pydicom.dataset import Dataset
from pynetdicom import evt

from pacs_actors.dicom.client import (
    COMMITMENT,
    VERIFICATION,
    PeerSilent,
    Reference,
    RequestFailed,
    associate,
    listen_for_reports,
)
from protocols.errors import ConfigError, Misuse
from tests.pacs_actors.dicom.client_peers import pynetdicom_peer, report_commitment

NAMES = {"called": "PEER", "calling": "TEST"}
CT = "1.2.840.10008.5.1.4.1.1.2"
REFERENCES = [Reference(CT, f"1.2.3.{number}") for number in range(1, 4)]


def report_on(request: Dataset, failed: dict[str, int]) -> tuple[int, Dataset]:
    """Event type and information that answer a request."""
    information = Dataset()
    information.TransactionUID = request.TransactionUID
    good, bad = [], []
    for item in request.ReferencedSOPSequence:
        if item.ReferencedSOPInstanceUID in failed:
            item.FailureReason = failed[item.ReferencedSOPInstanceUID]
            bad.append(item)
        else:
            good.append(item)
    if good:
        information.ReferencedSOPSequence = good
    if bad:
        information.FailedSOPSequence = bad
    return (2 if bad else 1), information


@pytest.fixture
def threads() -> Iterator[list[threading.Thread]]:
    started: list[threading.Thread] = []
    yield started
    for thread in started:
        thread.join(10)
        assert not thread.is_alive()


def on_the_same_association(failed: dict[str, int], threads: list[threading.Thread], said: list[int]) -> Any:
    def act(event: Any) -> tuple[int, None]:
        assert event.request.ActionTypeID == 1
        assert event.request.RequestedSOPInstanceUID == "1.2.840.10008.1.20.1.1"
        event_type, information = report_on(event.action_information, failed)

        def report() -> None:
            status, _ = event.assoc.send_n_event_report(
                information, event_type, "1.2.840.10008.1.20.1", "1.2.840.10008.1.20.1.1"
            )
            said.append(status.Status)

        threads.append(threading.Thread(target=report))
        threads[-1].start()
        return 0x0000, None

    return act


@pytest.mark.parametrize(
    "failed", [{}, {"1.2.3.2": 0x0112}, {r.sop_instance_uid: 0x0110 for r in REFERENCES}]
)
async def test_the_report_comes_on_our_association(
    failed: dict[str, int], threads: list[threading.Thread]
) -> None:
    said: list[int] = []
    handlers = [(evt.EVT_N_ACTION, on_the_same_association(failed, threads, said))]
    with pynetdicom_peer(handlers) as port:
        async with associate("127.0.0.1", port, **NAMES, contexts=[*COMMITMENT, *VERIFICATION]) as peer:
            result = await peer.commit(REFERENCES)
            await peer.echo()
    assert result.failed == failed
    assert sorted(result.committed) == sorted(
        r.sop_instance_uid for r in REFERENCES if r.sop_instance_uid not in failed
    )
    assert result.transaction_uid.startswith("2.25.")
    assert said == [0]


async def test_the_report_comes_on_an_association_of_the_peer(threads: list[threading.Thread]) -> None:
    said: list[int] = []
    async with listen_for_reports(ae_title="TEST") as listener:

        def act(event: Any) -> tuple[int, None]:
            event_type, information = report_on(event.action_information, {"1.2.3.1": 0x0112})

            def report() -> None:
                stranger = Dataset()
                stranger.TransactionUID = "1.2.3.999"
                said.append(report_commitment(listener.port, "TEST", 1, stranger))
                said.append(report_commitment(listener.port, "TEST", 9, information))
                said.append(report_commitment(listener.port, "TEST", event_type, information))

            threads.append(threading.Thread(target=report))
            threads[-1].start()
            return 0x0000, None

        with pynetdicom_peer([(evt.EVT_N_ACTION, act)]) as port:
            async with associate("127.0.0.1", port, **NAMES, contexts=COMMITMENT) as peer:
                result = await peer.commit(REFERENCES, reports=listener.reports, within_s=20)
        await trio.to_thread.run_sync(threads[0].join, 10)
    assert result.failed == {"1.2.3.1": 0x0112}
    assert len(result.committed) == 2
    assert said == [0x0115, 0x0113, 0x0000]


async def test_the_listener_takes_no_calls_for_others() -> None:
    async with listen_for_reports(ae_title="TEST") as listener:
        with pytest.raises(Exception, match="does not answer to this called AE title"):
            async with associate(
                "127.0.0.1", listener.port, called="OTHER", calling="X", contexts=VERIFICATION
            ):
                pass
        async with associate(
            "127.0.0.1", listener.port, called="TEST", calling="X", contexts=VERIFICATION
        ) as peer:
            await peer.echo()
        with pytest.raises(ConfigError, match="cannot listen"):
            async with listen_for_reports(ae_title="TEST", port=listener.port):
                pass


async def test_garbage_on_the_listener_ends_that_connection_only() -> None:
    async with listen_for_reports(ae_title="TEST") as listener:
        for garbage in (
            b"GET / HTTP/1.0\r\n\r\n",
            b"\x04\0\0\0\0\x10" + bytes(16),
            b"\x01\0\xff\xff\xff\xff",
        ):
            stream = await trio.open_tcp_stream("127.0.0.1", listener.port)
            await stream.send_all(garbage)
            while await stream.receive_some():
                pass
            await stream.aclose()
        async with associate(
            "127.0.0.1", listener.port, called="TEST", calling="X", contexts=VERIFICATION
        ) as peer:
            await peer.echo()


async def test_a_refused_request_raises() -> None:
    with pynetdicom_peer([(evt.EVT_N_ACTION, lambda event: (0x0213, None))]) as port:
        async with associate("127.0.0.1", port, **NAMES, contexts=[*COMMITMENT, *VERIFICATION]) as peer:
            with pytest.raises(RequestFailed, match="Resource limitation"):
                await peer.commit(REFERENCES)
            await peer.echo()


async def test_without_a_report_the_wait_ends_and_the_association_lives() -> None:
    with pynetdicom_peer([(evt.EVT_N_ACTION, lambda event: (0, None))]) as port:
        async with associate("127.0.0.1", port, **NAMES, contexts=[*COMMITMENT, *VERIFICATION]) as peer:
            with pytest.raises(PeerSilent, match="no storage commitment report"):
                await peer.commit(REFERENCES, within_s=0.2)
            await peer.echo()


@pytest.mark.parametrize("count", [0, 4001])
async def test_the_number_of_references_is_limited(count: int) -> None:
    with pynetdicom_peer() as port:
        async with associate("127.0.0.1", port, **NAMES, contexts=COMMITMENT) as peer:
            with pytest.raises(Misuse):
                await peer.commit([Reference(CT, f"1.2.{number}") for number in range(count)])


async def test_as_many_references_as_allowed_are_reported(threads: list[threading.Thread]) -> None:
    references = [Reference(CT, f"1.2.3.{number}") for number in range(4000)]
    failed = {reference.sop_instance_uid: 0x0112 for reference in references[::2]}
    handlers = [(evt.EVT_N_ACTION, on_the_same_association(failed, threads, []))]
    with pynetdicom_peer(handlers) as port:
        async with associate("127.0.0.1", port, **NAMES, contexts=COMMITMENT) as peer:
            result = await peer.commit(references)
    assert (len(result.committed), len(result.failed)) == (2000, 2000)
