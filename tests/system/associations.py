"""pynetdicom's associations, which send and take data sets as the bytes that they are."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import BytesIO
from typing import Any

from pynetdicom import AE, build_context, build_role
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.pdu_primitives import SOPClassExtendedNegotiation, UserIdentityNegotiation

from tests.system.instances import Instance
from tests.system.server import Server

WITHIN_S = 60.0


def wait_until(condition: Callable[[], object], what: str, within_s: float = 30.0) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, f"waited {within_s:g} s in vain for {what}"
        time.sleep(0.005)


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
        server.host,
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
