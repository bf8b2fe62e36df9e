"""Data folders that are filled in bulk: real objects, which the commands of the integrity take for what they are."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import pytest
from pydicom import dcmread

from bench import archive, reconcile, scrub
from tests.stored_objects import stored_objects

OBJECTS = 250


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = tmp_path_factory.mktemp("archive")
    told: list[int] = []
    archive.fill(data, OBJECTS, kind="small", per_study=100, say=told.append)
    assert told == [OBJECTS]
    return data


def test_every_object_is_an_instance_of_its_own_in_studies_of_a_hundred(data: Path) -> None:
    found = [dcmread(BytesIO(one.read_bytes()), stop_before_pixels=True) for one in stored_objects(data)]
    assert len({image.SOPInstanceUID for image in found}) == len(found) == OBJECTS
    assert all(image.file_meta.MediaStorageSOPInstanceUID == image.SOPInstanceUID for image in found)
    assert len({image.StudyInstanceUID for image in found}) == 3


def test_a_scrub_of_it_reads_every_object(data: Path) -> None:
    turn = scrub.scrubbed(data)
    assert turn.objects == OBJECTS
    assert turn.size_bytes == sum(one.size_bytes for one in stored_objects(data))


def test_what_is_damaged_ends_the_measurement(tmp_path: Path) -> None:
    archive.fill(tmp_path, 3, kind="small", per_study=1, say=lambda _: None)
    stored_objects(tmp_path)[1].flip(-1)
    with pytest.raises(AssertionError, match="corrupt"):
        scrub.scrubbed(tmp_path)


def test_a_command_that_fails_ends_the_measurement(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="reconcile ended with"):
        reconcile.run(tmp_path, ["reconcile"])


def test_a_disk_without_room_is_not_begun_with(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="no room"), archive.folder(tmp_path, 1 << 60):
        pytest.fail("it began")
    assert not list(tmp_path.iterdir())
