"""The attributes that the index keeps: one table from which the scanner, the SQL and the query answers are made.

Adding an attribute: one line here, one column in a migration.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

from msgspec import Struct


class Level(Enum):
    """Query/Retrieve Level (0008,0052), PS3.4 C.3."""

    PATIENT = "PATIENT"
    STUDY = "STUDY"
    SERIES = "SERIES"
    IMAGE = "IMAGE"


class Attribute(Struct, frozen=True):
    """One indexed attribute.

    column:   of the table of its level; None if the answer is made otherwise
    derived:  counted or joined by the catalogue, not read from data sets
    """

    tag: int
    keyword: str
    vr: str
    level: Level
    column: str | None
    derived: bool = False


P, ST, SE, I = Level.PATIENT, Level.STUDY, Level.SERIES, Level.IMAGE  # noqa: E741

INDEXED: Final[tuple[Attribute, ...]] = (
    Attribute(0x00100010, "PatientName", "PN", P, "patient_name"),
    Attribute(0x00100020, "PatientID", "LO", P, "patient_id"),
    Attribute(0x00100021, "IssuerOfPatientID", "LO", P, "issuer_of_patient_id"),
    Attribute(0x00100030, "PatientBirthDate", "DA", P, "patient_birth_date"),
    Attribute(0x00100032, "PatientBirthTime", "TM", P, "patient_birth_time"),
    Attribute(0x00100040, "PatientSex", "CS", P, "patient_sex"),
    Attribute(0x00102160, "EthnicGroup", "SH", P, "ethnic_group"),
    Attribute(0x00104000, "PatientComments", "LT", P, "patient_comments"),
    Attribute(0x00201200, "NumberOfPatientRelatedStudies", "IS", P, None, True),
    Attribute(0x00201202, "NumberOfPatientRelatedSeries", "IS", P, None, True),
    Attribute(0x00201204, "NumberOfPatientRelatedInstances", "IS", P, None, True),
    Attribute(0x0020000D, "StudyInstanceUID", "UI", ST, "study_instance_uid"),
    Attribute(0x00080020, "StudyDate", "DA", ST, "study_date"),
    Attribute(0x00080030, "StudyTime", "TM", ST, "study_time"),
    Attribute(0x00080050, "AccessionNumber", "SH", ST, "accession_number"),
    Attribute(0x00080090, "ReferringPhysicianName", "PN", ST, "referring_physician_name"),
    Attribute(0x00081030, "StudyDescription", "LO", ST, "study_description"),
    Attribute(0x00081060, "NameOfPhysiciansReadingStudy", "PN", ST, "name_of_physicians_reading_study"),
    Attribute(0x00081080, "AdmittingDiagnosesDescription", "LO", ST, "admitting_diagnoses_description"),
    Attribute(0x00101010, "PatientAge", "AS", ST, "patient_age"),
    Attribute(0x00101020, "PatientSize", "DS", ST, "patient_size"),
    Attribute(0x00101030, "PatientWeight", "DS", ST, "patient_weight"),
    Attribute(0x00102180, "Occupation", "SH", ST, "occupation"),
    Attribute(0x001021B0, "AdditionalPatientHistory", "LT", ST, "additional_patient_history"),
    Attribute(0x00200010, "StudyID", "SH", ST, "study_id"),
    Attribute(0x00080061, "ModalitiesInStudy", "CS", ST, "modalities_in_study", True),
    Attribute(0x00080062, "SOPClassesInStudy", "UI", ST, "sop_classes_in_study", True),
    Attribute(0x00201206, "NumberOfStudyRelatedSeries", "IS", ST, "number_of_series", True),
    Attribute(0x00201208, "NumberOfStudyRelatedInstances", "IS", ST, "number_of_instances", True),
    Attribute(0x0020000E, "SeriesInstanceUID", "UI", SE, "series_instance_uid"),
    Attribute(0x00080060, "Modality", "CS", SE, "modality"),
    Attribute(0x00200011, "SeriesNumber", "IS", SE, "series_number"),
    Attribute(0x0008103E, "SeriesDescription", "LO", SE, "series_description"),
    Attribute(0x00080021, "SeriesDate", "DA", SE, "series_date"),
    Attribute(0x00080031, "SeriesTime", "TM", SE, "series_time"),
    Attribute(0x00180015, "BodyPartExamined", "CS", SE, "body_part_examined"),
    Attribute(0x00181030, "ProtocolName", "LO", SE, "protocol_name"),
    Attribute(0x00200060, "Laterality", "CS", SE, "laterality"),
    Attribute(0x00080070, "Manufacturer", "LO", SE, "manufacturer"),
    Attribute(0x00080080, "InstitutionName", "LO", SE, "institution_name"),
    Attribute(0x00081010, "StationName", "SH", SE, "station_name"),
    Attribute(0x00081040, "InstitutionalDepartmentName", "LO", SE, "institutional_department_name"),
    Attribute(0x00081050, "PerformingPhysicianName", "PN", SE, "performing_physician_name"),
    Attribute(0x00081070, "OperatorsName", "PN", SE, "operators_name"),
    Attribute(0x00081090, "ManufacturerModelName", "LO", SE, "manufacturer_model_name"),
    Attribute(0x00400244, "PerformedProcedureStepStartDate", "DA", SE, "performed_procedure_step_start_date"),
    Attribute(0x00400245, "PerformedProcedureStepStartTime", "TM", SE, "performed_procedure_step_start_time"),
    Attribute(0x00400275, "RequestAttributesSequence", "SQ", SE, "request_attributes"),
    Attribute(0x00201209, "NumberOfSeriesRelatedInstances", "IS", SE, "number_of_instances", True),
    Attribute(0x00080018, "SOPInstanceUID", "UI", I, "sop_instance_uid"),
    Attribute(0x00080016, "SOPClassUID", "UI", I, "sop_class_uid"),
    Attribute(0x00200013, "InstanceNumber", "IS", I, "instance_number"),
    Attribute(0x00080022, "AcquisitionDate", "DA", I, "acquisition_date"),
    Attribute(0x00080032, "AcquisitionTime", "TM", I, "acquisition_time"),
    Attribute(0x00080023, "ContentDate", "DA", I, "content_date"),
    Attribute(0x00080033, "ContentTime", "TM", I, "content_time"),
    Attribute(0x00080008, "ImageType", "CS", I, "image_type"),
    Attribute(0x00200012, "AcquisitionNumber", "IS", I, "acquisition_number"),
    Attribute(0x00280008, "NumberOfFrames", "IS", I, "number_of_frames"),
    Attribute(0x00280010, "Rows", "US", I, "rows"),
    Attribute(0x00280011, "Columns", "US", I, "columns"),
    Attribute(0x00280100, "BitsAllocated", "US", I, "bits_allocated"),
)

SPECIFIC_CHARACTER_SET: Final = 0x00080005
BY_TAG: Final[dict[int, Attribute]] = {attribute.tag: attribute for attribute in INDEXED}
