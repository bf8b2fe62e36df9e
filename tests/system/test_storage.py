"""C-STORE: whatever comes is kept as it came, and can be found and fetched again."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from pydicom import Dataset, dcmread
from pydicom.data import get_charset_files
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import generate_uid

from protocols.ul.sop_classes import ALL_TRANSFER_SYNTAXES
from tests.system import peers
from tests.system.conftest import PRIVATE_CLASS
from tests.system.peers import Instance
from tests.system.server import Server, running

MEDIA_STORAGE_DIRECTORY = "1.2.840.10008.1.3.10"
BIG_ENDIAN = "1.2.840.10008.1.2.2"
DEFLATED = "1.2.840.10008.1.2.1.99"
JPIP_DEFLATED = ("1.2.840.10008.1.2.4.95", "1.2.840.10008.1.2.4.205")


@cache
def files() -> dict[str, Instance]:
    """Every file that holds an instance, by SOP Instance UID: pydicom's, and those that may be there besides."""
    found: dict[str, Instance] = {}
    for path in [*peers.bundled(), *peers.shared("dicom")]:
        instance = peers.from_file(path)
        if instance is not None and instance.sop_class != MEDIA_STORAGE_DIRECTORY:
            found.setdefault(instance.uid, instance)
    return found


def is_uid(text: str) -> bool:
    return set(text) <= set("0123456789.")


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One for these tests alone: others send the same files, and the first of a SOP Instance UID is the one that is kept."""
    options = (f"--dicom.private-storage-classes={PRIVATE_CLASS}",)
    with running(Server(tmp_path_factory.mktemp("storage") / "data", options=options)) as server:
        yield server


@pytest.fixture(scope="module")
def sent(node: Server) -> dict[str, Instance]:
    """All of them, stored."""
    instances = {uid: one for uid, one in files().items() if is_uid(uid)}
    statuses = peers.send(node, *instances.values())
    assert {uid: f"{status:04X}" for uid, status in zip(instances, statuses, strict=True) if status} == {}
    return instances


def in_groups(instances: dict[str, Instance], most: int = 126) -> Iterator[list[Instance]]:
    """As many as one association has contexts for."""
    group: list[Instance] = []
    for instance in instances.values():
        if len({one.context for one in (*group, instance)}) > most:
            yield group
            group = []
        group.append(instance)
    yield group


def test_there_is_enough_to_look_at(sent: dict[str, Instance]) -> None:
    assert len(sent) > 60
    assert len({one.syntax for one in sent.values()}) > 12
    assert len({one.sop_class for one in sent.values()}) > 10


def test_every_file_comes_back_byte_for_byte_in_its_own_transfer_syntax(
    node: Server, sent: dict[str, Instance]
) -> None:
    for group in in_groups(sent):
        uids = [one.uid for one in group]
        told, inbox = peers.get(node, group, "IMAGE", {"SOPInstanceUID": uids}, relational=True)
        assert told.counts() == (None, len(group), 0, 0)
        wrong = [one.uid for one in group if inbox.received.get(one.uid) != (one.syntax, one.data)]
        assert wrong == []


def test_an_instance_without_a_real_uid_is_refused(node: Server) -> None:
    named = [one for uid, one in files().items() if not is_uid(uid)]
    assert named, "pydicom brings one"
    assert peers.send(node, *named) == [0x0117] * len(named)
    listed = ", ".join(f"'{one.uid}'" for one in named)
    assert node.sql(f"SELECT count(*) FROM instances WHERE sop_instance_uid IN ({listed})") == ["0"]


def test_the_comparison_sees_a_single_flipped_bit(node: Server) -> None:
    """The control: what was not sent is not taken for what was."""
    instance = peers.make(Rows=16, Columns=16, BitsAllocated=8, PixelData=bytes(range(256)))
    assert peers.send(node, instance) == [0]
    _, inbox = peers.get(node, [instance], "STUDY", {"StudyInstanceUID": instance.study})
    flipped = bytearray(instance.data)
    flipped[-1] ^= 1
    assert inbox.received[instance.uid] == (instance.syntax, instance.data)
    assert inbox.received[instance.uid] != (instance.syntax, bytes(flipped))


def test_every_file_is_one_row_and_one_object(node: Server, sent: dict[str, Instance]) -> None:
    kept = node.sql("SELECT sop_instance_uid, transfer_syntax_uid, object_key FROM instances")
    rows = {uid: (syntax, key) for uid, syntax, key in (row.split("|") for row in kept)}
    assert {uid: rows.get(uid, ("",))[0] for uid in sent} == {uid: one.syntax for uid, one in sent.items()}
    objects = {one.key for one in node.objects()}
    assert {key for _, key in rows.values()} == objects
    assert len(kept) == len(rows) == len(objects)


def encoded_for(syntax: str) -> Instance:
    """An instance in a transfer syntax; what is compressed in it does not matter to the one who stores it."""
    whole = peers.make(Rows=2, Columns=2, PatientName=f"In^{syntax}")
    header = whole.data
    if syntax in (DEFLATED, *JPIP_DEFLATED):
        packer = zlib.compressobj(wbits=-15)
        data = packer.compress(header) + packer.flush()
        data += b"\0" * (len(data) % 2)
    elif syntax == peers.IMPLICIT:
        data = peers.encode(peers.decode(header), peers.IMPLICIT)
    elif syntax == BIG_ENDIAN:
        stream = DicomBytesIO()
        stream.is_little_endian, stream.is_implicit_VR = False, False
        write_dataset(stream, peers.decode(header))
        data = stream.getvalue()
    elif syntax == peers.EXPLICIT:
        data = header
    else:
        fragment = b"\xff\xd8\xff\xd9"
        items = (
            b"\xfe\xff\x00\xe0\0\0\0\0"
            + b"\xfe\xff\x00\xe0\x04\0\0\0"
            + fragment
            + b"\xfe\xff\xdd\xe0\0\0\0\0"
        )
        data = header + b"\xe0\x7f\x10\0OB\0\0\xff\xff\xff\xff" + items
    return Instance(whole.sop_class, whole.uid, syntax, data, whole.study, whole.series)


def test_every_transfer_syntax_of_the_standard_is_taken_and_given_back(node: Server) -> None:
    instances = [encoded_for(syntax) for syntax in ALL_TRANSFER_SYNTAXES]
    assert peers.send(node, *instances) == [0] * len(instances)
    studies = [one.study for one in instances]
    told, inbox = peers.get(node, instances, "STUDY", {"StudyInstanceUID": studies})
    assert told.counts() == (None, len(instances), 0, 0)
    assert inbox.received == {one.uid: (one.syntax, one.data) for one in instances}


def test_a_private_class_is_taken_when_a_setting_says_so(node: Server) -> None:
    instance = peers.make(PRIVATE_CLASS)
    assert peers.send(node, instance) == [0]
    answers = peers.find(
        node,
        "STUDY",
        {"StudyInstanceUID": instance.study, "SOPClassesInStudy": "", "NumberOfStudyRelatedInstances": ""},
    )
    assert answers.values("SOPClassesInStudy") == [PRIVATE_CLASS]


def test_a_private_class_is_not_taken_otherwise(node: Server) -> None:
    unknown = f"{PRIVATE_CLASS}.1"
    with peers.opened(node, [(unknown, peers.EXPLICIT), (peers.CT, peers.EXPLICIT)]) as association:
        assert [one.abstract_syntax for one in association.accepted_contexts] == [peers.CT]


def test_private_elements_and_unknown_vrs_are_kept(node: Server) -> None:
    dataset = peers.decode(peers.make().data)
    block = dataset.private_block(0x0029, "SOMEBODY", create=True)
    block.add_new(0x01, "UN", b"\x00\x01\x02\x03")
    inner = Dataset()
    inner.add_new(0x00291002, "SQ", Items([Dataset()]))
    block.add_new(0x03, "SQ", Items([inner]))
    data = peers.encode(dataset)
    instance = Instance(
        peers.CT, str(dataset.SOPInstanceUID), peers.EXPLICIT, data, str(dataset.StudyInstanceUID)
    )
    assert peers.send(node, instance) == [0]
    _, inbox = peers.get(node, [instance], "STUDY", {"StudyInstanceUID": instance.study})
    assert inbox.received[instance.uid][1] == data


# Character sets (PS3.3 C.12.1.1.2): what is stored under each, and what everybody gets to read.
NAMES = {
    "ISO_IR 6": "Smith^John",
    "ISO_IR 100": "Buc^Jérôme",
    "ISO_IR 101": "Wałęsa^Łukasz",
    "ISO_IR 109": "Ĉapelo^Ĝoja",
    "ISO_IR 110": "Bērziņš^Jānis",
    "ISO_IR 144": "Люкceмбypг",
    "ISO_IR 127": "قباني^لنزار",
    "ISO_IR 126": "Διονυσιος",
    "ISO_IR 138": "שרון^דבורה",
    "ISO_IR 148": "Çavuşoğlu^Gül",
    "ISO_IR 203": "Œuvrard^Zoë",
    "ISO_IR 13": "ﾔﾏﾀﾞ^ﾀﾛｳ",
    "ISO_IR 166": "สมชาย^ใจดี",
    "ISO_IR 192": "Wang^XiaoDong=王^小東",
    "GB18030": "Wang^XiaoDong=王^小东",
    "GBK": "Li^Ming=李^明",
    "\\ISO 2022 IR 87": "Yamada^Tarou=山田^太郎=やまだ^たろう",
    "\\ISO 2022 IR 149": "Hong^Gildong=洪^吉洞=홍^길동",
    "\\ISO 2022 IR 58": "Zhang^XiaoDong=张^小东",
}
CODECS = {
    "ISO_IR 6": "ascii",
    "ISO_IR 100": "iso8859-1",
    "ISO_IR 101": "iso8859-2",
    "ISO_IR 109": "iso8859-3",
    "ISO_IR 110": "iso8859-4",
    "ISO_IR 144": "iso8859-5",
    "ISO_IR 127": "iso8859-6",
    "ISO_IR 126": "iso8859-7",
    "ISO_IR 138": "iso8859-8",
    "ISO_IR 148": "iso8859-9",
    "ISO_IR 203": "iso8859-15",
    "ISO_IR 13": "shift_jis",
    "ISO_IR 166": "tis-620",
    "ISO_IR 192": "utf-8",
    "GB18030": "gb18030",
    "GBK": "gbk",
}
# With code extensions, as in the examples of PS3.5 annexes H, I and K.
ENCODED = {
    "\\ISO 2022 IR 87": b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B=\x1b$B$d$^$@\x1b(B^\x1b$B$?$m$&\x1b(B",
    "\\ISO 2022 IR 149": b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7=\x1b$)C\xc8\xab^\x1b$)C\xb1\xe6\xb5\xbf",
    "\\ISO 2022 IR 58": b"Zhang^XiaoDong=\x1b$)A\xd5\xc5^\x1b$)A\xd0\xa1\xb6\xab",
}


@pytest.mark.parametrize("character_set", NAMES)
def test_a_name_is_found_and_shown_whatever_character_set_it_came_in(
    node: Server, character_set: str
) -> None:
    name = NAMES[character_set]
    encoded = ENCODED.get(character_set) or name.encode(CODECS[character_set])
    padded = encoded + b" " * (len(encoded) % 2)
    sets = character_set.split("\\") if "\\" in character_set else character_set
    instance = peers.make(SpecificCharacterSet=sets, PatientName="N" * len(padded))
    instance = replace(instance, data=instance.data.replace(b"N" * len(padded), padded))
    assert peers.send(node, instance) == [0]
    (shown,) = peers.find(node, "STUDY", {"StudyInstanceUID": instance.study, "PatientName": ""}).data
    assert shown.PatientName == name
    assert shown.get("SpecificCharacterSet") == (None if name.isascii() else "ISO_IR 192")
    for group in name.split("="):
        asked = {"SpecificCharacterSet": "ISO_IR 192", "PatientName": group, "StudyInstanceUID": ""}
        assert instance.study in peers.find(node, "STUDY", asked).values("StudyInstanceUID"), group


def test_a_name_is_asked_for_in_the_character_set_of_the_request(node: Server) -> None:
    instance = peers.make(SpecificCharacterSet="ISO_IR 192", PatientName="Ünlü^Ayşe=王")
    assert peers.send(node, instance) == [0]
    for character_set in ("ISO_IR 192", "ISO_IR 148"):
        keys = {"SpecificCharacterSet": character_set, "PatientName": "Ünlü^Ayşe", "StudyInstanceUID": ""}
        assert instance.study in peers.find(node, "STUDY", keys).values("StudyInstanceUID")


def test_charset_files_of_pydicom_are_shown_as_pydicom_reads_them(
    node: Server, sent: dict[str, Instance]
) -> None:
    looked = 0
    for path in map(Path, get_charset_files()):
        instance = peers.from_file(path)
        if instance is None or sent.get(instance.uid) != instance:
            continue  # several of them share a UID: the first was kept
        expected = dcmread(path)
        keys = {"StudyInstanceUID": instance.study, "PatientName": "", "PatientID": str(expected.PatientID)}
        assert str(expected.PatientName) in peers.find(node, "STUDY", keys).values("PatientName"), path.name
        looked += 1
    assert looked


def test_dcmtk_stores_a_folder(node: Server, tmp_path: Path) -> None:
    study = generate_uid()
    for n in range(5):
        peers.write_part10(tmp_path / f"{n}.dcm", peers.make(StudyInstanceUID=study, InstanceNumber=n))
    done = peers.dcmtk("storescu", "-aec", node.aet, "+sd", "127.0.0.1", node.dicom_port, tmp_path)
    assert done.returncode == 0, done.stderr
    answers = peers.find(node, "STUDY", {"StudyInstanceUID": study, "NumberOfStudyRelatedInstances": ""})
    assert answers.values("NumberOfStudyRelatedInstances") == ["5"]
