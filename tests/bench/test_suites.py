"""Tiny runs of every suite against pynetdicom and against the null SCP."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import msgspec
import pydicom
import pytest
from pynetdicom import AE

from bench import find, fleet, generate, identifiers, ingest, run, suites, templates, wire
from bench.population import Run
from bench.sink import Sink
from bench.wire import PeerFailed

TEMPLATES = {"small": templates.template("small")}


def store(
    target: ingest.Target, studies: int, *, population: Run | None = None, clients: int = 2
) -> fleet.Total:
    load = ingest.Load({"small": 1}, per_study=1, seconds=None, instances=studies)
    storer = ingest.Storer(target, population or Run.new(), load, TEMPLATES, clients=clients)
    return fleet.run(storer, clients, processes=2)


def test_every_suite_works_against_pynetdicom(pacs: ingest.Target, sink: Sink) -> None:
    plan = suites.Plan(
        mixes=("small",),
        clients=(1, 2),
        runs=1,
        seconds=0.1,
        studies=8,
        per_study=2,
        loaders=2,
        server_pids=(),
    )
    cases = suites.Bench(pacs, plan, sink=sink).run()
    for _ in range(3):
        if not any(case.error for name, case in cases.items() if name.startswith("move/")):
            break
        # pynetdicom now and then gives an answer of C-MOVE's destination to the wrong one of its threads.
        cases |= suites.Bench(pacs, msgspec.structs.replace(plan, suites=("move",)), sink=sink).run()
    assert {name: case.error for name, case in cases.items() if case.error} == {}
    assert len(cases) == 2 + 1 + 6 + 1 + 2 + 2
    for name, case in cases.items():
        assert case.median["done"] >= 1, name
        assert case.median["p50_ms"] <= case.median["p99_ms"] <= case.median["max_ms"], name
    assert cases["find/patient/1"].median["items_each"] == 1
    assert cases["get/ct/2"].median["items_each"] == cases["move/ct/2"].median["items_each"] == 2
    assert cases["move/ct/1"].median["mb_s"] > 0
    assert sink.instances > 0


def test_every_instance_sent_is_counted(sink: Sink) -> None:
    total = store(ingest.Target("127.0.0.1", sink.port, "SINK"), 41, clients=3)
    assert total.seen.done == sink.instances == len(total.seen.waits_s) == 41
    assert total.seen.size_bytes == sink.size_bytes == 41 * len(TEMPLATES["small"].data)
    assert total.generator_cpu_s > 0
    assert total.seen.ended > total.seen.started


def test_think_times_slow_the_sender_down(sink: Sink) -> None:
    target = ingest.Target("127.0.0.1", sink.port, "SINK")
    load = ingest.Load({"small": 1}, seconds=0.5, think_s=0.05)
    storer = ingest.Storer(target, Run.new(), load, TEMPLATES, clients=1)
    assert 1 <= fleet.run(storer, 1, processes=1).seen.done < 100


def test_a_wrong_answer_is_noticed(pacs: ingest.Target) -> None:
    population = Run.new()
    store(pacs, 10, population=population)
    questions = identifiers.by_patient_id(population, 10, 2)
    assert find.check(pacs, population, 10, questions) == 2
    wrong = [identifiers.Question(questions[0].keys, lambda study: True)]
    with pytest.raises(PeerFailed, match="1 of 10 expected"):
        find.check(pacs, population, 10, wrong)


def test_studies_that_are_there_already_are_not_stored_again(pacs: ingest.Target) -> None:
    population = Run.new()
    store(pacs, 10, population=population)
    plan = suites.Plan(
        suites=("find",), clients=(1,), runs=1, seconds=0.1, studies=10, population=population.name
    )
    cases = suites.Bench(pacs, plan).run()
    assert set(cases) == {"find/patient/1", "find/name/1", "find/date/1"}
    assert not [case.error for case in cases.values() if case.error]


def test_a_pacs_that_is_not_there_fails_every_case_with_the_reason() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    plan = suites.Plan(mixes=("small",), clients=(1,), runs=1, seconds=0.1)
    cases = suites.Bench(ingest.Target("127.0.0.1", port, "NOBODY", timeout_s=2), plan).run()
    assert set(cases) == {"ingest/small/1", "load/small", "load/ct"}
    assert all(case.error and "no connection" in case.error and not case.median for case in cases.values())


def test_a_client_that_fails_does_not_leave_the_others_waiting() -> None:
    def client(index: int, gate: fleet.Gate) -> fleet.Seen:
        if index == 1:
            raise PeerFailed("number one is ill")
        gate()
        raise AssertionError("the gate must not open")

    with pytest.raises(PeerFailed, match="number one is ill"):
        fleet.run(client, 4, processes=2)


def test_the_sink_is_a_storage_scp_to_pynetdicom(sink: Sink, tmp_path: Path) -> None:
    application = AE("TEST")
    application.add_requested_context(templates.SHAPES["small"].sop_class_uid, "1.2.840.10008.1.2.1")
    application.add_requested_context(wire.VERIFICATION)
    association = application.associate("127.0.0.1", sink.port)
    assert association.is_established
    image = pydicom.dcmread(generate.write(tmp_path, 1)[0])
    assert association.send_c_store(image).Status == 0
    assert association.send_c_echo().Status == 0
    assert sink.instances == 1
    association.release()
    assert association.is_released


def test_the_command_line_writes_a_result(
    sink: Sink, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new" / "result.json"
    common = ["--port", str(sink.port), "--aet", "SINK", "--runs", "2", "--seconds", "0.2", "--clients", "2"]
    assert run.main([*common, "--suite", "ingest", "--mix", "small,ct", "--out", str(out), "--pid", "1"]) == 0
    result = json.loads(out.read_text())
    assert result["machine"]["cores"] >= 1 and result["machine"]["kernel"]
    case = result["results"]["SINK"]["ingest/ct/2"]
    assert len(case["runs"]) == 2 and case["median"]["mb_s"] > 1
    assert case["median"]["server_peak_mb"] >= 0
    assert "ingest/small/2" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--mix", "ct,xr"], "xr: not among"),
        (["--suite", "store"], "store: not among"),
        (["--clients", "0"], "from 1 on"),
        (["--sink", "11190"], "expected AET:PORT"),
    ],
)
def test_wrong_arguments_are_explained(
    arguments: list[str], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        run.main(["--port", "1", "--aet", "X", *arguments])
    assert reason in capsys.readouterr().err
