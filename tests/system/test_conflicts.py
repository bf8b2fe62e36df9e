"""C-STORE of what is there already, of what contradicts it, and of what nobody should send (F18, F19, F22, F23, F26-F28)."""

from __future__ import annotations

import random
import zlib
from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from pydicom.filereader import _read_file_meta_info, read_preamble
from pydicom.uid import generate_uid

from tests.stored_objects import StoredObject
from tests.system import peers
from tests.system.peers import Instance
from tests.system.server import Server

SUCCESS, MISMATCH, CANNOT_UNDERSTAND = 0x0000, 0xA900, 0xC000
INVALID_INSTANCE, MISSING = 0x0117, 0x0120
DEFLATED = "1.2.840.10008.1.2.1.99"


def indexed(node: Server, uid: str) -> int:
    return int(node.sql(f"SELECT count(*) FROM instances WHERE sop_instance_uid = '{uid}'")[0])


def study_counts(node: Server, study: str) -> list[str]:
    """Series, instances and modalities of a study, asked at once: the answer waits for what was stored before."""
    keys = {
        "StudyInstanceUID": study,
        "NumberOfStudyRelatedSeries": "",
        "NumberOfStudyRelatedInstances": "",
        "ModalitiesInStudy": "",
    }
    (answer,) = peers.find(node, "STUDY", keys).data
    modalities = answer.ModalitiesInStudy
    listed = [modalities] if isinstance(modalities, str) else sorted(modalities)
    return [str(answer.NumberOfStudyRelatedSeries), str(answer.NumberOfStudyRelatedInstances), *listed]


def kept_bytes(node: Server, instance: Instance) -> bytes:
    _, inbox = peers.get(node, [instance], "STUDY", {"StudyInstanceUID": instance.study})
    return inbox.received[instance.uid][1]


def test_the_same_instance_again_is_taken_and_kept_once(node: Server) -> None:
    instance = peers.make()
    before = peers.counter(node, "duplicates")
    assert [peers.send(node, instance), peers.send(node, instance)] == [[SUCCESS], [SUCCESS]]
    assert study_counts(node, instance.study) == ["1", "1", "CT"]
    peers.wait_until(lambda: peers.counter(node, "duplicates") == before + 1, "the counter of duplicates")
    assert len(node.objects()) == int(node.sql("SELECT count(*) FROM instances")[0])


def test_ten_parallel_copies_of_an_instance_are_all_taken_and_kept_once(node: Server) -> None:
    instance = peers.make(PixelData=b"\x01\x02" * 30_000, Rows=1, Columns=1, BitsAllocated=16)
    before = peers.counter(node, "duplicates")
    with_all = partial(peers.send, node, instance)
    assert peers.at_once(*[with_all] * 10) == [[SUCCESS]] * 10
    assert study_counts(node, instance.study) == ["1", "1", "CT"]
    assert indexed(node, instance.uid) == 1
    peers.wait_until(lambda: peers.counter(node, "duplicates") == before + 9, "the counter of duplicates")
    assert len(node.objects()) == int(node.sql("SELECT count(*) FROM instances")[0])
    assert kept_bytes(node, instance) == instance.data


@pytest.mark.parametrize("what", ["pixels", "patient"])
def test_other_contents_under_a_taken_uid_are_put_aside_and_the_first_is_kept(
    node: Server, what: str
) -> None:
    first = peers.make(PatientID="FIRST", PatientName="First^One", Rows=1)
    other = {"Rows": 2} if what == "pixels" else {"PatientID": "SECOND", "PatientName": "Second^One"}
    dataset = peers.decode(first.data)
    for keyword, value in other.items():
        setattr(dataset, keyword, value)
    second = replace(first, data=peers.encode(dataset))
    conflicts, aside = peers.counter(node, "conflicts"), len(node.quarantined())

    assert peers.send(node, first, calling="ONE") == [SUCCESS]
    assert study_counts(node, first.study) == ["1", "1", "CT"]
    # The sender is told the same every time, and has nothing to do: both copies are safe.
    assert peers.send(node, second, calling="TWO") == [SUCCESS]
    assert study_counts(node, first.study) == ["1", "1", "CT"]

    assert kept_bytes(node, first) == first.data
    peers.wait_until(lambda: peers.counter(node, "conflicts") == conflicts + 1, "the counter of conflicts")
    assert len(node.quarantined()) == aside + 1
    rows = node.sql(
        f"SELECT source, address, why, object_key FROM quarantine WHERE sop_instance_uid = '{first.uid}'"
    )
    (row,) = rows
    source, address, why, key = row.split("|")
    assert (source, address, bool(why)) == ("TWO", "127.0.0.1", True)
    kept_aside = (node.data / key).read_bytes()
    assert kept_aside.endswith(second.data)
    audited = node.sql(
        f"SELECT event, who, details FROM audit_events WHERE '{first.uid}' = ANY (uids) AND event <> 'get' ORDER BY id"
    )
    assert any("conflict" in line and "|TWO|" in line for line in audited), audited
    assert "Second^One" not in node.log.read_text(), "no names in the log"
    assert not any("Second^One" in line for line in audited), "nor in the audit"


def object_of(node: Server, instance: Instance) -> tuple[str, StoredObject]:
    """Key, and object on the disk, of what the index says is an instance's object."""
    peers.find(node, "STUDY", {"StudyInstanceUID": instance.study})
    (key,) = node.sql(f"SELECT object_key FROM instances WHERE sop_instance_uid = '{instance.uid}'")
    return key, StoredObject(node.data, key)


def audited(node: Server, event: str, instance: Instance) -> list[str]:
    return node.sql(
        f"SELECT outcome, details->>'first_key', details->>'first_lost' FROM audit_events "
        f"WHERE event = '{event}' AND '{instance.uid}' = ANY (uids)"
    )


@pytest.mark.parametrize("lost", ["missing", "bytes", "record"])
def test_an_instance_whose_object_is_lost_is_healed_when_it_is_sent_again(node: Server, lost: str) -> None:
    instance = peers.make()
    aside = len(node.quarantined())
    assert peers.send(node, instance) == [SUCCESS]
    key, path = object_of(node, instance)
    whole = bytearray(path.read_bytes())
    if lost == "missing":
        path.unlink()
    else:
        whole[-9 if lost == "bytes" else 30] ^= 1
        path.write_bytes(bytes(whole))

    assert peers.send(node, instance) == [SUCCESS]
    peers.wait_until(lambda: object_of(node, instance)[0] != key, "the new object to have the place")
    assert kept_bytes(node, instance) == instance.data
    assert study_counts(node, instance.study) == ["1", "1", "CT"]
    assert audited(node, "object_healed", instance) == [f"warning|{key}|true"]
    assert len(node.quarantined()) - aside == (lost != "missing"), "what is left of the first is kept"
    assert not path.exists()


def test_other_contents_do_not_take_the_place_of_a_lost_object(node: Server) -> None:
    """The first content is what was answered for."""
    first = peers.make(Rows=1)
    dataset = peers.decode(first.data)
    dataset.Rows = 2
    second = replace(first, data=peers.encode(dataset))
    assert peers.send(node, first) == [SUCCESS]
    key, path = object_of(node, first)
    path.unlink()
    aside = len(node.quarantined())
    assert peers.send(node, second) == [SUCCESS]
    peers.wait_until(lambda: len(node.quarantined()) == aside + 1, "the second to be put aside")
    peers.wait_until(
        lambda: audited(node, "instance_quarantined", first) == [f"warning|{key}|true"], "the audit"
    )
    assert object_of(node, first)[0] == key
    assert peers.send(node, first) == [SUCCESS], "and the first heals it"
    peers.wait_until(lambda: object_of(node, first)[0] != key, "the first to be back")
    assert kept_bytes(node, first) == first.data


def test_a_conflict_that_comes_again_is_put_aside_again_with_the_same_answer(node: Server) -> None:
    first = peers.make(Rows=1)
    dataset = peers.decode(first.data)
    dataset.Rows = 2
    second = replace(first, data=peers.encode(dataset))
    assert peers.send(node, first) == [SUCCESS]
    study_counts(node, first.study)
    assert peers.send(node, second, second, first) == [SUCCESS] * 3
    assert study_counts(node, first.study) == ["1", "1", "CT"]
    assert kept_bytes(node, first) == first.data
    assert node.sql(f"SELECT count(*) FROM quarantine WHERE sop_instance_uid = '{first.uid}'") == ["2"]


def test_one_of_many_parallel_contents_wins_and_all_others_are_put_aside(node: Server) -> None:
    first = peers.make()
    contents = []
    for rows in range(1, 7):
        dataset = peers.decode(first.data)
        dataset.Rows = rows
        contents.append(replace(first, data=peers.encode(dataset)))
    assert peers.at_once(*[partial(peers.send, node, one) for one in contents]) == [[SUCCESS]] * 6
    assert study_counts(node, first.study) == ["1", "1", "CT"]
    winner = kept_bytes(node, first)
    aside = node.sql(f"SELECT object_key FROM quarantine WHERE sop_instance_uid = '{first.uid}'")
    losers = [(node.data / key).read_bytes() for key in aside]
    assert len(losers) == 5
    assert all(one.data == winner or any(kept.endswith(one.data) for kept in losers) for one in contents)


def test_an_instance_of_another_patient_in_the_same_study_is_kept_and_audited(node: Server) -> None:
    first = peers.make(PatientID="OWNER")
    stranger = peers.make(PatientID="STRANGER", StudyInstanceUID=first.study)
    assert peers.send(node, first, stranger) == [SUCCESS, SUCCESS]
    assert study_counts(node, first.study) == ["2", "2", "CT"]
    peers.wait_until(
        lambda: node.sql(
            f"SELECT 1 FROM audit_events WHERE '{stranger.uid}' = ANY (uids) AND event LIKE '%mismatch%'"
        ),
        "the audit of the mismatch",
    )


def test_eight_senders_of_one_study_in_any_order_give_exact_counts(node: Server) -> None:
    study, patient = generate_uid(), "EIGHT"
    kinds = [("CT", peers.CT), ("MR", peers.MR), ("OT", peers.SECONDARY_CAPTURE)]
    series = [(generate_uid(), *kinds[n % 3]) for n in range(6)]
    instances = [
        peers.make(
            sop_class,
            StudyInstanceUID=study,
            SeriesInstanceUID=uid,
            Modality=modality,
            PatientID=patient,
            InstanceNumber=n,
            PatientName="Eight^Senders" if n % 2 else None,
        )
        for uid, modality, sop_class in series
        for n in range(16)
    ]
    order = random.Random(8)  # the same disorder every time
    order.shuffle(instances)
    shares = [instances[n::8] for n in range(8)]
    # Each also sends a part of its neighbour's, so that duplicates race with first copies.
    shares = [share + shares[(n + 1) % 8][:4] for n, share in enumerate(shares)]
    answers = peers.at_once(*[partial(peers.send, node, *share) for share in shares])
    assert Counter(status for each in answers for status in each) == {SUCCESS: sum(map(len, shares))}
    assert study_counts(node, study) == ["6", "96", "CT", "MR", "OT"]
    keys = {
        "StudyInstanceUID": study,
        "SeriesInstanceUID": "",
        "NumberOfSeriesRelatedInstances": "",
        "Modality": "",
    }
    found = peers.find(node, "SERIES", keys).data
    assert {
        (str(one.SeriesInstanceUID), str(one.Modality), int(one.NumberOfSeriesRelatedInstances))
        for one in found
    } == {(str(uid), modality, 16) for uid, modality, _ in series}
    assert not node.logged("index_waits"), "no deadlock came to the surface"
    (whole,) = peers.find(node, "PATIENT", {"PatientID": patient, "PatientName": ""}, root="patient").data
    assert whole.PatientName == "Eight^Senders", "what the first instance lacks comes with a later one"


@pytest.mark.parametrize("what", ["instance", "class"])
def test_a_command_that_contradicts_its_data_set_is_refused_and_nothing_is_indexed(
    node: Server, what: str
) -> None:
    instance = peers.make()
    claimed = generate_uid()
    sent = replace(instance, uid=claimed) if what == "instance" else replace(instance, sop_class=peers.MR)
    objects = len(node.objects())
    with peers.opened(node, [sent.context, instance.context]) as association:
        assert peers.store(association, sent) == MISMATCH
        assert peers.find(node, "STUDY", {"StudyInstanceUID": instance.study}).data == []
        assert (indexed(node, instance.uid), indexed(node, claimed)) == (0, 0)
        assert len(node.objects()) == objects
        assert peers.store(association, instance) == SUCCESS, "the association goes on"


@pytest.mark.parametrize(
    "keyword", ["SOPInstanceUID", "SOPClassUID", "StudyInstanceUID", "SeriesInstanceUID"]
)
def test_an_instance_that_lacks_a_uid_is_refused(node: Server, keyword: str) -> None:
    instance = peers.make()
    dataset = peers.decode(instance.data)
    delattr(dataset, keyword)
    broken = replace(instance, data=peers.encode(dataset))
    assert peers.send(node, broken, instance) == [MISMATCH, SUCCESS]


def nested(depth: int) -> Instance:
    """An instance with sequences of undefined length in each other, in front of its UIDs."""
    instance = peers.make()
    opening = b"\x08\x00\x06\x00SQ\0\0\xff\xff\xff\xff" + b"\xfe\xff\x00\xe0\xff\xff\xff\xff"
    closing = b"\xfe\xff\x0d\xe0\0\0\0\0" + b"\xfe\xff\xdd\xe0\0\0\0\0"
    return replace(instance, data=opening * depth + closing * depth + instance.data)


def test_nesting_that_real_data_has_is_taken_and_a_deeper_one_is_refused(node: Server) -> None:
    shallow, deep, abyss = nested(8), nested(5_000), nested(100_000)
    assert peers.send(node, shallow, deep, abyss, peers.make()) == [
        SUCCESS,
        CANNOT_UNDERSTAND,
        CANNOT_UNDERSTAND,
        SUCCESS,
    ]


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        (b"Nul\0in^Name", "Nul in^Name"),
        (b"Esc\x1b[31m^Red", None),
        (b"\xff\xfe\xfd", None),
        (b"<script>alert(1)</script>", "<script>alert(1)</script>"),
        (b"'; DROP TABLE patients; --", "'; DROP TABLE patients; --"),
    ],
)
def test_hostile_text_is_kept_bit_exact_and_harms_nobody(
    node: Server, name: bytes, shown: str | None
) -> None:
    padded = name + b" " * (len(name) % 2)
    instance = peers.make(PatientName="N" * len(padded))
    hostile = replace(instance, data=instance.data.replace(b"N" * len(padded), padded))
    assert peers.send(node, hostile) == [SUCCESS]
    assert kept_bytes(node, hostile) == hostile.data
    (answer,) = peers.find(node, "STUDY", {"StudyInstanceUID": instance.study, "PatientName": ""}).data
    text = str(answer.PatientName)
    assert "\0" not in text
    assert "\x1b" not in text
    if shown is not None:
        assert text.replace("\N{REPLACEMENT CHARACTER}", " ") == shown


@pytest.mark.parametrize("character_set", ["zlib_codec", "ISO_IR 999", "../../etc", "ISO_IR 192\\ISO_IR 100"])
def test_character_sets_that_are_none_lose_no_instance(node: Server, character_set: str) -> None:
    padded = character_set.encode() + b" " * (len(character_set) % 2)
    instance = peers.make(SpecificCharacterSet="X" * len(padded), PatientName="Plain^Name")
    hostile = replace(instance, data=instance.data.replace(b"X" * len(padded), padded))
    assert peers.send(node, hostile) == [SUCCESS]
    (answer,) = peers.find(node, "STUDY", {"StudyInstanceUID": instance.study, "PatientName": ""}).data
    assert answer.PatientName == "Plain^Name"


@pytest.mark.parametrize(
    "uid", ["../../../../etc/passwd", "1.2/../../3", "..", "/etc/passwd", "1.2\\1.3", "1.2.3\0x"]
)
def test_a_uid_that_is_a_path_is_refused_and_reaches_no_file(node: Server, uid: str) -> None:
    before = {path for path in node.data.parent.rglob("*") if node.data not in path.parents}
    padded = uid.encode() + b"\0" * (len(uid) % 2)
    instance = peers.make(SOPInstanceUID="9" * len(padded))
    hostile = replace(instance, uid=uid, data=instance.data.replace(b"9" * len(padded), padded))
    assert peers.send(node, hostile) == [INVALID_INSTANCE]
    assert {path for path in node.data.parent.rglob("*") if node.data not in path.parents} == before


def test_a_patient_id_that_is_a_path_is_only_a_text(node: Server) -> None:
    name = "../../../../tmp/evil"
    before = {path for path in node.data.parent.rglob("*") if node.data not in path.parents}
    instance = peers.make(PatientID=name, PatientName=name, StudyID=name[-16:])
    assert peers.send(node, instance) == [SUCCESS]
    answers = peers.find(node, "STUDY", {"PatientID": name, "StudyInstanceUID": ""})
    assert answers.values("StudyInstanceUID") == [instance.study]
    assert {path for path in node.data.parent.rglob("*") if node.data not in path.parents} == before


def test_a_store_without_a_data_set_is_refused(node: Server) -> None:
    instance = peers.make()
    with peers.opened(node, [instance.context]) as association:
        assert peers.store(association, replace(instance, data=b"")) == MISSING
        assert peers.store(association, instance) == SUCCESS, "the association goes on"


HOSTILE = [path for path in peers.shared("hostile/generated") if path.stat().st_size]


@pytest.mark.skipif(not HOSTILE, reason="the hostile files are not there")
@pytest.mark.parametrize("path", HOSTILE, ids=[path.name for path in HOSTILE])
def test_a_hostile_file_gets_a_typed_answer_and_leaves_the_server_well(node: Server, path: Path) -> None:
    before = {path for path in node.data.parent.rglob("*") if node.data not in path.parents}
    instance = as_sent(path)
    taken = indexed(node, instance.uid)  # two deflated ones share a UID that nobody can exchange
    crashes = len(node.logged("association_crashed"))
    with peers.opened(node, [instance.context]) as association:
        status = peers.store(association, instance)
        assert status in (SUCCESS, MISMATCH, CANNOT_UNDERSTAND, INVALID_INSTANCE), f"{status:04X}"
        assert peers.store(association, as_stored(instance)) == SUCCESS, "the association goes on"
    if status == SUCCESS and not taken:
        _, inbox = peers.get(node, [instance], "IMAGE", {"SOPInstanceUID": instance.uid}, relational=True)
        assert inbox.received[instance.uid] == (instance.syntax, instance.data)
    assert indexed(node, instance.uid) == (status == SUCCESS or taken)
    assert len(node.logged("association_crashed")) == crashes
    assert {path for path in node.data.parent.rglob("*") if node.data not in path.parents} == before


def as_stored(instance: Instance) -> Instance:
    """A sound instance for the same presentation context."""
    sound = peers.make(instance.sop_class)
    return replace(
        sound,
        syntax=instance.syntax,
        data=deflated(sound.data) if instance.syntax == DEFLATED else sound.data,
    )


def deflated(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    packed = packer.compress(data) + packer.flush()
    return packed + b"\0" * (len(packed) % 2)


def as_sent(path: Path) -> Instance:
    """What a sender that looks no closer would send, under a UID of its own: all the files have the same."""
    whole = path.read_bytes()
    offset, syntax = 0, peers.EXPLICIT
    try:
        with path.open("rb") as file:
            read_preamble(file, force=False)
            meta = _read_file_meta_info(file)
            offset, syntax = file.tell(), str(meta.get("TransferSyntaxUID", peers.EXPLICIT))
    except Exception:  # then the file as it is
        meta = {}
    sop_class = str(meta.get("MediaStorageSOPClassUID", "") or peers.SECONDARY_CAPTURE)
    shared = str(meta.get("MediaStorageSOPInstanceUID", "") or generate_uid())
    own = (
        f"1.2.{HOSTILE.index(path) + 10 ** (len(shared) - 5)}"
        if shared.encode() in whole[offset:]
        else shared
    )
    return Instance(sop_class, own, syntax, whole[offset:].replace(shared.encode(), own.encode()))
