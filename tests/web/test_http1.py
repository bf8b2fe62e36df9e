"""HTTP/1.1 over real sockets: plain requests, those that h11 has to judge, and both on one connection."""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.testing

from tests.web.serving import Answer, site
from web.serving.exchange import BODY_BYTES

HOST = b"Host: 127.0.0.1\r\n"
CHUNKED = b"POST /echo HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Says what came: method, path, body."""
    body = b""
    while True:
        message = await receive()
        body += message["body"]
        if not message["more_body"]:
            break
    answer = b"%s %s %s" % (scope["method"].encode(), scope["path"].encode(), body)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": answer})


def asks(path: str, *more: bytes, method: str = "GET", body: bytes = b"") -> bytes:
    length = b"Content-Length: %d\r\n" % len(body) if body else b""
    return (
        b"%s %s HTTP/1.1\r\n" % (method.encode(), path.encode())
        + HOST
        + length
        + b"".join(more)
        + b"\r\n"
        + body
    )


def answering(*messages: dict[str, Any]) -> Any:
    async def answer(scope: Any, receive: Any, send: Any) -> None:
        for message in messages:
            await send(message)

    return answer


def begin(*headers: tuple[bytes, bytes], status: int = 200) -> dict[str, Any]:
    return {"type": "http.response.start", "status": status, "headers": list(headers)}


def part(body: bytes, *, more: bool = False) -> dict[str, Any]:
    return {"type": "http.response.body", "body": body, "more_body": more}


CLOSE = b"Connection: close\r\n"


async def test_requests_behind_each_other_are_answered_in_their_order() -> None:
    requests = (
        asks("/echo/1"),
        asks("/echo/2", method="POST", body=b"two"),
        CHUNKED,
        asks("/echo/3"),
        asks("/echo/4", CLOSE),
    )
    async with site(bare={"/echo": echo}) as here:
        answer = await here.raw(b"".join(requests))
    assert answer.count(b"HTTP/1.1 200") == 5
    told = [b"GET /echo/1 ", b"POST /echo/2 two", b"POST /echo abc", b"GET /echo/3 ", b"GET /echo/4 "]
    places = [answer.index(each) for each in told]
    assert places == sorted(places)


async def test_a_request_may_come_a_byte_at_a_time() -> None:
    async with site(bare={"/echo": echo}) as here:
        async with await here.connect() as stream:
            for byte in asks("/echo", CLOSE, method="POST", body=b"slow"):
                await stream.send_all(bytes([byte]))
                await trio.lowlevel.checkpoint()
            answer = b"".join([data async for data in stream])
        assert b"POST /echo slow" in answer


async def test_a_large_body_reaches_the_application_whole_and_in_bounded_pieces() -> None:
    sizes: list[int] = []

    async def count(scope: Any, receive: Any, send: Any) -> None:
        more = True
        while more:
            message = await receive()
            sizes.append(len(message["body"]))
            more = message["more_body"]
        await echo_end(send, b"%d" % sum(sizes))

    async with site(bare={"/count": count}) as here:
        answer = await here.raw(asks("/count", CLOSE, method="POST", body=bytes(5_000_000)))
    assert answer.endswith(b"5000000")
    assert max(sizes) <= BODY_BYTES


async def echo_end(send: Any, body: bytes) -> None:
    await send(begin())
    await send(part(body))


async def test_an_answer_of_unknown_length_comes_in_chunks_and_the_connection_goes_on() -> None:
    stream = answering(begin(), part(b"one", more=True), part(b"", more=True), part(b"three"))
    async with site(bare={"/stream": stream}) as here:
        answer = await here.raw(asks("/stream") + asks("/stream", CLOSE))
    first, second = answer.split(b"HTTP/1.1 200 OK\r\n")[1:]
    for each in (first, second):
        assert b"transfer-encoding: chunked\r\n" in each
        assert each.endswith(b"\r\n\r\n3\r\none\r\n5\r\nthree\r\n0\r\n\r\n")


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_what_has_no_body_gets_none(method: str) -> None:
    empty = {
        "/204": answering(begin(status=204), part(b"no")),
        "/304": answering(begin(status=304), part(b"no")),
    }
    async with site(bare=empty) as here:
        for path in ("/204", "/304"):
            answer = await here.raw(asks(path, CLOSE, method=method))
            assert answer.endswith(b"\r\n\r\n")
        head = await here.raw(asks("/healthz", CLOSE, method="HEAD"))
        assert head.startswith(b"HTTP/1.1 200")
        assert head.endswith(b"\r\n\r\n")


@pytest.mark.parametrize(
    "wrong",
    [
        answering(begin((b"content-length", b"5")), part(b"four", more=False)),
        answering(begin((b"content-length", b"5")), part(b"longer", more=False)),
        answering(begin((b"content-length", b"5")), part(b"four", more=True)),
    ],
)
async def test_a_body_of_another_length_than_was_said_ends_the_connection(wrong: Any) -> None:
    async with site(bare={"/wrong": wrong}) as here:
        answer = await here.raw(asks("/wrong") + asks("/healthz"))
        assert b"alive" not in answer
        assert len(answer.partition(b"\r\n\r\n")[2]) < 5


@pytest.mark.parametrize("value", [b"a\r\nset-cookie: evil=1", b"a\nb", b"a\rb", b"a\0b"])
async def test_a_header_cannot_become_two(value: bytes) -> None:
    async with site(bare={"/split": answering(begin((b"x-name", value)), part(b""))}) as here:
        answer = Answer.parse(await here.raw(asks("/split", CLOSE)))
        assert answer.status == 500
        assert "set-cookie" not in answer.headers


@pytest.mark.parametrize("messages", [(), (part(b"early"),), (begin(), begin())])
async def test_an_application_that_answers_nothing_sensible_is_answered_500(messages: Any) -> None:
    async with site(bare={"/bad": answering(*messages)}) as here:
        assert Answer.parse(await here.raw(asks("/bad", CLOSE))).status == 500
        assert (await here.get("/healthz")).status == 200


async def test_a_body_that_nobody_reads_ends_the_connection_after_the_answer() -> None:
    async with site(bare={"/rude": answering(begin(), part(b"no"))}) as here:
        answer = await here.raw(asks("/rude", method="POST", body=bytes(200_000)) + asks("/healthz"))
    assert b"connection: close" in answer
    assert answer.endswith(b"no")


async def test_an_application_hears_that_the_client_has_left() -> None:
    heard = trio.Event()

    async def listen(scope: Any, receive: Any, send: Any) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        heard.set()

    async with site(bare={"/listen": listen}) as here:
        stream = await here.connect()
        await stream.send_all(asks("/listen"))
        await trio.testing.wait_all_tasks_blocked()
        await stream.aclose()
        with trio.fail_after(5):
            await heard.wait()


async def test_an_application_that_streams_to_nobody_is_cancelled() -> None:
    ended = trio.Event()

    async def stream(scope: Any, receive: Any, send: Any) -> None:
        try:
            await send(begin())
            while True:
                await send(part(bytes(65536), more=True))
        finally:
            ended.set()

    async with site(bare={"/stream": stream}) as here:
        client = await here.connect()
        await client.send_all(asks("/stream"))
        await client.receive_some()
        await client.aclose()
        with trio.fail_after(5):
            await ended.wait()


SMUGGLED = b"GET /echo/smuggled HTTP/1.1\r\n" + HOST + b"\r\n"


@pytest.mark.parametrize(
    "fields",
    [
        b"Content-Length: %d\r\nTransfer-Encoding: chunked\r\n" % (len(SMUGGLED) + 5),
        b"Content-Length: 5\r\nContent-Length: 6\r\n",
        b"Content-Length: 0\r\nContent-Length: %d\r\n" % len(SMUGGLED),
        b"Content-Length: 0, 5\r\n",
        b"Content-Length: +5\r\n",
        b"Content-Length : 5\r\n",
        b"Transfer-Encoding: identity\r\n",
        b"Transfer-Encoding: chunked, identity\r\n",
        b"Transfer-Encoding\r\n: chunked\r\n",
        b"X: y\r\n Content-Length: 5\r\nContent-Length: 0\r\n",
        b"X: y\rContent-Length: 5\r\n",
        b"X\0: y\r\n",
    ],
)
async def test_nothing_is_smuggled_behind_a_request_of_doubtful_length(fields: bytes) -> None:
    request = b"POST /echo HTTP/1.1\r\n" + HOST + fields + b"\r\n0\r\n\r\n" + SMUGGLED
    async with site(bare={"/echo": echo}) as here:
        answer = await here.raw(request)
    assert b"GET /echo/smuggled" not in answer
    assert answer.startswith((b"HTTP/1.1 400", b"HTTP/1.1 501"))


@pytest.mark.parametrize("at", [0, 20])
@pytest.mark.parametrize(
    "request_",
    [
        b"GET /echo HTTP/1.1\nHost: 127.0.0.1\n\n",
        b"GET /echo HTTP/1.1\r\nHost: 127.0.0.1\nX: y\r\n\r\n",
        b"GET /echo HTTP/1.1\r\nHost: 127.0.0.1\r\nX: y\r\n z\r\n\r\n",
        b"GET /echo HTTP/1.1\r\nHost: 127.0.0.1\r\nX: y\rz\r\n\r\n",
    ],
)
async def test_lines_that_end_in_another_way_or_go_on_are_refused(request_: bytes, at: int) -> None:
    async with site(bare={"/echo": echo}) as here, await here.connect() as stream:
        await stream.send_all(request_[:at])
        await trio.testing.wait_all_tasks_blocked()
        await stream.send_all(request_[at:])
        with trio.fail_after(5):
            answer = b"".join([data async for data in stream])
    assert answer.startswith(b"HTTP/1.1 400")
    assert answer.count(b"HTTP/1.1") == 1


async def test_strict_transport_security_is_said_to_https_only() -> None:
    name = "strict-transport-security"
    async with site() as here:
        assert name not in (await here.get("/healthz")).headers
    async with site(public_root="https://pacs.example") as here:
        assert (await here.get("/healthz")).headers[name].startswith("max-age=")


async def test_the_last_answer_of_a_draining_server_says_that_it_closes() -> None:
    asked, answer_now = trio.Event(), trio.Event()

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        asked.set()
        await answer_now.wait()
        await echo_end(send, b"done")

    async with site(bare={"/slow": slow}) as here, await here.connect() as stream:
        await stream.send_all(asks("/slow"))
        await asked.wait()
        here.shutdown.set()
        await trio.testing.wait_all_tasks_blocked()
        answer_now.set()
        answer = b"".join([data async for data in stream])
    assert answer.endswith(b"done")
    assert b"connection: close" in answer
