"""The letters on the thumbnail of what has no picture, by SOP Class. Ours, all of them: nothing that was stored is drawn."""

from __future__ import annotations

from typing import Final

_STORAGE: Final = "1.2.840.10008.5.1.4.1.1."
_LETTERS: Final = {
    "88.59": "KO",
    "104.1": "PDF",
    "104.2": "CDA",
    "481.3": "RTSTRUCT",
    "481.5": "RTPLAN",
    "481.8": "RTPLAN",
    "66": "RAW",
    "66.1": "REG",
    "66.2": "FID",
    "66.3": "REG",
    "66.5": "SEG",
}
_FAMILIES: Final = (
    ("88.", "SR"),
    ("11.", "PR"),
    ("9.", "ECG"),
    ("104.", "3D"),
    ("481.", "RT"),
    ("66.", "SEG"),
)


def letters_for(sop_class_uid: str, *, is_video: bool = False) -> str:
    """A few capital letters, never none."""
    if is_video:
        return "VIDEO"
    if not sop_class_uid.startswith(_STORAGE):
        return "DICOM"
    name = sop_class_uid.removeprefix(_STORAGE)
    return _LETTERS.get(name) or next(
        (text for family, text in _FAMILIES if name.startswith(family)), "DICOM"
    )
