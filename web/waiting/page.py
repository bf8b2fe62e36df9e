"""The page as HTML: complete in itself, with a policy that lets its own script and style run and nothing else."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from html import escape
from pathlib import Path
from typing import Final

import msgspec

from web.share_texts import language_of
from web.waiting.texts import TEXTS

_HERE: Final = Path(__file__).resolve().parent
_STYLE: Final = (_HERE / "page.css").read_text(encoding="utf-8")
_SCRIPT: Final = (_HERE / "page.js").read_text(encoding="utf-8")


def _source(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


_POLICY: Final = (
    "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; img-src data:; connect-src 'self'; "
    f"style-src {_source(_STYLE)}; script-src {_source(_SCRIPT)}"
)


def waiting_page(studies: Iterable[str], accepted: str) -> tuple[list[tuple[bytes, bytes]], bytes]:
    """Headers and body. studies: those to recall; accepted: the Accept-Language header"""
    language = language_of(accepted)
    texts = TEXTS[language]
    told = msgspec.json.encode(texts).decode()
    body = (
        f'<!doctype html><html lang="{language}"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="robots" content="noindex">'
        f'<link rel="icon" href="data:,"><title>{escape(texts.title)}</title><style>{_STYLE}</style></head>'
        f'<body><main data-studies="{escape(" ".join(studies))}" data-texts="{escape(told)}">'
        f"<h1>{escape(texts.title)}</h1><p>{escape(texts.text)}</p><noscript><p>{escape(texts.scripts)}</p></noscript>"
        f'<progress aria-label="{escape(texts.title)}"></progress><p role="status">{escape(texts.queued)}</p>'
        f'<p role="alert"></p><button type="button" hidden>{escape(texts.again)}</button></main>'
        f'<script type="module">{_SCRIPT}</script></body></html>'
    ).encode()
    headers = [
        (b"content-type", b"text/html; charset=utf-8"),
        (b"content-language", language.encode()),
        (b"content-security-policy", _POLICY.encode()),
        (b"cache-control", b"no-store"),
        (b"vary", b"accept-language, cookie"),
        (b"content-length", b"%d" % len(body)),
    ]
    return headers, body
