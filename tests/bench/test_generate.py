from __future__ import annotations

from pathlib import Path

import pydicom

from bench import generate


def test_a_folder_of_studies_is_valid_part_10_with_everybodys_name(tmp_path: Path) -> None:
    files = generate.write(tmp_path / "new")
    images = [pydicom.dcmread(path) for path in files]
    names = {str(image.PatientName) for image in images}
    assert names == {person.name for person in generate.PEOPLE}
    assert len({image.SOPInstanceUID for image in images}) == len(files)
    assert len({image.StudyInstanceUID for image in images}) == len(generate.PEOPLE)
    assert {image.Modality for image in images} == {"CT", "MR", "CR", "US"}
    assert all(image.file_meta.MediaStorageSOPInstanceUID == image.SOPInstanceUID for image in images)
    assert all(image.pixel_array.size for image in images)
    assert sum(path.stat().st_size for path in files) < 20e6


def test_more_studies_than_people_repeat_the_people_only(tmp_path: Path) -> None:
    count = len(generate.PEOPLE) + 2
    images = [pydicom.dcmread(path, stop_before_pixels=True) for path in generate.write(tmp_path, count)]
    assert len({image.PatientID for image in images}) == count
