"""Who we say we are: in associations (PS3.7 D.3.3.2) and in the file meta information of what we store (PS3.10 7.1)."""

from __future__ import annotations

from typing import Final

IMPLEMENTATION_CLASS_UID: Final = "2.25.334167614768186007432802060631954266030"
# Stored objects hold it, and it counts for their digests: with another one, what is sent again would not be a copy of
# what is here already, but in conflict with it.
IMPLEMENTATION_VERSION_NAME: Final = "PACS_ACTORS_1"
