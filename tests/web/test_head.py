"""Heads of requests: what is read at once is beyond doubt, all else is h11's."""

from __future__ import annotations

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from web.serving.head import MOST_BYTES, read_head

HOST = b"Host: 127.0.0.1\r\n"


def head(*lines: bytes, first: bytes = b"GET /a?b=c HTTP/1.1\r\n") -> bytes:
    return first + b"".join(lines) + b"\r\n"


def test_a_plain_request_is_read_and_what_follows_is_left() -> None:
    data = head(HOST, b"X-Thing:  two words \t\r\n", b"Content-Length: 12\r\n")
    found = read_head(data + b"the body")
    assert found is not None
    assert (found.method, found.target, found.length_bytes) == (b"GET", b"/a?b=c", 12)
    assert found.headers == [(b"host", b"127.0.0.1"), (b"x-thing", b"two words"), (b"content-length", b"12")]
    assert found.size_bytes == len(data)
    assert found.keep_alive


def test_close_is_understood() -> None:
    found = read_head(head(HOST, b"Connection: Close\r\n"))
    assert found is not None
    assert not found.keep_alive


@pytest.mark.parametrize(
    "lines",
    [
        [HOST, b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n"],
        [HOST, b"Transfer-Encoding: chunked\r\n"],
        [HOST, b"Transfer-Encoding: xchunked\r\n"],
        [HOST, b"transfer-encoding : chunked\r\n"],
        [HOST, b"Content-Length: 5\r\n", b"Content-Length: 5\r\n"],
        [HOST, b"Content-Length: 5\r\n", b"Content-Length: 6\r\n"],
        [HOST, b"Content-Length: 5, 5\r\n"],
        [HOST, b"Content-Length: +5\r\n"],
        [HOST, b"Content-Length: -5\r\n"],
        [HOST, b"Content-Length: 0x5\r\n"],
        [HOST, b"Content-Length: 5 5\r\n"],
        [HOST, b"Content-Length: \r\n"],
        [HOST, b"Content-Length: 1000000000000000000000\r\n"],
        [HOST, b"Content-Length : 5\r\n"],
        [HOST, b" folded: yes\r\n"],
        [HOST, b"A: b\r\n c\r\n"],
        [HOST, b"A: b\n"],
        [HOST, b"A: b\rC: d\r\n"],
        [HOST, b"A: b\x00\r\n"],
        [HOST, b"A\x00: b\r\n"],
        [HOST, b": nameless\r\n"],
        [HOST, b"no colon\r\n"],
        [HOST, HOST],
        [HOST, b"hOST: evil.example\r\n"],
        [],
        [HOST, b"Connection: Upgrade\r\n", b"Upgrade: websocket\r\n"],
        [HOST, b"Upgrade: h2c\r\n"],
        [HOST, b"Connection: keep-alive, Content-Length\r\n"],
        [HOST, b"Connection: close\r\n", b"Connection: keep-alive\r\n"],
        [HOST, b"Expect: 100-continue\r\n"],
        [HOST, b"X: " + b"x" * MOST_BYTES + b"\r\n"],
    ],
)
def test_what_leaves_a_doubt_is_not_read(lines: list[bytes]) -> None:
    assert read_head(head(*lines)) is None


@pytest.mark.parametrize(
    "first",
    [
        b"GET / HTTP/1.0\r\n",
        b"GET / HTTP/2.0\r\n",
        b"GET / HTTP/1.1\n",
        b"GET  / HTTP/1.1\r\n",
        b"GET /a b HTTP/1.1\r\n",
        b"GET /\xff HTTP/1.1\r\n",
        b"get / HTTP/1.1\r\n",
        b"GET http://evil.example/ HTTP/1.1\r\n",
        b"CONNECT evil.example:443 HTTP/1.1\r\n",
        b"OPTIONS * HTTP/1.1\r\n",
        b"\r\nGET / HTTP/1.1\r\n",
        b" GET / HTTP/1.1\r\n",
    ],
)
def test_other_first_lines_are_not_read(first: bytes) -> None:
    assert read_head(head(HOST, first=first)) is None


def test_half_a_head_is_not_read() -> None:
    whole = head(HOST, b"Accept: */*\r\n")
    assert read_head(whole) is not None
    assert all(read_head(whole[:size]) is None for size in range(len(whole)))


_LINES = st.lists(
    st.one_of(
        st.sampled_from(
            [
                HOST,
                b"Content-Length: 3\r\n",
                b"Content-Length:3\r\n",
                b"Connection: close\r\n",
                b"Transfer-Encoding: chunked\r\n",
                b"A:b\r\n",
                b" c\r\n",
                b"\n",
                b"\r\n",
            ]
        ),
        st.binary(max_size=12).map(lambda data: data + b"\r\n"),
        st.text("aZ09-_:\t ,;=\x00\xe9", max_size=12).map(lambda text: text.encode("latin-1") + b"\r\n"),
    ),
    max_size=6,
)


@given(_LINES, st.sampled_from([b"GET / HTTP/1.1\r\n", b"POST /x?y HTTP/1.1\r\n", b"GET /\t HTTP/1.1\r\n"]))
def test_whatever_is_read_h11_reads_alike(lines: list[bytes], first: bytes) -> None:
    """Two readers of one connection must agree where each request ends."""
    data = head(*lines, first=first)
    found = read_head(data)
    if found is None:
        return
    other = h11.Connection(h11.SERVER)
    other.receive_data(data)
    request = other.next_event()
    assert isinstance(request, h11.Request)
    assert (request.method, request.target, list(request.headers)) == (
        found.method,
        found.target,
        found.headers,
    )
    other.receive_data(b"")
    length = next((int(value) for name, value in found.headers if name == b"content-length"), 0)
    assert found.length_bytes == length
    if not length and found.size_bytes == len(data):
        assert isinstance(other.next_event(), h11.EndOfMessage)
