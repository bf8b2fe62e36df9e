"""The client against pynetdicom: associations that are made, refused and ended."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import trio
from pynetdicom import evt

from pacs_actors.dicom import client
from pacs_actors.dicom.client import (
    VERIFICATION,
    AssociationRejected,
    PeerGone,
    RequestFailed,
    associate,
)
from protocols.errors import ConfigError
from tests.pacs_actors.dicom.client_peers import pynetdicom_peer

NAMES = {"called": "PEER", "calling": "TEST"}


async def test_echo_is_answered_again_and_again() -> None:
    echoes: list[int] = []

    def echoed(event: Any) -> int:
        echoes.append(event.request.MessageID)
        return 0

    with pynetdicom_peer([(evt.EVT_C_ECHO, echoed)]) as port:
        async with associate("127.0.0.1", port, **NAMES, contexts=VERIFICATION) as peer:
            for _ in range(3):
                assert 0 <= await peer.echo() < 10
    assert echoes == [1, 2, 3]


async def test_a_failed_echo_says_its_status_and_leaves_the_association() -> None:
    statuses = iter([0x0211, 0x0000])
    with pynetdicom_peer([(evt.EVT_C_ECHO, lambda event: next(statuses))]) as port:
        async with associate("127.0.0.1", port, **NAMES, contexts=VERIFICATION) as peer:
            with pytest.raises(RequestFailed, match="Unrecognized operation \\(0211H\\)"):
                await peer.echo()
            await peer.echo()


async def test_a_clean_end_releases_and_an_exception_aborts() -> None:
    ends: list[str] = []
    ended = threading.Semaphore(0)

    def note(event: Any) -> None:
        ends.append(event.event.name)
        ended.release()

    handlers = [(evt.EVT_RELEASED, note), (evt.EVT_ABORTED, note)]
    with pynetdicom_peer(handlers) as port:
        async with associate("127.0.0.1", port, **NAMES, contexts=VERIFICATION):
            pass
        assert await trio.to_thread.run_sync(ended.acquire, True, 10)
        with pytest.raises(ZeroDivisionError):
            async with associate("127.0.0.1", port, **NAMES, contexts=VERIFICATION):
                raise ZeroDivisionError
        assert await trio.to_thread.run_sync(ended.acquire, True, 10)
    assert ends == ["EVT_RELEASED", "EVT_ABORTED"]


async def test_a_wrong_called_title_is_told_in_words() -> None:
    with (
        pynetdicom_peer(called="OTHER") as port,
        pytest.raises(AssociationRejected, match="does not answer to this called AE title") as rejected,
    ):
        async with associate("127.0.0.1", port, **NAMES, contexts=VERIFICATION):
            pass
    assert (rejected.value.result, rejected.value.source, rejected.value.reason) == (1, 1, 7)
    assert not rejected.value.is_transient


async def test_too_many_associations_are_rejected_for_now() -> None:
    with pynetdicom_peer(maximum_associations=1) as port:
        async with associate("127.0.0.1", port, **NAMES, contexts=VERIFICATION):
            with pytest.raises(AssociationRejected, match="try again later") as rejected:
                async with associate("127.0.0.1", port, **NAMES, contexts=VERIFICATION):
                    pass
    assert rejected.value.is_transient


@pytest.mark.parametrize("title", ["", "   ", "seventeen letters", "back\\slash", "café"])
async def test_a_title_that_is_none_is_a_mistake_of_ours(title: str) -> None:
    with pytest.raises(ConfigError, match="AE title"):
        async with associate("127.0.0.1", 1, called=title, calling="TEST", contexts=VERIFICATION):
            pass


async def test_nobody_listening_is_told_in_the_systems_words() -> None:
    from tests.system.server import free_port

    with pytest.raises(PeerGone) as gone:
        async with associate("127.0.0.1", free_port(), **NAMES, contexts=VERIFICATION):
            pass
    assert "refused" in (client.connection_problem(gone.value) or "")
