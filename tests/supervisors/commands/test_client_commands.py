"""The commands that call a peer: what they print, their exit codes, and what they say when something is wrong."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pynetdicom import build_context, evt

from supervisors.cli import main
from supervisors.peer_options import address
from supervisors.query_options import level_of, parse_keys
from tests.pacs_actors.dicom.client_peers import free_port, pynetdicom_peer, report_commitment
from tests.pacs_actors.dicom.test_client_commitment import report_on
from tests.pacs_actors.dicom.test_client_dcmtk import certificate, serving

CT, MR = Path(get_testdata_file("CT_small.dcm")), Path(get_testdata_file("MR_small.dcm"))
COMMANDS = ("echo", "store", "find", "move", "get", "commit")


def at(port: int) -> list[str]:
    return [f"127.0.0.1:{port}", "--called", "PEER"]


def only_json(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    value = json.loads(out)
    assert isinstance(value, dict)
    return value


# -- all of them --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", COMMANDS)
def test_help_teaches_with_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as leaving:
        main([command, "--help"])
    out = " ".join(capsys.readouterr().out.split())
    assert leaving.value.code == 0
    assert f"Example: pacs-actors {command} 127.0.0.1:11112" in out


ARGUMENTS = {
    "echo": [],
    "store": [str(CT)],
    "find": ["-k", "PatientName"],
    "move": ["--to", "DEST", "-k", "StudyInstanceUID=1.2"],
    "get": ["--into", "out", "-k", "StudyInstanceUID=1.2"],
    "commit": [str(CT)],
}


@pytest.mark.parametrize("as_json", [False, True])
@pytest.mark.parametrize("command", COMMANDS)
def test_nobody_there_is_exit_code_2_and_a_sentence(
    command: str, as_json: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    port = free_port()
    assert main([command, *at(port), *ARGUMENTS[command], *(["--json"] if as_json else [])]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    if as_json:
        error = json.loads(captured.err)["error"]
        assert error["kind"] == "CannotConnect"
        assert "refused" in error["text"]
    else:
        assert captured.err.startswith(f"pacs-actors: 127.0.0.1:{port}: ")
        assert "refused" in captured.err
    assert "Traceback" not in captured.err


@pytest.mark.parametrize("command", COMMANDS)
def test_a_rejection_says_what_to_check(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pynetdicom_peer(called="OTHER") as port:
        assert main([command, *at(port), *ARGUMENTS[command]]) == 2
    assert "check the called AE title" in capsys.readouterr().err


@pytest.mark.parametrize(
    "wrong",
    [
        ["echo", "localhost"],
        ["echo", "localhost:0"],
        ["echo", "localhost:65536"],
        ["echo", "host:104", "--count", "0"],
        ["echo", "host:104", "--timeout", "never"],
        ["store", "host:104"],
        ["store", "host:104", "x", "--jobs", "65"],
        ["find", "host:104", "--level", "FRAME"],
        ["move", "host:104", "-k", "StudyInstanceUID=1"],
        ["get", "host:104", "-k", "StudyInstanceUID=1"],
        ["commit", "host:104", "x", "--listen", "70000"],
    ],
)
def test_a_wrong_command_line_is_exit_code_2(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as leaving:
        main(wrong)
    assert leaving.value.code == 2


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (["echo", "h:1", "--called", "seventeen letters"], "no AE title"),
        (["echo", "h:1", "--ca", "x.pem"], "add --tls"),
        (["echo", "h:1", "--tls", "--ca", "/nonexistent.pem"], "cannot use --ca"),
        (["echo", "h:1", "--tls", "--key", "x.pem"], "--key without --cert"),
        (["find", "h:1", "-k", "Nonsense=1"], "no keyword"),
        (["move", "h:1", "--to", "X", "-k", "PatientName=A"], "-k StudyInstanceUID="),
        (
            ["get", "h:1", "--into", "x", "--level", "SERIES", "-k", "StudyInstanceUID=1"],
            "-k SeriesInstanceUID=",
        ),
        (["store", "h:1", "--tls", "--ca", "/nonexistent.pem", "x"], "cannot use --ca"),
    ],
)
def test_a_wrong_value_is_exit_code_2_and_a_sentence(
    wrong: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(wrong) == 2
    assert words in capsys.readouterr().err


def test_addresses() -> None:
    assert address("[::1]:104") == ("::1", 104)
    assert address("pacs.example.org:11112") == ("pacs.example.org", 11112)


# -- one by one ---------------------------------------------------------------------------------------------------------


def test_echo(capsys: pytest.CaptureFixture[str]) -> None:
    with pynetdicom_peer() as port:
        assert main(["echo", *at(port), "--count", "2"]) == 0
        assert capsys.readouterr().out.count("PEER answers in ") == 2
        assert main(["echo", *at(port), "--count", "3", "--json"]) == 0
    found = only_json(capsys)
    assert (found["answers"], len(found["milliseconds"])) == (3, 3)


def test_an_echo_that_fails_is_exit_code_1(capsys: pytest.CaptureFixture[str]) -> None:
    with pynetdicom_peer([(evt.EVT_C_ECHO, lambda event: 0x0211)]) as port:
        assert main(["echo", *at(port)]) == 1
    assert capsys.readouterr().err == "pacs-actors: Unrecognized operation (0211H)\n"


def test_echo_over_tls(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    server = certificate(tmp_path, "server")
    with pynetdicom_peer(ssl_context=serving(server)) as port:
        assert main(["echo", *at(port), "--tls", "--ca", str(server[0])]) == 0
        assert main(["echo", *at(port), "--tls"]) == 2
        assert "its certificate cannot be verified: self" in capsys.readouterr().err
        assert main(["echo", *at(port), "--timeout", "1"]) == 2


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "below").mkdir()
    (tmp_path / "ct.dcm").write_bytes(CT.read_bytes())
    (tmp_path / "below" / "mr").write_bytes(MR.read_bytes())
    (tmp_path / "notes.txt").write_text("no DICOM")
    return tmp_path


def test_store_everything(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pynetdicom_peer([(evt.EVT_C_STORE, lambda event: 0)]) as port:
        assert main(["store", *at(port), str(files), "--jobs", "2"]) == 0
        out = capsys.readouterr().out
        assert out.startswith("2 sent (0 with warnings), 0 failed, 1 skipped (no DICOM): 0.0 MB in ")
        assert main(["store", *at(port), str(files), "--json"]) == 0
    found = only_json(capsys)
    assert (found["sent"], found["skipped"], found["failed"], found["failures"]) == (2, 1, 0, [])
    assert found["bytes"] > 40_000
    assert found["instances_per_second"] > 0


def test_store_with_failures_is_exit_code_1(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    handlers = [
        (evt.EVT_C_STORE, lambda event: 0xA700 if "MR" in event.request.AffectedSOPClassUID.name else 0x0111)
    ]
    with pynetdicom_peer(handlers) as port:
        assert main(["store", *at(port), str(files), str(files / "gone")]) == 1
        captured = capsys.readouterr()
        assert "1 sent (1 with warnings), 2 failed, 1 skipped" in captured.out
        assert "Refused: out of resources (A700H)" in captured.err
        assert "No such file" in captured.err
        assert main(["store", *at(port), str(files), "--json"]) == 1
    found = only_json(capsys)
    assert (found["sent"], found["warnings"], found["failed"]) == (1, 1, 1)
    assert found["failures"] == [
        {"path": str(files / "below" / "mr"), "why": "Refused: out of resources (A700H)"}
    ]


def test_store_converts_unless_told_not_to(capsys: pytest.CaptureFixture[str]) -> None:
    syntaxes = []

    def take(event: Any) -> int:
        syntaxes.append(event.context.transfer_syntax)
        return 0

    with pynetdicom_peer([(evt.EVT_C_STORE, take)], transfer_syntaxes=["1.2.840.10008.1.2"]) as port:
        assert main(["store", *at(port), str(CT)]) == 0
        assert main(["store", *at(port), str(CT), "--as-is"]) == 1
    assert syntaxes == ["1.2.840.10008.1.2"]
    assert "does not take CT Image Storage" in capsys.readouterr().err


def matches(event: Any) -> Iterator[tuple[int, Dataset | None]]:
    for number in range(3):
        if event.is_cancelled:
            yield 0xFE00, None
            return
        dataset = Dataset()
        dataset.SpecificCharacterSet = "ISO_IR 192"
        dataset.PatientName = f"Mül[red]ler^{number}"
        dataset.StudyInstanceUID = f"1.2.{number}"
        dataset.QueryRetrieveLevel = "STUDY"
        yield 0xFF00, dataset


def test_find_prints_lines_with_tabs_or_json(capsys: pytest.CaptureFixture[str]) -> None:
    with pynetdicom_peer([(evt.EVT_C_FIND, matches)]) as port:
        assert main(["find", *at(port), "-k", "PatientName=M*"]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert lines[0].split("\t")[:2] == ["PatientName", "PatientID"]
        assert [line.split("\t")[0] for line in lines[1:]] == [f"Mül[red]ler^{n}" for n in range(3)]
        assert main(["find", *at(port), "-k", "PatientName=M*", "--json", "--limit", "2"]) == 0
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert found == [{"PatientName": f"Mül[red]ler^{n}", "StudyInstanceUID": f"1.2.{n}"} for n in range(2)]


def test_find_on_a_terminal_is_a_table(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "250")
    with pynetdicom_peer([(evt.EVT_C_FIND, matches)]) as port:
        assert main(["find", *at(port), "-k", "PatientName=M*"]) == 0
    out = capsys.readouterr().out
    assert "Mül[red]ler^2" in out
    assert "3 answers" in out


def test_a_failed_find_is_exit_code_1(capsys: pytest.CaptureFixture[str]) -> None:
    def fails(event: Any) -> Iterator[tuple[int, None]]:
        yield 0xA900, None

    with pynetdicom_peer([(evt.EVT_C_FIND, fails)]) as port:
        assert main(["find", *at(port), "--json"]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert json.loads(captured.err)["error"]["text"] == "Identifier does not match SOP Class (A900H)"


def moved_to(port: int) -> Any:
    def moved(event: Any) -> Iterator[Any]:
        assert (event.move_destination, event.identifier.QueryRetrieveLevel) == ("DEST", "SERIES")
        yield "127.0.0.1", port, {"contexts": [build_context(dcmread(path).SOPClassUID) for path in (CT, MR)]}
        yield 2
        for path in (CT, MR):
            yield 0xFF00, dcmread(path)

    return moved


@pytest.mark.parametrize(("status", "code"), [(0x0000, 0), (0xB000, 0), (0xA700, 1)])
def test_move(status: int, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    with (
        pynetdicom_peer([(evt.EVT_C_STORE, lambda event: status)]) as destination,
        pynetdicom_peer([(evt.EVT_C_MOVE, moved_to(destination))]) as port,
    ):
        keys = ["-k", "StudyInstanceUID=1.2", "-k", "SeriesInstanceUID=1.2.3"]
        assert main(["move", *at(port), "--to", "DEST", *keys, "--json"]) == code
        found = only_json(capsys)
        assert main(["move", *at(port), "--to", "DEST", *keys]) == code
        captured = capsys.readouterr()
    assert (found["completed"], found["warning"], found["failed"]) == {
        0x0000: (2, 0, 0),
        0xB000: (0, 2, 0),
        0xA700: (0, 0, 2),
    }[status]
    assert len(found["failed_uids"]) >= found["failed"]
    assert f"{found['completed']} completed" in captured.out


def test_get(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def sent(event: Any) -> Iterator[Any]:
        yield 2
        for path in (CT, MR):
            yield 0xFF00, dcmread(path)

    with pynetdicom_peer([(evt.EVT_C_GET, sent)]) as port:
        into = tmp_path / "study"
        assert main(["get", *at(port), "-k", "StudyInstanceUID=1.2", "--into", str(into)]) == 0
        assert "2 completed" in capsys.readouterr().out
        narrow = ["--sop-class", str(dcmread(CT).SOPClassUID), "--json"]
        assert main(["get", *at(port), "-k", "StudyInstanceUID=1.2", "--into", str(into), *narrow]) == 1
    assert only_json(capsys)["completed"] == 1
    assert len(list(into.iterdir())) == 2


def test_commit_with_a_listener(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    threads: list[threading.Thread] = []
    listening = free_port()
    failed = {str(dcmread(MR).SOPInstanceUID): 0x0112}

    def act(event: Any) -> tuple[int, None]:
        event_type, information = report_on(event.action_information, failed)
        arguments = (listening, "PACSSCU", event_type, information)
        threads.append(threading.Thread(target=report_commitment, args=arguments))
        threads[-1].start()
        return 0, None

    with pynetdicom_peer([(evt.EVT_N_ACTION, act)]) as port:
        code = main(["commit", *at(port), str(files), "--listen", str(listening), "--json"])
        for thread in threads:
            thread.join(10)
    found = only_json(capsys)
    assert code == 1
    assert (found["committed"], found["failed"], found["skipped"]) == (1, 1, 1)
    assert found["failures"] == [{"uid": next(iter(failed)), "why": "no such object instance (0112H)"}]


def test_commit_without_a_report_is_exit_code_1(capsys: pytest.CaptureFixture[str]) -> None:
    with pynetdicom_peer([(evt.EVT_N_ACTION, lambda event: (0, None))]) as port:
        assert main(["commit", *at(port), str(CT), "--timeout", "2"]) == 1
        assert "no storage commitment report within 2 s" in capsys.readouterr().err
        listening = ["--listen", str(free_port())]
        assert main(["commit", *at(port), str(CT), "--timeout", "2", *listening]) == 1
    assert "no storage commitment report" in capsys.readouterr().err


# -- keys ---------------------------------------------------------------------------------------------------------------


def test_keys_of_the_command_line() -> None:
    given = [
        "PatientName=SMI*",
        "StudyDate",
        "0008,0060=CT",
        "RequestAttributesSequence.RequestedProcedureID=7",
    ]
    given += ["RequestAttributesSequence.ScheduledProcedureStepID", "StudyDescription=a=b"]
    assert parse_keys(given) == {
        "PatientName": "SMI*",
        "StudyDate": "",
        "0008,0060": "CT",
        "RequestAttributesSequence": [{"RequestedProcedureID": "7", "ScheduledProcedureStepID": ""}],
        "StudyDescription": "a=b",
    }


@pytest.mark.parametrize(
    ("keys", "root", "level"),
    [
        ({}, "study", "STUDY"),
        ({"PatientID": "1"}, "study", "STUDY"),
        ({"PatientID": "1"}, "patient", "PATIENT"),
        ({"StudyInstanceUID": "1", "SeriesInstanceUID": "2"}, "study", "SERIES"),
        ({"SeriesInstanceUID": ""}, "study", "STUDY"),
        ({"SeriesInstanceUID": "2", "SOPInstanceUID": "3"}, "patient", "IMAGE"),
    ],
)
def test_the_level_follows_the_unique_keys(keys: dict[str, str], root: str, level: str) -> None:
    assert level_of(keys, root) == level
