"""Which studies of the archive somebody may see. Pure; ``scope_clause`` puts it into SQL.

A scope is a union of rules; within a rule every list that is not empty must be met. An empty scope sees nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from msgspec import Struct

from protocols.dataset.names import fold


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


class StudyScope(Struct, frozen=True):
    """everything: no rule limits it."""

    everything: bool = False
    rules: tuple[ScopeRule, ...] = ()


EVERYTHING: Final = StudyScope(everything=True)
NOTHING: Final = StudyScope()


def scope_clause(scope: StudyScope, parameter: Callable[[object, str], str]) -> str | None:
    """A condition on ``s`` (studies) for SQL; None if nothing limits it.

    parameter: adds a value of a PostgreSQL type and gives its place in the statement, such as ``$3::text[]``
    """
    if scope.everything:
        return None
    rules = [_rule(rule, parameter) for rule in scope.rules if not rule.empty]
    return f"({' OR '.join(rules)})" if rules else "false"


def _rule(rule: ScopeRule, parameter: Callable[[object, str], str]) -> str:
    def listed(values: tuple[str, ...]) -> str:
        return parameter(list(values), "text[]")

    parts = []
    if rule.studies:
        parts.append(f"s.study_instance_uid = ANY ({listed(rule.studies)})")
    if rule.modalities:
        parts.append(f"s.modalities_in_study && {listed(rule.modalities)}")
    if rule.referring_physicians:
        names = listed(tuple(fold(name) for name in rule.referring_physicians))
        groups = ("alphabetic", "ideographic", "phonetic")
        either = " OR ".join(f"s.referring_physician_name_{group} = ANY ({names})" for group in groups)
        parts.append(f"({either})")
    for column, values in (
        ("source", rule.sources),
        ("institution_name", rule.institutions),
        ("institutional_department_name", rule.departments),
    ):
        if values:
            parts.append(
                f"EXISTS (SELECT FROM series x WHERE x.study = s.id AND x.{column} = ANY ({listed(values)}))"
            )
    return f"({' AND '.join(parts)})"
