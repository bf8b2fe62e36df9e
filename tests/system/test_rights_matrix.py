"""Every route with every kind of caller: 401, 403 or served, exactly as the route is declared (SECURITY 9).

The table is made from the declarations that the server serves by, so a new route is in it, and one that does not say who may
use it cannot be made.
"""

from __future__ import annotations

import http.client
import json
import re
from collections.abc import Iterator

import pytest
from msgspec import Struct

from pacs_actors.people.rights import Action
from tests.fakes.anything import declared_routes
from tests.system import peers
from tests.system.server import Server
from web.api.status import status_routes
from web.app import create_app
from web.http.answer import Answer
from web.http.routes import Access, Route

ROUTES = declared_routes()
ROLES = ("administrator", "radiologist", "technologist", "referring physician", "registrator", "viewer")
PASSWORD = "seven horses on the pier"
NOWHERE = "1.2.826.0.1.3680043.8.498.404"


class Caller(Struct):
    """actions: None for who is not recognised"""

    token: str
    actions: frozenset[Action] | None = None
    in_person: bool = True

    def expected(self, access: Action | Access) -> int | None:
        """401, 403, or None: served, or refused for another reason."""
        if access is Access.PUBLIC:
            return None
        if self.actions is None:
            return 401
        if access is Access.IN_PERSON:
            return None if self.in_person else 403
        return 403 if isinstance(access, Action) and access not in self.actions else None


@pytest.fixture(scope="module")
def stored(clinic: Server) -> peers.Instance:
    """A study that only those see who see everything."""
    instance = peers.make()
    assert peers.send(clinic, instance) == [0]
    return instance


@pytest.fixture(scope="module")
def callers(clinic: Server) -> Iterator[dict[str, Caller]]:
    """They leave when the tests are over: other modules count on one administrator."""
    found = {"stranger": Caller(""), "forger": Caller("eyJhbGciOiJub25lIn0.e30.")}
    users: list[int] = []
    for role in ROLES:
        username = f"a {role}"
        user = {"username": username, "password": PASSWORD, "roles": [role]}
        status, body = clinic.ask("POST", "/api/v1/users", user, token=clinic.token)
        assert status == 201, body
        users.append(json.loads(body)["id"])
        token = clinic.login(username, PASSWORD)
        me = json.loads(clinic.ask("GET", "/api/v1/me", token=token)[1])
        found[role] = Caller(token, frozenset(map(Action, me["actions"])))
    for name, lifetime_s in (("powerless token", 3600), ("expired token", 60)):
        body = {"name": name, "actions": [], "expires_in_s": lifetime_s}
        status, made = clinic.ask("POST", "/api/v1/tokens", body, token=found["administrator"].token)
        assert status == 201, made
        found[name] = Caller(json.loads(made)["token"], frozenset(), in_person=False)
    clinic.sql("UPDATE api_tokens SET expires_at = now() WHERE name = 'expired token'")
    found["expired token"].actions = None
    yield found
    for user_id in users:
        assert clinic.ask("DELETE", f"/api/v1/users/{user_id}", token=clinic.token)[0] == 204


def path_of(route: Route, study: str, series: str, instance: str) -> str:
    values = {"study": study, "series": series, "instance": instance, "frames": "1", "tag_a": "00420011"}
    path = re.sub(r"\{([a-z_]+)\}", lambda match: values.get(match[1], "999999"), route.path)
    if route.path == "/dicom-web/wado":
        path += f"?requestType=WADO&studyUID={study}&seriesUID={series}&objectUID={instance}"
    return path


class Client:
    """One connection for many requests."""

    def __init__(self, server: Server) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", server.web_port, timeout=30)

    def ask(self, route: Route, path: str, token: str) -> tuple[int, bytes]:
        headers = {"authorization": f"Bearer {token}"} if token else {}
        body = None
        if route.body is not None or route.method in ("POST", "PUT", "PATCH"):
            headers["content-type"], body = "application/json", b"{}"
        self.connection.request(route.method, path, body, headers)
        answer = self.connection.getresponse()
        return answer.status, answer.read()


def test_every_route_serves_whom_it_is_declared_for_and_nobody_else(
    clinic: Server, callers: dict[str, Caller], stored: peers.Instance
) -> None:
    client, wrong = Client(clinic), []
    for route in sorted(ROUTES, key=lambda one: one.path.endswith("/logout")):  # which ends the session
        for name, caller in callers.items():
            status, body = client.ask(route, path_of(route, NOWHERE, NOWHERE, NOWHERE), caller.token)
            expected = caller.expected(route.access)
            if status >= 500 or (expected or status) != status or (expected is None and status in (401, 403)):
                wrong.append((route.method, route.path, name, status, expected, body[:200]))
    assert wrong == []


def test_somebody_elses_object_is_answered_as_if_it_were_not_there(
    clinic: Server, callers: dict[str, Caller], stored: peers.Instance
) -> None:
    """By every route that names an object, and by the searches; those who see everything are the control."""
    client, wrong, served = Client(clinic), [], 0
    there = (stored.study, stored.series, stored.uid)
    blind = {role: clinic.login(f"a {role}", PASSWORD) for role in ("viewer", "referring physician")}
    seeing = clinic.login("a radiologist", PASSWORD)
    for route in ROUTES:
        if route.method != "GET" or not (route.objects or route.path == "/dicom-web/wado"):
            continue
        status, body = client.ask(route, path_of(route, *there), seeing)
        served += status == 200
        for role, token in blind.items():
            if route.access not in callers[role].actions:  # type: ignore[operator]
                continue
            found = client.ask(route, path_of(route, *there), token)
            absent = client.ask(route, path_of(route, NOWHERE, NOWHERE, NOWHERE), token)
            if found != absent or any(uid.encode() in found[1] for uid in there):
                wrong.append((route.path, role, found, absent))
    assert wrong == []
    assert served >= 8, "the control: who may, gets it"
    for path in ("/dicom-web/studies", "/dicom-web/series", "/dicom-web/instances", "/api/v1/studies"):
        assert stored.study.encode() in clinic.ask("GET", path, token=seeing)[1]
        for token in blind.values():
            status, body = clinic.ask("GET", path, token=token)
            assert status in (200, 204) and stored.study.encode() not in body, path


def test_a_route_that_does_not_say_who_may_use_it_cannot_be_declared() -> None:
    async def nothing(_: object) -> Answer:
        return Answer()

    for access in (None, "anyone", "system.read", 0):
        with pytest.raises(TypeError, match="who may use it"):
            Route(method="GET", path="/x", access=access, handler=nothing, summary="")  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        Route(method="GET", path="/x", handler=nothing, summary="")  # type: ignore[call-arg]


def test_nothing_is_served_beside_the_declared_routes_but_pages_and_health() -> None:
    from config.settings import WebSettings
    from tests.fakes.node_status import FakeStatus
    from tests.fakes.people import FixedAuthenticator

    app = create_app(FakeStatus(), WebSettings(), FixedAuthenticator(), api=status_routes(FakeStatus()))
    beside = {rule.rule for rule in app.pages.url_map.iter_rules()} - {route.path for route in app.api}
    assert {path for path in beside if not path.startswith("/status/")} <= {
        "/", "/status", "/healthz", "/readyz", "/api/v1/live",
    }  # fmt: skip
