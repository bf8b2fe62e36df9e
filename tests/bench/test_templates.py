from __future__ import annotations

from io import BytesIO

import pydicom
import pytest
from pydicom.uid import UID

from bench import templates


@pytest.mark.parametrize("name", sorted(templates.SHAPES))
def test_a_template_is_a_plausible_image_that_pydicom_reads(name: str) -> None:
    shape, made = templates.SHAPES[name], templates.template(name)
    read = pydicom.dcmread(BytesIO(made.data), force=True)
    assert len(read) >= 60
    assert shape.sop_class_uid == made.sop_class_uid == read.SOPClassUID
    assert UID(read.SOPInstanceUID).is_valid
    bytes_each = read.BitsAllocated // 8
    expected = read.Rows * read.Columns * shape.frames * shape.samples * bytes_each
    assert len(read.PixelData) == expected + expected % 2
    assert made.header_bytes < 4096


@pytest.mark.parametrize(("name", "megabytes"), [("ct", 0.526), ("mr", 0.132), ("cr", 10.15), ("us", 5.53)])
def test_sizes_are_those_of_real_modalities(name: str, megabytes: float) -> None:
    assert len(templates.template(name).data) / 1e6 == pytest.approx(megabytes, rel=0.01)


def test_offsets_lead_to_the_values() -> None:
    made = templates.template("small")
    read = pydicom.dcmread(BytesIO(made.data), force=True)
    for tag, placeholder in templates.PLACEHOLDERS.items():
        at = made.offsets[tag]
        assert made.data[at : at + len(placeholder)].decode() == placeholder
        assert str(read[tag].value).strip() == placeholder.lstrip("0") or str(read[tag].value) == placeholder


def test_the_same_seed_gives_the_same_pixels_and_another_one_others() -> None:
    shape = templates.SHAPES["small"]
    assert (templates.pixels(shape, 1) == templates.pixels(shape, 1)).all()
    assert (templates.pixels(shape, 1) != templates.pixels(shape, 2)).any()
    signed = templates.pixels(shape)
    assert signed.min() < 0 < signed.max() < 1 << (shape.bits_stored - 1) * 2
