from __future__ import annotations

from pathlib import Path

import pydicom
import pytest

from bench import generate

STUDIES = len(generate.PEOPLE) + 2


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return generate.write(tmp_path_factory.mktemp("generated") / "new", STUDIES)


def test_a_folder_of_studies_is_valid_part_10_with_everybodys_name(files: list[Path]) -> None:
    images = [pydicom.dcmread(path) for path in files]
    names = {str(image.PatientName) for image in images}
    assert names == {person.name for person in generate.PEOPLE}
    assert len({image.SOPInstanceUID for image in images}) == len(files)
    assert len({image.StudyInstanceUID for image in images}) == STUDIES
    assert {image.Modality for image in images} == {"CT", "MR", "CR", "US"}
    assert all(image.file_meta.MediaStorageSOPInstanceUID == image.SOPInstanceUID for image in images)
    assert all(image.pixel_array.size for image in images)
    for image in images:  # a value beyond the bits stored is another one to who reads it
        signed = image.PixelRepresentation
        lowest, highest = (-1 << image.BitsStored - 1 if signed else 0), 1 << image.BitsStored - signed
        assert lowest <= image.pixel_array.min() and image.pixel_array.max() < highest
    assert sum(path.stat().st_size for path in files) < 50e6


def test_what_is_in_one_study_belongs_together(files: list[Path]) -> None:
    images = [pydicom.dcmread(path) for path in files if path.parent.name == "study003"]
    assert {image.Modality for image in images} == {"CR", "US"}
    assert {image.StudyDescription for image in images} == {"CR CHEST"}
    assert {image.SeriesDescription for image in images} == {"CHEST PA", "4 CHAMBERS"}
    assert len({image.FrameOfReferenceUID for image in images}) == 1
    head = [pydicom.dcmread(path) for path in files if path.parent.name == "study001"]
    places = [float(image.ImagePositionPatient[2]) for image in head]
    assert places == sorted(places) and len(set(places)) == len(head) > 10


def test_more_studies_than_people_repeat_the_people_only(files: list[Path]) -> None:
    images = [pydicom.dcmread(path, stop_before_pixels=True) for path in files]
    assert len({image.PatientID for image in images}) == STUDIES
