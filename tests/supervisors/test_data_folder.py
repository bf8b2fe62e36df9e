"""Commands that are pointed at a folder that cannot be used say so in one line, and never with the code of a finding."""

from __future__ import annotations

from pathlib import Path

import pytest

from supervisors.cli import main

ON_OBJECTS = [
    ["scrub"], ["reconcile"], ["index", "rebuild"], ["backup", "create", "--full", "--to", "out"],
    ["objects", "list"], ["objects", "verify"], ["objects", "export", "--to", "out"],
]  # fmt: skip
ON_DATABASE = [["nodes", "list"], ["audit", "search"]]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def complaint(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(arguments) == 2
    line, *more = capsys.readouterr().err.splitlines()
    assert not more
    return line


@pytest.mark.parametrize("command", ON_OBJECTS, ids=" ".join)
def test_objects_that_cannot_be_looked_at_are_told_from_none(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "no objects under" in complaint(capsys, *command, "--data", "missing")
    (tmp_path / "file").touch()
    assert "no objects under" in complaint(capsys, *command, "--data", "file")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "objects").symlink_to("objects")  # what also root cannot open
    told = complaint(capsys, *command, "--data", "data")
    assert "cannot use" in told and "symbolic links" in told
    assert sorted(each.name for each in tmp_path.iterdir()) == ["data", "file"]


@pytest.mark.parametrize("command", ON_DATABASE, ids=" ".join)
def test_who_asks_for_a_database_that_is_not_there_makes_none(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "no database under" in complaint(capsys, *command, "--data", "missing")
    (tmp_path / "loop").symlink_to("loop")
    assert "cannot use" in complaint(capsys, *command, "--data", "loop")
    assert [each.name for each in tmp_path.iterdir()] == ["loop"]


def test_a_place_for_exports_that_is_a_file_is_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "data" / "objects").mkdir(parents=True)
    (tmp_path / "file").touch()
    told = complaint(capsys, "objects", "export", "--data", "data", "--to", "file")
    assert told == "pacs-actors: --to: cannot use file: File exists"


@pytest.mark.parametrize(
    "command", [["scrub", "--rate", "quick"], ["backup", "prune", "--from", "x", "--keep-full", "none"]], ids=" ".join
)  # fmt: skip
def test_a_number_that_is_none_is_told_what_it_should_be(
    command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(command)
    assert ended.value.code == 2
    assert "expected" in capsys.readouterr().err
