"""Peers that we did not write: pynetdicom's associations with the bytes in hand, a storage destination, DCMTK's tools.

Data sets are bytes from end to end: what was sent can be compared with what comes back.
"""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from typing import Any, TypeVar

from pydicom import Dataset
from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_FIND, C_GET, C_MOVE
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    PatientRootQueryRetrieveInformationModelFind,
    PatientRootQueryRetrieveInformationModelGet,
    PatientRootQueryRetrieveInformationModelMove,
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove,
)

from tests.acceptor import accepting
from tests.system.associations import (
    WITHIN_S,
    associate,
    context_id,
    converse,
    opened,
    send,
    store,
    syntax_of,
    wait_until,
)
from tests.system.instances import (
    CT,
    EXPLICIT,
    IMPLICIT,
    MR,
    SECONDARY_CAPTURE,
    SHARED,
    Instance,
    bundled,
    decode,
    encode,
    example,
    from_file,
    make,
    shared,
    write_part10,
)
from tests.system.programs import program
from tests.system.server import Server

__all__ = [
    "CT", "EXPLICIT", "FIND", "GET", "IMPLICIT", "MOVE", "MR", "SECONDARY_CAPTURE", "SHARED", "WITHIN_S", "Answers", "Inbox",
    "Instance", "Retrieved", "ask", "associate", "at_once", "bundled", "context_id", "converse", "counter", "counts_of",
    "dcmtk", "decode", "encode", "example", "find", "from_file", "get", "identifier", "listening", "make", "move", "opened",
    "retrieval", "retrieve", "send", "shared", "store", "syntax_of", "wait_until", "write_part10",
]  # fmt: skip


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
