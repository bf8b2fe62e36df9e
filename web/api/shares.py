"""Share links: made and revoked by who may share, opened by anybody who has one."""

from __future__ import annotations

import math
from typing import Annotated, Final
from urllib.parse import quote

from msgspec import Meta, Struct

from pacs_actors.archive.study_list import StudyList
from pacs_actors.people import passwords, share_rules, tickets
from pacs_actors.people.reception import BadPassword, SlowDown
from pacs_actors.people.rights import Action
from pacs_actors.people.share_desk import Opened
from pacs_actors.people.shares import MOST_IN_FORCE, NewShare, Share
from web.api.me import NO_NUL
from web.api.paging import PAGE_QUERY
from web.api.whole_lists import whole_list
from web.authenticator import share_cookie
from web.context import WebContext
from web.http.answer import Answer, json_answer, problem_answer
from web.http.request import BadRequest, Forbidden, NotFound, Request, Unauthorised
from web.http.routes import Access, Route

LINK: Final = "/share/"
_TAG: Final = "shares"
_COLUMNS: Final = (
    "id", "study_instance_uid", "created_at", "created_by", "expires_at", "note", "has_password", "download", "opened",
    "revoked_at",
)  # fmt: skip
_SAME_SITE: Final = (None, "same-origin", "none")


class NewLink(Struct, frozen=True, forbid_unknown_fields=True):
    """password: asked for before the link opens. download: whoever opens it may also take the DICOM objects.

    Its repr shows no password.
    """

    expires_in_s: Annotated[int, Meta(ge=share_rules.LEAST_S)]
    password: Annotated[str, Meta(max_length=passwords.MAX_LENGTH)] | None = None
    note: Annotated[str, Meta(max_length=256, pattern=NO_NUL)] = ""
    download: bool = False

    def __repr__(self) -> str:
        return "NewLink()"


class MadeLink(Struct, frozen=True):
    """url: with the secret; it is not shown again. The repr does not show it either."""

    id: int
    url: str
    expires_at: str

    def __repr__(self) -> str:
        return f"MadeLink(id={self.id})"


class SharePage(Struct, frozen=True):
    items: list[Share]
    next: str | None
    total: int
    total_exact: bool


class LinkPassword(Struct, frozen=True):
    """Its repr shows no password."""

    password: Annotated[str, Meta(max_length=passwords.MAX_LENGTH)] | None = None

    def __repr__(self) -> str:
        return "LinkPassword()"


class OpenedLink(Struct, frozen=True):
    viewer_url: str


def routes(context: WebContext) -> list[Route]:
    desk = _Desk(context)
    return [
        Route(
            method="POST", path="/api/v1/studies/{study}/shares", access=Action.SHARE, handler=desk.add, objects=True,
            summary="Make a link that opens this study without a login", body=NewLink, answer=MadeLink, status=201, tag=_TAG,
        ),
        Route(
            method="GET", path="/api/v1/shares", access=Action.SHARE, handler=desk.list, tag=_TAG, answer=SharePage,
            summary="One's own share links; of everybody for who may change users",
            query={"study": "Only links of this study", **PAGE_QUERY},
        ),
        Route(
            method="DELETE", path="/api/v1/shares/{share_id}", access=Action.SHARE, handler=desk.revoke, tag=_TAG,
            summary="Revoke a share link; what it has opened ends within seconds", status=204,
        ),
        Route(
            method="POST", path="/api/v1/share/{secret}/open", access=Access.PUBLIC, handler=desk.open, tag=_TAG,
            summary="Open a share link: a session that sees its study", body=LinkPassword, answer=OpenedLink,
        ),
    ]  # fmt: skip


class _Desk:
    def __init__(self, context: WebContext) -> None:
        self._people, self._links = context.people, context.shares
        self._shares = context.shares.shares
        self._studies = StudyList(context.archive.catalogue.database)

    async def add(self, request: Request) -> Answer:
        study = await self._studies.study(request.values["study"], request.who.scope)
        if study is None:
            raise NotFound("There is no such study.")
        asked = await request.json(NewLink)
        if request.who.user_id is None:
            raise Unauthorised
        actions = share_rules.actions_given(request.who.actions, download=asked.download)
        if actions is None:
            raise Forbidden("A link shows no more than what you may do yourself.")
        most_s = self._people.settings.share_most_s
        if asked.expires_in_s > most_s:
            raise BadRequest(f"A link lives at most {most_s} s.")
        secret = tickets.new_secret(tickets.SHARE)
        new = NewShare(
            user_id=request.who.user_id,
            study_instance_uid=study.study_instance_uid,
            patient_id=study.patient_id,
            actions=sorted(action.value for action in actions),
            note=asked.note,
            password_hash=await self._hash(asked.password),
            lifetime_s=asked.expires_in_s,
        )
        made = await self._shares.add(new, tickets.digest(secret))
        if made is None:
            raise BadRequest(f"At most {MOST_IN_FORCE} links: revoke those that are not needed.", 409)
        await self._people.audit.share_created(
            request.actor, study.study_instance_uid, study.patient_id, str(made.id), expires_at=made.expires_at,
            password="yes" if made.has_password else "no", download="yes" if made.download else "no",
        )  # fmt: skip
        return json_answer(MadeLink(made.id, f"{request.root}{LINK}{secret}", made.expires_at), 201)

    async def list(self, request: Request) -> Answer:
        study = request.parameter("study").replace("\0", "")[:64] or None
        return whole_list(
            request, "shares", await self._shares.listed(request.who.scope, _whose(request), study), _COLUMNS
        )

    async def revoke(self, request: Request) -> Answer:
        number = request.values["share_id"]
        if not (number.isascii() and number.isdigit() and len(number) < 19):
            raise NotFound
        ended = await self._shares.revoke(int(number), request.who.scope, _whose(request))
        if ended is None:
            raise NotFound
        share, patient_id = ended
        self._people.forget()
        await self._people.audit.share_revoked(
            request.actor, share.study_instance_uid, patient_id, str(share.id)
        )
        return Answer(204)

    async def open(self, request: Request) -> Answer:
        from_our_page(request)
        given = await request.json(LinkPassword)
        try:
            opened = await self._links.open(request.values["secret"], given.password or "", request.address)
        except SlowDown as slow:
            return problem_answer(429, str(slow), ("retry-after", str(math.ceil(slow.wait_s))))
        return json_answer(OpenedLink(viewer_url(opened)), 200, "application/json", cookie(opened, request))

    async def _hash(self, password: str | None) -> str | None:
        """raises: BadPassword"""
        if not password:
            return None
        problem = passwords.password_problem(password, "", at_least=share_rules.LEAST_PASSWORD)
        if problem is not None:
            raise BadPassword(problem)
        return await self._people.hasher.hash(password)


def from_our_page(request: Request) -> None:
    """Another site must not open a link in somebody's browser. raises: Forbidden"""
    if request.headers.get("sec-fetch-site") not in _SAME_SITE:
        raise Forbidden("This request comes from another site.")


def viewer_url(opened: Opened) -> str:
    return f"/ohif/viewer?StudyInstanceUIDs={quote(opened.study_instance_uid, safe='')}"


def cookie(opened: Opened, request: Request) -> tuple[str, str]:
    return share_cookie(opened.session_secret, root=request.root, lifetime_s=opened.lifetime_s)


def _whose(request: Request) -> int | None:
    """Whose links the caller sees; None: everybody's. raises: Unauthorised"""
    if request.who.may(Action.PEOPLE_WRITE):
        return None
    if request.who.user_id is None:
        raise Unauthorised
    return request.who.user_id
