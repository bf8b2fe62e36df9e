"""The SQL function that indexes a batch: ``index_batch.sql``, its column lists filled in from ``INDEXED``."""

from __future__ import annotations

import hashlib
from importlib import resources
from typing import Final

from pacs_actors.archive.columns import column, columns_of, stored
from protocols.dataset.attributes import Level

INSTANCE_COLUMNS: Final = tuple(column(attribute) for attribute in stored(Level.IMAGE))

# What is sent of every instance besides INSTANCE_COLUMNS: columns as they are, and two that are converted.
_FACTS: Final = {
    "transfer_syntax_uid": "text", "character_set": "text", "object_key": "text", "slot": "integer",
    "batch": "bigint", "size_bytes": "bigint", "data_offset": "integer", "digest": "bytea", "source": "text",
}  # fmt: skip
_CONVERTED: Final = {"custom": "text", "received_ns": "bigint"}
_SENT: Final = dict.fromkeys(INSTANCE_COLUMNS, "text") | _FACTS | _CONVERTED

_JSON: Final = frozenset({"custom", "request_attributes"})
_UPPER: Final = {
    "patient": (*columns_of(Level.PATIENT), "only_study", "custom"),
    "study": (*columns_of(Level.STUDY), "custom"),
    "series": (*columns_of(Level.SERIES), "custom"),
}
# Columns that tell a level's row where it belongs.
_LINKS: Final = {
    "patient": ("study_instance_uid",),
    "study": ("patient_id", "issuer_of_patient_id", "only_study"),
    "series": ("study_instance_uid",),
}

_RESOLVE: Final = """SELECT array_agg(e.id ORDER BY g.ord), array_agg(s.id ORDER BY g.ord),
        array_agg(p.id ORDER BY g.ord),
        array_agg(coalesce(g.patient_id <> '' AND (g.patient_id <> p.patient_id
            OR (g.issuer <> '' AND p.issuer_of_patient_id <> '' AND g.issuer <> p.issuer_of_patient_id)), false)
            ORDER BY g.ord),
        array_agg(coalesce(g.patient_id <> '' AND (p.patient_id = ''
            OR (p.patient_id = g.patient_id AND p.issuer_of_patient_id = '' AND g.issuer <> '')), false) ORDER BY g.ord),
        count(e.id)
    INTO series_ids, study_ids, patient_ids, mismatched, says_more, known
    FROM unnest(study_uids, series_uids, patients_asked, issuers)
        WITH ORDINALITY g (study_uid, series_uid, patient_id, issuer, ord)
    LEFT JOIN studies s ON s.study_instance_uid = g.study_uid
    LEFT JOIN series e ON e.series_instance_uid = g.series_uid AND e.study = s.id
    LEFT JOIN patients p ON p.id = s.patient;"""


# Whether a group's record r says more of whose its study is than the study's patient q does.
_SAYS_MORE: Final = """(r.patient_id <> '' AND (q.patient_id = '' OR (q.patient_id = r.patient_id
                    AND q.issuer_of_patient_id = '' AND r.issuer_of_patient_id <> '')))"""


def _listed(names: tuple[str, ...] | dict[str, str], prefix: str = "") -> str:
    return ", ".join(prefix + name for name in names)


def _records(names: tuple[str, ...]) -> str:
    """The groups as rows; values that a group's JSON object leaves out are NULL."""
    typed = ", ".join(f"{name} {'jsonb' if name in _JSON else 'text'}" for name in names)
    return f"ROWS FROM (json_to_recordset(groups) AS ({typed})) WITH ORDINALITY"


def _values(names: tuple[str, ...]) -> str:
    blank = {"custom": "'{}'", "request_attributes": "NULL"}
    return ", ".join(f"coalesce(r.{name}, {blank.get(name, chr(39) * 2)})" for name in names)


def _fill(table: str, names: tuple[str, ...], ids: str, and_only: str = "") -> str:
    """Blank columns take the value of a later instance; what is there stays."""
    texts = tuple(name for name in names if name not in _JSON and name != "only_study")
    sets = ", ".join(
        f"{name} = CASE WHEN t.{name} = '' THEN coalesce(r.{name}, '') ELSE t.{name} END" for name in texts
    )
    wanted = " OR ".join(f"(t.{name} = '' AND r.{name} <> '')" for name in texts)
    return f"""PERFORM 1 FROM {table} t WHERE t.id = ANY ({ids}) ORDER BY t.id FOR NO KEY UPDATE;
        UPDATE {table} t SET {sets}, custom = coalesce(r.custom, '{{}}') || t.custom
        FROM (SELECT DISTINCT ON (g.id) g.id, {_listed((*texts, "custom"), "f.")}
              FROM unnest({ids}) WITH ORDINALITY g (id, ord) JOIN {_records(names)} f ON f.ordinality = g.ord
              ORDER BY g.id, g.ord) r
        WHERE t.id = r.id AND ({wanted} OR NOT t.custom @> r.custom) {and_only};"""  # noqa: S608 - names from INDEXED


def _filled_in() -> str:
    text = (resources.files("pacs_actors.archive") / "index_batch.sql").read_text("utf-8")
    kept = (*INSTANCE_COLUMNS, *_FACTS)
    same_patient = "AND t.patient_id = coalesce(r.patient_id, '')"
    parts = {
        "resolve": _RESOLVE,
        "says_more": _SAYS_MORE,
        "instance_parameters": ", ".join(f"in_{name} {kind}[]" for name, kind in _SENT.items()),
        "instance_columns": _listed(kept),
        # unnest pads the short array of a column whose values are all the same
        "instance_values": ", ".join(f"coalesce(i.{name}, in_{name}[1])" for name in kept),
        "instance_arguments": _listed(_SENT, "in_"),
        "instance_names": _listed(_SENT),
        "fill_series": _fill("series", _UPPER["series"], "series_ids"),
        "fill_studies": _fill("studies", _UPPER["study"], "study_ids"),
        "fill_patients": _fill("patients", _UPPER["patient"], "patient_ids", same_patient),
    }
    for level, names in _UPPER.items():
        parts[f"{level}_columns"] = _listed(names)
        parts[f"{level}_values"] = _values(names)
        parts[f"{level}_records"] = _records((*names, *_LINKS[level]))
    for name, part in parts.items():
        text = text.replace(f"@{name}@", part)
    return text


_TEXT: Final = _filled_in()
INDEX_FUNCTION: Final = f"index_batch_{hashlib.sha256(_TEXT.encode()).hexdigest()[:12]}"
CREATE_INDEX_FUNCTION: Final = _TEXT.replace("@function@", INDEX_FUNCTION)

_PARAMETERS: Final = 6 + len(_SENT) + 2 + 1
CALL_INDEX_FUNCTION: Final = f"SELECT {INDEX_FUNCTION}({', '.join(f'${n + 1}' for n in range(_PARAMETERS))})"
