"""The API asked as its own description says (SECURITY 15): never a 5xx, and every answer as described.

schemathesis makes requests of ``/api/v1/openapi.json``: valid ones, and such as break the description. Names of what is there
are put in for a part of them, so that more than refusals is looked at.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis.checks import not_a_server_error
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.system import peers
from tests.system.server import Server, running

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
_V1 = "/api/v1"
# What would end the session of the test, wait for a peer, or take the test's own rights away.
LEFT_OUT = {
    f"{_V1}{path}" for path in ("/logout", "/me/password", "/login", "/refresh", "/nodes/{ae_title}/echo")
}
NOT_CHANGED = {
    f"{_V1}{path}"
    for path in (
        "/users/{user_id}", "/users/{user_id}/revoke", "/users/{user_id}/password", "/roles/{name}", "/settings/{key}",
    )
}  # fmt: skip


@pytest.fixture(scope="module")
def clinic_alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server whose users and settings may become anything."""
    with running(Server(tmp_path_factory.mktemp("schema") / "data", workers=2)) as server:
        yield server


@pytest.fixture(scope="module")
def known(clinic_alone: Server) -> dict[str, str]:
    """Values for the path that name something."""
    instance = peers.make(PatientName="Schema^Test", PatientID="SCHEMA")
    assert peers.send(clinic_alone, instance) == [0]
    node = {"ae_title": "SCHEMA", "host": "127.0.0.1", "port": 104}
    status, body = clinic_alone.ask("POST", "/api/v1/nodes", node, token=clinic_alone.token)
    assert status == 201, body
    return {
        "study": instance.study, "series": instance.series, "instance": instance.uid, "patient": "1",
        "ae_title": "SCHEMA", "key": "dicom.max_associations", "name": "viewer", "user_id": "1",
    }  # fmt: skip


def operations(server: Server) -> list[Any]:
    document = schemathesis.openapi.from_url(f"{server.url}/api/v1/openapi.json")
    found = [result.ok() for result in document.get_all_operations()]
    changing = {"POST", "PUT", "PATCH", "DELETE"}
    asked = [
        one for one in found
        if one.path not in LEFT_OUT and not (one.path in NOT_CHANGED and one.method.upper() in changing)
    ]  # fmt: skip
    return sorted(
        asked, key=lambda one: one.method.upper() == "DELETE"
    )  # last, so that there is something to look at


def ask_all(server: Server, known: dict[str, str], examples: int) -> dict[tuple[str, int], int]:
    """How often each operation was answered with each status."""
    seen: dict[tuple[str, int], int] = {}
    asking = settings(
        max_examples=examples, deadline=None, database=None, derandomize=True,
        phases=[Phase.explicit, Phase.generate], suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    for operation in operations(server):
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
            with contextlib.suppress(Unsatisfiable):
                strategy = operation.as_strategy(generation_mode=mode)

                @asking
                @given(strategy, st.booleans())
                def one(case: Any, there: bool) -> None:
                    ask(server, known, seen, case, there)

                one()
    return seen


def ask(
    server: Server, known: dict[str, str], seen: dict[tuple[str, int], int], case: Any, there: bool
) -> None:
    if there and case.path_parameters:
        case.path_parameters = {name: known.get(name, value) for name, value in case.path_parameters.items()}
    answer = case.call(headers={"authorization": f"Bearer {server.token}"}, base_url=server.url, timeout=20)
    key = (f"{case.operation.method.upper()} {case.operation.path}", answer.status_code)
    seen[key] = seen.get(key, 0) + 1
    case.validate_response(answer, checks=CHECKS)


@pytest.mark.timeout(400)  # a request after the other, of every operation
def test_every_operation_answers_as_it_is_described(clinic_alone: Server, known: dict[str, str]) -> None:
    seen = ask_all(clinic_alone, known, examples=4)
    served = {operation for operation, status in seen if status < 300}
    assert all(status < 500 for _, status in seen)
    assert len({operation for operation, _ in seen}) >= 45
    assert len(served) >= 30, "the control: more than refusals was looked at"


@pytest.mark.slow
def test_every_operation_answers_as_it_is_described_however_it_is_asked(
    clinic_alone: Server, known: dict[str, str]
) -> None:
    seen = ask_all(clinic_alone, known, examples=100)
    assert all(status < 500 for _, status in seen)
