"""The client asks pynetdicom: answers one by one, and queries that are left early."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trio
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pynetdicom import evt

from pacs_actors.dicom.client import (
    VERIFICATION,
    RequestFailed,
    associate,
    for_find,
)
from protocols.errors import ConfigError
from tests.pacs_actors.dicom.client_peers import await_cancel, pynetdicom_peer

CT = Path(get_testdata_file("CT_small.dcm"))
NAMES = {"called": "PEER", "calling": "TEST"}


def answer(**values: Any) -> Dataset:
    dataset = Dataset()
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    return dataset


async def test_answers_come_decoded_one_by_one() -> None:
    asked: list[Dataset] = []

    def found(event: Any) -> Iterator[tuple[int, Dataset | None]]:
        asked.append(event.identifier)
        name = answer(
            SpecificCharacterSet="ISO_IR 100", PatientName="Buc^Jérôme", NumberOfFrames="7", Rows=512
        )
        name.RequestAttributesSequence = [
            answer(ScheduledProcedureStepID="S1"),
            answer(RequestedProcedureID="R2"),
        ]
        yield 0xFF00, name
        japanese = answer(SpecificCharacterSet=["", "ISO 2022 IR 87"], PatientName="Yamada^Tarou=山田^太郎")
        yield 0xFF01, japanese

    with pynetdicom_peer([(evt.EVT_C_FIND, found)]) as port:
        async with associate("127.0.0.1", port, **NAMES, contexts=for_find()) as peer:
            answers = peer.find(
                {"PatientName": "*", "0010,0020": "", "StudyDate": "20200101-"}, level="IMAGE"
            )
            first, second = [each async for each in answers]
            assert answers.status == 0
    assert (asked[0].PatientName, asked[0].StudyDate, asked[0].QueryRetrieveLevel) == (
        "*",
        "20200101-",
        "IMAGE",
    )
    assert "PatientID" in asked[0]
    assert "SpecificCharacterSet" not in asked[0]
    assert first["PatientName"] == "Buc^Jérôme"
    assert (first.text("NumberOfFrames"), first.text("Rows"), first.text("StudyDate")) == ("7", "512", "")
    assert first["RequestAttributesSequence"] == [
        {"ScheduledProcedureStepID": "S1"},
        {"RequestedProcedureID": "R2"},
    ]
    assert second["PatientName"] == "Yamada^Tarou=山田^太郎"
    assert b"\x1b$B" in second.raw


async def test_a_key_outside_ascii_is_sent_with_its_character_set() -> None:
    asked: list[Dataset] = []

    def found(event: Any) -> Iterator[tuple[int, Dataset | None]]:
        asked.append(event.identifier)
        yield 0x0000, None

    with pynetdicom_peer([(evt.EVT_C_FIND, found)]) as port:
        async with associate("127.0.0.1", port, **NAMES, contexts=for_find("patient")) as peer:
            keys = {"PatientName": "Müller*", "ScheduledProcedureStepSequence": [{"Modality": "CT"}]}
            assert [each async for each in peer.find(keys, level="PATIENT", root="patient")] == []
    assert asked[0].SpecificCharacterSet == "ISO_IR 192"
    assert str(asked[0].PatientName) == "Müller*"
    assert asked[0].ScheduledProcedureStepSequence[0].Modality == "CT"


async def test_a_failed_query_raises_after_its_answers() -> None:
    def found(event: Any) -> Iterator[tuple[int, Dataset | None]]:
        yield 0xFF00, answer(PatientID="1")
        yield 0xA700, None

    with pynetdicom_peer([(evt.EVT_C_FIND, found)]) as port:
        async with associate("127.0.0.1", port, **NAMES, contexts=[*for_find(), *VERIFICATION]) as peer:
            answers = peer.find({"PatientID": ""})
            assert (await anext(answers))["PatientID"] == "1"
            with pytest.raises(RequestFailed, match="out of resources") as failed:
                await anext(answers)
            assert failed.value.status == 0xA700
            await peer.echo()


def endless(cancelled: threading.Event) -> Callable[[Any], Iterator[tuple[int, Dataset | None]]]:
    def found(event: Any) -> Iterator[tuple[int, Dataset | None]]:
        for number in range(20):
            yield 0xFF00, answer(PatientID=str(number))
        await_cancel(event)
        cancelled.set()
        yield 0xFE00, None

    return found


@pytest.mark.parametrize("with_block", [True, False])
async def test_leaving_early_cancels_and_the_association_is_used_again(with_block: bool) -> None:
    cancelled = threading.Event()
    with pynetdicom_peer([(evt.EVT_C_FIND, endless(cancelled))]) as port:
        async with associate("127.0.0.1", port, **NAMES, contexts=[*for_find(), *VERIFICATION]) as peer:
            answers = peer.find({"PatientID": ""})
            if with_block:
                async with answers:
                    async for each in answers:
                        if each["PatientID"] == "3":
                            break
                assert cancelled.is_set()
            else:
                async for each in answers:
                    if each["PatientID"] == "3":
                        break
                assert not cancelled.is_set()
            await peer.echo()
            assert cancelled.is_set()
            assert answers.status == 0xFE00
            assert [each async for each in answers] == []


async def test_an_iterator_left_behind_is_cancelled_before_the_release() -> None:
    cancelled, released = threading.Event(), threading.Event()
    handlers = [(evt.EVT_C_FIND, endless(cancelled)), (evt.EVT_RELEASED, lambda event: released.set())]
    with pynetdicom_peer(handlers) as port:
        async with associate("127.0.0.1", port, **NAMES, contexts=for_find()) as peer:
            async for _ in peer.find({"PatientID": ""}):
                break
        assert cancelled.is_set()
        assert await trio.to_thread.run_sync(released.wait, 10)


async def test_keys_that_are_none_are_mistakes_of_ours() -> None:
    with pynetdicom_peer() as port:
        async with associate("127.0.0.1", port, **NAMES, contexts=[*for_find(), *VERIFICATION]) as peer:
            for keys in ({"NoSuchKeyword": ""}, {"PixelData": "1"}, {"PatientName": [{}]}):
                with pytest.raises(ConfigError):
                    await anext(peer.find(keys))
            await peer.echo()
