"""What of a request may be written into the log."""

from __future__ import annotations

import re
from typing import Final

_SHARED: Final = re.compile(r"^(/+(?:api/+v1/+)?share/+)[^/]+")
_MOST: Final = 200


def loggable(path: str) -> str:
    """A path without the secret of a share link, cut off where it gets long."""
    return _SHARED.sub(r"\1…", path)[:_MOST]
