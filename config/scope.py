"""Which studies somebody may see, as settings, roles and tables write it down."""

from __future__ import annotations

from msgspec import Struct


class ScopeRule(Struct, frozen=True, forbid_unknown_fields=True):
    """Studies that meet every list that is not empty. A rule without any is met by none.

    modalities:            one of ModalitiesInStudy
    sources:               AE title (or user) that sent the first instance of one of its series
    institutions:          Institution Name of one of its series
    departments:           Institutional Department Name of one of its series
    referring_physicians:  Referring Physician's Name, a component group of it, folded as the index folds names
    studies:               Study Instance UIDs, for explicit shares
    """

    modalities: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    institutions: tuple[str, ...] = ()
    departments: tuple[str, ...] = ()
    referring_physicians: tuple[str, ...] = ()
    studies: tuple[str, ...] = ()

    @property
    def empty(self) -> bool:
        return not any(
            (
                self.modalities,
                self.sources,
                self.institutions,
                self.departments,
                self.referring_physicians,
                self.studies,
            )
        )


class NodeScope(Struct, frozen=True, forbid_unknown_fields=True):
    """Studies that meet one of the rules. everything: no rule limits it"""

    everything: bool = False
    rules: tuple[ScopeRule, ...] = ()
