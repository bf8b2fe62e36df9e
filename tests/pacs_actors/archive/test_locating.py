from __future__ import annotations

import pytest

from pacs_actors.archive import locating
from pacs_actors.archive.catalogue import Catalogue
from pacs_actors.archive.locating import location
from pacs_actors.archive.matching import Root
from protocols.dataset.identifier import Identifier
from protocols.errors import BadIdentifier
from tests.pacs_actors.archive.entries import CT, EXPLICIT, entry

PATIENT_ID, STUDY, SERIES, SOP = 0x00100020, 0x0020000D, 0x0020000E, 0x00080018


def asked(level: str, **keys: str) -> Identifier:
    tags = {"patient": PATIENT_ID, "study": STUDY, "series": SERIES, "sop": SOP}
    return Identifier(level, {tags[name]: value for name, value in keys.items()}, {}, "", ())


@pytest.fixture
async def filled(catalogue: Catalogue) -> Catalogue:
    numbers = [(n, series, study) for study in (1, 2) for series in (10, 2, 1) for n in (11, 2, 1)]
    await catalogue.index_batch([entry(n, series=e, study=s, patient=f"P{s}") for n, e, s in numbers])
    await catalogue.index_batch([entry(1, study=3, series=1, patient="P1", t00200011="x", t00200013="")])
    return catalogue


async def test_a_study_comes_by_series_and_instance_number(filled: Catalogue) -> None:
    found = await filled.locate(asked("STUDY", study="1.2.3.1"))
    uids = [f"1.2.3.1.{series}.{n}" for series in (1, 2, 10) for n in (1, 2, 11)]
    assert [each.sop_instance_uid for each in found] == uids
    first, wanted = found[0], entry(1, series=1, study=1, patient="P1")
    assert (first.sop_class_uid, first.transfer_syntax_uid) == (CT, EXPLICIT)
    assert (first.key, first.size_bytes, first.data_offset, first.digest) == (
        wanted.stored.key, wanted.stored.size_bytes, wanted.stored.data_offset, wanted.stored.digest,
    )  # fmt: skip
    assert (first.study_instance_uid, first.series_instance_uid) == ("1.2.3.1", "1.2.3.1.1")


async def test_every_level_and_lists(filled: Catalogue) -> None:
    async def count(identifier: Identifier, **options: bool) -> int:
        return len(await filled.locate(identifier, **options))

    assert await count(asked("PATIENT", patient="P1")) == 10
    assert await count(asked("STUDY", study="1.2.3.1\\1.2.3.2\\1.2.3.9")) == 18
    assert await count(asked("STUDY", study="1.2.3.1", patient="P2")) == 0
    assert await count(asked("SERIES", study="1.2.3.1", series="1.2.3.1.1\\1.2.3.1.2")) == 6
    assert (
        await count(asked("IMAGE", study="1.2.3.1", series="1.2.3.1.1", sop="1.2.3.1.1.1\\1.2.3.1.1.2")) == 2
    )
    assert await count(asked("IMAGE", study="1.2.3.2", series="1.2.3.1.1", sop="1.2.3.1.1.1")) == 0
    assert await count(asked("IMAGE", sop="1.2.3.1.1.1"), relational=True) == 1
    assert await count(asked("SERIES", series="1.2.3.1.1"), relational=True) == 3
    assert await count(asked("STUDY", study="9.9")) == 0


@pytest.mark.parametrize(
    ("identifier", "root"),
    [
        (asked("STUDY"), Root.STUDY),
        (asked("STUDY", study="*"), Root.STUDY),
        (asked("SERIES", series="1"), Root.STUDY),
        (asked("IMAGE", sop="1", study="2"), Root.STUDY),
        (asked("STUDY", study="1"), Root.PATIENT),
        (asked("PATIENT", patient="A\\B"), Root.PATIENT),
        (asked("PATIENT", patient="A*"), Root.PATIENT),
        (asked("SERIES", patient="A", study="1", series="2"), Root.PATIENT_STUDY_ONLY),
        (asked("", study="1"), Root.STUDY),
        (asked("FRAME", study="1"), Root.STUDY),
    ],
)
def test_a_missing_unique_key_or_wrong_level_is_refused(identifier: Identifier, root: Root) -> None:
    with pytest.raises(BadIdentifier) as refused:
        location(identifier, root, relational=False)
    assert refused.value.dimse_status == 0xA900


async def test_portions_do_not_change_the_order(filled: Catalogue, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = await filled.locate(asked("PATIENT", patient="P1"))
    monkeypatch.setattr(locating, "_ROWS_A_STATEMENT", 4)
    assert await filled.locate(asked("PATIENT", patient="P1")) == whole


async def test_too_many_matches_are_refused(filled: Catalogue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locating, "MAX_LOCATED", 9)
    assert len(await filled.locate(asked("STUDY", study="1.2.3.1"))) == 9
    with pytest.raises(locating.TooMany) as refused:
        await filled.locate(asked("PATIENT", patient="P1"))
    assert refused.value.dimse_status == 0xA701
