"""A folder of built files as a bare ASGI application: the viewer under ``/ohif/``, the panel.

The table of files is made once, by our own walk: the path of a request is looked up in it and never becomes a path on disk.
What is small stays in memory after its first use; what is large is read by a thread, a piece at a time.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from hashlib import blake2b
from io import BufferedReader
from pathlib import Path
from typing import Final

import trio
from hypercorn.typing import ASGIReceiveCallable, ASGISendCallable, HTTPScope, Scope

from web.problems import CONTENT_TYPE, document

STATIC: Final = Path(__file__).resolve().parent / "static"
PIECE_BYTES: Final = 512 * 1024
SMALL_BYTES: Final = 256 * 1024
MOST_PATH: Final = 2048
# Names that webpack makes of a file's content: 16 hexadecimal digits between dots. Vite puts all of its own into assets/.
VIEWER_HASHED: Final = re.compile(r"(?:.*\.)?[0-9a-f]{16}\.\w+")
PANEL_HASHED: Final = re.compile(r"assets/.+")
# OHIF compiles WebAssembly, styles elements, decodes in workers made of blobs, and shows PDF and video that it has fetched.
VIEWER_POLICY: Final = (
    b"default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    b"worker-src 'self' blob:; img-src 'self' data: blob:; connect-src 'self' data: blob:; "
    b"media-src 'self' blob:; object-src 'self' blob:; frame-src 'self' blob:; "
    b"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_FOR_EVER: Final = b"public, max-age=31536000, immutable"
_REVALIDATE: Final = b"no-cache"
_CODINGS: Final = (("br", ".br"), ("gzip", ".gz"))  # in our order of preference
_TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".gif": "image/gif",
    ".html": "text/html; charset=utf-8",
    ".ico": "image/x-icon",
    ".jpg": "image/jpeg",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".mjs": "text/javascript; charset=utf-8",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
    ".wasm": "application/wasm",
    ".webapp": "application/json",
    ".webmanifest": "application/manifest+json",
    ".webp": "image/webp",
    ".woff": "font/woff",
    ".woff2": "font/woff2",
    ".xml": "application/xml",
}
_PAGE: Final = "index.html"
# What a client-side router may have put into the address bar; a UID has dots and no file's extension.
_SEGMENT: Final = re.compile(r"(?!\.{1,2}$)[\w.~@:,+-]*")
_EXTENSION: Final = re.compile(r"\.[A-Za-z]\w{0,15}")
_Headers = list[tuple[bytes, bytes]]


class _Variant:
    """A file's content as it is, or compressed."""

    def __init__(self, path: Path, coding: str) -> None:
        self.path, self.coding = path, coding
        self.size = path.stat().st_size
        self.body: bytes | None = None
        self._tag = ""

    async def tag(self) -> str:
        """Its ETag, made of its content at first use."""
        if not self._tag:
            self._tag = await trio.to_thread.run_sync(self._read)
        return self._tag

    def _read(self) -> str:
        digest, kept = blake2b(digest_size=12), []
        with self.path.open("rb") as file:
            while piece := file.read(PIECE_BYTES):
                digest.update(piece)
                if self.size < SMALL_BYTES:
                    kept.append(piece)
        if self.size < SMALL_BYTES:
            self.body = b"".join(kept)
            self.size = len(self.body)
        return f'"{digest.hexdigest()}"'


class _File:
    """variants: compressed ones first, in our order of preference; the last one is the file itself."""

    def __init__(self, path: Path, *, immutable: bool) -> None:
        self.type = _TYPES.get(path.suffix, "application/octet-stream").encode()
        self.page = self.type.startswith(b"text/html")
        self.cache = _FOR_EVER if immutable else _REVALIDATE
        beside = [(coding, path.with_name(path.name + suffix)) for coding, suffix in _CODINGS]
        self.variants = [_Variant(found, coding) for coding, found in beside if found.is_file()]
        self.variants.append(_Variant(path, ""))

    def choose(self, accepted: bytes) -> _Variant:
        codings = accepted_codings(accepted)
        return next(each for each in self.variants if not each.coding or each.coding in codings)


class StaticFiles:
    """An ASGI application for what was built into a folder; an empty table when nothing was.

    prefix:     what the path of a request begins with, ``/ohif/``
    hashed:     names of files that never change
    policy:     content security policy of its pages; none: that of all others

    A path without an extension that names no file is answered with index.html: the page's router knows it.
    """

    def __init__(
        self, folder: Path, prefix: str, hashed: re.Pattern[str], policy: bytes | None = None
    ) -> None:
        self._prefix, self._policy = prefix, policy
        self._files = {
            name: _File(folder / name, immutable=bool(hashed.fullmatch(name)))
            for name in sorted(_walk(folder))
        }

    @property
    def built(self) -> bool:
        return _PAGE in self._files

    def serves(self, path: str) -> bool:
        """Is there something for this (decoded) path of a request?"""
        return self._find(path) is not None

    def is_page(self, path: str) -> bool:
        """Is this (decoded) path of a request answered with a page?"""
        file = self._find(path)
        return file is not None and file.page

    async def content(self, name: str) -> bytes | None:
        """Of a small file of the table; None if there is none, or somebody has built anew meanwhile."""
        if name not in self._files:
            return None
        variant = self._files[name].variants[-1]
        try:
            await variant.tag()
        except FileNotFoundError:
            return None
        return variant.body

    async def __call__(self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        if scope["type"] != "http":
            raise NotImplementedError(scope["type"])
        path = scope["path"]
        file = self._find(path)
        if path + "/" == self._prefix:
            await _redirect(send, self._prefix)
        elif file is None:
            await _problem(send, 404, "" if self.built else 'Not built; "make ui" builds it.')
        elif scope["method"] not in {"GET", "HEAD"}:
            await _problem(send, 405, "", (b"allow", b"GET, HEAD"))
        else:
            try:
                await self._answer(scope, send, file)
            except FileNotFoundError:  # built anew since we made the table
                await _problem(send, 503, "These files have changed; restart the server.")

    def _find(self, path: str) -> _File | None:
        if len(path) > MOST_PATH or not path.startswith(self._prefix):
            return None
        name = path[len(self._prefix) :]
        found = self._files.get(name)
        if found is None and _is_route(name):
            found = self._files.get(_PAGE)
        return found

    async def _answer(self, scope: HTTPScope, send: ASGISendCallable, file: _File) -> None:
        variant = file.choose(_header(scope, b"accept-encoding"))
        tag = await variant.tag()
        headers = [(b"etag", tag.encode()), (b"cache-control", file.cache)]
        if len(file.variants) > 1:
            headers.append((b"vary", b"accept-encoding"))
        if file.page and self._policy is not None:
            headers.append((b"content-security-policy", self._policy))
        if tag_matches(_header(scope, b"if-none-match"), tag):
            await _start(send, 304, headers)
            await _end(send, b"")
            return
        headers += [(b"content-type", file.type), (b"content-length", b"%d" % variant.size)]
        if variant.coding:
            headers.append((b"content-encoding", variant.coding.encode()))
        if scope["method"] == "HEAD":
            await _start(send, 200, headers)
            await _end(send, b"")
        elif variant.body is not None:
            await _start(send, 200, headers)
            await _end(send, variant.body)
        else:
            await _send_large(send, headers, variant)


async def _send_large(send: ASGISendCallable, headers: _Headers, variant: _Variant) -> None:
    """raises: EOFError when somebody has truncated the file, which ends the connection; OSError"""
    file: BufferedReader = await trio.to_thread.run_sync(variant.path.open, "rb")
    with file:
        await _start(send, 200, headers)
        left = variant.size
        while left:
            piece = await trio.to_thread.run_sync(file.read, min(left, PIECE_BYTES))
            if not piece:
                raise EOFError(f"{variant.path.name} has become shorter")
            left -= len(piece)
            await send({"type": "http.response.body", "body": piece, "more_body": left > 0})


def _walk(folder: Path) -> Iterable[str]:
    """Names of files below a folder, without compressed copies, hidden files and links."""
    copies = tuple(suffix for _, suffix in _CODINGS)
    for path in folder.rglob("*") if folder.is_dir() else ():
        name = path.relative_to(folder).as_posix()
        if path.is_file() and not path.is_symlink() and not name.endswith(copies) and path.name[0] != ".":
            yield name


def _is_route(name: str) -> bool:
    segments = name.split("/")
    return all(map(_SEGMENT.fullmatch, segments)) and not _EXTENSION.fullmatch(_suffix(segments[-1]))


def _suffix(segment: str) -> str:
    dot = segment.rfind(".")
    return segment[dot:] if dot >= 0 else ""


def accepted_codings(header: bytes) -> set[str]:
    """Content codings that Accept-Encoding allows by name (RFC 9110 section 12.5.3); ``*`` says nothing about ours."""
    found = set()
    for part in header.decode("latin-1").split(","):
        coding, _, weight = part.partition(";")
        if not re.fullmatch(r"\s*q\s*=\s*0(\.0*)?\s*", weight, re.I):
            found.add(coding.strip().lower())
    return found


def tag_matches(header: bytes, tag: str) -> bool:
    """If-None-Match, compared weakly (RFC 9110 section 13.1.2)."""
    wanted = {part.strip().removeprefix("W/") for part in header.decode("latin-1").split(",")}
    return tag in wanted or "*" in wanted


def _header(scope: HTTPScope, wanted: bytes) -> bytes:
    return b",".join(bytes(value) for name, value in scope["headers"] if bytes(name).lower() == wanted)


async def _problem(send: ASGISendCallable, status: int, detail: str, *more: tuple[bytes, bytes]) -> None:
    body = document(status, detail)
    headers = [(b"content-type", CONTENT_TYPE.encode()), (b"content-length", b"%d" % len(body)), *more]
    await _start(send, status, headers)
    await _end(send, body)


async def _redirect(send: ASGISendCallable, path: str) -> None:
    await _start(send, 308, [(b"location", path.encode()), (b"content-length", b"0")])
    await _end(send, b"")


async def _start(send: ASGISendCallable, status: int, headers: _Headers) -> None:
    await send({"type": "http.response.start", "status": status, "headers": headers, "trailers": False})


async def _end(send: ASGISendCallable, body: bytes) -> None:
    await send({"type": "http.response.body", "body": body, "more_body": False})
