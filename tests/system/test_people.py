"""People on the real server: logging in over HTTP and DICOM, users, roles and tokens over REST, and what the audit says of it.

SECURITY 4, 6 to 10, 15, 23, 24; the rules themselves are tested beside the code.
"""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from msgspec import structs

from protocols.ul.model import AssociateAccept, AssociateReject, ContextResult, UserIdentity
from protocols.ul.pdu import AssociateRequest, decode, encode
from tests.system import peers
from tests.system.raw_peer import (
    COMMIT,
    CT,
    EXPLICIT_LE,
    FIND,
    GET,
    IMPLICIT_LE,
    MOVE,
    RawPeer,
    association_request,
    eventually,
)
from tests.system.server import ADMIN_PASSWORD, Server, running

PASSWORD = "eight horses on the pier"
CONTEXTS = {
    "store": (CT, (EXPLICIT_LE,)), "find": (FIND, (IMPLICIT_LE,)), "move": (MOVE, (IMPLICIT_LE,)),
    "get": (GET, (IMPLICIT_LE,)), "commit": (COMMIT, (IMPLICIT_LE,)),
}  # fmt: skip


def call(
    server: Server,
    method: str,
    path: str,
    body: object = None,
    *,
    token: str | None = None,
    expect: int = 200,
) -> Any:
    """As the administrator, unless a token is given."""
    status, answer = server.ask(
        method, f"/api/v1{path}", body, token=server.token if token is None else token, within_s=15
    )
    assert status == expect, (method, path, status, answer)
    return json.loads(answer) if answer else None


def add(server: Server, username: str, *roles: str, **facts: object) -> dict[str, Any]:
    body = {"username": username, "password": PASSWORD, "roles": roles, **facts}
    made: dict[str, Any] = call(server, "POST", "/users", body, expect=201)
    return made


class Browser:
    """Keeps the cookie that it is given, and sends what a browser sends."""

    def __init__(self, server: Server) -> None:
        self.server, self.cookie, self.set_cookie = server, "", ""

    def ask(self, method: str, path: str, body: object = None, **headers: str) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.server.web_port, timeout=10)
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if self.cookie:
            sent["cookie"] = self.cookie
        if body is not None:
            sent.setdefault("content-type", "application/json")
        connection.request(method, f"/api/v1{path}", None if body is None else json.dumps(body), sent)
        answer = connection.getresponse()
        if given := answer.headers.get("set-cookie"):
            self.set_cookie, self.cookie = given, given.partition(";")[0]
        found = answer.status, answer.read()
        connection.close()
        return found

    def login(self, username: str = "admin", password: str = ADMIN_PASSWORD) -> None:
        status, body = self.ask("POST", "/login", {"username": username, "password": password})
        assert status == 200, body


# -- sessions over HTTP -----------------------------------------------------------------------------------------------------------


def test_a_login_sets_a_cookie_that_scripts_cannot_read_and_other_sites_do_not_send(clinic: Server) -> None:
    browser = Browser(clinic)
    browser.login()
    attributes = [part.strip() for part in browser.set_cookie.split(";")][1:]
    assert {"HttpOnly", "SameSite=Lax", "Path=/"} <= set(attributes)
    assert "Secure" not in attributes, "plain HTTP here"
    status, body = browser.ask("GET", "/me")
    assert (status, json.loads(body)["name"], json.loads(body)["via"]) == (200, "admin", "session")


def test_a_write_with_a_cookie_must_come_from_our_own_pages(clinic: Server) -> None:
    browser = Browser(clinic)
    browser.login()
    ours = f"http://127.0.0.1:{clinic.web_port}"
    for headers, taken in (
        ({"origin": "http://evil.example"}, False),
        ({"origin": "null"}, False),
        ({"origin": f"http://127.0.0.1:{clinic.web_port + 1}"}, False),
        ({"sec_fetch_site": "cross-site"}, False),
        ({"sec_fetch_site": "same-site", "origin": ours}, False),
        ({"referer": "http://evil.example/"}, False),
        ({"origin": ours}, True),
        ({"origin": ours, "sec_fetch_site": "same-origin"}, True),
    ):
        status, _ = browser.ask("PATCH", "/me", {"language": "en"}, **headers)
        assert status == (200 if taken else 403), headers
    assert browser.ask("GET", "/me", origin="http://evil.example")[0] == 200, (
        "a read cannot be read by others"
    )
    token = {"authorization": f"Bearer {clinic.token}"}
    browser.cookie = ""
    assert browser.ask("PATCH", "/me", {"language": ""}, origin="http://evil.example", **token)[0] == 200


def test_what_somebody_has_no_right_to_is_in_the_audit(clinic: Server) -> None:
    add(clinic, "curious", "registrator")
    call(clinic, "GET", "/users", token=clinic.login("curious", PASSWORD), expect=403)
    eventually(
        lambda: (
            clinic.sql(
                "SELECT outcome, details->>'what' FROM audit_events WHERE who = 'curious' AND event = 'denied'"
            )
            == ["refused|GET /api/v1/users: This needs the permission people.read."]
        )
    )


def test_a_logout_takes_the_cookie_away_and_ends_it_on_every_worker(clinic: Server) -> None:
    browser = Browser(clinic)
    browser.login()
    kept = browser.cookie
    assert browser.ask("POST", "/logout", {})[0] == 204
    assert "Max-Age=0" in browser.set_cookie
    deadline = time.monotonic() + 20  # against a hang; it is a matter of moments
    browser.cookie = kept
    in_a_row = 0
    while in_a_row < 12:  # so that both workers are asked
        in_a_row = in_a_row + 1 if browser.ask("GET", "/me")[0] == 401 else 0
        assert time.monotonic() < deadline, "the other worker still knows it"


def test_wrong_logins_are_told_apart_by_nothing_and_hold_up_who_goes_on(clinic: Server) -> None:
    add(clinic, "target", "viewer")
    answers = []
    for username in ("target", "nobody at all"):
        login = {"username": username, "password": "wrong"}
        answers.append([clinic.ask("POST", "/api/v1/login", login) for _ in range(6)])
    assert answers[0] == answers[1]
    assert [status for status, _ in answers[0]] == [401] * 5 + [429]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b'{"username": 1, "password": "x"}',
        b'{"username": "a"}',
        b'{"username": "' + b"x" * 2000,
    ],
)
def test_a_login_that_is_none_is_refused_without_a_trace_of_code(clinic: Server, body: bytes) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", clinic.web_port, timeout=10)
    connection.request("POST", "/api/v1/login", body, {"content-type": "application/json"})
    answer = connection.getresponse()
    assert answer.status == 400
    assert answer.headers["content-type"] == "application/problem+json"
    assert b"Traceback" not in answer.read()
    connection.close()


def test_a_body_that_is_too_large_or_too_deep_is_refused(clinic: Server) -> None:
    for body, status in (
        (b'"' + b"x" * 70_000 + b'"', 413),
        (b"[" * 50_000, 400),
        (b'{"username":"\\ud800"}', 400),
    ):
        connection = http.client.HTTPConnection("127.0.0.1", clinic.web_port, timeout=10)
        connection.request("POST", "/api/v1/login", body, {"content-type": "application/json"})
        assert connection.getresponse().status == status, body[:20]
        connection.close()


def test_refresh_tokens_are_used_once(clinic: Server) -> None:
    login = call(clinic, "POST", "/login", {"username": "admin", "password": ADMIN_PASSWORD})
    renewed = call(clinic, "POST", "/refresh", {"refresh_token": login["refresh_token"]}, token="")
    assert call(clinic, "GET", "/me", token=renewed["access_token"])["name"] == "admin"
    call(clinic, "POST", "/refresh", {"refresh_token": login["refresh_token"]}, token="", expect=401)
    call(clinic, "POST", "/refresh", {"refresh_token": renewed["refresh_token"]}, token="", expect=401)


# -- users, roles, tokens over REST -----------------------------------------------------------------------------------------------


def test_a_user_is_added_changed_and_removed_and_each_step_is_audited(clinic: Server) -> None:
    made = add(clinic, "jane", "viewer", department="CARDIOLOGY")
    assert PASSWORD not in json.dumps(made) and "argon2" not in json.dumps(made)
    token = clinic.login("jane", PASSWORD)
    assert call(clinic, "GET", "/me", token=token)["actions"] == ["study.search", "study.view"]
    path = f"/users/{made['id']}"
    call(clinic, "PATCH", path, {"roles": ["technologist"], "email": "jane@clinic.example"})
    assert "study.store" in _soon_me(clinic, token, lambda me: "study.store" in me["actions"])["actions"]
    assert call(clinic, "GET", path)["email"] == "jane@clinic.example"
    call(clinic, "POST", f"{path}/password", {"password": "nine horses on the pier"}, expect=204)
    eventually(lambda: clinic.ask("GET", "/api/v1/me", token=token)[0] == 401, within_s=6)
    token = clinic.login("jane", "nine horses on the pier")
    assert call(clinic, "POST", f"{path}/revoke")["ended"] == 1
    eventually(lambda: clinic.ask("GET", "/api/v1/me", token=token)[0] == 401, within_s=6)
    call(clinic, "DELETE", path, expect=204)
    call(clinic, "GET", path, expect=404)
    eventually(
        lambda: (
            clinic.sql(
                "SELECT event, details->>'change' FROM audit_events WHERE who = 'admin' AND"
                " (details->>'user' = 'jane' OR details->>'of' = 'jane') ORDER BY at"
            )
            == [
                "user_changed|created", "permission_changed|roles", "user_changed|changed", "user_changed|password",
                "user_changed|revoked", "user_changed|deleted",
            ]
        ),
        what="every change is in the audit",
    )  # fmt: skip


def _soon_me(server: Server, token: str, fits: Any) -> Any:
    found: list[Any] = []

    def look() -> bool:
        found[:] = [call(server, "GET", "/me", token=token)]
        return bool(fits(found[0]))

    eventually(look, within_s=6)
    return found[0]


def test_the_last_administrator_stays(clinic: Server) -> None:
    (admin,) = [one for one in call(clinic, "GET", "/users?limit=500")["items"] if one["username"] == "admin"]
    path = f"/users/{admin['id']}"
    call(clinic, "DELETE", path, expect=409)
    call(clinic, "PATCH", path, {"enabled": False}, expect=409)
    call(clinic, "PATCH", path, {"roles": ["viewer"]}, expect=409)
    call(clinic, "PUT", "/roles/administrator", {"actions": ["study.search"]}, expect=409)
    call(clinic, "DELETE", "/roles/administrator", expect=409)
    assert call(clinic, "GET", "/me")["roles"] == ["administrator"]


def test_nobody_gives_rights_that_they_do_not_have(clinic: Server) -> None:
    role = {"name": "registrar", "actions": ["people.read", "people.write"], "scope": {"everything": True}}
    call(clinic, "POST", "/roles", role, expect=201)
    add(clinic, "clerk", "registrar")
    viewer = add(clinic, "some viewer", "viewer")
    clerk = clinic.login("clerk", PASSWORD)
    (admin,) = [one for one in call(clinic, "GET", "/users?limit=500")["items"] if one["username"] == "admin"]
    me = next(one for one in call(clinic, "GET", "/users?limit=500")["items"] if one["username"] == "clerk")
    for method, path, body in (
        ("POST", "/users", {"username": "mine", "roles": ["administrator"]}),
        ("PATCH", f"/users/{me['id']}", {"roles": ["administrator"]}),
        ("POST", f"/users/{admin['id']}/password", {"password": "my own long password"}),
        ("POST", f"/users/{admin['id']}/revoke", None),
        ("DELETE", f"/users/{viewer['id']}", None),
        ("POST", "/roles", {"name": "mine", "actions": ["audit.read"]}),
        ("PUT", "/roles/registrar", {"actions": ["people.write", "study.delete"]}),
        ("DELETE", "/roles/radiologist", None),
    ):
        call(clinic, method, path, body, token=clerk, expect=403)
    call(clinic, "POST", "/users", {"username": "harmless", "password": PASSWORD}, token=clerk, expect=201)


def test_roles_are_added_changed_and_removed(clinic: Server) -> None:
    scope = {"rules": [{"modalities": ["CT"], "own_department": True}]}
    made = call(
        clinic,
        "POST",
        "/roles",
        {"name": "CT room 1", "actions": ["study.search"], "scope": scope},
        expect=201,
    )
    assert made["scope"]["rules"][0]["own_department"] is True
    path = f"/roles/{quote('CT room 1')}"
    call(clinic, "PUT", path, {"description": "Night shift", "actions": ["study.view"], "scope": scope})
    found = next(one for one in call(clinic, "GET", "/roles")["items"] if one["name"] == "CT room 1")
    assert (found["description"], found["actions"]) == ("Night shift", ["study.view"])
    for wrong in (
        {"actions": ["no.such"]},
        {"scope": {"rules": [{}]}},
        {"scope": {"rules": [{"nonsense": 1}]}},
        {"name": "x"},
    ):
        call(clinic, "PUT", path, wrong, expect=400)
    call(clinic, "DELETE", path, expect=204)
    call(clinic, "DELETE", path, expect=404)
    described = call(clinic, "GET", "/permissions")
    assert {one["action"] for one in described} >= {"study.search", "people.write"}


@pytest.mark.parametrize(
    "wrong",
    [
        {"username": ""}, {"username": "a\nb"}, {"username": " a"}, {"username": "x" * 129}, {"password": "short"},
        {"password": "a new person"}, {"roles": ["a\u0000b"]}, {"roles": "viewer"}, {"language": "english"},
        {"display_name": "a\u0000b"}, {"department": "x" * 257}, {"scope": {"rules": [{}]}}, {"nonsense": 1},
        {"scope": {"everything": True, "rules": [{"studies": ["1"] * 300}]}},
    ],
)  # fmt: skip
def test_a_user_that_cannot_be_is_refused(clinic: Server, wrong: dict[str, object]) -> None:
    call(clinic, "POST", "/users", {"username": "a new person", "password": PASSWORD} | wrong, expect=400)


def test_names_of_users_that_are_there_and_roles_that_are_not_conflict(clinic: Server) -> None:
    for body in ({"username": "ADMIN"}, {"username": "somebody", "roles": ["no such role"]}):
        call(clinic, "POST", "/users", body, expect=409)
    for user_id in ("0", "999999999", "abc", "1" * 40, "-1", "%00"):
        call(clinic, "GET", f"/users/{user_id}", expect=404)


def test_users_are_paged_sorted_and_given_as_csv_without_formulas(clinic: Server) -> None:
    add(clinic, "paging 1", display_name="=cmd()")
    add(clinic, "paging 2")
    names, cursor = [], ""
    while cursor is not None:
        page = call(clinic, "GET", f"/users?limit=2&sort=-username&cursor={cursor}")
        names += [one["username"] for one in page["items"]]
        cursor = page["next"]
    assert names == sorted(names, key=str.casefold, reverse=True) and len(names) == page["total"]
    status, table = clinic.ask("GET", "/api/v1/users?format=csv", token=clinic.token)
    assert status == 200 and b"'=cmd()" in table and b",=cmd()" not in table
    for query in ("limit=0", "limit=x", "sort=password", "cursor=nonsense"):
        call(clinic, "GET", f"/users?{query}", expect=400)


def test_an_api_token_is_shown_once_limited_and_ended(clinic: Server) -> None:
    made = call(clinic, "POST", "/tokens", {"name": "backup", "actions": ["system.read"]}, expect=201)
    secret = made["token"]
    assert call(clinic, "GET", "/me", token=secret)["via"] == "token"
    call(clinic, "GET", "/status", token=secret)
    call(clinic, "GET", "/users", token=secret, expect=403)
    call(clinic, "POST", "/tokens", {"name": "x", "expires_in_s": 10**9}, expect=400)
    for method, path in (("POST", "/tokens"), ("POST", "/me/password"), ("PATCH", "/me")):
        call(clinic, method, path, {"name": "grow"}, token=secret, expect=403)
    listed = call(clinic, "GET", "/tokens")["items"]
    assert secret not in json.dumps(listed) and listed[0]["used_at"]
    call(clinic, "DELETE", f"/tokens/{made['id']}", expect=204)
    eventually(lambda: clinic.ask("GET", "/api/v1/me", token=secret)[0] == 401, within_s=6)
    for wrong in (
        {"name": ""},
        {"name": "x", "actions": ["no.such"]},
        {"name": "x", "expires_in_s": 1},
        {"name": "x", "expires_in_s": 10**9},
    ):
        call(clinic, "POST", "/tokens", wrong, expect=400)
    add(clinic, "weak", "viewer")
    weak = clinic.login("weak", PASSWORD)
    call(clinic, "POST", "/tokens", {"name": "x", "actions": ["people.write"]}, token=weak, expect=403)
    mine = call(clinic, "POST", "/tokens", {"name": "mine"}, expect=201)
    call(clinic, "DELETE", f"/tokens/{mine['id']}", token=weak, expect=404)


def test_one_may_change_oneself_but_not_into_somebody_else(clinic: Server) -> None:
    add(clinic, "self", "viewer")
    token = clinic.login("self", PASSWORD)
    assert (
        call(clinic, "PATCH", "/me", {"language": "ru", "display_name": "Me"}, token=token)["language"]
        == "ru"
    )
    call(clinic, "PATCH", "/me", {"roles": ["administrator"]}, token=token, expect=400)
    add(clinic, "referrer", "referring physician", display_name="Jane Doe")
    token = clinic.login("referrer", PASSWORD)
    call(clinic, "PATCH", "/me", {"display_name": "Somebody Else"}, token=token, expect=403)
    call(clinic, "PATCH", "/me", {"language": "zh", "display_name": "Jane Doe"}, token=token)
    call(
        clinic,
        "POST",
        "/me/password",
        {"old": "wrong", "new": "ten horses on the pier"},
        token=token,
        expect=401,
    )
    call(clinic, "POST", "/me/password", {"old": PASSWORD, "new": "short"}, token=token, expect=400)
    call(
        clinic,
        "POST",
        "/me/password",
        {"old": PASSWORD, "new": "ten horses on the pier"},
        token=token,
        expect=204,
    )
    clinic.login("referrer", "ten horses on the pier")


# -- DICOM ------------------------------------------------------------------------------------------------------------------------


def identity(username: str, passcode: str, *, kind: int = 2, response: bool = True) -> UserIdentity:
    return UserIdentity(kind, response, username.encode(), passcode.encode())


def associate(peer: RawPeer, given: UserIdentity | None) -> AssociateAccept | AssociateReject:
    request = decode(1, association_request(calling="WORKSTATION", contexts=CONTEXTS.values())[6:])
    assert isinstance(request, AssociateRequest)
    peer.send(encode(structs.replace(request, user_identity=given)))
    answer = peer.receive()
    assert isinstance(answer, AssociateAccept | AssociateReject), answer
    return answer


def allowed(answer: object) -> set[str]:
    assert isinstance(answer, AssociateAccept), answer
    accepted = [context.result == ContextResult.ACCEPTANCE for context in answer.contexts]
    return {name for name, taken in zip(CONTEXTS, accepted, strict=True) if taken}


def test_a_users_passcode_or_token_opens_an_association_with_their_rights(clinic: Server) -> None:
    add(clinic, "tech", "technologist")
    add(clinic, "desk", "registrator")
    everything = {"store", "find", "move", "get", "commit"}
    tech_token = clinic.login("tech", PASSWORD)
    for given, rights, confirmed in (
        (None, everything, False),
        (identity("tech", PASSWORD), everything, True),
        (identity("tech", PASSWORD, response=False), everything, False),
        (identity("desk", PASSWORD), {"find"}, True),
        (identity(tech_token, "", kind=5), everything, True),
        (identity("desk", "", kind=1), everything, False),
        (identity("ticket", "", kind=3), everything, False),
    ):
        with RawPeer(clinic.dicom_port) as peer:
            answer = associate(peer, given)
            assert allowed(answer) == rights, given
            assert isinstance(answer, AssociateAccept)
            assert (answer.user_identity_response is not None) is confirmed, given


def test_a_wrong_identity_is_rejected_audited_and_nowhere_written_down(clinic: Server) -> None:
    secret = "a passcode that must not be seen"
    for given in (
        identity("tech", secret),
        identity("nobody", secret),
        identity("tech", ""),
        identity(f"eyJhbGciOiJub25lIn0.{secret}.", "", kind=5),
        identity("x" * 20_000, secret),
    ):
        with RawPeer(clinic.dicom_port) as peer:
            assert associate(peer, given) == AssociateReject(1, 1, 1)
    eventually(
        lambda: (
            clinic.sql(
                "SELECT DISTINCT outcome FROM audit_events WHERE event = 'login' AND via = 'ae' AND who = 'nobody'"
            )
            == ["failure"]
        )
    )
    assert secret not in clinic.log.read_text(errors="replace")
    assert clinic.sql(f"SELECT count(*) FROM audit_events e WHERE e::text LIKE '%{secret}%'") == ["0"]


def test_a_user_finds_and_gets_over_dicom_only_what_is_in_their_scope(clinic: Server) -> None:
    mine, other = peers.make(InstitutionalDepartmentName="ER"), peers.make(InstitutionalDepartmentName="ONCO")
    assert peers.send(clinic, mine) == [0] and peers.send(clinic, other) == [0]
    role = {
        "name": "ward",
        "actions": ["study.search", "study.download"],
        "scope": {"rules": [{"own_department": True}]},
    }
    call(clinic, "POST", "/roles", role, expect=201)
    add(clinic, "nurse", "ward", department="ER")
    token = call(clinic, "POST", "/login", {"username": "nurse", "password": PASSWORD})["access_token"]
    listed = call(clinic, "GET", "/studies", token=token)["items"]
    assert [one["study_instance_uid"] for one in listed] == [mine.study], "the control over REST"
    found = _found_over_dicom(clinic, identity("nurse", PASSWORD))
    assert (mine.study in found, other.study in found) == (True, False)
    found = _found_over_dicom(clinic, None)
    assert {mine.study, other.study} <= found, "the control: without a user the AE's own rights hold"


def _found_over_dicom(server: Server, given: UserIdentity | None) -> set[str]:
    from pydicom import Dataset
    from pynetdicom import AE
    from pynetdicom.pdu_primitives import UserIdentityNegotiation

    extended = []
    if given is not None:
        item = UserIdentityNegotiation()
        item.user_identity_type, item.positive_response_requested = given.kind, True
        item.primary_field, item.secondary_field = given.primary, given.secondary
        extended.append(item)
    entity = AE("WORKSTATION")
    entity.add_requested_context(FIND)
    association = entity.associate("127.0.0.1", server.dicom_port, ae_title="PACS", ext_neg=extended)
    assert association.is_established
    keys = Dataset()
    keys.QueryRetrieveLevel, keys.StudyInstanceUID, keys.PatientID = "STUDY", "", ""
    try:
        answers = list(association.send_c_find(keys, FIND))
    finally:
        association.release()
    return {str(one.StudyInstanceUID) for _, one in answers if one is not None and "StudyInstanceUID" in one}


# -- the first start --------------------------------------------------------------------------------------------------------------


def test_without_a_given_password_one_is_made_and_shown_once_outside_the_log(tmp_path: Path) -> None:
    server = Server(
        tmp_path / "data",
        workers=1,
        environment={"PACS_ADMIN_PASSWORD": ""},
        options=("--dicom.require-user-identity",),
    )
    with running(server):
        (line,) = [line for line in server.tail().splitlines() if "First login" in line]
        assert not line.startswith("{")
        password = line.split("password ")[1].split()[0]
        assert sum(password in line for line in server.tail().splitlines()) == 1
        token = server.login("admin", password)
        assert server.ask("GET", "/api/v1/me", token=token)[0] == 200
        with RawPeer(server.dicom_port) as peer:
            assert associate(peer, None) == AssociateReject(1, 1, 1), "users only"
        with RawPeer(server.dicom_port) as peer:
            assert isinstance(associate(peer, identity("admin", password)), AssociateAccept)


def test_a_password_of_an_example_keeps_the_server_from_starting(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "supervisors.cli", "serve", "--data", str(tmp_path), "--dicom-port", "0", "--web-port", "0"],
        env={"PACS_ADMIN_PASSWORD": "changeme", "PATH": "/usr/bin:/bin"}, capture_output=True, text=True, timeout=30,
        cwd=Path(__file__).resolve().parents[2],
    )  # fmt: skip
    assert done.returncode == 2
    assert "PACS_ADMIN_PASSWORD" in done.stderr and "changeme" not in done.stderr


def test_no_secret_is_in_the_log_or_the_environment_of_the_workers(clinic: Server) -> None:
    log = clinic.log.read_text(errors="replace")
    assert ADMIN_PASSWORD not in log and PASSWORD not in log and clinic.token not in log
    for pid in clinic.pids()[1:]:
        environment = Path(f"/proc/{pid}/environ").read_bytes()
        assert ADMIN_PASSWORD.encode() not in environment
        assert ADMIN_PASSWORD.encode() not in Path(f"/proc/{pid}/cmdline").read_bytes()
