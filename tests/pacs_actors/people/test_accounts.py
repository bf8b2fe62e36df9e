"""Users, roles and scopes: rules without a database."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pacs_actors.archive.scope import EVERYTHING, NOTHING, ScopeRule
from pacs_actors.people.accounts import (
    MAX_RULES,
    MAX_VALUES,
    Role,
    RoleRule,
    RoleScope,
    User,
    actions_of,
    decoded_scope,
    fold_username,
    names_of,
    scope_of,
    scope_problem,
    username_problem,
)
from pacs_actors.people.rights import DESCRIPTIONS, Action

JANE = User(id=1, username="jane", display_name="Jane Doe", department="CARDIOLOGY")
NOBODY = User(id=2, username="nobody")


def role(*rules: RoleRule, everything: bool = False, actions: tuple[str, ...] = ()) -> Role:
    return Role("r", "", actions, RoleScope(everything, rules))


def test_rights_are_the_union_of_the_roles() -> None:
    first = role(RoleRule(modalities=("CT",)), actions=("study.search", "of a newer release"))
    second = role(RoleRule(sources=("MR1",)), actions=("study.view",))
    assert actions_of([first, second]) == {Action.SEARCH, Action.VIEW}
    assert scope_of(JANE, [first, second]).rules == (
        ScopeRule(modalities=("CT",)),
        ScopeRule(sources=("MR1",)),
    )
    assert scope_of(JANE, [first, role(everything=True)]) == EVERYTHING
    assert scope_of(JANE, []) == NOTHING


def test_own_department_and_own_name_are_those_of_who_has_the_role() -> None:
    own = [role(RoleRule(own_department=True)), role(RoleRule(modalities=("CT",), own_referring=True))]
    assert scope_of(JANE, own).rules == (
        ScopeRule(departments=("CARDIOLOGY",)),
        ScopeRule(modalities=("CT",), referring_physicians=("Jane Doe", "Doe^Jane")),
    )


def test_a_rule_about_what_somebody_does_not_have_shows_nothing() -> None:
    """Not everything that the rest of the rule would show."""
    own = [role(RoleRule(modalities=("CT",), own_department=True), RoleRule(own_referring=True))]
    assert scope_of(NOBODY, own) == NOTHING


def test_somebodys_own_scope_adds_to_the_roles() -> None:
    user = User(id=3, username="x", scope=RoleScope(rules=(RoleRule(studies=("1.2.3",)),)))
    assert scope_of(user, [role(RoleRule(modalities=("CT",)))]).rules == (
        ScopeRule(modalities=("CT",)),
        ScopeRule(studies=("1.2.3",)),
    )


@pytest.mark.parametrize(
    ("display_name", "names"),
    [
        ("", ()),
        ("  ", ()),
        ("Doe^Jane", ("Doe^Jane",)),
        ("Doe", ("Doe",)),
        ("Jane Doe", ("Jane Doe", "Doe^Jane")),
        ("Mary  Ann Doe", ("Mary Ann Doe", "Doe^Mary Ann", "Doe^Mary^Ann")),
    ],
)
def test_names_are_looked_for_as_data_sets_write_them(display_name: str, names: tuple[str, ...]) -> None:
    assert names_of(display_name) == names


@pytest.mark.parametrize(
    ("scope", "fault"),
    [
        (RoleScope(rules=(RoleRule(),)), "everything"),
        (RoleScope(rules=(RoleRule(modalities=("CT",)),) * (MAX_RULES + 1)), "rules"),
        (RoleScope(rules=(RoleRule(studies=("1",) * (MAX_VALUES + 1)),)), "values"),
        (RoleScope(rules=(RoleRule(sources=("",)),)), "characters"),
        (RoleScope(rules=(RoleRule(sources=("x" * 257,)),)), "characters"),
        (RoleScope(rules=(RoleRule(sources=("a\0b",)),)), "characters"),
    ],
)
def test_a_scope_that_means_nothing_or_too_much_is_refused(scope: RoleScope, fault: str) -> None:
    assert fault in (scope_problem(scope) or "")


def test_a_scope_with_a_rule_is_taken() -> None:
    assert (
        scope_problem(RoleScope(rules=(RoleRule(own_referring=True), RoleRule(modalities=("CT",))))) is None
    )


def test_a_stored_scope_that_cannot_be_read_shows_nothing() -> None:
    assert decoded_scope(None) is None
    assert decoded_scope('{"everything": true, "rules": []}') == RoleScope(everything=True)
    for damaged in ("", "[]", '{"everything": "yes"}', '{"everything": true, "of_tomorrow": 1}'):
        assert decoded_scope(damaged) == RoleScope()


def test_names_are_the_same_whatever_their_case_width_and_outer_spaces() -> None:
    assert fold_username(" ＡDMIN") == fold_username("admin") == "admin"
    assert fold_username("Straße") == fold_username("STRASSE")


@pytest.mark.parametrize("username", ["", " ", " a", "a\n", "a\0b", "x" * 129, "\u200b\n"])
def test_a_user_name_that_nobody_can_see_is_refused(username: str) -> None:
    assert username_problem(username)


@given(st.text(max_size=200))
def test_a_folded_name_can_be_stored_and_folds_to_itself(username: str) -> None:
    folded = fold_username(username)
    assert "\0" not in folded
    assert username_problem(username) or folded


def test_every_permission_is_explained() -> None:
    assert set(DESCRIPTIONS) == set(Action)
