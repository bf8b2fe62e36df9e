"""DICOMweb requests of tests: one keep-alive connection, and multipart answers taken apart by the email package's rules."""

from __future__ import annotations

import http.client
from collections.abc import Mapping
from types import TracebackType
from typing import NamedTuple
from urllib.parse import urlencode

from tests.system.server import Server


class Part(NamedTuple):
    content_type: str
    body: bytes


class Reply(NamedTuple):
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def content_type(self) -> str:
        return self.headers.get("content-type", "")

    @property
    def parts(self) -> list[Part]:
        """Of a multipart, taken apart by hand: nothing of ours is trusted with it."""
        assert self.content_type.startswith("multipart/related"), self.content_type
        boundary = self.content_type.rpartition("boundary=")[2].strip('"').encode()
        before, *pieces, after = self.body.split(b"--" + boundary)
        assert (before, after) == (b"", b"--\r\n")
        parts = []
        for piece in pieces:
            assert piece.startswith(b"\r\n")
            assert piece.endswith(b"\r\n")
            head, blank, body = piece[2:-2].partition(b"\r\n\r\n")
            assert blank
            name, _, value = head.partition(b": ")
            assert name == b"Content-Type", "viewers look for it in exactly that case"
            parts.append(Part(value.decode(), body))
        return parts


class Client:
    """Somebody's DICOMweb client; the administrator's without a token."""

    def __init__(self, server: Server, token: str | None = None) -> None:
        self._connection = http.client.HTTPConnection(server.host, server.web_port, timeout=60)
        self._token = server.token if token is None else token

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    def get(
        self, path: str, accept: str | None = None, *, method: str = "GET", query: Mapping[str, str] | None = None,
        **headers: str,
    ) -> Reply:  # fmt: skip
        """headers: underscores stand for hyphens"""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if self._token:
            sent["authorization"] = f"Bearer {self._token}"
        if accept is not None:
            sent["accept"] = accept
        target = f"/dicom-web{path}" + (f"?{urlencode(query)}" if query else "")
        self._connection.request(method, target, headers=sent)
        answer = self._connection.getresponse()
        return Reply(
            answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
        )


def path_of(study: str, series: str = "", instance: str = "") -> str:
    return (
        f"/studies/{study}"
        + (f"/series/{series}" if series else "")
        + (f"/instances/{instance}" if instance else "")
    )
