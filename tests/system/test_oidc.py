"""Logging in by OpenID Connect, with a real provider: panva's oidc-provider, from npm, as a process of its own (SECURITY 7)."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urljoin, urlsplit

import httpx
import pytest

from tests.system.raw_peer import eventually
from tests.system.server import Server, free_port, running

PROVIDER = Path(__file__).resolve().parents[1] / "oidc"
CLIENT, SECRET = "pacs", "a-secret-of-the-client-for-tests"


def installed() -> str:
    """The program ``node``, with the provider's packages beside it; skips where they cannot be had."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        pytest.skip("node is not installed")
    if not (PROVIDER / "node_modules" / "oidc-provider").is_dir():
        done = subprocess.run(
            [npm, "ci", "--no-audit", "--no-fund"], cwd=PROVIDER, capture_output=True, timeout=90
        )
        if done.returncode:
            pytest.skip("npm cannot fetch oidc-provider")
    return node


@pytest.fixture(scope="module")
def hospital(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    node, port = installed(), free_port()
    folder = tmp_path_factory.mktemp("oidc")
    options = [
        f"--people.oidc-issuer=http://127.0.0.1:{port}", f"--people.oidc-client-id={CLIENT}",
        "--people.oidc-scopes=openid,profile,email,groups", "--people.oidc-name=Clinic login",
        "--people.oidc-roles=pacs-admins=administrator,pacs-readers=radiologist",
    ]  # fmt: skip
    secret = {"PACS_PEOPLE__OIDC_CLIENT_SECRET": SECRET}
    server = Server(folder / "data", workers=2, options=options, environment=secret)
    back = f"{server.url}/api/v1/login/oidc/callback"
    command = [node, "provider.mjs", str(port), CLIENT, SECRET, back]
    with (
        (folder / "provider.log").open("w") as log,
        subprocess.Popen(
            command, cwd=PROVIDER, stdin=subprocess.PIPE, stdout=log, stderr=log, env={**os.environ}
        ) as idp,
    ):
        try:
            with running(server):
                eventually(
                    lambda: "listening" in (folder / "provider.log").read_text(), what="the provider listens"
                )
                yield server
        finally:
            idp.kill()


class Browser:
    """Follows redirects one at a time, keeps cookies, fills in the provider's forms."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.client = httpx.Client(timeout=20, trust_env=False)

    def to_the_provider(self, return_to: str = "/") -> httpx.Response:
        answer = self.client.get(f"{self.server.url}/api/v1/login/oidc?{urlencode({'return_to': return_to})}")
        assert answer.status_code == 302, answer.text
        return answer

    def log_in_there(self, url: str, username: str) -> str:
        """Through the provider's pages; where it sends the browser in the end."""
        for _ in range(12):
            if url.startswith(self.server.url):
                return url
            answer = self.client.get(url)
            if answer.is_redirect:
                url = urljoin(url, answer.headers["location"])
                continue
            action = unescape(re.search(r'action="([^"]+)"', answer.text)[1])  # type: ignore[index]
            prompt = re.search(r'name="prompt" value="(\w+)"', answer.text)[1]  # type: ignore[index]
            form = {"prompt": prompt, "login": username, "password": "any"}
            answer = self.client.post(urljoin(url, action), data=form)
            assert answer.is_redirect, answer.text
            url = urljoin(url, answer.headers["location"])
        raise AssertionError("the provider does not come to an end")

    def log_in(self, username: str, return_to: str = "/") -> httpx.Response:
        there = self.to_the_provider(return_to).headers["location"]
        return self.client.get(self.log_in_there(there, username))

    def state(self) -> dict[str, str]:
        """The cookie that binds the login to this browser."""
        return {"pacs_oidc": self.client.cookies["pacs_oidc"]}

    def me(self) -> dict[str, object]:
        answer = self.client.get(f"{self.server.url}/api/v1/me")
        assert answer.status_code == 200, answer.text
        found: dict[str, object] = answer.json()
        return found


def test_somebody_whom_the_provider_knows_becomes_a_user_with_the_roles_of_their_groups(
    hospital: Server,
) -> None:
    options = hospital.ask("GET", "/api/v1/login/options")[1]
    assert json.loads(options) == {"oidc": {"name": "Clinic login", "url": "/api/v1/login/oidc"}}
    browser = Browser(hospital)
    answer = browser.log_in("jane", "/study/1.2.3?x=1")
    assert (answer.status_code, answer.headers["location"]) == (303, "/study/1.2.3?x=1")
    assert "HttpOnly" in answer.headers["set-cookie"]
    me = browser.me()
    assert (me["name"], me["display_name"], me["roles"]) == ("jane", "Doe^jane", ["radiologist"])
    again = Browser(hospital)
    again.log_in("jane")
    assert hospital.sql("SELECT count(*) FROM users WHERE username = 'jane' AND password_hash IS NULL") == [
        "1"
    ]
    eventually(
        lambda: (
            hospital.sql(
                "SELECT who, outcome, details->>'how' FROM audit_events WHERE event = 'login' AND who = 'jane'"
            )
            == ["jane|success|oidc"] * 2
        )
    )
    login = {"username": "jane", "password": ""}
    assert hospital.ask("POST", "/api/v1/login", login)[0] == 401, "there is no password to guess"


def test_roles_follow_the_groups_at_the_next_login(hospital: Server) -> None:
    Browser(hospital).log_in("jane")
    hospital.sql("DELETE FROM user_roles WHERE user_id = (SELECT id FROM users WHERE username = 'jane')")
    browser = Browser(hospital)
    browser.log_in("jane")
    assert browser.me()["roles"] == ["radiologist"]


def test_somebody_without_a_group_of_ours_stays_out(hospital: Server) -> None:
    browser = Browser(hospital)
    answer = browser.log_in("guest")
    assert answer.status_code == 401 and "role" in answer.json()["detail"]
    assert "pacs_session" not in browser.client.cookies
    assert hospital.sql("SELECT count(*) FROM users WHERE username = 'guest'") == ["0"]


def test_the_name_of_a_local_user_gives_nobody_their_rights(hospital: Server) -> None:
    browser = Browser(hospital)
    assert browser.log_in("admin").status_code == 303
    me = browser.me()
    assert (me["name"], me["roles"]) == ("admin@clinic.example", ["radiologist"])


def test_a_disabled_user_stays_out(hospital: Server) -> None:
    Browser(hospital).log_in("root")
    hospital.sql("UPDATE users SET enabled = false WHERE username = 'root'")
    assert Browser(hospital).log_in("root").status_code == 401


def test_the_request_has_state_nonce_and_a_pkce_challenge(hospital: Server) -> None:
    asked = [
        parse_qs(urlsplit(Browser(hospital).to_the_provider().headers["location"]).query) for _ in range(2)
    ]
    for query in asked:
        assert query["code_challenge_method"] == ["S256"] and query["response_type"] == ["code"]
        assert all(len(query[name][0]) >= 43 for name in ("state", "nonce", "code_challenge"))
    for name in ("state", "nonce", "code_challenge"):
        assert asked[0][name] != asked[1][name]


def test_a_login_that_was_begun_in_another_browser_is_refused(hospital: Server) -> None:
    """Or somebody could be logged in as the attacker, by a link."""
    attacker, victim = Browser(hospital), Browser(hospital)
    url = attacker.log_in_there(attacker.to_the_provider().headers["location"], "jane")
    assert victim.client.get(url).status_code == 401
    victim.to_the_provider()
    assert victim.client.get(url).status_code == 401
    assert attacker.client.get(url).status_code == 303, "the control"


def test_an_answer_of_the_provider_counts_once_and_only_as_it_was(hospital: Server) -> None:
    browser = Browser(hospital)
    url = browser.log_in_there(browser.to_the_provider().headers["location"], "jane")
    parts = urlsplit(url)
    query = {name: values[0] for name, values in parse_qs(parts.query).items()}
    cookies = browser.state()

    def come_back(**changes: str) -> int:
        changed = urlencode({name: value for name, value in {**query, **changes}.items() if value})
        return httpx.get(
            f"{url.partition('?')[0]}?{changed}", cookies=cookies, trust_env=False, timeout=20
        ).status_code

    for changes in (
        {"state": "x" * 43}, {"state": ""}, {"state": "x" * 5000}, {"code": ""}, {"code": "x" * 5000},
        {"error": "access_denied", "code": ""},
    ):  # fmt: skip
        assert come_back(**changes) == 401, changes
    assert come_back(iss="http://evil.example") == 401, "and the state is used up"
    assert come_back() == 401
    fresh = Browser(hospital)
    url = fresh.log_in_there(fresh.to_the_provider().headers["location"], "jane")
    assert fresh.client.get(url.replace("code=", "code=x")).status_code == 401
    fresh = Browser(hospital)
    url = fresh.log_in_there(fresh.to_the_provider().headers["location"], "jane")
    kept = fresh.state()
    assert fresh.client.get(url).status_code == 303
    assert httpx.get(url, cookies=kept, trust_env=False).status_code == 401, "twice"


@pytest.mark.parametrize(
    "return_to",
    ["https://evil.example/", "//evil.example", "/\\evil.example", "evil", "", "/a\r\nb", "/" + "a" * 2000],
)
def test_nobody_is_sent_elsewhere_after_the_login(hospital: Server, return_to: str) -> None:
    path = f"/api/v1/login/oidc?{urlencode({'return_to': return_to})}"
    assert httpx.get(f"{hospital.url}{path}", trust_env=False).status_code == 400


def test_the_clients_secret_is_shown_nowhere(hospital: Server) -> None:
    assert SECRET not in hospital.log.read_text(errors="replace")
    assert SECRET not in hospital.ask("GET", "/api/v1/settings", token=hospital.token)[1].decode()
