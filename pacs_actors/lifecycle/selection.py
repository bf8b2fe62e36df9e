"""Which studies a policy's rule names, as a condition in SQL. Pure.

Studies are ``s``, what is known of them besides their images is ``u``. Studies under a legal hold, and those that are on their way
already, are never named; nor are those whose move failed within a day, or they would keep others from their turn.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

from pacs_actors.archive.criteria import Conditions
from pacs_actors.lifecycle.moves import ONLINE
from pacs_actors.lifecycle.policies import Rule

TABLES: Final = "studies s LEFT JOIN study_storage u ON u.study_instance_uid = s.study_instance_uid"
# The longest unused first: what somebody looked at yesterday stays quick if there is room for anything.
ORDER: Final = "coalesce(u.accessed_at, s.received_at), s.id"
_NOT_HELD: Final = (
    "NOT EXISTS (SELECT FROM legal_holds h "
    "WHERE h.study_instance_uid = s.study_instance_uid AND h.lifted_at IS NULL)"
)
_NOT_UNDER_WAY: Final = (
    "NOT EXISTS (SELECT FROM tier_moves m WHERE m.study_instance_uid = s.study_instance_uid "
    "AND m.state IN ('waiting', 'running'))"
)
_SERIES: Final = (
    ("body_part_examined", "body_parts"), ("station_name", "stations"), ("institution_name", "institutions"),
    ("institutional_department_name", "departments"), ("source", "sources"),
)  # fmt: skip


def condition(rule: Rule, now: datetime, conditions: Conditions) -> str:
    """now: by which ages are counted"""
    when, add = rule.when, conditions.parameter

    def before(column: str, days: int) -> str:
        return f"{column} <= {add(now, 'timestamptz')} - make_interval(days => {add(days, 'integer')})"

    def study_date_before(days: int) -> str:
        limit = (
            f"to_char({add(now, 'timestamptz')} - make_interval(days => {add(days, 'integer')}), 'YYYYMMDD')"
        )
        return f'dicom_date(s.study_date) <= ({limit} COLLATE "C")'

    parts = [_NOT_HELD, _NOT_UNDER_WAY, *_place(rule, conditions)]
    if when.received_before_days:
        parts.append(before("s.received_at", when.received_before_days))
    if when.study_before_days:
        parts.append(study_date_before(when.study_before_days))
    if when.unused_for_days:
        parts.append(before("greatest(u.accessed_at, s.received_at)", when.unused_for_days))
    if when.at_least_bytes:
        parts.append(f"s.size_bytes >= {add(when.at_least_bytes, 'bigint')}")
    if when.at_most_bytes:
        parts.append(f"s.size_bytes <= {add(when.at_most_bytes, 'bigint')}")
    if when.modalities:
        parts.append(f"s.modalities_in_study && {add(list(when.modalities), 'text[]')}")
    for column, name in _SERIES:
        if wanted := getattr(when, name):
            values = add(list(wanted), "text[]")
            parts.append(
                f"EXISTS (SELECT FROM series x WHERE x.study = s.id AND x.{column} = ANY ({values}))"
            )
    if when.labels:
        parts.append(f"u.labels && {add(list(when.labels), 'text[]')}")
    if when.without_labels:
        parts.append(f"NOT coalesce(u.labels && {add(list(when.without_labels), 'text[]')}, false)")
    if when.workflow_states:
        parts.append(f"u.workflow_state = ANY ({add(list(when.workflow_states), 'text[]')})")
    if when.patient_classes:
        parts.append(f"u.patient_class = ANY ({add(list(when.patient_classes), 'text[]')})")
    if rule.action == "delete":
        # Counted from both: a study of long ago that came yesterday is kept, and so is one with a wrong date.
        parts.append(before("s.received_at", rule.retention_days))
        parts.append(study_date_before(rule.retention_days))
    else:
        parts.append(
            "NOT EXISTS (SELECT FROM tier_moves f WHERE f.study_instance_uid = s.study_instance_uid AND f.state = 'failed' "
            f"AND f.from_store = {add(rule.from_store, 'text')} AND f.to_store = {add(rule.to_store, 'text')} "
            f"AND f.ended_at > {add(now, 'timestamptz')} - interval '1 day')"
        )
    return " AND ".join(parts)


def _place(rule: Rule, conditions: Conditions) -> list[str]:
    """Studies at which there is something to do."""

    def complete(store: str) -> str:
        name = conditions.parameter(store, "text")
        return (
            f"EXISTS (SELECT FROM study_copies y WHERE y.study_instance_uid = s.study_instance_uid AND y.store = {name} "
            "AND y.instances = s.number_of_instances)"
        )

    some_online = (
        "(s.availability = 'ONLINE' OR u.recalled_at IS NOT NULL "
        "OR EXISTS (SELECT FROM series x WHERE x.study = s.id AND x.availability = 'ONLINE') "
        "OR EXISTS (SELECT FROM study_copies y WHERE y.study_instance_uid = s.study_instance_uid AND y.some_online))"
    )
    complete_somewhere = (
        "EXISTS (SELECT FROM study_copies y WHERE y.study_instance_uid = s.study_instance_uid "
        "AND y.instances = s.number_of_instances)"
    )
    match rule.action:
        case "copy":
            return [f"NOT {complete(rule.to_store)}"]
        case "move" if rule.from_store == ONLINE:
            # What has come to a series that was moved already is nowhere else yet.
            return [f"({some_online} OR NOT {complete_somewhere})"]
        case "move":
            return [complete(rule.from_store)]
        case "remove" if rule.from_store == ONLINE:
            return [some_online, complete_somewhere]
        case "remove":
            return [complete(rule.from_store)]
        case _:
            return []
