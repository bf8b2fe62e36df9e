"""Share links on a running server: what they open, to whom, for how long, and what is told of it (SECURITY 14)."""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Callable, Iterator
from typing import Any, Final
from urllib.parse import quote

import httpx
import pytest

from pacs_actors.people.rights import Action
from tests.browser import Visit
from tests.fakes.anything import declared_routes
from tests.system import peers
from tests.system.peers import wait_until
from tests.system.server import Server, running
from tests.system.viewer_data import grey
from web.http.routes import Access
from web.static_files import STATIC

PASSWORD: Final = "seven horses on the pier"
COOKIE: Final = "pacs_share"
LINK_PASSWORD: Final = "plum tree 7"
REVOKED_WITHIN_S: Final = 5.0
Make = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def clinic(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Behind a proxy on loopback, with two workers that remember on their own."""
    folder = tmp_path_factory.mktemp("shares")
    options = ("--web.trusted-proxies=127.0.0.0/8",)
    with running(Server(folder / "data", options=options, workers=2)) as server:
        yield server


@pytest.fixture(scope="module")
def shared(clinic: Server) -> peers.Instance:
    instance = grey(PatientID="SHARED-1", PatientName="Never^InLogs", InstitutionName="North")
    assert peers.send(clinic, instance) == [0]
    return instance


@pytest.fixture(scope="module")
def other(clinic: Server) -> peers.Instance:
    """Another study of the same patient."""
    instance = grey(PatientID="SHARED-1", InstitutionName="South")
    assert peers.send(clinic, instance) == [0]
    return instance


@pytest.fixture
def make(clinic: Server, shared: peers.Instance) -> Make:
    """Make a link, as the administrator if nobody else."""

    def made(study: str = shared.study, *, token: str = "", expect: int = 201, **more: object) -> Any:
        body = {"expires_in_s": 3600, **more}
        status, answer = clinic.ask(
            "POST", f"/api/v1/studies/{study}/shares", body, token=token or clinic.token, within_s=10
        )
        assert status == expect, answer
        return json.loads(answer)

    return made


class Stranger:
    """A browser that nobody has logged in with."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.client = httpx.Client(base_url=server.url, timeout=20, trust_env=False)

    def get(self, path: str, **options: Any) -> httpx.Response:
        return self.client.get(path, **options)

    def open(self, link: dict[str, Any], password: str | None = None) -> httpx.Response:
        return self.client.post(
            f"/api/v1{path_of(link)}/open", json={"password": password} if password else {}
        )

    def sees(self, study: str) -> bool:
        """Asked of either worker, for a connection belongs to one."""
        with httpx.Client(base_url=self.server.url, cookies=self.client.cookies, trust_env=False) as client:
            answer = client.get(f"/dicom-web/studies/{study}/metadata")
        assert answer.status_code in (200, 401, 404), answer.text
        return answer.status_code == 200


@pytest.fixture
def stranger(clinic: Server) -> Iterator[Stranger]:
    somebody = Stranger(clinic)
    yield somebody
    somebody.client.close()


def path_of(link: dict[str, Any]) -> str:
    path = re.fullmatch(r"https?://[^/]+(/share/[^/]+)", link["url"])
    assert path is not None, link["url"]
    return path[1]


def secret_of(link: dict[str, Any]) -> str:
    return path_of(link).removeprefix("/share/")


def audited(server: Server, event: str, number: int) -> list[tuple[str, str, str, str, str]]:
    """(outcome, who, via, study, why) of the events of a link, in their order."""
    rows = server.sql(
        "SELECT outcome, who, via, array_to_string(uids, ' '), coalesce(details ->> 'why', '') FROM audit_events"
        f" WHERE event = '{event}' AND details ->> 'share' = '{number}' ORDER BY id"
    )
    return [tuple(row.split("|")) for row in rows]  # type: ignore[misc]


def a_person(server: Server, username: str, role: str, scope: object = None) -> tuple[int, str]:
    """(id, token) of a new user. scope: what they see besides their role's"""
    user = {"username": username, "password": PASSWORD, "roles": [role], "scope": scope}
    status, body = server.ask("POST", "/api/v1/users", user, token=server.token, within_s=10)
    assert status == 201, body
    return json.loads(body)["id"], server.login(username, PASSWORD)


# -- what a link opens ----------------------------------------------------------------
def test_a_link_opens_its_study_without_a_login_and_nothing_else(
    clinic: Server, make: Make, stranger: Stranger, shared: peers.Instance, other: peers.Instance
) -> None:
    link = make(note="for Dr. Chen")
    page = stranger.get(path_of(link))
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert COOKIE not in stranger.client.cookies, "looking at a link opens nothing"
    opened = stranger.client.post(path_of(link), data={})
    assert opened.status_code == 303, opened.text
    assert opened.headers["location"] == f"/ohif/viewer?StudyInstanceUIDs={shared.study}"
    cookie = opened.headers["set-cookie"]
    assert cookie.startswith(f"{COOKIE}=shs_")
    assert {"HttpOnly", "SameSite=Lax", "Path=/"} <= {part.strip() for part in cookie.split(";")}

    def found(query: str) -> set[str]:
        answer = stranger.get(f"/dicom-web/{query}")
        assert answer.status_code == 200, answer.text
        return {study["0020000D"]["Value"][0] for study in answer.json()}

    # What the viewer asks for: the study, its series, the patient's other studies.
    mine = f"/dicom-web/studies/{shared.study}"
    assert found(f"studies?StudyInstanceUID={shared.study}") == {shared.study}
    assert found(f"studies/{shared.study}/series") == {shared.study}
    assert found("studies?PatientID=SHARED-1") == {shared.study}
    assert found("studies") == found("series") == found("instances") == {shared.study}
    instance = f"{mine}/series/{shared.series}/instances/{shared.uid}"
    for path in (f"{mine}/metadata", f"{instance}/frames/1", f"{instance}/rendered", f"{mine}/thumbnail"):
        assert stranger.get(path).status_code == 200, path

    theirs = f"/dicom-web/studies/{other.study}"
    instance = f"{theirs}/series/{other.series}/instances/{other.uid}"
    for path in (f"{theirs}/metadata", f"{instance}/frames/1", f"{instance}/rendered", f"{theirs}/thumbnail"):
        assert stranger.get(path).status_code == 404, path


def test_whoever_came_by_a_link_may_look_and_nothing_more(
    make: Make, stranger: Stranger, shared: peers.Instance
) -> None:
    assert stranger.open(make()).status_code == 200
    wrong, tried = [], 0
    for route in declared_routes():
        if route.access is Access.PUBLIC or route.access in (Action.SEARCH, Action.VIEW):
            continue
        values = {"study": shared.study, "series": shared.series, "instance": shared.uid}
        path = re.sub(r"\{([a-z_]+)\}", lambda match: values.get(match[1], "1"), route.path)  # noqa: B023
        content = {"json": {}} if route.method in ("POST", "PUT", "PATCH") else {}
        answer = stranger.client.request(route.method, path, **content)
        tried += 1
        if answer.status_code != (401 if isinstance(route.access, Access) else 403):
            wrong.append((route.method, path, answer.status_code))
    assert wrong == []
    assert tried > 20


def test_objects_may_be_taken_by_a_link_that_says_so_only(
    make: Make, stranger: Stranger, shared: peers.Instance
) -> None:
    path = f"/dicom-web/studies/{shared.study}"
    for download, status in ((False, 403), (True, 200)):
        assert stranger.open(make(download=download)).status_code == 200
        assert stranger.get(path, headers={"accept": "application/zip"}).status_code == status


def test_a_link_never_takes_the_place_of_a_login(
    clinic: Server, make: Make, stranger: Stranger, shared: peers.Instance
) -> None:
    a_person(clinic, "blind", "viewer")
    login = {"username": "blind", "password": PASSWORD}
    origin = {"origin": clinic.url}
    assert stranger.client.post("/api/v1/login", json=login).status_code == 200
    assert stranger.open(make()).status_code == 200
    assert {COOKIE, "pacs_session"} <= set(stranger.client.cookies)
    assert stranger.get("/api/v1/me").json()["name"] == "blind"
    assert not stranger.sees(shared.study), "who has logged in sees no more by a link"
    assert stranger.client.post("/api/v1/logout", headers=origin).status_code == 204
    assert stranger.sees(shared.study)
    assert stranger.get("/api/v1/me").status_code == 401, "and a link is no login"


# -- the page ----------------------------------------------------------------
@pytest.mark.parametrize(
    ("accepted", "language", "words"),
    [
        ("", "en", "Open the study"),
        ("de-DE,ru;q=0.3,zh-CN;q=0.8", "zh", "打开检查"),
        ("ru", "ru", "Открыть исследование"),
        ("zh;q=0, xx;q=0.9, ru;q=nonsense", "en", "Open the study"),
        ("," * 5000, "en", "Open the study"),
    ],
)
def test_the_page_speaks_three_languages_and_holds_no_script_and_no_secret(
    make: Make, stranger: Stranger, accepted: str, language: str, words: str
) -> None:
    link = make()
    page = stranger.get(path_of(link), headers={"accept-language": accepted})
    assert page.status_code == 200
    assert f'<html lang="{language}">' in page.text and words in page.text
    assert "<script" not in page.text
    assert secret_of(link) not in page.text
    assert page.headers["referrer-policy"] == "no-referrer"
    assert page.headers["cache-control"] == "no-store"
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy and "form-action 'self'" in policy


def test_a_link_that_opens_nothing_says_the_same_whatever_the_reason(
    clinic: Server, make: Make, stranger: Stranger, shared: peers.Instance
) -> None:
    revoked, expired, orphan = make(), make(), make()
    clinic.ask("DELETE", f"/api/v1/shares/{revoked['id']}", token=clinic.token)
    clinic.sql(f"UPDATE shares SET expires_at = now() WHERE id = {expired['id']}")
    clinic.sql(f"UPDATE shares SET study_instance_uid = '1.2.3.404' WHERE id = {orphan['id']}")
    answers = set()
    paths = [path_of(link) for link in (revoked, expired, orphan)]
    paths += [f"/share/lnk_{'x' * 43}", "/share/x", f"/share/{'x' * 4000}", "/share/%00%ff'\"<script>"]
    for path in paths:
        page, sent = stranger.get(path), stranger.client.post(path, data={"password": "x"})
        opened = stranger.client.post(f"/api/v1{path}/open", json={})
        answers.add(
            (page.status_code, page.text, sent.status_code, sent.text, opened.status_code, opened.text)
        )
    assert len(answers) == 1
    assert {answer[0::2] for answer in answers} == {(404, 404, 404)}
    assert COOKIE not in stranger.client.cookies
    whys = ("revoked", "expired", "its study is not there for whoever made it")
    for link, why in zip((revoked, expired, orphan), whys, strict=True):
        wait_until(lambda: len(audited(clinic, "share_used", link["id"])) == 3, "the audit")  # noqa: B023
        assert {row[0::4] for row in audited(clinic, "share_used", link["id"])} == {("failure", why)}


def test_a_hostile_form_is_refused_and_another_site_cannot_open_a_link(
    make: Make, stranger: Stranger
) -> None:
    path = path_of(make(password=LINK_PASSWORD))
    form = {"content-type": "application/x-www-form-urlencoded"}
    for content, headers, status in (
        (b"x" * 20_000, form, 413),
        (b"&".join(b"a%d=1" % n for n in range(50)), form, 400),
        ("password=ж".encode(), form, 400),
        (b"password=%ff%fe", form, 403),
        (b"{}", {"content-type": "application/json"}, 415),
        (b"", {**form, "sec-fetch-site": "cross-site"}, 403),
    ):
        answer = stranger.client.post(path, content=content, headers=headers)
        assert answer.status_code == status, (content[:40], answer.text)
    for site in ("cross-site", "same-site"):
        answer = stranger.client.post(f"/api/v1{path}/open", json={}, headers={"sec-fetch-site": site})
        assert answer.status_code == 403
    assert COOKIE not in stranger.client.cookies


# -- passwords ----------------------------------------------------------------
def test_a_link_with_a_password_opens_with_that_alone_and_guesses_are_limited(
    clinic: Server, make: Make, stranger: Stranger, shared: peers.Instance
) -> None:
    link = make(password=LINK_PASSWORD)
    page = stranger.get(path_of(link))
    assert page.status_code == 200 and 'type="password"' in page.text
    assert stranger.open(link).status_code == 401
    assert stranger.open(link, "apple tree 7").status_code == 401
    wrong = stranger.client.post(path_of(link), data={"password": "apple tree 7"})
    assert wrong.status_code == 403 and "That is not the password." in wrong.text
    right = stranger.client.post(path_of(link), data={"password": LINK_PASSWORD})
    assert right.status_code == 303 and stranger.sees(shared.study)
    for _ in range(5):
        assert stranger.open(link, "pear tree 7").status_code == 401
    limited = stranger.open(link, LINK_PASSWORD)
    assert limited.status_code == 429 and int(limited.headers["retry-after"]) >= 1
    page = stranger.client.post(path_of(link), data={"password": LINK_PASSWORD})
    assert page.status_code == 429 and "Too many wrong passwords" in page.text
    assert stranger.open(make(password=LINK_PASSWORD), LINK_PASSWORD).status_code == 200, (
        "the others are open"
    )
    wait_until(lambda: len(audited(clinic, "share_used", link["id"])) >= 9, "the audit")
    told = audited(clinic, "share_used", link["id"])
    assert [row[0] for row in told].count("success") == 1
    assert {row[-1] for row in told} == {"", "wrong password", "too many wrong passwords"}
    (stored,) = clinic.sql(f"SELECT password_hash FROM shares WHERE id = {link['id']}")
    assert stored.startswith("$argon2id$")


def test_a_link_needs_an_end_and_a_password_that_is_not_guessed_at_once(clinic: Server, make: Make) -> None:
    most_s = 90 * 24 * 3600
    for body in (
        {"expires_in_s": None}, {"expires_in_s": 59}, {"expires_in_s": most_s + 1}, {"expires_in_s": 10**30},
        {"password": "short"}, {"password": "x" * 2000}, {"password": "aaaaaaaaaaaa"}, {"note": "x" * 257},
        {"note": "a\0b"}, {"nonsense": 1},
    ):  # fmt: skip
        make(expect=400, **body)
    status, _ = clinic.ask("POST", "/api/v1/studies/1.2.3.404/shares", {}, token=clinic.token)
    assert status == 404
    assert make(expires_in_s=most_s)["expires_at"] > time.strftime("%Y-%m-%d")


# -- its end ----------------------------------------------------------------
def test_revoking_ends_what_a_link_has_opened_within_seconds_on_every_worker(
    clinic: Server, make: Make, stranger: Stranger, shared: peers.Instance
) -> None:
    link, kept = make(), make()
    assert stranger.open(link).status_code == 200
    assert all(stranger.sees(shared.study) for _ in range(8)), "both workers know who that is"
    status, _ = clinic.ask("DELETE", f"/api/v1/shares/{link['id']}", token=clinic.token)
    assert status == 204
    wait_until(
        lambda: not any(stranger.sees(shared.study) for _ in range(8)), "the link's end", REVOKED_WITHIN_S
    )
    assert clinic.ask("DELETE", f"/api/v1/shares/{link['id']}", token=clinic.token)[0] == 404
    assert stranger.open(kept).status_code == 200, "another link of the same study holds"
    assert clinic.sql(f"SELECT count(*) FROM share_sessions WHERE share_id = {link['id']}") == ["0"]


def test_a_link_ends_by_itself_and_with_it_its_sessions(
    clinic: Server, make: Make, stranger: Stranger, shared: peers.Instance
) -> None:
    link = make(expires_in_s=60)
    opened = stranger.open(link)
    assert opened.status_code == 200
    lifetime_s = int(re.search(r"Max-Age=(\d+)", opened.headers["set-cookie"])[1])  # type: ignore[index]
    assert 1 <= lifetime_s <= 60, "the session lasts no longer than the link"
    clinic.sql(f"UPDATE shares SET expires_at = now() WHERE id = {link['id']}")
    wait_until(
        lambda: not any(stranger.sees(shared.study) for _ in range(8)), "the link's end", REVOKED_WITHIN_S
    )


def test_a_link_shows_no_more_than_its_maker_may_see_now(
    clinic: Server, make: Make, stranger: Stranger, shared: peers.Instance, other: peers.Instance
) -> None:
    north = {"rules": [{"institutions": ["North"]}]}
    user_id, token = a_person(clinic, "maker", "referring physician", north)
    make(other.study, token=token, expect=404)
    link = make(token=token)
    assert stranger.open(link).status_code == 200 and stranger.sees(shared.study)

    def change(**facts: object) -> None:
        status, body = clinic.ask("PATCH", f"/api/v1/users/{user_id}", facts, token=clinic.token)
        assert status == 200, body

    def ends() -> None:
        wait_until(
            lambda: not any(stranger.sees(shared.study) for _ in range(8)), "the link's end", REVOKED_WITHIN_S
        )
        assert stranger.open(link).status_code == 404

    change(scope={"rules": [{"institutions": ["South"]}]})
    ends()
    change(scope=north)
    assert stranger.open(link).status_code == 200
    change(roles=["viewer"])  # who may not share
    ends()
    change(roles=["referring physician"], enabled=False)
    ends()


# -- lists, the audit, the secret ----------------------------------------------------------------
def test_everybody_lists_and_revokes_their_own_links_and_administrators_all(
    clinic: Server, make: Make, shared: peers.Instance
) -> None:
    _, token = a_person(clinic, "sharer", "radiologist")
    mine, admins = make(token=token, note="mine", password=LINK_PASSWORD, download=True), make()

    def listed(token: str, query: str = "") -> dict[int, Any]:
        status, body = clinic.ask("GET", f"/api/v1/shares?limit=500{query}", token=token)
        assert status == 200, body
        return {one["id"]: one for one in json.loads(body)["items"]}

    assert list(listed(token)) == [mine["id"]]
    one = listed(token)[mine["id"]]
    assert (one["note"], one["created_by"], one["has_password"], one["download"], one["opened"], one["revoked_at"]) == (
        "mine", "sharer", True, True, 0, None,
    )  # fmt: skip
    assert one["study_instance_uid"] == shared.study and one["expires_at"] == mine["expires_at"]
    assert {mine["id"], admins["id"]} <= set(listed(clinic.token))
    assert list(listed(token, "&study=1.2.3.404")) == []
    assert list(listed(token, f"&study={quote(shared.study)}")) == [mine["id"]]
    assert clinic.ask("DELETE", f"/api/v1/shares/{admins['id']}", token=token)[0] == 404
    for nonsense in ("0", "x", "9" * 30, "-1"):
        assert clinic.ask("DELETE", f"/api/v1/shares/{nonsense}", token=token)[0] == 404
    assert clinic.ask("DELETE", f"/api/v1/shares/{mine['id']}", token=clinic.token)[0] == 204
    assert listed(token)[mine["id"]]["revoked_at"] is not None


def test_making_opening_failing_and_revoking_are_counted_and_audited(
    clinic: Server, make: Make, stranger: Stranger, shared: peers.Instance
) -> None:
    link = make(password=LINK_PASSWORD)
    number, name = link["id"], f"link {link['id']}"
    stranger.open(link, "wrong password")
    stranger.open(link, LINK_PASSWORD)
    stranger.open(link, LINK_PASSWORD)
    assert stranger.get(f"/dicom-web/studies/{shared.study}/metadata").status_code == 200
    clinic.ask("DELETE", f"/api/v1/shares/{number}", token=clinic.token)
    wait_until(lambda: audited(clinic, "share_revoked", number), "the audit")
    assert audited(clinic, "share_created", number) == [("success", "admin", "session", shared.study, "")]
    assert audited(clinic, "share_revoked", number) == [("success", "admin", "session", shared.study, "")]
    assert audited(clinic, "share_used", number) == [
        ("failure", name, "link", shared.study, "wrong password"),
        ("success", name, "link", shared.study, ""),
        ("success", name, "link", shared.study, ""),
    ]
    assert clinic.sql(f"SELECT opened FROM shares WHERE id = {number}") == ["2"]
    wait_until(
        lambda: clinic.sql(f"SELECT event FROM audit_events WHERE who = '{name}' AND event = 'viewed'"),
        "what was looked at, in the link's name",
    )


def test_a_link_has_256_random_bits_and_they_are_nowhere_but_in_it(
    clinic: Server, make: Make, stranger: Stranger
) -> None:
    links = [make(password=LINK_PASSWORD) for _ in range(3)]
    secrets = [secret_of(link) for link in links]
    assert len(set(secrets)) == 3
    for link, secret in zip(links, secrets, strict=True):
        assert re.fullmatch(r"lnk_[A-Za-z0-9_-]{43}", secret)
        digest = hashlib.sha256(secret.encode()).hexdigest()
        assert clinic.sql(f"SELECT encode(secret_hash, 'hex') FROM shares WHERE id = {link['id']}") == [
            digest
        ]
        stranger.get(path_of(link))
        stranger.open(link, "wrong password")
        assert stranger.open(link, LINK_PASSWORD).status_code == 200
        stranger.get(f"{path_of(link)}/nothing/here")
        stranger.client.put(path_of(link))
    status, listed = clinic.ask("GET", "/api/v1/shares", token=clinic.token)
    assert status == 200
    wait_until(lambda: len(audited(clinic, "share_used", links[-1]["id"])) == 2, "the audit")
    kept = "\n".join(
        clinic.sql("SELECT e::text FROM audit_events e") + clinic.sql("SELECT h::text FROM shares h")
    )
    log = clinic.log.read_text(errors="replace")
    for secret in (*secrets, LINK_PASSWORD, stranger.client.cookies[COOKIE]):
        assert secret not in listed.decode() and secret not in kept and secret not in log


def test_a_link_is_what_browsers_reach_us_by_and_its_cookie_is_secure_behind_tls(
    clinic: Server, make: Make
) -> None:
    assert make()["url"].startswith(f"{clinic.url}/share/lnk_")
    outside = {
        "x-forwarded-for": "192.0.2.1",
        "x-forwarded-proto": "https",
        "x-forwarded-host": "pacs.example",
    }
    with httpx.Client(base_url=clinic.url, timeout=20, trust_env=False, headers=outside) as client:
        study = clinic.sql("SELECT study_instance_uid FROM studies LIMIT 1")[0]
        body, bearer = {"expires_in_s": 60}, {"authorization": f"Bearer {clinic.token}"}
        made = client.post(f"/api/v1/studies/{study}/shares", json=body, headers=bearer).json()
        assert made["url"].startswith("https://pacs.example/share/lnk_")
        opened = client.post(path_of(made), data={})
        assert opened.status_code == 303
        assert opened.headers["set-cookie"].endswith("; Secure")
        assert opened.headers["location"].startswith("/ohif/viewer?")


# -- in a browser ----------------------------------------------------------------
@pytest.mark.skipif(not (STATIC / "ohif" / "index.html").is_file(), reason="the viewer is not built")
def test_a_link_opens_the_viewer_in_a_browser_without_a_login(
    clinic: Server, make: Make, shared: peers.Instance, other: peers.Instance, visit: Callable[..., Visit]
) -> None:
    link = make(password=LINK_PASSWORD)
    seen = visit(f"{clinic.url}{path_of(link)}", locale="ru-RU", viewport={"width": 1280, "height": 800})
    seen.page.get_by_label("Пароль").fill("wrong password")
    seen.page.get_by_role("button", name="Открыть исследование").click()
    assert seen.page.get_by_role("alert").text_content() == "Неверный пароль."
    seen.errors.clear()  # Chromium writes down the status of that page
    seen.page.get_by_label("Пароль").fill(LINK_PASSWORD)
    with seen.page.expect_response(lambda answer: f"{shared.uid}/frames/" in answer.url) as image:
        seen.page.get_by_role("button", name="Открыть исследование").click()
        seen.page.wait_for_url(f"{clinic.url}/ohif/viewer?StudyInstanceUIDs={shared.study}")
    assert image.value.status == 200
    seen.page.locator("[data-cy=viewport-pane]").first.wait_for()
    assert seen.page.url.startswith(f"{clinic.url}/ohif/viewer?"), "nobody is sent to the login"
    assert not any(other.study in url for url in seen.requests)
    assert seen.outside(clinic.url) == []
    assert seen.of_policy() == []
    assert secret_of(link) not in "".join(seen.requests[seen.requests.index(seen.page.url) :])
