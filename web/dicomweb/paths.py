"""Names in DICOMweb's paths."""

from __future__ import annotations

import re
from typing import Final

PREFIX: Final = "/dicom-web"
_UID: Final = re.compile(r"[0-9][0-9.]{0,63}", re.ASCII)


def is_uid(text: str) -> bool:
    """Whether it may be a UID (PS3.5 9.1); components are not looked at, since stored ones are not all proper."""
    return _UID.fullmatch(text) is not None
