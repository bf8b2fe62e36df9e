"""Pages of other origins (CORS), proxies and the cookie's Secure, over real sockets (SECURITY 8)."""

from __future__ import annotations

import pytest

from config.checks import problems
from config.settings import Settings, WebSettings
from tests.web.serving import site
from web.http.answer import Answer, json_answer
from web.http.request import Request
from web.http.routes import Access, Route

FRIEND = "https://viewer.example"
ALLOW = "access-control-allow-origin"


async def _mirror(request: Request) -> Answer:
    return json_answer({"address": request.address, "root": request.root})


MIRROR = Route(method="GET", path="/api/v1/mirror", access=Access.PUBLIC, handler=_mirror, summary="")


async def test_other_origins_may_read_nothing_unless_they_are_listed():
    async with site() as here:
        for headers in ([], [f"Origin: {FRIEND}"], ["Origin: null"]):
            assert ALLOW not in (await here.get("/api/v1/status", *headers)).headers
        asked = ["Access-Control-Request-Method: GET", f"Origin: {FRIEND}"]
        assert ALLOW not in (await here.get("/api/v1/status", *asked, method="OPTIONS")).headers


async def test_a_listed_origin_may_read_but_never_with_cookies():
    async with site(cors_origins=[FRIEND]) as here:
        answer = await here.get("/api/v1/status", f"Origin: {FRIEND}")
        assert answer.headers[ALLOW] == FRIEND
        assert answer.headers["vary"] == "origin"
        assert "access-control-allow-credentials" not in answer.headers
        asked = ["Access-Control-Request-Method: DELETE", "Access-Control-Request-Headers: authorization"]
        answer = await here.get("/api/v1/status", f"Origin: {FRIEND}", *asked, method="OPTIONS")
        assert (answer.status, answer.headers[ALLOW]) == (204, FRIEND)
        assert "DELETE" in answer.headers["access-control-allow-methods"].upper()
        for origin in (
            "https://viewer.example.evil",
            "http://viewer.example",
            "https://viewer.example:444",
            "null",
            "*",
        ):
            assert ALLOW not in (await here.get("/api/v1/status", f"Origin: {origin}")).headers
        assert ALLOW not in (await here.get("/", f"Origin: {FRIEND}")).headers, "the API only"


@pytest.mark.parametrize(
    "origin", ["*", "https://*.example", "https://viewer.example/", "viewer.example", "null", ""]
)
def test_an_origin_that_is_not_exact_is_no_setting(origin):
    assert any("cors_origins" in one for one in problems(Settings(web=WebSettings(cors_origins=(origin,)))))


@pytest.mark.parametrize(
    "wrong",
    [{"trusted_proxies": ("everybody",)}, {"public_root": "pacs.example"}, {"public_root": "https://a/b"}],
)
def test_a_proxy_or_a_root_that_cannot_be_is_no_setting(wrong):
    assert any("web." in one for one in problems(Settings(web=WebSettings(**wrong))))


async def test_a_handler_sees_the_client_and_the_public_root_that_a_trusted_proxy_names():
    headers = ["X-Forwarded-For: 192.0.2.7", "X-Forwarded-Proto: https", "X-Forwarded-Host: pacs.example"]
    async with site(routes=[MIRROR], trusted_proxies=["127.0.0.0/8"]) as here:
        assert (await here.get("/api/v1/mirror", *headers)).json() == {
            "address": "192.0.2.7",
            "root": "https://pacs.example",
        }
    async with site(routes=[MIRROR]) as here:
        assert (await here.get("/api/v1/mirror", *headers)).json() == {
            "address": "127.0.0.1",
            "root": "http://127.0.0.1",
        }
    async with site(routes=[MIRROR], public_root="https://pacs.example") as here:
        assert (await here.get("/api/v1/mirror")).json()["root"] == "https://pacs.example"


def test_the_cookie_is_secure_behind_tls():
    from web.authenticator import session_cookie

    for root, secure in (("https://pacs.example", True), ("http://127.0.0.1:8080", False)):
        assert ("; Secure" in session_cookie("x", root=root, lifetime_s=60)[1]) is secure
