"""Studies of which it is known what a viewer must show: four quarters of different brightness or colour, in any syntax."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import imagecodecs
import numpy as np
from pydicom import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import generate_uid

from tests.system.peers import CT, EXPLICIT, Instance, decode, encode, make

US_MULTIFRAME = "1.2.840.10008.5.1.4.1.1.3.1"
MR_IMAGE = "1.2.840.10008.5.1.4.1.1.4"
CR_IMAGE = "1.2.840.10008.5.1.4.1.1.1"
BASELINE, LOSSLESS = "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.70"
JPEG_LS, JPEG_2000, HTJ2K, RLE = (
    "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.201", "1.2.840.10008.1.2.5",
)  # fmt: skip
SIDE = 256
LEVELS = (0, 400, 800, 1200)  # upper left, upper right, lower left, lower right
GREYS = (0, 85, 170, 255)  # what the window makes of them
COLOURS = ((220, 30, 30), (30, 200, 30), (40, 40, 230), (240, 240, 240))
Pixels = np.ndarray[Any, Any]
new_uid = generate_uid


def quarters(values: tuple[Any, ...], dtype: str) -> Pixels:
    """(SIDE, SIDE) or (SIDE, SIDE, 3), a quarter for each value in reading order."""
    half = SIDE // 2
    tiles = [np.full((half, half, *np.shape(value)), value, dtype) for value in values]
    return np.concatenate([np.concatenate(tiles[:2], 1), np.concatenate(tiles[2:], 1)], 0)


def rle(pixels: Pixels) -> bytes:
    """PS3.5 annex G: a segment a byte plane, the most significant first, PackBits by rows."""
    planes = pixels.astype(">u2").view("u1").reshape(*pixels.shape, 2)
    segments = []
    for plane in (planes[..., 0], planes[..., 1]):
        packed = b"".join(imagecodecs.packbits_encode(row.tobytes()) for row in plane)
        segments.append(packed + b"\0" * (len(packed) % 2))
    offsets = [64, 64 + len(segments[0])]
    return struct.pack("<16L", 2, *offsets, *[0] * 13) + b"".join(segments)


ENCODERS: dict[str, Callable[[Pixels], bytes]] = {
    LOSSLESS: lambda pixels: imagecodecs.ljpeg_encode(pixels, bitspersample=16),
    JPEG_LS: imagecodecs.jpegls_encode,
    JPEG_2000: lambda pixels: imagecodecs.jpeg2k_encode(pixels, codecformat="j2k", reversible=True, level=0),
    HTJ2K: lambda pixels: imagecodecs.htj2k_encode(pixels, reversible=True),
    RLE: rle,
}


def with_pixels(instance: Instance, frames: list[bytes]) -> Instance:
    """The same with compressed pixel data."""
    dataset = decode(instance.data)
    dataset.PixelData = encapsulate(frames)
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    return replace(instance, data=encode(dataset))


def grey(sop_class: str = CT, syntax: str = EXPLICIT, *, turns: int = 0, **attributes: Any) -> Instance:
    """One 16-bit image with a window that makes GREYS of it, turned to the left by ``turns`` quarters."""
    pixels = np.ascontiguousarray(np.rot90(quarters(LEVELS, "<u2"), turns))
    instance = make(sop_class, syntax, **{
        "PatientName": "Quarter^Grey", "StudyDescription": "Quarters", "SeriesDescription": "Grey",
        "StudyDate": "20240102", "StudyTime": "101500", "SeriesNumber": 1, "InstanceNumber": 1,
        "Rows": SIDE, "Columns": SIDE, "BitsAllocated": 16, "BitsStored": 16, "HighBit": 15, "PixelRepresentation": 0,
        "SamplesPerPixel": 1, "PhotometricInterpretation": "MONOCHROME2", "WindowCenter": "600", "WindowWidth": "1200",
        "RescaleIntercept": "0", "RescaleSlope": "1", "PixelSpacing": [1, 1], "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
        "ImagePositionPatient": [0, 0, 0], "FrameOfReferenceUID": generate_uid(), "PixelData": pixels.tobytes(),
        **attributes,
    })  # fmt: skip
    return with_pixels(instance, [ENCODERS[syntax](pixels)]) if syntax in ENCODERS else instance


def stack(count: int, sop_class: str = CT, **attributes: Any) -> list[Instance]:
    """A series of slices; each later one is turned by a quarter."""
    shared = {
        "StudyInstanceUID": generate_uid(), "SeriesInstanceUID": generate_uid(), "FrameOfReferenceUID": generate_uid(),
        "PatientID": generate_uid()[-20:], **attributes,
    }  # fmt: skip
    return [
        grey(
            sop_class,
            InstanceNumber=number + 1,
            ImagePositionPatient=[0, 0, number * 2],
            turns=number,
            **shared,
        )
        for number in range(count)
    ]


def cine(frames: int = 8, **attributes: Any) -> Instance:
    """A colour loop in JPEG; each frame is turned by a quarter against the one before."""
    pictures = [np.ascontiguousarray(np.rot90(quarters(COLOURS, "u1"), number)) for number in range(frames)]
    coded = [imagecodecs.jpeg8_encode(picture, level=95, subsampling="422") for picture in pictures]
    loop = make(US_MULTIFRAME, BASELINE, **{
        "Modality": "US", "PatientName": "Quarter^Colour", "StudyDescription": "Quarters", "StudyDate": "20240102",
        "StudyTime": "101500", "SeriesNumber": 1, "InstanceNumber": 1, "NumberOfFrames": frames, "FrameTime": "40",
        "Rows": SIDE, "Columns": SIDE, "BitsAllocated": 8, "BitsStored": 8, "HighBit": 7, "PixelRepresentation": 0,
        "SamplesPerPixel": 3, "PlanarConfiguration": 0, "PhotometricInterpretation": "YBR_FULL_422",
        "LossyImageCompression": "01",
        **attributes,
    })  # fmt: skip
    return with_pixels(loop, coded)


VIDEO_STORAGE = "1.2.840.10008.5.1.4.1.1.77.1.1.1"
MPEG_4 = "1.2.840.10008.1.2.4.102"


def film(stream: bytes) -> Instance:
    """A video of 128 × 128; stream: MPEG-4 AVC in an MP4 container."""
    made = make(VIDEO_STORAGE, MPEG_4, **{
        "Modality": "ES", "PatientName": "Quarter^Film", "StudyDate": "20240102", "StudyTime": "101500",
        "SeriesNumber": 1, "InstanceNumber": 1, "SeriesDescription": "Film", "NumberOfFrames": 20, "FrameTime": "66",
        "Rows": 128, "Columns": 128, "BitsAllocated": 8, "BitsStored": 8, "HighBit": 7, "PixelRepresentation": 0,
        "SamplesPerPixel": 3, "PlanarConfiguration": 0, "PhotometricInterpretation": "YBR_PARTIAL_420",
    })  # fmt: skip
    return with_pixels(made, [stream])


PDF_STORAGE = "1.2.840.10008.5.1.4.1.1.104.1"
RT_STRUCTURES = "1.2.840.10008.5.1.4.1.1.481.3"
SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.4"


def pdf() -> bytes:
    """One page with a red square on it."""
    drawing = b"0.9 0.1 0.1 rg 20 20 160 160 re f"
    bodies = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 200 200] /Contents 4 0 R /Resources << >> >>",
        b"<< /Length %d >>\nstream\n%s\nendstream" % (len(drawing), drawing),
    ]
    out, offsets = b"%PDF-1.4\n", []
    for number, body in enumerate(bodies, 1):
        offsets.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    table = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    return out + b"xref\n0 5\n0000000000 65535 f \n%strailer\n<< /Size 5 /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (
        table, len(out),
    )  # fmt: skip


def document() -> Instance:
    content = pdf()
    return make(PDF_STORAGE, **{
        "Modality": "DOC", "PatientName": "Quarter^Document", "StudyDate": "20240102", "StudyTime": "101500",
        "SeriesNumber": 1, "InstanceNumber": 1, "SeriesDescription": "Letter", "DocumentTitle": "Letter",
        "MIMETypeOfEncapsulatedDocument": "application/pdf", "BurnedInAnnotation": "YES", "ConversionType": "WSD",
        "EncapsulatedDocument": content + b"\0" * (len(content) % 2), "EncapsulatedDocumentLength": len(content),
    })  # fmt: skip


def _items(*facts: dict[str, Any]) -> list[Dataset]:
    items = []
    for each in facts:
        item = Dataset()
        for keyword, value in each.items():
            setattr(item, keyword, value)
        items.append(item)
    return items


def _code(value: str, scheme: str, meaning: str) -> list[Dataset]:
    return _items({"CodeValue": value, "CodingSchemeDesignator": scheme, "CodeMeaning": meaning})


def structures(slices: list[Instance]) -> Instance:
    """RT structures of a stack: a green square around the centre of every slice."""
    first = decode(slices[0].data)
    low, high = SIDE * 0.375, SIDE * 0.625
    contours = []
    for each in slices:
        dataset = decode(each.data)
        depth = float(dataset.ImagePositionPatient[2])
        points = [(low, low), (high, low), (high, high), (low, high)]
        contours.append({
            "ContourImageSequence": _items({"ReferencedSOPClassUID": each.sop_class, "ReferencedSOPInstanceUID": each.uid}),
            "ContourGeometricType": "CLOSED_PLANAR", "NumberOfContourPoints": len(points),
            "ContourData": [float(number) for x, y in points for number in (x, y, depth)],
        })  # fmt: skip
    images = [{"ReferencedSOPClassUID": one.sop_class, "ReferencedSOPInstanceUID": one.uid} for one in slices]
    series = _items({"SeriesInstanceUID": slices[0].series, "ContourImageSequence": _items(*images)})
    study = _items({
        "ReferencedSOPClassUID": "1.2.840.10008.3.1.2.3.1", "ReferencedSOPInstanceUID": slices[0].study,
        "RTReferencedSeriesSequence": series,
    })  # fmt: skip
    frame = {"FrameOfReferenceUID": first.FrameOfReferenceUID, "RTReferencedStudySequence": study}
    return make(RT_STRUCTURES, **{
        "StudyInstanceUID": slices[0].study, "PatientID": first.PatientID, "PatientName": first.PatientName,
        "StudyDate": "20240102", "StudyTime": "101500", "StudyDescription": first.StudyDescription,
        "Modality": "RTSTRUCT", "SeriesNumber": 2, "InstanceNumber": 1, "SeriesDescription": "Contours",
        "StructureSetLabel": "Contours", "StructureSetDate": "20240102", "StructureSetTime": "101500",
        "ReferencedFrameOfReferenceSequence": _items(frame),
        "StructureSetROISequence": _items({
            "ROINumber": 1, "ReferencedFrameOfReferenceUID": first.FrameOfReferenceUID, "ROIName": "Centre",
            "ROIGenerationAlgorithm": "MANUAL",
        }),
        "ROIContourSequence": _items({
            "ROIDisplayColor": [0, 255, 0], "ReferencedROINumber": 1, "ContourSequence": _items(*contours),
        }),
        "RTROIObservationsSequence": _items({
            "ObservationNumber": 1, "ReferencedROINumber": 1, "RTROIInterpretedType": "ORGAN", "ROIInterpreter": "",
        }),
    })  # fmt: skip


def segmentation(slices: list[Instance]) -> Instance:
    """A binary segmentation of a stack: the middle quarter of every slice."""
    first = decode(slices[0].data)
    mask = np.zeros((len(slices), SIDE, SIDE), "u1")
    mask[:, SIDE // 4 : -SIDE // 4, SIDE // 4 : -SIDE // 4] = 1
    per_frame = []
    for number, each in enumerate(slices, 1):
        dataset = decode(each.data)
        source = {
            "ReferencedSOPClassUID": each.sop_class, "ReferencedSOPInstanceUID": each.uid,
            "PurposeOfReferenceCodeSequence": _code("121322", "DCM", "Source image for image processing operation"),
        }  # fmt: skip
        derivation = {
            "SourceImageSequence": _items(source),
            "DerivationCodeSequence": _code("113076", "DCM", "Segmentation"),
        }
        per_frame.append({
            "DerivationImageSequence": _items(derivation),
            "FrameContentSequence": _items({"DimensionIndexValues": [1, number]}),
            "PlanePositionSequence": _items({"ImagePositionPatient": dataset.ImagePositionPatient}),
            "SegmentIdentificationSequence": _items({"ReferencedSegmentNumber": 1}),
        })  # fmt: skip
    measures = {"PixelSpacing": [1, 1], "SliceThickness": 2, "SpacingBetweenSlices": 2}
    organization = generate_uid()
    images = [{"ReferencedSOPClassUID": one.sop_class, "ReferencedSOPInstanceUID": one.uid} for one in slices]
    return make(SEGMENTATION, **{
        "StudyInstanceUID": slices[0].study, "PatientID": first.PatientID, "PatientName": first.PatientName,
        "StudyDate": "20240102", "StudyTime": "101500", "StudyDescription": first.StudyDescription,
        "Modality": "SEG", "SeriesNumber": 3, "InstanceNumber": 1, "SeriesDescription": "Segments",
        "ContentLabel": "SEGMENTS", "ContentDescription": "", "ContentCreatorName": "", "ImageType": ["DERIVED", "PRIMARY"],
        "FrameOfReferenceUID": first.FrameOfReferenceUID, "PositionReferenceIndicator": "",
        "Rows": SIDE, "Columns": SIDE, "NumberOfFrames": len(slices), "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2", "BitsAllocated": 1, "BitsStored": 1, "HighBit": 0,
        "PixelRepresentation": 0, "LossyImageCompression": "00", "SegmentationType": "BINARY",
        "ReferencedSeriesSequence": _items(
            {"SeriesInstanceUID": slices[0].series, "ReferencedInstanceSequence": _items(*images)}
        ),
        "DimensionOrganizationSequence": _items({"DimensionOrganizationUID": organization}),
        "DimensionIndexSequence": _items(
            {"DimensionOrganizationUID": organization, "DimensionIndexPointer": 0x0062000B, "FunctionalGroupPointer": 0x0062000A},
            {"DimensionOrganizationUID": organization, "DimensionIndexPointer": 0x00200032, "FunctionalGroupPointer": 0x00209113},
        ),
        "SegmentSequence": _items({
            "SegmentNumber": 1, "SegmentLabel": "Middle", "SegmentAlgorithmType": "MANUAL",
            "SegmentedPropertyCategoryCodeSequence": _code("123037004", "SCT", "Anatomical Structure"),
            "SegmentedPropertyTypeCodeSequence": _code("10200004", "SCT", "Liver"),
            "RecommendedDisplayCIELabValue": [34885, 53485, 50171],
        }),
        "SharedFunctionalGroupsSequence": _items({
            "PixelMeasuresSequence": _items(measures),
            "PlaneOrientationSequence": _items({"ImageOrientationPatient": [1, 0, 0, 0, 1, 0]}),
        }),
        "PerFrameFunctionalGroupsSequence": _items(*per_frame),
        "PixelData": np.packbits(mask, bitorder="little").tobytes(),
    })  # fmt: skip
