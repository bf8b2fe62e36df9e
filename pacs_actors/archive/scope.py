"""Which studies of the archive somebody may see. Pure; ``scope_clause`` puts it into SQL.

A scope is a union of rules; within a rule every list that is not empty must be met. An empty scope sees nothing. Two scopes
that both count, such as those of an AE and of the user behind it, are one scope ``within`` the other.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from msgspec import Struct, structs

from config.scope import NodeScope, ScopeRule
from protocols.dataset.names import fold

__all__ = ["EVERYTHING", "NOTHING", "ScopeRule", "StudyScope", "both", "scope_clause", "scope_of_node"]


class StudyScope(Struct, frozen=True):
    """everything: no rule limits it, and nothing else either. within: the study must be in this scope as well"""

    everything: bool = False
    rules: tuple[ScopeRule, ...] = ()
    within: StudyScope | None = None


EVERYTHING: Final = StudyScope(everything=True)
NOTHING: Final = StudyScope()


def both(one: StudyScope, other: StudyScope) -> StudyScope:
    """The studies that are in both."""
    if one.everything or one == other:
        return other
    if other.everything:
        return one
    return structs.replace(one, within=other if one.within is None else both(one.within, other))


def scope_of_node(scope: NodeScope | None) -> StudyScope:
    """What a known AE sees; None: nothing is said about it, so everything."""
    return EVERYTHING if scope is None or scope.everything else StudyScope(rules=scope.rules)


def scope_clause(scope: StudyScope, parameter: Callable[[object, str], str]) -> str | None:
    """A condition on ``s`` (studies) for SQL; None if nothing limits it.

    parameter: adds a value of a PostgreSQL type and gives its place in the statement, such as ``$3::text[]``
    """
    if scope.everything:
        return None
    rules = [_rule(rule, parameter) for rule in scope.rules if not rule.empty]
    clause = f"({' OR '.join(rules)})" if rules else "false"
    if scope.within is not None and (outer := scope_clause(scope.within, parameter)) is not None:
        return f"({clause} AND {outer})"
    return clause


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
