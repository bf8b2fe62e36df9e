"""What a lifecycle policy says, and whether it makes sense. Pure; ``selection`` puts it into SQL."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final, Literal

from msgspec import Meta, Struct

from pacs_actors.lifecycle.copies import Form
from pacs_actors.lifecycle.moves import ONLINE

Action = Literal["copy", "move", "remove", "delete"]
Tier = Literal["nearline", "archive"]
_Days = Annotated[int, Meta(ge=0, le=36500)]
_Words = Annotated[tuple[Annotated[str, Meta(min_length=1, max_length=64)], ...], Meta(max_length=64)]


class When(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which studies: those that meet all of it. What is 0 or empty asks for nothing.

    received_before_days:   since their first instance came
    study_before_days:      since their Study Date; one without a date does not meet it
    unused_for_days:        since they were last retrieved or viewed, or received
    at_least_bytes, at_most_bytes
    modalities:             one of ModalitiesInStudy
    body_parts, stations, institutions, departments, sources: of one of their series, as written in it
    labels:                 one of the study's labels; without_labels: none of them
    workflow_states:        one of them
    patient_classes:        one of them
    online_free_below_percent: only while the online store has less room than that
    """

    received_before_days: _Days = 0
    study_before_days: _Days = 0
    unused_for_days: _Days = 0
    at_least_bytes: Annotated[int, Meta(ge=0)] = 0
    at_most_bytes: Annotated[int, Meta(ge=0)] = 0
    modalities: _Words = ()
    body_parts: _Words = ()
    stations: _Words = ()
    institutions: _Words = ()
    departments: _Words = ()
    sources: _Words = ()
    labels: _Words = ()
    without_labels: _Words = ()
    workflow_states: _Words = ()
    patient_classes: _Words = ()
    online_free_below_percent: Annotated[float, Meta(ge=0, le=100)] = 0


class Rule(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What to do with them.

    action:          copy: to ``to_store`` as well. move: to ``to_store``, and away from ``from_store``. remove: from
                     ``from_store``, where a verified copy is elsewhere. delete: from everywhere; it can be undone as any
    form:            how copies are compressed in ``to_store``
    retention_days:  of a deletion: how long a study is kept in any case, counted from its arrival and its Study Date
    studies_a_run:   most studies of one run
    """

    when: When = When()
    action: Action
    from_store: Annotated[str, Meta(max_length=64)] = ""
    to_store: Annotated[str, Meta(max_length=64)] = ""
    form: Form = "plain"
    retention_days: _Days = 0
    studies_a_run: Annotated[int, Meta(ge=1, le=10_000)] = 500


_WANTS: Final[dict[Action, tuple[bool, bool]]] = {
    "copy": (False, True), "move": (True, True), "remove": (True, False), "delete": (False, False),
}  # fmt: skip


def problems(rule: Rule, tiers: Mapping[str, Tier]) -> list[str]:
    """Why a rule cannot be had; nothing if it can. tiers: of the stores there are, by name"""
    found = []
    for name, wanted, given in zip(
        ("from_store", "to_store"), _WANTS[rule.action], (rule.from_store, rule.to_store), strict=True
    ):
        if wanted and not given:
            found.append(f"{rule.action} wants {name}")
        elif given and not wanted:
            found.append(f"{rule.action} has no {name}")
    if rule.from_store not in ("", ONLINE, *tiers):
        found.append(f"there is no store {rule.from_store}")
    if rule.to_store and rule.to_store not in tiers:
        found.append(
            "studies come back online by a recall, not by a policy"
            if rule.to_store == ONLINE
            else f"there is no store {rule.to_store}"
        )
    if rule.from_store and rule.from_store == rule.to_store:
        found.append("from_store and to_store are the same")
    if rule.form != "plain" and not rule.to_store:
        found.append("form is of copies, and none is made")
    if rule.action == "delete" and not rule.retention_days:
        found.append("delete wants retention_days")
    if rule.action != "delete" and rule.retention_days:
        found.append("retention_days is of deletions")
    if rule.when.at_most_bytes and rule.when.at_most_bytes < rule.when.at_least_bytes:
        found.append("at_most_bytes is less than at_least_bytes")
    if set(rule.when.labels) & set(rule.when.without_labels):
        found.append("a label is both wanted and not wanted")
    return found
