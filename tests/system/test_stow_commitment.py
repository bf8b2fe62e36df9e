"""The storage commitment service over DICOMweb (PS3.18 chapter 13)."""

from __future__ import annotations

import http.client
import json
from typing import Any

import pytest
from pydicom.uid import generate_uid

from tests.system import peers, stow
from tests.system.server import Server


def ask(
    server: Server, method: str, transaction: str, body: Any = None, token: str | None = None
) -> tuple[int, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", server.web_port, timeout=30)
    headers = {"authorization": f"Bearer {token or server.token}", "content-type": stow.DICOM_JSON}
    text = body if isinstance(body, bytes | None) else json.dumps(body).encode()
    try:
        connection.request(method, f"/dicom-web/commitment-requests/{transaction}", text, headers)
        answer = connection.getresponse()
        raw = answer.read()
        return answer.status, json.loads(raw) if raw else None
    finally:
        connection.close()


def ui(uid: str) -> dict[str, Any]:
    return {"vr": "UI", "Value": [uid]}


def sq(*items: dict[str, Any]) -> dict[str, Any]:
    return {"vr": "SQ", "Value": list(items)}


def reference(instance: peers.Instance, sop_class: str | None = None) -> dict[str, Any]:
    return {"00081150": ui(sop_class or instance.sop_class), "00081155": ui(instance.uid)}


def by_study(instance: peers.Instance, **more: Any) -> dict[str, Any]:
    by_class = {"0008114A": sq({"00081155": ui(instance.uid), **more}), "00081150": ui(instance.sop_class)}
    return {
        "00081115": sq({"00081112": sq(by_class), "0020000E": ui(instance.series)}),
        "0020000D": ui(instance.study),
    }


def failed(instance: peers.Instance, reason: int, sop_class: str | None = None) -> dict[str, Any]:
    return {**reference(instance, sop_class), "00081197": {"vr": "US", "Value": [reason]}}


def test_what_is_durable_is_committed_and_the_rest_told_with_its_reason(node: Server) -> None:
    here, other_class, absent = peers.make(), peers.make(), peers.make()
    assert stow.store(node, here, other_class).status == 200
    mr = "1.2.840.10008.5.1.4.1.1.4"
    transaction = generate_uid()
    body = {"00081199": sq(reference(here), reference(other_class, mr), reference(absent))}
    status, answer = ask(node, "POST", transaction, body)
    assert status == 200
    assert answer["00081199"] == sq(reference(here))
    assert answer["00081198"] == sq(failed(other_class, 0x0119, mr), failed(absent, 0x0112))
    assert ask(node, "GET", transaction) == (200, answer)
    assert ask(node, "POST", transaction, body)[0] == 409


def test_references_by_study_are_answered_by_study(node: Server) -> None:
    here, absent = peers.make(), peers.make()
    assert stow.store(node, here).status == 200
    status, answer = ask(node, "POST", generate_uid(), [{"00081110": sq(by_study(here), by_study(absent))}])
    assert status == 200
    reason = {"vr": "US", "Value": [0x0112]}
    assert answer == {
        "00081110": sq(by_study(here)),
        "0008119B": sq(by_study(absent, **{"00081197": reason})),
    }


def test_a_deleted_instance_is_not_committed(node: Server) -> None:
    gone = peers.make()
    assert stow.store(node, gone).status == 200
    assert node.ask("DELETE", f"/dicom-web/studies/{gone.study}", token=node.token)[0] == 204
    assert ask(node, "POST", generate_uid(), {"00081199": sq(reference(gone))})[1] == {
        "00081198": sq(failed(gone, 0x0112))
    }


def test_who_sees_only_some_studies_learns_of_those_and_of_their_own(node: Server) -> None:
    theirs, own = peers.make(), peers.make()
    password = "seven horses on the pier"
    role = {
        "name": "sender",
        "description": "",
        "actions": ["study.store"],
        "scope": {"everything": False, "rules": []},
    }
    assert node.ask("POST", "/api/v1/roles", role, token=node.token)[0] == 201
    user = {"username": "a sender", "password": password, "roles": ["sender"]}
    assert node.ask("POST", "/api/v1/users", user, token=node.token)[0] == 201
    token = node.login("a sender", password)
    assert stow.store(node, theirs).status == 200
    assert stow.store(node, own, token=token).status == 200
    transaction = generate_uid()
    status, answer = ask(
        node, "POST", transaction, {"00081199": sq(reference(theirs), reference(own))}, token
    )
    assert status == 200
    assert answer == {"00081198": sq(failed(theirs, 0x0112)), "00081199": sq(reference(own))}
    assert ask(node, "GET", transaction)[0] == 404, "it is somebody else's"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        {},
        {"00081199": sq()},
        {"00081199": {"vr": "SQ", "Value": [1]}},
        {"00081199": sq({})},
    ],
)
def test_a_request_that_asks_for_nothing_is_400(node: Server, body: Any) -> None:
    assert ask(node, "POST", generate_uid(), body)[0] == 400


def test_an_unknown_transaction_is_404(node: Server) -> None:
    assert ask(node, "GET", generate_uid())[0] == 404
    assert ask(node, "GET", "no-uid")[0] == 404
