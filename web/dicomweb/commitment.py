"""The storage commitment service (PS3.18 chapter 13): are these instances durable here?

Answered at once, and kept: the result of a transaction can be asked for again. An instance counts if the caller may see its study
or has stored it; any other is as if it were not there.
"""

from __future__ import annotations

from functools import partial
from typing import Final

from pacs_actors.audit import events
from pacs_actors.people.rights import Action
from protocols.dicomweb.accept import Offer, negotiate
from protocols.dicomweb.commitment_payload import read_request, response
from protocols.dicomweb.media_type import parse_media_type
from protocols.errors import CannotUnderstand
from web.context import WebContext
from web.dicomweb.paths import PREFIX, is_uid
from web.dicomweb.store_intake import source_of
from web.http.answer import DICOM_JSON, Answer
from web.http.request import BadRequest, NotFound, Request
from web.http.routes import Route

_PATH: Final = f"{PREFIX}/commitment-requests/{{transaction}}"
_OFFERED: Final = (Offer(DICOM_JSON), Offer("application/json"))
_MOST_BYTES: Final = 16 * 1024 * 1024


def routes(context: WebContext) -> list[Route]:
    return [
        Route(
            method=method, path=_PATH, access=Action.STORE, handler=partial(handler, context), summary=summary,
            tag="Storage commitment",
        )
        for method, handler, summary in (
            ("POST", _request, "Ask whether instances are kept safely here"),
            ("GET", _result, "What was answered to that"),
        )
    ]  # fmt: skip


async def _request(context: WebContext, request: Request) -> Answer:
    archive, transaction = context.archive, _transaction(request)
    media = parse_media_type(request.headers.get("content-type", ""))
    if media is None or media.name not in (DICOM_JSON, "application/json"):
        raise BadRequest(f"Send {DICOM_JSON}.", 415)
    _negotiate(request)
    text = await request.body(_MOST_BYTES)
    try:
        asked = await archive.native.run(read_request, text)
    except CannotUnderstand as error:
        raise BadRequest(f"The request cannot be read: {error}.") from None
    agent, who = archive.commitments, request.who
    result = await agent.check(asked.references, who.scope, source_of(who))
    body = await archive.native.run(response, asked, result)
    if not await agent.book.keep(_requester(request), transaction, body):
        raise BadRequest("This Transaction UID is in use already.", 409)
    counts: dict[str, str | int] = {"references": len(asked.references), "failed": len(result.failed)}
    await archive.audit.retrieved(request.actor, events.COMMIT, (transaction,), counts, "success")
    return _answer(body)


async def _result(context: WebContext, request: Request) -> Answer:
    transaction = _transaction(request)
    _negotiate(request)
    body = await context.archive.commitments.book.kept(_requester(request), transaction)
    if body is None:
        raise NotFound
    return _answer(body)


def _transaction(request: Request) -> str:
    transaction = request.values["transaction"]
    if not is_uid(transaction):
        raise NotFound
    return transaction


def _requester(request: Request) -> str:
    """No AE title has a backslash, so nobody's transactions meet those of a peer."""
    return f"\\{request.who.name}"


def _negotiate(request: Request) -> None:
    negotiate(request.headers.get("accept"), request.parameter("accept") or None, _OFFERED)


def _answer(body: bytes) -> Answer:
    return Answer(200, (("content-type", DICOM_JSON),), body)
