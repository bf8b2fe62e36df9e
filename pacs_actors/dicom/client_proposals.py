"""Which presentation contexts to propose for a service: pure rules (PS3.8 7.1.1.13, PS3.7 D.3.3.4)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal

from msgspec import Struct

from protocols.ul import sop_classes
from protocols.ul.model import MAX_CONTEXTS, Role
from protocols.ul.sop_classes import EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN, UNCOMPRESSED

Root = Literal["study", "patient"]


class Proposal(Struct, frozen=True):
    """One presentation context to propose.

    transfer_syntaxes:  preferred first; the peer chooses one
    role:               of ours, where it is not the usual SCU
    """

    abstract_syntax: str
    transfer_syntaxes: tuple[str, ...]
    role: Role | None = None


NETWORK_SYNTAXES: Final = (EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN)
"""For everything that holds no image."""

FIND: Final[dict[Root, str]] = {
    "study": sop_classes.STUDY_ROOT_FIND,
    "patient": sop_classes.PATIENT_ROOT_FIND,
}
MOVE: Final[dict[Root, str]] = {
    "study": sop_classes.STUDY_ROOT_MOVE,
    "patient": sop_classes.PATIENT_ROOT_MOVE,
}
GET: Final[dict[Root, str]] = {"study": sop_classes.STUDY_ROOT_GET, "patient": sop_classes.PATIENT_ROOT_GET}

_JPEG: Final = "1.2.840.10008.1.2.4."
USUAL_COMPRESSED: Final = (
    f"{_JPEG}70",  # JPEG Lossless, Process 14, Selection Value 1
    f"{_JPEG}90",  # JPEG 2000 Lossless
    f"{_JPEG}50",  # JPEG Baseline
    f"{_JPEG}80",  # JPEG-LS Lossless
    "1.2.840.10008.1.2.5",  # RLE Lossless
    f"{_JPEG}91",  # JPEG 2000
)
"""Compressed transfer syntaxes in which images are usually kept, most usual first."""

_STORAGE: Final = "1.2.840.10008.5.1.4.1.1."
_USUAL_IMAGES: Final = tuple(
    _STORAGE + tail
    for tail in (
        "2", "4", "1.1", "7", "1", "6.1", "3.1", "12.1", "1.2", "128", "20", "2.1", "4.1", "13.1.3", "77.1.4",
        "12.2",
    )
)  # fmt: skip
_USUAL_OTHERS: Final = tuple(
    _STORAGE + tail
    for tail in (
        "88.11", "88.22", "88.33", "88.34", "88.59", "88.67", "11.1", "11.2", "104.1", "104.2", "66.4", "66.1",
        "66", "481.1", "481.2", "481.3", "481.5", "481.8", "1.1.1", "1.2.1", "7.1", "7.2", "7.3", "7.4", "9.1.1",
        "9.1.2", "4.2", "130", "30", "67",
    )
)  # fmt: skip
USUAL_STORAGE: Final = _USUAL_IMAGES + _USUAL_OTHERS
"""Storage SOP classes that a study usually has, most usual first."""

VERIFICATION: Final = (Proposal(sop_classes.VERIFICATION, NETWORK_SYNTAXES),)
COMMITMENT: Final = (Proposal(sop_classes.STORAGE_COMMITMENT_PUSH_MODEL, NETWORK_SYNTAXES),)


def for_find(root: Root = "study") -> tuple[Proposal, ...]:
    return (Proposal(FIND[root], NETWORK_SYNTAXES),)


def for_move(root: Root = "study") -> tuple[Proposal, ...]:
    return (Proposal(MOVE[root], NETWORK_SYNTAXES),)


def for_storage(
    pairs: Iterable[tuple[str, str]], *, alternatives: bool = False, limit: int = MAX_CONTEXTS
) -> tuple[Proposal, ...]:
    """A context for each pair of SOP class and transfer syntax, so that every object can go as it is.

    alternatives:  as long as there is room, also one for each class of uncompressed objects in all the
                   other uncompressed transfer syntaxes, for peers that do not take theirs
    limit:         contexts in all that alternatives may fill up to
    """
    wanted = tuple(dict.fromkeys(pairs))
    proposals = [Proposal(sop_class, (syntax,)) for sop_class, syntax in wanted]
    if alternatives:
        own = dict.fromkeys(sop_class for sop_class, syntax in wanted if syntax in UNCOMPRESSED)
        for sop_class in tuple(own)[: max(0, limit - len(proposals))]:
            others = tuple(other for other in UNCOMPRESSED if (sop_class, other) not in wanted)
            if others:
                proposals.append(Proposal(sop_class, others))
    return tuple(proposals)


def for_get(
    root: Root = "study",
    *,
    storage_classes: Iterable[str] = USUAL_STORAGE,
    compressed: Iterable[str] = USUAL_COMPRESSED,
    limit: int = MAX_CONTEXTS,
) -> tuple[Proposal, ...]:
    """C-GET, and the storage classes that the peer may send us on the same association.

    Every class gets a context for uncompressed objects; then, as long as there is room, each compressed
    transfer syntax gets one for each class, in the order given: an object comes as it is stored, or not at all.

    limit:  contexts in all
    """
    receiver = Role(scu=False, scp=True)
    classes = tuple(dict.fromkeys(storage_classes))
    proposals = [Proposal(GET[root], NETWORK_SYNTAXES)]
    proposals += (Proposal(uid, NETWORK_SYNTAXES, receiver) for uid in classes)
    images = tuple(uid for uid in classes if uid not in _USUAL_OTHERS)
    proposals += (Proposal(uid, (syntax,), receiver) for syntax in compressed for uid in images)
    return tuple(proposals[:limit])
