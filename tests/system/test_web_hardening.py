"""What holds for every route alike: how answers may be kept and read, tokens that were forged, bodies that want to be inflated.

SECURITY 7, 11 and 12, over real connections; the rules themselves are tested beside the code.
"""

from __future__ import annotations

import base64
import gzip
import hmac
import json
import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import trio
from trio_websocket import ConnectionRejected, open_websocket

from tests.fakes.anything import declared_routes
from tests.system import peers
from tests.system.server import ADMIN_PASSWORD, Server
from tests.system.stow import DICOM, files, part10, related
from tests.system.viewer_data import grey

PAGES = ("text/html", "application/xhtml+xml", "text/xml", "application/xml")


@pytest.fixture(scope="module")
def stored(clinic: Server) -> peers.Instance:
    instance = grey(PatientName="<script>alert(1)</script>", PatientID="=SUM(A1)")
    assert peers.send(clinic, instance) == [0]
    return instance


@pytest.fixture(scope="module")
def browser(clinic: Server) -> Iterator[httpx.Client]:
    headers = {"authorization": f"Bearer {clinic.token}"}
    with httpx.Client(base_url=clinic.url, headers=headers, timeout=30, trust_env=False) as client:
        yield client


def test_no_answer_may_be_kept_by_others_or_taken_for_something_else(
    stored: peers.Instance, browser: httpx.Client
) -> None:
    values = {"study": stored.study, "series": stored.series, "instance": stored.uid}
    wrong, served = [], 0
    for route in declared_routes():
        if route.method != "GET":
            continue
        path = re.sub(r"\{([a-z_]+)\}", lambda match: values.get(match[1], "1"), route.path)
        answer = browser.get(path)
        served += answer.status_code == 200
        kind = answer.headers.get("content-type", "").partition(";")[0]
        kept = answer.headers.get("cache-control", "")
        if answer.headers.get("x-content-type-options") != "nosniff" or not (
            {"no-store", "private"} & set(re.split(r"[, ]+", kept))
        ):
            wrong.append((path, kept))
        policy = answer.headers.get("content-security-policy", "")
        if kind in PAGES and not (
            "frame-ancestors" in policy and "unsafe" not in policy.replace("wasm-unsafe-eval", "")
        ):
            wrong.append((path, policy))
        if b"<script>alert" in answer.content and kind in PAGES:
            wrong.append((path, kind))
    assert wrong == []
    assert served > 40, "the control"


def forged(token: str) -> dict[str, str]:
    """Somebody's token, changed as one can who does not have the key."""
    head, claims, signature = token.split(".")

    def told(part: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(base64.urlsafe_b64decode(part + "=="))
        return found

    def part(value: object) -> str:
        raw = value if isinstance(value, bytes) else json.dumps(value).encode()
        return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()

    unsigned, symmetric = part(told(head) | {"alg": "none"}), part(told(head) | {"alg": "HS256"})
    other = part({**told(claims), "sub": "2"})
    return {
        "alg none": f"{unsigned}.{claims}.",
        "alg none, signed": f"{unsigned}.{claims}.{signature}",
        "a shared secret": f"{symmetric}.{claims}.{part(hmac.digest(b'', f'{symmetric}.{claims}'.encode(), 'sha256'))}",
        "other claims": f"{head}.{other}.{signature}",
        "no signature": f"{head}.{claims}.",
        "no such key": f"{part(told(head) | {'kid': 'another'})}.{claims}.{signature}",
        "not a token": "x" * 4000,
    }


def test_a_forged_token_is_401_everywhere(clinic: Server) -> None:
    token = clinic.login()
    for path in ("/api/v1/me", "/dicom-web/studies"):
        assert clinic.ask("GET", path, token=token)[0] == 200, "the control"
        answers = {kind: clinic.ask("GET", path, token=one)[0] for kind, one in forged(token).items()}
        assert set(answers.values()) == {401}, answers


async def test_a_forged_token_opens_no_live_view(clinic: Server) -> None:
    for kind, token in forged(clinic.token).items():
        with trio.fail_after(20), pytest.raises(ConnectionRejected) as refused:
            async with open_websocket(
                "127.0.0.1", clinic.web_port, "/api/v1/live", use_ssl=False,
                extra_headers=[(b"Authorization", f"Bearer {token}".encode())],
            ):  # fmt: skip
                pass
        assert refused.value.status_code == 401, kind


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "gzip, gzip"])
def test_a_body_is_never_inflated(browser: httpx.Client, coding: str) -> None:
    login = json.dumps({"username": "admin", "password": ADMIN_PASSWORD}).encode()
    upload = files(part10(peers.make()))
    for path, body, kind in (
        ("/api/v1/login", login, "application/json"),
        ("/dicom-web/studies", upload, related(DICOM)),
    ):
        answer = browser.post(
            path, content=gzip.compress(body), headers={"content-type": kind, "content-encoding": coding}
        )
        assert answer.status_code in (400, 415), (path, answer.text)
