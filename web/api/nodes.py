"""Known AEs: those of the settings, and those of the database, which can be changed here. And whether they answer."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import quote

import msgspec
import trio
from msgspec import Struct, structs

from config.checks import node_problems
from config.settings import NodeSettings
from pacs_actors.archive.ledger import Ledger
from pacs_actors.dicom.access import known_ae
from pacs_actors.dicom.echo import EchoResult, echo
from pacs_actors.people.rights import Action
from web.api.paging import page_query
from web.api.whole_lists import whole_list
from web.context import WebContext
from web.http.answer import Answer, json_answer
from web.http.request import BadRequest, Forbidden, NotFound, Request
from web.http.routes import Handler, Route

_PATH: Final = "/api/v1/nodes"
_COLUMNS: Final = ("ae_title", "host", "port", "tls", "rights", "fixed", "networks", "certificate_name")
_MOST_NODES: Final = 5000
_ECHOES_AT_ONCE: Final = 4
_MOST_IN_LIST: Final = 256
_MOST_TEXT: Final = 255


class Node(NodeSettings, frozen=True, kw_only=True):
    """fixed: of the settings; it can be changed there only"""

    fixed: bool = False


class NodePage(Struct, frozen=True):
    items: list[Node]
    next: str | None
    total: int
    total_exact: bool


class Nodes:
    def __init__(self, context: WebContext) -> None:
        self.context, self.audit = context, context.archive.audit
        self.ledger = Ledger(context.archive.catalogue.database)
        self._echoes = trio.CapacityLimiter(_ECHOES_AT_ONCE)

    async def listed(self, request: Request) -> Answer:
        return whole_list(request, "nodes", await self._all(), _COLUMNS)

    async def add(self, request: Request) -> Answer:
        _may_give(request)
        node = _checked(await request.json(NodeSettings))
        await self._not_fixed(node.ae_title)
        if len(await self._all()) >= _MOST_NODES:
            raise BadRequest(f"At most {_MOST_NODES} nodes.", 409)
        if not await self.ledger.add_ae_node(node):
            raise BadRequest(f"There is a node {node.ae_title} already.", 409)
        await self._tell(request, node, "created")
        where = f"{_PATH}/{quote(node.ae_title, safe='')}"
        return json_answer(_shown(node), 201, "application/json", ("location", where))

    async def replace(self, request: Request) -> Answer:
        _may_give(request)
        node = _checked(await request.json(NodeSettings))
        if node.ae_title != request.values["ae_title"].strip(" "):
            raise BadRequest("A node keeps its AE title: add another one, and remove this.")
        await self._not_fixed(node.ae_title)
        if not await self.ledger.replace_ae_node(node):
            raise NotFound("There is no such node.")
        await self._tell(request, node, "changed")
        return json_answer(_shown(node))

    async def delete(self, request: Request) -> Answer:
        _may_give(request)
        node = await self._asked_for(request)
        await self._not_fixed(node.ae_title)
        if not await self.ledger.remove_ae_node(node.ae_title):
            raise NotFound("There is no such node.")
        await self._tell(request, node, "deleted")
        return Answer(204)

    async def echo(self, request: Request) -> Answer:
        """Only to who is known: nobody can have us knock at any door."""
        node = await self._asked_for(request)
        try:
            self._echoes.acquire_nowait()
        except trio.WouldBlock:
            raise BadRequest("Other tests are under way: try again in a moment.", 429) from None
        try:
            found = await echo(known_ae(node), self.context.archive.settings)
        finally:
            self._echoes.release()
        await self.audit.node_changed(request.actor, node.ae_title, "tested", ok=int(found.ok), why=found.why)
        return json_answer(found)

    async def _all(self) -> list[Node]:
        """Of two of one AE title that of the settings holds."""
        fixed = [_shown(node, fixed=True) for node in self.context.settings.nodes]
        taken = {node.ae_title for node in fixed}
        stored = [_shown(node) for node in await self.ledger.ae_nodes() if node.ae_title not in taken]
        return [*fixed, *stored]

    async def _asked_for(self, request: Request) -> Node:
        asked = request.values["ae_title"].strip(" ")
        for node in await self._all():
            if node.ae_title == asked:
                return node
        raise NotFound("There is no such node.")

    async def _not_fixed(self, ae_title: str) -> None:
        if any(node.ae_title == ae_title for node in self.context.settings.nodes):
            raise BadRequest(f"{ae_title} is a node of the settings: change it there.", 409)

    async def _tell(self, request: Request, node: NodeSettings, change: str) -> None:
        facts: dict[str, str | int] = {
            "host": node.host,
            "port": node.port,
            "tls": int(node.tls),
            "rights": " ".join(node.rights),
        }
        await self.audit.node_changed(request.actor, node.ae_title, change, **facts)


def _may_give(request: Request) -> None:
    """A node sees, and is sent, what its row says: nobody gives it more than they have. raises: Forbidden"""
    if not request.who.scope.everything:
        raise Forbidden("Only who sees every study decides what a node sees.")


def _shown(node: NodeSettings, *, fixed: bool = False) -> Node:
    return Node(**structs.asdict(node), fixed=fixed)


def _checked(node: NodeSettings) -> NodeSettings:
    """As the settings would take it. raises: BadRequest"""
    node = structs.replace(node, ae_title=node.ae_title.strip(" "), host=node.host.strip())
    texts: list[str] = [node.host, node.certificate_name or ""]
    for name in ("networks", "rights", "destinations", "transfer_syntaxes"):
        listed = getattr(node, name) or ()
        texts += listed
        if len(listed) > _MOST_IN_LIST:
            raise BadRequest(f"{name}: at most {_MOST_IN_LIST}.")
    if any(len(text) > _MOST_TEXT or not text.isprintable() for text in texts):
        raise BadRequest(f"A text is longer than {_MOST_TEXT} characters, or holds control characters.")
    if len(msgspec.json.encode(node)) > 64 * 1024:
        raise BadRequest("The node's scope is too large.")
    if any(character in node.host for character in " /\\@?#"):
        raise BadRequest("host: expected a host name or an address")
    for problem in node_problems(node):
        raise BadRequest(problem)
    return node


def routes(context: WebContext) -> list[Route]:
    nodes = Nodes(context)

    def route(method: str, path: str, handler: Handler, summary: str, **more: Any) -> Route:
        access = Action.NODES_READ if method == "GET" else Action.NODES_WRITE
        return Route(
            method=method, path=f"{_PATH}{path}", access=access, handler=handler, summary=summary, **more
        )

    return [
        route("GET", "", nodes.listed, "Every known AE", query=page_query(_COLUMNS), answer=NodePage),
        route("POST", "", nodes.add, "Add a node", body=NodeSettings, answer=Node, status=201),
        route("PUT", "/{ae_title}", nodes.replace, "Change a node", body=NodeSettings, answer=Node),
        route("DELETE", "/{ae_title}", nodes.delete, "Remove a node", status=204),
        route("POST", "/{ae_title}/echo", nodes.echo, "C-ECHO to a node, within 10 s", answer=EchoResult),
    ]
