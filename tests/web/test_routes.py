"""The routes, over a real socket."""

from __future__ import annotations

import pytest
import trio

from protocols.errors import BadIdentifier, Unavailable
from tests.fakes.node_status import HOSTILE, FakeStatus
from tests.web.serving import Answer, site

POLICY = "default-src 'self'; base-uri 'none'; form-action 'none'; object-src 'none'; frame-ancestors 'none'"


async def test_health_is_alive_even_when_nothing_is_ready():
    async with site() as here:
        here.source.readiness = (False, "PostgreSQL does not answer.")
        answer = await here.get("/healthz")
        assert (answer.status, answer.json()) == (200, {"status": "alive"})


async def test_readiness_says_which_worker_is_not_and_why():
    async with site() as here:
        assert (await here.get("/readyz")).status == 200
        here.source.readiness = (False, "Worker 1 takes no images.")
        here.source.change_worker(1, accepting=False, why_not="disk full", indexing=False)
        answer = await here.get("/readyz")
        assert answer.status == 503
        body = answer.json()
        assert (body["ready"], body["why"]) == (False, "Worker 1 takes no images.")
        assert [(one["slot"], one["accepting"], one["why_not"]) for one in body["workers"]] == [
            (0, True, ""),
            (1, False, "disk full"),
        ]


async def test_status_is_the_whole_node_with_its_last_studies():
    async with site() as here:
        answer = await here.get("/api/v1/status")
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["cache-control"] == "no-store"
        body = answer.json()
        assert body["ae_title"] == "PACS"
        assert [one["slot"] for one in body["workers"]] == [0, 1]
        assert HOSTILE in [one["source"] for one in body["last_studies"]]
        assert body["studies_as_of"] > 0


async def test_status_answers_without_the_index():
    async with site() as here:
        here.source.studies = None
        body = (await here.get("/api/v1/status")).json()
        assert (body["last_studies"], body["studies_as_of"]) == ([], 0.0)


async def test_every_answer_has_the_security_headers_and_names_no_server():
    async with site() as here:
        here.source.crash = ValueError("broken")
        paths = ["/", "/healthz", "/readyz", "/api/v1/status", "/status/status.css", "/nothing-here"]
        answers = [await here.get(path) for path in paths]
        answers.append(await here.get("/healthz", method="DELETE"))
        assert [answer.status for answer in answers] == [200, 200, 500, 500, 200, 404, 405]
        for answer in answers:
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers["referrer-policy"] == "no-referrer"
            assert "server" not in answer.headers


async def test_the_content_security_policy_goes_with_what_a_browser_may_run_scripts_of():
    kinds = ["text/html", "Text/HTML; charset=utf-8", "text/xml", "application/xhtml+xml"]
    others = ["text/javascript", "application/pdf", "application/dicom+json", "image/png", ""]

    async def hot(scope, receive, send):
        kind = (kinds + others)[int(scope["path"].rpartition("/")[2])]
        headers = [(b"content-type", kind.encode())] if kind else []
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b""})

    async with site(bare={"/hot/": hot}) as here:
        for number, kind in enumerate(kinds + others):
            answer = await here.get(f"/hot/{number}")
            assert answer.headers.get("content-security-policy") == (POLICY if kind in kinds else None)


async def test_what_does_not_exist_is_a_problem_document():
    async with site() as here:
        for path in ["/nothing-here", "/status/../app.py", "/status/%2e%2e/app.py", "/status/none"]:
            answer = await here.get(path)
            assert answer.status == 404
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.json()["status"] == 404


async def test_a_bug_shows_no_stack_trace():
    async with site() as here:
        here.source.crash = ValueError("secret detail of DOE^JANE")
        answer = await here.get("/api/v1/status")
        assert answer.status == 500
        assert answer.json() == {"type": "about:blank", "title": "Internal Server Error", "status": 500}


@pytest.mark.parametrize(
    ("crash", "status"), [(Unavailable("Ask later."), 503), (BadIdentifier("No such level."), 400)]
)
async def test_expected_errors_keep_their_status_and_say_why(crash, status):
    async with site() as here:
        here.source.crash = crash
        answer = await here.get("/api/v1/status")
        assert (answer.status, answer.json()["detail"]) == (status, str(crash))


async def test_files_are_revalidated_by_their_tag():
    async with site() as here:
        first = await here.get("/")
        assert first.headers["content-type"] == "text/html; charset=utf-8"
        assert first.headers["cache-control"] == "no-cache"
        again = await here.get("/", f"If-None-Match: {first.headers['etag']}")
        assert (again.status, again.body) == (304, b"")


async def test_head_has_the_length_and_no_body():
    async with site() as here:
        answer = await here.get("/healthz", method="HEAD")
        assert (answer.status, answer.headers["content-length"], answer.body) == (200, "18", b"")


async def test_a_host_name_that_is_not_ours_is_refused_on_loopback():
    async with site() as here:
        request = b"GET /api/v1/status HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n"
        answer = Answer.parse(await here.raw(request))
        assert (answer.status, answer.json()["status"]) == (421, 421)
        assert b"ae_title" not in answer.body
    async with site(hosts=["evil.example"]) as here:
        assert Answer.parse(await here.raw(request)).status == 200


@pytest.mark.parametrize(
    "request_",
    [
        b"GET /healthz HTTP/1.0\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n",
        b"GET / HTTP/1.0\r\n\r\n",
        b"POST /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Length: 50000\r\n\r\n"
        + b"x" * 999,
    ],
)
async def test_the_socket_is_closed_when_the_client_asked_for_it(request_):
    async with site() as here:
        with trio.fail_after(2):
            answer = await here.raw(request_)  # returns at the end of the stream only
        assert answer.startswith(b"HTTP/1.1 ")


async def test_many_requests_share_a_connection():
    async with site() as here, await here.connect() as stream:
        for _ in range(3):
            await stream.send_all(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            answer = b""
            with trio.fail_after(2):
                while b'{"status":"alive"}' not in answer:
                    answer += await stream.receive_some()
            assert answer.startswith(b"HTTP/1.1 200")


async def test_a_hot_route_is_asked_before_the_pages():
    async def hot(scope, receive, send):
        headers = [(b"cache-control", b"max-age=9"), (b"content-length", b"11")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": scope["path"].encode()})

    async with site(bare={"/hot/": hot}) as here:
        answer = await here.get("/hot/object")
        assert answer.body == b"/hot/object"
        assert answer.headers["cache-control"] == "max-age=9"
        assert (await here.get("/hot")).status == 404


async def test_studies_are_asked_for_once_for_many_viewers():
    class Counting(FakeStatus):
        asked = 0

        async def last_studies(self):
            self.asked += 1
            await trio.lowlevel.checkpoint()
            return await super().last_studies()

    source = Counting()
    async with site(source) as here, trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(here.get, "/api/v1/status")
    assert source.asked == 1
