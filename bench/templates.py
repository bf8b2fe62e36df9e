"""Generated images with plausible headers, encoded once, with the places that change between instances.

Explicit VR Little Endian; pixels are a noisy ellipse from a fixed seed, so that two runs send the same bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from typing import Any, Final

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.filewriter import dcmwrite

_UID: Final = "1." * 31 + "11"
# Attribute -> placeholder. Its length is the room that every instance has to fill exactly.
PLACEHOLDERS: Final[dict[int, str]] = {
    0x00080018: _UID,
    0x0020000D: _UID,
    0x0020000E: _UID,
    0x00100020: "0" * 16,
    0x00100010: "X" * 32,
    0x00080020: "20000101",
    0x00080050: "0" * 16,
    0x00200013: "00000001",
}
SOP_INSTANCE, STUDY_UID, SERIES_UID, PATIENT_ID, PATIENT_NAME, STUDY_DATE, ACCESSION, INSTANCE_NUMBER = (
    PLACEHOLDERS
)


@dataclass(frozen=True)
class Shape:
    """What one modality sends. ``per_study``: instances of a usual study."""

    modality: str
    sop_class_uid: str
    rows: int
    columns: int
    bits_stored: int
    per_study: int
    frames: int = 1
    samples: int = 1
    signed: bool = False


SHAPES: Final[dict[str, Shape]] = {
    "ct": Shape("CT", "1.2.840.10008.5.1.4.1.1.2", 512, 512, 12, 100, signed=True),
    "mr": Shape("MR", "1.2.840.10008.5.1.4.1.1.4", 256, 256, 12, 100),
    "cr": Shape("CR", "1.2.840.10008.5.1.4.1.1.1", 2140, 2372, 12, 2),
    "us": Shape("US", "1.2.840.10008.5.1.4.1.1.3.1", 480, 640, 8, 4, frames=6, samples=3),
    "small": Shape("CT", "1.2.840.10008.5.1.4.1.1.2", 32, 32, 12, 1, signed=True),
}


@dataclass(frozen=True)
class Template:
    """One encoded data set. ``offsets``: attribute -> where its placeholder begins in ``data``."""

    sop_class_uid: str
    data: bytes
    offsets: dict[int, int]

    @property
    def header_bytes(self) -> int:
        """Where the last changing value ends."""
        return max(at + len(PLACEHOLDERS[tag]) for tag, at in self.offsets.items())


def pixels(shape: Shape, seed: int = 0) -> NDArray[Any]:
    """(frames, rows, columns[, samples]) of an ellipse with noise, in the stored type of the shape."""
    generator = np.random.default_rng(seed)
    y, x = np.mgrid[-1 : 1 : shape.rows * 1j, -1 : 1 : shape.columns * 1j]
    inside = (x / 0.8) ** 2 + (y / 0.6) ** 2 < 1
    top = (1 << shape.bits_stored) - 1
    level = np.where(inside, 0.3 + 0.2 * np.cos(5 * x) * np.cos(7 * y), 0.02)
    noise = generator.normal(0, 0.02, (shape.frames, shape.rows, shape.columns, shape.samples))
    grey = np.clip((level[None, :, :, None] + noise) * top, 0, top)
    if shape.signed:
        grey -= (top + 1) // 4
    kind = np.uint8 if shape.bits_stored <= 8 else np.int16 if shape.signed else np.uint16
    return grey.astype(kind)


def data_set(shape: Shape, seed: int = 0, pixel_data: NDArray[Any] | None = None) -> Dataset:
    """A complete data set of about 60 elements, with placeholders where instances differ.

    pixel_data: as the shape says; None: those of the seed
    """
    image = Dataset()
    image.SpecificCharacterSet = "ISO_IR 100"
    image.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    image.SOPClassUID = shape.sop_class_uid
    for tag, placeholder in PLACEHOLDERS.items():
        image.add_new(tag, pydicom.datadict.dictionary_VR(tag), placeholder)
    image.SeriesDate = image.AcquisitionDate = image.ContentDate = "20240102"
    image.StudyTime, image.SeriesTime = "081500", "081730"
    image.AcquisitionTime = image.ContentTime = "081742.250"
    image.Modality = shape.modality
    image.Manufacturer, image.ManufacturerModelName = "GENERATED", "Bench 1"
    image.InstitutionName, image.InstitutionalDepartmentName = "GENERAL HOSPITAL", "RADIOLOGY"
    image.StationName = f"{shape.modality}01"
    image.ReferringPhysicianName = "REFERRER^ROBIN"
    image.PerformingPhysicianName, image.OperatorsName = "PERFORMER^PAT", "OPERATOR^OLI"
    image.StudyDescription = f"{shape.modality} THORAX"
    image.SeriesDescription = f"{shape.modality} STANDARD"
    image.PatientBirthDate, image.PatientSex, image.PatientAge = "19600314", "O", "064Y"
    image.PatientSize, image.PatientWeight = "1.74", "71.5"
    image.BodyPartExamined, image.ProtocolName = "CHEST", "Standard thorax"
    image.DeviceSerialNumber, image.SoftwareVersions = "100042", "1.0"
    image.PatientPosition = "HFS"
    image.StudyID, image.SeriesNumber, image.AcquisitionNumber = "1", "1", "1"
    image.FrameOfReferenceUID = "2.25.316113231811327384711293028711853276132"
    image.PositionReferenceIndicator = ""
    image.Laterality = ""
    image.PerformedProcedureStepStartDate, image.PerformedProcedureStepStartTime = "20240102", "081500"
    image.PerformedProcedureStepDescription = image.StudyDescription
    request = Dataset()
    request.RequestedProcedureID, request.ScheduledProcedureStepID = "RP1", "SPS1"
    image.RequestAttributesSequence = [request]
    if shape.modality in {"CT", "MR"}:
        _add_plane(image, shape)
    image.SamplesPerPixel = shape.samples
    image.PhotometricInterpretation = "RGB" if shape.samples == 3 else "MONOCHROME2"
    if shape.samples == 3:
        image.PlanarConfiguration = 0
    if shape.frames > 1:
        image.NumberOfFrames, image.FrameTime = str(shape.frames), "33.3"
        image.FrameIncrementPointer = 0x00181063
    image.Rows, image.Columns = shape.rows, shape.columns
    image.BitsAllocated = 8 if shape.bits_stored <= 8 else 16
    image.BitsStored, image.HighBit = shape.bits_stored, shape.bits_stored - 1
    image.PixelRepresentation = int(shape.signed)
    if shape.samples == 1:
        image.WindowCenter, image.WindowWidth = "40", "400"
        image.RescaleIntercept, image.RescaleSlope = "0", "1"
    given = pixels(shape, seed) if pixel_data is None else pixel_data
    image.add_new(0x7FE00010, "OB" if shape.bits_stored <= 8 else "OW", given.tobytes())
    return image


def _add_plane(image: Dataset, shape: Shape) -> None:
    image.SliceThickness, image.SpacingBetweenSlices, image.SliceLocation = "2.5", "2.5", "-120.5"
    image.ImagePositionPatient = ["-180", "-180", "-120.5"]
    image.ImageOrientationPatient = ["1", "0", "0", "0", "1", "0"]
    image.PixelSpacing = ["0.703125", "0.703125"]
    if shape.modality == "CT":
        image.KVP, image.ExposureTime, image.XRayTubeCurrent, image.Exposure = "120", "500", "200", "100"
        image.ConvolutionKernel, image.GantryDetectorTilt, image.TableHeight = "B30f", "0", "150"
        image.ReconstructionDiameter, image.DataCollectionDiameter = "360", "500"
    else:
        image.ScanningSequence, image.SequenceVariant, image.ScanOptions = "SE", "SK", "FS"
        image.MRAcquisitionType, image.RepetitionTime, image.EchoTime = "2D", "550", "12"
        image.EchoTrainLength, image.MagneticFieldStrength, image.FlipAngle = "1", "1.5", "90"


def template(name: str, seed: int = 0) -> Template:
    """Encode one of SHAPES and find where its placeholders lie."""
    image = data_set(SHAPES[name], seed)
    buffer = BytesIO()
    dcmwrite(buffer, image, implicit_vr=False, little_endian=True, enforce_file_format=False)
    encoded = buffer.getvalue()
    read = pydicom.dcmread(BytesIO(encoded), force=True, stop_before_pixels=True)
    offsets: dict[int, int] = {}
    for tag, placeholder in PLACEHOLDERS.items():
        element = read.get_item(tag)
        assert isinstance(element, RawDataElement)
        at = element.value_tell
        if encoded[at : at + len(placeholder)] != placeholder.encode():
            raise AssertionError(f"placeholder of {tag:08X} is not at {at}")
        offsets[tag] = at
    return Template(str(image.SOPClassUID), encoded, offsets)
