"""Peers that we did not write: pynetdicom's associations with the bytes in hand, a storage destination, DCMTK's tools.

Data sets are bytes from end to end: what was sent can be compared with what comes back.
"""

from __future__ import annotations

import secrets
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from io import BytesIO
from pathlib import Path
from typing import Any, TypeVar

import pydicom.data
from pydicom import Dataset, dcmread
from pydicom.data import get_testdata_file
from pydicom.dataset import FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import _read_file_meta_info, read_dataset, read_preamble
from pydicom.filewriter import write_dataset
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian, generate_uid
from pynetdicom import AE, build_context, build_role, evt
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_FIND, C_GET, C_MOVE, C_STORE
from pynetdicom.pdu_primitives import SOPClassExtendedNegotiation, UserIdentityNegotiation
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    PatientRootQueryRetrieveInformationModelFind,
    PatientRootQueryRetrieveInformationModelGet,
    PatientRootQueryRetrieveInformationModelMove,
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove,
)

from tests.acceptor import accepting
from tests.system.conftest import program
from tests.system.server import Server

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data"
CT = "1.2.840.10008.5.1.4.1.1.2"
MR = "1.2.840.10008.5.1.4.1.1.4"
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
EXPLICIT, IMPLICIT = str(ExplicitVRLittleEndian), str(ImplicitVRLittleEndian)
WITHIN_S = 60.0

FIND = {
    "patient": PatientRootQueryRetrieveInformationModelFind,
    "study": StudyRootQueryRetrieveInformationModelFind,
}
GET = {
    "patient": PatientRootQueryRetrieveInformationModelGet,
    "study": StudyRootQueryRetrieveInformationModelGet,
}
MOVE = {
    "patient": PatientRootQueryRetrieveInformationModelMove,
    "study": StudyRootQueryRetrieveInformationModelMove,
}

T = TypeVar("T")


# -- instances --------------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Instance:
    """An instance as it goes over the wire. data: the data set alone, encoded in ``syntax``."""

    sop_class: str
    uid: str
    syntax: str
    data: bytes = field(repr=False)
    study: str = ""
    series: str = ""

    @property
    def context(self) -> tuple[str, str]:
        return self.sop_class, self.syntax


def make(sop_class: str = CT, syntax: str = EXPLICIT, /, **attributes: Any) -> Instance:
    """A small instance with UIDs of its own; ``attributes`` by keyword, None leaves one out."""
    dataset = Dataset()
    given = {
        "SOPClassUID": sop_class,
        "SOPInstanceUID": generate_uid(),
        "StudyInstanceUID": generate_uid(),
        "SeriesInstanceUID": generate_uid(),
        "PatientID": f"ID{generate_uid()[-20:]}",
        "Modality": "CT",
        **attributes,
    }
    for keyword, value in given.items():
        if value is not None:
            setattr(dataset, keyword, value)
    return Instance(
        str(dataset.get("SOPClassUID", sop_class)),
        str(dataset.get("SOPInstanceUID", "")),
        syntax,
        encode(dataset, syntax),
        str(dataset.get("StudyInstanceUID", "")),
        str(dataset.get("SeriesInstanceUID", "")),
    )


def encode(dataset: Dataset, syntax: str = EXPLICIT) -> bytes:
    stream = DicomBytesIO()
    stream.is_little_endian, stream.is_implicit_VR = True, syntax == IMPLICIT
    write_dataset(stream, dataset)
    written: bytes = stream.getvalue()
    return written


def decode(data: bytes, syntax: str = EXPLICIT) -> Dataset:
    return read_dataset(BytesIO(data), syntax == IMPLICIT, True)


def from_file(path: Path) -> Instance | None:
    """The instance in a Part 10 file, by pydicom; None if there is none with all its UIDs."""
    try:
        with path.open("rb") as file:
            read_preamble(file, force=False)
            meta = _read_file_meta_info(file)
            offset = file.tell()
        dataset = dcmread(path, stop_before_pixels=True)
        found = Instance(
            str(dataset.SOPClassUID),
            str(dataset.SOPInstanceUID),
            str(meta.TransferSyntaxUID),
            path.read_bytes()[offset:],
            str(dataset.StudyInstanceUID),
            str(dataset.SeriesInstanceUID),
        )
    except Exception:  # whatever it is, pydicom cannot say what to send
        return None
    return found if all((found.sop_class, found.uid, found.study, found.series)) else None


def write_part10(path: Path, instance: Instance) -> None:
    dataset = decode(instance.data, instance.syntax)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = UID(instance.sop_class)
    dataset.file_meta.MediaStorageSOPInstanceUID = UID(instance.uid)
    dataset.file_meta.TransferSyntaxUID = UID(instance.syntax)
    dataset.save_as(path, enforce_file_format=True)


def bundled() -> list[Path]:
    """The test files that come with pydicom itself; it would download the others."""
    folder = Path(str(pydicom.data.__file__)).parent
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix not in (".py", ".pyc"))


def example(name: str) -> Instance:
    """One of pydicom's files as an instance that nobody else has: with UIDs of its own, of the same lengths."""
    found = from_file(Path(str(get_testdata_file(name, download=False))))
    assert found is not None
    uid, study = (
        f"1.2.{secrets.randbelow(10**60) + 10**60}"[: len(each)] for each in (found.uid, found.study)
    )
    data = found.data.replace(found.uid.encode(), uid.encode()).replace(found.study.encode(), study.encode())
    return replace(found, uid=uid, study=study, data=data)


def shared(folder: str) -> list[Path]:
    """Test files that may be there besides."""
    return sorted(path for path in (SHARED / folder).rglob("*") if path.is_file())


# -- associations of ours ---------------------------------------------------------------------------------------------------
@contextmanager
def opened(
    server: Server,
    contexts: Iterable[tuple[str, str | Sequence[str]]],
    *,
    calling: str = "SCU",
    called: str | None = None,
    scp: Iterable[str] = (),
    extended: Mapping[str, bytes] | None = None,
    handlers: Sequence[tuple[Any, ...]] = (),
    identity: tuple[str, str] | None = None,
) -> Iterator[Association]:
    """An established association.

    contexts:  abstract syntax and transfer syntaxes; repeated ones are proposed once
    scp:       SOP classes that we want to be SCP of, too
    extended:  SOP class extended negotiation, by SOP class
    identity:  user name and passcode
    """
    association = associate(
        server, contexts, calling=calling, called=called, scp=scp, extended=extended, handlers=handlers,
        identity=identity,
    )  # fmt: skip
    assert association.is_established, "the association was not accepted"
    try:
        yield association
    finally:
        if association.is_established:
            association.release()


def associate(
    server: Server,
    contexts: Iterable[tuple[str, str | Sequence[str]]],
    *,
    calling: str = "SCU",
    called: str | None = None,
    scp: Iterable[str] = (),
    extended: Mapping[str, bytes] | None = None,
    handlers: Sequence[tuple[Any, ...]] = (),
    identity: tuple[str, str] | None = None,
) -> Association:
    """As ``opened``, whatever comes of it; the caller ends it."""
    entity = AE(ae_title=calling)
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = WITHIN_S
    entity.maximum_pdu_size = 131072
    wanted = dict.fromkeys(
        (uid, (syntax,) if isinstance(syntax, str) else tuple(syntax)) for uid, syntax in contexts
    )
    negotiation: list[Any] = [build_role(uid, scu_role=False, scp_role=True) for uid in dict.fromkeys(scp)]
    for uid, information in (extended or {}).items():
        item = SOPClassExtendedNegotiation()
        item.sop_class_uid, item.service_class_application_information = uid, information
        negotiation.append(item)
    if identity is not None:
        user = UserIdentityNegotiation()
        user.user_identity_type, user.positive_response_requested = 2, True
        user.primary_field, user.secondary_field = (text.encode() for text in identity)
        negotiation.append(user)
    association = entity.associate(
        "127.0.0.1",
        server.dicom_port,
        contexts=[build_context(uid, list(syntaxes)) for uid, syntaxes in wanted],
        ae_title=called or server.aet,
        ext_neg=negotiation,
        evt_handlers=list(handlers),
    )
    association._reactor_checkpoint = _Checkpoint()
    association.__class__ = _Requestor
    return association


def context_id(association: Association, sop_class: str, syntax: str | None = None) -> int:
    for context in association.accepted_contexts:
        if context.abstract_syntax == sop_class and syntax in (None, context.transfer_syntax[0]):
            number: int = context.context_id
            return number
    raise AssertionError(f"no context was accepted for {sop_class} in {syntax}")


def syntax_of(association: Association, number: int) -> str:
    return next(
        str(one.transfer_syntax[0]) for one in association.accepted_contexts if one.context_id == number
    )


def converse(association: Association, request: Any, number: int) -> Iterator[Any]:
    """Send a DIMSE request; its responses up to the final one. C-STORE requests in between go to the handlers."""
    checkpoint = association._reactor_checkpoint
    checkpoint.clear()
    try:
        wait_until(lambda: association._is_paused, "pynetdicom's reactor to pause")
        association.dimse.send_msg(request, number)
        while True:
            _, message = association.dimse.get_msg(block=True)
            assert message is not None, "no answer"
            if isinstance(message, C_STORE) and message.Status is None:
                association._c_store_scp(message)
                continue
            yield message
            if message.Status & 0xFF00 != 0xFF00:
                return
    finally:
        checkpoint.set()


class _Checkpoint:
    """Where pynetdicom's reactor waits while we talk; takes the place of its ``threading.Event``.

    That one cannot tell whether the reactor has passed it a moment ago: then it snatches an answer of ours.

    holds: the reactor waits here, and does nothing else before ``set``
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._open = True
        self.holds = False

    def set(self) -> None:
        with self._changed:
            self._open = True
            self._changed.notify_all()

    def clear(self) -> None:
        with self._changed:
            self._open = False

    def wait(self) -> None:
        with self._changed:
            while not self._open:
                self.holds = True
                self._changed.wait()
            self.holds = False


class _Requestor(Association):
    """An association of pynetdicom's that knows for sure when its reactor pauses, or has ended."""

    @property
    def _is_paused(self) -> bool:
        return self._reactor_checkpoint.holds or not self.is_alive()

    @_is_paused.setter
    def _is_paused(self, value: bool) -> None:
        """Pynetdicom's own idea of it."""


def store(
    association: Association, instance: Instance, *, uid: str | None = None, message_id: int = 1
) -> int:
    """C-STORE of the very bytes. uid: what the command set says instead"""
    request = C_STORE()
    request.MessageID, request.Priority = message_id, 2
    request.AffectedSOPClassUID = instance.sop_class
    request.AffectedSOPInstanceUID = uid or instance.uid
    request.DataSet = BytesIO(instance.data) if instance.data else None
    number = context_id(association, *instance.context)
    (response,) = converse(association, request, number)
    status: int = response.Status
    return status


def send(server: Server, *instances: Instance, calling: str = "SCU") -> list[int]:
    """C-STORE over as many associations as the contexts need, in order."""
    statuses = []
    rest = list(instances)
    while rest:
        contexts: dict[tuple[str, str], None] = {}
        count = 0
        for one in rest:
            if one.context not in contexts and len(contexts) == 128:
                break
            contexts[one.context] = None
            count += 1
        with opened(server, contexts, calling=calling) as association:
            statuses += [store(association, one) for one in rest[:count]]
        rest = rest[count:]
    return statuses


@dataclass(frozen=True)
class Answers:
    """What a C-FIND brought. statuses: of all responses, the final one last"""

    data: list[Dataset]
    raw: list[bytes]
    statuses: list[int]
    comment: str

    @property
    def final(self) -> int:
        return self.statuses[-1]

    def values(self, keyword: str) -> list[str]:
        return sorted(str(one.get(keyword, "")) for one in self.data)


def identifier(level: str | None, keys: Mapping[str, Any]) -> Dataset:
    dataset = Dataset()
    if level is not None:
        dataset.QueryRetrieveLevel = level
    for keyword, value in keys.items():
        setattr(dataset, keyword, value)
    return dataset


def ask(
    association: Association,
    level: str | None,
    keys: Mapping[str, Any] | bytes,
    *,
    root: str = "study",
    cancel: bool = False,
    cancelled: int = 7,
) -> Answers:
    """C-FIND.

    keys:       by keyword, or the whole identifier encoded
    cancel:     say C-CANCEL right behind the request
    cancelled:  the message that it names; the request is number 7
    """
    number = context_id(association, FIND[root])
    syntax = syntax_of(association, number)
    request = C_FIND()
    request.MessageID, request.Priority, request.AffectedSOPClassUID = 7, 2, FIND[root]
    request.Identifier = BytesIO(keys if isinstance(keys, bytes) else encode(identifier(level, keys), syntax))
    found = Answers([], [], [], "")
    comment = ""
    sender = association.dimse.send_msg
    if cancel:

        def send_both(message: Any, to: int) -> None:
            association.dimse.send_msg = sender
            sender(message, to)
            association.send_c_cancel(cancelled, to)

        association.dimse.send_msg = send_both
    try:
        for response in converse(association, request, number):
            found.statuses.append(response.Status)
            comment = str(response.ErrorComment or "")
            if response.Status & 0xFF00 == 0xFF00:
                raw = response.Identifier.getvalue()
                found.raw.append(raw)
                found.data.append(decode(raw, syntax))
    finally:
        association.dimse.send_msg = sender
    return Answers(found.data, found.raw, found.statuses, comment)


def find(
    server: Server, level: str | None, keys: Mapping[str, Any] | bytes, *, root: str = "study", **options: Any
) -> Answers:
    """C-FIND on an association of its own. options: of ``opened``"""
    with opened(server, [(FIND[root], EXPLICIT)], **options) as association:
        return ask(association, level, keys, root=root)


@dataclass
class Retrieved:
    """What a C-GET or C-MOVE told. responses: all of them, the final one last"""

    responses: list[Any]
    failed: list[str]

    @property
    def final(self) -> Any:
        return self.responses[-1]

    @property
    def status(self) -> int:
        status: int = self.final.Status
        return status

    def counts(self) -> tuple[int | None, int | None, int | None, int | None]:
        """Remaining, completed, failed, warning of the final response."""
        return counts_of(self.final)


def counts_of(response: Any) -> tuple[int | None, int | None, int | None, int | None]:
    return (
        response.NumberOfRemainingSuboperations,
        response.NumberOfCompletedSuboperations,
        response.NumberOfFailedSuboperations,
        response.NumberOfWarningSuboperations,
    )


def retrieval(
    association: Association,
    level: str | None,
    keys: Mapping[str, Any] | bytes,
    *,
    root: str = "study",
    destination: str | None = None,
) -> tuple[Any, int]:
    """The request of a C-MOVE to a destination, or without one of a C-GET, and the context to send it in."""
    model = MOVE[root] if destination is not None else GET[root]
    number = context_id(association, model)
    request = C_MOVE() if destination is not None else C_GET()
    request.MessageID, request.Priority, request.AffectedSOPClassUID = 9, 2, model
    if destination is not None:
        request.MoveDestination = destination
    syntax = syntax_of(association, number)
    request.Identifier = BytesIO(keys if isinstance(keys, bytes) else encode(identifier(level, keys), syntax))
    return request, number


def retrieve(
    association: Association,
    level: str | None,
    keys: Mapping[str, Any] | bytes,
    *,
    root: str = "study",
    destination: str | None = None,
    heard: Callable[[Any], object] = lambda _: None,
) -> Retrieved:
    """C-MOVE to a destination, or without one C-GET. heard: called with every response"""
    request, number = retrieval(association, level, keys, root=root, destination=destination)
    told = Retrieved([], [])
    for response in converse(association, request, number):
        told.responses.append(response)
        heard(response)
        encoded = response.Identifier.getvalue() if response.Identifier is not None else b""
        if encoded:
            listed = decode(encoded, syntax_of(association, number)).get("FailedSOPInstanceUIDList") or []
            told.failed = [str(uid) for uid in ([listed] if isinstance(listed, str) else listed)]
    return told


class Inbox:
    """Takes C-STOREs: as the destination of a C-MOVE, or on the association of a C-GET.

    received:  transfer syntax and data set, by SOP Instance UID
    meet:      called before an instance is answered, with its UID; the status to answer
    """

    def __init__(self, meet: Callable[[str], int] = lambda _: 0x0000) -> None:
        self.received: dict[str, tuple[str, bytes]] = {}
        self.requests: list[Any] = []
        self.meet = meet

    def take(self, event: Any) -> int:
        uid = str(event.request.AffectedSOPInstanceUID)
        self.requests.append(event.request)
        status = self.meet(uid)
        if status == 0x0000:
            self.received[uid] = (str(event.context.transfer_syntax), event.request.DataSet.getvalue())
        return status

    @property
    def handlers(self) -> list[tuple[Any, ...]]:
        return [(evt.EVT_C_STORE, self.take)]


@contextmanager
def listening(
    port: int,
    contexts: Iterable[tuple[str, str | Sequence[str]]],
    *,
    title: str = "DEST",
    inbox: Inbox | None = None,
    handlers: Sequence[tuple[Any, ...]] = (),
    scu: Iterable[str] = (),
) -> Iterator[Any]:
    """A storage SCP. scu: SOP classes of which a peer that calls may be the SCP"""
    entity = AE(ae_title=title)
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = WITHIN_S
    entity.maximum_pdu_size = 131072
    by_class: dict[str, list[str]] = {}
    for uid, syntax in contexts:
        by_class.setdefault(uid, []).extend([syntax] if isinstance(syntax, str) else syntax)
    for uid, syntaxes in by_class.items():
        entity.add_supported_context(uid, list(dict.fromkeys(syntaxes)))
    for uid in scu:
        entity.add_supported_context(uid, [EXPLICIT, IMPLICIT], scu_role=True, scp_role=True)
    bound = [*(inbox.handlers if inbox is not None else ()), *handlers]
    with accepting(entity, port, bound) as running:
        yield running


def get(
    server: Server,
    instances: Sequence[Instance],
    level: str,
    keys: Mapping[str, Any],
    *,
    root: str = "study",
    inbox: Inbox | None = None,
    relational: bool = False,
) -> tuple[Retrieved, Inbox]:
    """C-GET with a context for each of the instances, as it was sent."""
    inbox = inbox or Inbox()
    contexts = [(str(GET[root]), EXPLICIT), *(one.context for one in instances)]
    extended = {str(GET[root]): b"\x01"} if relational else None
    with opened(
        server,
        contexts,
        scp=[one.sop_class for one in instances],
        handlers=inbox.handlers,
        extended=extended,
    ) as association:
        return retrieve(association, level, keys, root=root), inbox


def move(
    server: Server, level: str, keys: Mapping[str, Any], *, destination: str = "DEST", root: str = "study"
) -> Retrieved:
    with opened(server, [(MOVE[root], EXPLICIT)]) as association:
        return retrieve(association, level, keys, root=root, destination=destination)


# -- everything else --------------------------------------------------------------------------------------------------------
def wait_until(condition: Callable[[], object], what: str, within_s: float = 30.0) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, f"waited {within_s:g} s in vain for {what}"
        time.sleep(0.005)


def at_once(*tasks: Callable[[], T]) -> list[T]:
    """Run all at the same time, each in a thread of its own; their results in order."""
    results: dict[int, T] = {}
    errors: list[BaseException] = []
    start = threading.Barrier(len(tasks))

    def run(place: int, task: Callable[[], T]) -> None:
        try:
            start.wait(WITHIN_S)
            results[place] = task()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=each, daemon=True) for each in enumerate(tasks)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WITHIN_S)
    assert not any(thread.is_alive() for thread in threads), "a peer hangs"
    if errors:
        raise errors[0]
    return [results[place] for place in range(len(tasks))]


def dcmtk(name: str, *arguments: object, within_s: float = WITHIN_S) -> subprocess.CompletedProcess[str]:
    """Run one of DCMTK's tools to its end."""
    command = [program(name), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=within_s)


def counter(server: Server, name: str) -> int:
    """A counter of the status page, over all workers."""
    return sum(worker[name] for worker in server.status()["workers"])
