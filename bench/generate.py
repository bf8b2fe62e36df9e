"""Writes a folder of small generated studies as Part 10 files: something to look at, and to try names with.

python -m bench.generate FOLDER [--studies 12]
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any, Final

from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from bench.phantoms import KINDS, Picture
from bench.templates import SHAPES, Shape, data_set


@dataclass(frozen=True)
class Person:
    """An invented patient. character_set: (0008,0005), PS3.3 C.12.1.1.2; "": the default repertoire."""

    name: str
    character_set: str | list[str]
    sex: str
    birth_date: str


PEOPLE: Final = (
    Person("Smith^John", "", "M", "19580412"),
    Person("Müller^Jörg", "ISO_IR 100", "M", "19710930"),
    Person("Dvořáková^Božena", "ISO_IR 101", "F", "19640105"),
    Person("Иванова^Анна", "ISO_IR 144", "F", "19831117"),
    Person("Wang^XiaoDong=王^小东", "GB18030", "M", "19900622"),
    Person("Yamada^Tarou=山田^太郎=やまだ^たろう", ["", "ISO 2022 IR 87"], "M", "19470803"),
    Person("Hong^Gildong=洪^吉洞=홍^길동", ["", "ISO 2022 IR 149"], "M", "19761224"),
    Person("O'Brien^Siobhán^^Dr", "ISO_IR 192", "F", "19690317"),
    Person("Αλεξίου^Ελένη", "ISO_IR 126", "F", "19550908"),
    Person("García Márquez^María José", "ISO_IR 192", "F", "20010214"),
    Person("قباني^لنزار", "ISO_IR 127", "M", "19620521"),
    Person("Åström^Björn=李^大为", "ISO_IR 192", "M", "19790730"),
)
# Two of each study that has two series go together: a head in CT and MR, a chest and its heart.
_ORDER: Final = ("ct", "mr", "cr", "us")
FIRST_DAY: Final = date(2024, 3, 4)


def write(folder: Path, studies: int = len(PEOPLE)) -> list[Path]:
    """Write studies of new UIDs; every third one has two series.

    folder:  made if missing; a study per sub-folder
    returns: the files
    """
    written: list[Path] = []
    for number in range(studies):
        person = PEOPLE[number % len(PEOPLE)]
        study_uid, frame_of_reference = generate_uid(prefix=None), generate_uid(prefix=None)
        said: Any = None
        for series in range(2 if number % 3 == 2 else 1):
            name = _ORDER[number % len(_ORDER) ^ series]
            series_uid = generate_uid(prefix=None)
            for instance, picture in enumerate(KINDS[name](number + 1)):
                image = _image(name, picture, person, number, series, instance)
                image.StudyInstanceUID, image.SeriesInstanceUID = study_uid, series_uid
                image.FrameOfReferenceUID = frame_of_reference
                said = said or image.StudyDescription
                image.StudyDescription = image.PerformedProcedureStepDescription = said
                path = folder / f"study{number + 1:03d}" / f"{name}{series + 1}-{instance + 1:03d}.dcm"
                path.parent.mkdir(parents=True, exist_ok=True)
                image.save_as(path, enforce_file_format=True)
                written.append(path)
    return written


def _shape(name: str, picture: Picture) -> Shape:
    """Of the modality, with the size of this picture; all of them are grey."""
    *frames, rows, columns = picture.pixels.shape
    usual = SHAPES[name]
    return replace(usual, rows=rows, columns=columns, frames=frames[0] if frames else 1, samples=1)


def _image(
    name: str, picture: Picture, person: Person, study: int, series: int, instance: int
) -> FileDataset:
    image = data_set(_shape(name, picture), pixel_data=picture.pixels)
    for keyword, value in picture.attributes.items():
        setattr(image, keyword, value)
    if name == "us":  # grey levels as they are, of no quantity
        del image.WindowCenter, image.WindowWidth, image.RescaleIntercept, image.RescaleSlope
    image.SpecificCharacterSet = person.character_set
    if not person.character_set:
        del image.SpecificCharacterSet
    image.PatientName = person.name
    image.PatientID = f"DEMO-{study + 1:04d}"
    image.PatientSex, image.PatientBirthDate = person.sex, person.birth_date
    day = FIRST_DAY + timedelta(days=17 * study)
    image.StudyDate = image.SeriesDate = image.AcquisitionDate = image.ContentDate = f"{day:%Y%m%d}"
    image.PerformedProcedureStepStartDate = image.StudyDate
    years = (int(image.StudyDate) - int(person.birth_date)) // 10000
    image.PatientAge = f"{years:03d}Y"
    image.AccessionNumber = f"A{study + 1:06d}"
    image.StudyID = str(study + 1)
    image.SeriesNumber, image.InstanceNumber = str(series + 1), str(instance + 1)
    image.SOPInstanceUID = generate_uid(prefix=None)
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = image.SOPClassUID, image.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return FileDataset("", image, file_meta=meta, preamble=b"\0" * 128)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="where the files go")
    parser.add_argument("--studies", type=int, default=len(PEOPLE), help="how many (default %(default)s)")
    options = parser.parse_args()
    files = write(options.folder, options.studies)
    megabytes = sum(path.stat().st_size for path in files) / 1e6
    print(f"{len(files)} instances of {options.studies} studies, {megabytes:.1f} MB, in {options.folder}")


if __name__ == "__main__":
    main()
