"""The command line: what it accepts, what it says, which code it ends with."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import trio

from config.keys import keys
from config.secrets import without_password
from config.settings import Settings
from protocols.errors import ConfigError, PacsError, PeerError, Unavailable
from supervisors import cli
from supervisors.commands import registrations
from supervisors.options import with_underscores

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory and no PACS_ variables."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("PACS_")]:
        monkeypatch.delenv(name)
    return tmp_path


@pytest.fixture
def data() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="pacs-test-"))
    yield folder / "data"
    shutil.rmtree(folder)


def program(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run it as a user does."""
    return subprocess.run(
        [sys.executable, "-m", "supervisors.cli", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        env=os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "100"} | environment,
    )


def as_json(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    assert cli.main(arguments) == 0
    return json.loads(capsys.readouterr().out)


class Told:
    """Stands for ``supervisors.node``: remembers the settings that it should serve."""

    settings: Settings | None = None
    origins: Mapping[str, str] | None = None

    def serve(self, settings: Settings, origins: Mapping[str, str] | None = None) -> int:
        self.settings, self.origins = settings, origins
        return 7


@pytest.fixture
def node(monkeypatch: pytest.MonkeyPatch) -> Told:
    told = Told()
    monkeypatch.setitem(sys.modules, "supervisors.node", told)  # type: ignore[arg-type]
    return told


def test_serve_understands_the_usual_flags(node: Told) -> None:
    line = (
        "serve --data /srv/pacs --aet MAIN --dicom-port 104 --web-port 80 --promiscuous --workers 3 "
        "--node CT=10.0.0.1:104 --node MR=[::1]:105"
    )
    assert cli.main(line.split()) == 7
    assert node.settings is not None
    server, dicom = node.settings.server, node.settings.dicom
    assert (server.data, server.workers) == ("/srv/pacs", 3)
    assert (dicom.ae_title, dicom.port, dicom.promiscuous, node.settings.web.port) == ("MAIN", 104, True, 80)
    assert [(node.ae_title, node.host, node.port) for node in node.settings.nodes] == [
        ("CT", "10.0.0.1", 104),
        ("MR", "::1", 105),
    ]


def test_serve_without_anything_serves_the_defaults(node: Told) -> None:
    assert cli.main(["serve"]) == 7
    assert node.settings == Settings()


def test_every_setting_has_a_long_flag_with_underscores_or_dashes(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["serve", "--help"])
    said = capsys.readouterr().out
    for key in keys().values():
        assert key.flag in said
    shown = as_json(
        capsys, "config", "show", "--json", "--dicom.max-find-results", "5", "--web.client-queue=6"
    )
    assert shown["dicom"]["max_find_results"] == {"value": 5, "from": "--dicom.max_find_results"}
    assert shown["web"]["client_queue"]["value"] == 6


def test_a_switch_may_be_switched_off(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PACS_DICOM__PROMISCUOUS", "yes")
    shown = as_json(capsys, "config", "show", "--json", "--promiscuous", "false")
    assert shown["dicom"]["promiscuous"]["value"] is False


def test_dashes_are_only_turned_in_names_of_settings() -> None:
    given = ["--dicom.ae-title=A-B", "--dicom-port", "x-y", "--", "--dicom.ae-title"]
    assert list(with_underscores(given)) == [
        "--dicom.ae_title=A-B",
        "--dicom-port",
        "x-y",
        "--",
        "--dicom.ae-title",
    ]


def test_what_config_show_prints_is_a_configuration_and_hides_the_password(
    capsys: pytest.CaptureFixture[str], elsewhere: Path
) -> None:
    assert (
        cli.main(["config", "show", "--database.url", "postgresql://a:hunter2@b/c", "--node", "CT=h:1"]) == 0
    )
    said = capsys.readouterr().out
    assert "hunter2" not in said
    document = tomllib.loads(said)
    assert document["database"]["url"] == "postgresql://a:***@b/c"
    assert document["nodes"][0]["ae_title"] == "CT"
    (elsewhere / "pacs.toml").write_text(said, encoding="utf-8")
    assert cli.main(["config", "check"]) == 0


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://a:secret@host:1/db", "postgresql://a:***@host:1/db"),
        ("postgresql://a:se@cret@host/db", "postgresql://a:***@host/db"),
        ("postgresql://a@/db?host=/run&password=secret", "postgresql://a@/db?host=/run&password=***"),
        ("postgresql://host/db?Password=secret&x=1", "postgresql://host/db?Password=***&x=1"),
        ("postgresql://host/db", "postgresql://host/db"),
        ("host=h password=secret", "***"),
        ("postgresql://[secret", "***"),
    ],
)
def test_a_url_is_shown_without_its_password(url: str, shown: str) -> None:
    assert without_password(url) == shown


def test_config_check_warns_of_an_open_door(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--promiscuous", "--dicom.host", "0.0.0.0"]
    assert as_json(capsys, "config", "check", "--json")["warnings"] == []
    (warning,) = as_json(capsys, "config", "check", "--json", *arguments)["warnings"]
    assert warning.startswith("dicom.promiscuous: ")


def test_config_reference_prints_what_is_in_the_files(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["config", "reference"]) == 0
    assert capsys.readouterr().out == (ROOT / "config" / "reference.md").read_text(encoding="utf-8")
    assert cli.main(["config", "reference", "--toml"]) == 0
    assert capsys.readouterr().out == (ROOT / "config" / "pacs.toml").read_text(encoding="utf-8")


def test_a_wrong_setting_ends_with_2_and_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["config", "check", "--dicom-port", "65536"]) == 2
    assert (
        capsys.readouterr().err
        == "pacs-actors: dicom.port: expected int <= 65535, not '65536' (--dicom.port)\n"
    )
    assert cli.main(["config", "check", "--json", "--dicom-port", "65536"]) == 2
    assert json.loads(capsys.readouterr().err)["error"]["kind"] == "ConfigError"


@pytest.mark.parametrize(
    "line", ["", "sing", "serve --dicom.prot 1", "serve --dat x", "config", "db status extra"]
)
def test_a_wrong_command_line_ends_with_2_and_the_usage(
    line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(line.split())
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith("usage: pacs-actors")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Unavailable("later"), 1),
        (PeerError("nonsense", section="PS3.8 9.3"), 1),
        (ConfigError("x.y: wrong"), 2),
        (ExceptionGroup("", [ExceptionGroup("", [Unavailable("later")])]), 1),
        (ExceptionGroup("", [Unavailable("later"), ConfigError("x.y: wrong")]), 2),
        (KeyboardInterrupt(), 130),
        (BaseExceptionGroup("", [KeyboardInterrupt(), Unavailable("later")]), 130),
    ],
)
def test_expected_errors_become_exit_codes(
    error: BaseException, code: int, node: Told, capsys: pytest.CaptureFixture[str]
) -> None:
    def fall(_: Settings, origins: Mapping[str, str] | None = None) -> int:
        raise error

    node.serve = fall  # type: ignore[method-assign]
    assert cli.main(["serve"]) == code
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize(
    "error", [RuntimeError("bug"), ExceptionGroup("", [RuntimeError("bug"), PacsError("x")])]
)
def test_a_bug_keeps_its_traceback(error: Exception, node: Told) -> None:
    def fall(_: Settings, origins: Mapping[str, str] | None = None) -> int:
        raise error

    node.serve = fall  # type: ignore[method-assign]
    with pytest.raises(type(error)):
        cli.main(["serve"])


def test_help_is_light() -> None:
    code = "import sys; from supervisors import cli; cli.build_parser(); print(*sys.modules)"
    said = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": str(ROOT)},
    )
    assert not {"trio", "msgspec", "asyncpg", "pydicom", "numpy", "quart"} & set(said.stdout.split())


def test_every_command_describes_itself() -> None:
    listed = program("--help").stdout
    for register in registrations():
        name = register.__module__.rpartition(".")[2]
        assert re.search(rf"^    {name}\s", listed, re.MULTILINE), name


def test_a_reader_that_has_enough_gets_no_traceback() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "supervisors.cli", "config", "reference"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait(timeout=30) == 1


def test_db_migrates_an_embedded_database_and_reports_it(data: Path) -> None:
    before = program("db", "status", "--json", "--data", str(data))
    assert before.returncode == 0, before.stderr
    known = json.loads(before.stdout)["migrations"]
    assert known and all(each["applied_at"] is None for each in known)
    done = program("db", "migrate", "--json", "--data", str(data))
    assert done.returncode == 0, done.stderr
    assert [each["version"] for each in json.loads(done.stdout)["applied"]] == [
        each["version"] for each in known
    ]
    again = program("db", "migrate", PACS_SERVER__DATA=str(data))
    assert (again.returncode, again.stdout) == (0, "Nothing to do.\n")
    after = program("db", "status", "--data", str(data))
    assert "pending" not in after.stdout
    assert len(after.stdout.splitlines()) == len(known)
    assert not (data / "postgres" / "postmaster.pid").exists()


async def test_db_uses_the_server_that_runs_already(data: Path) -> None:
    from config.settings import DatabaseSettings
    from supervisors.postgres import EmbeddedPostgres, started
    from supervisors.postgres_folder import running

    async with started(EmbeddedPostgres(data, DatabaseSettings())):
        before = running(data.resolve() / "postgres")
        said = await trio.to_thread.run_sync(lambda: program("db", "status", "--json", "--data", str(data)))
        assert said.returncode == 0, said.stderr
        assert running(data.resolve() / "postgres") == before


def test_a_database_that_does_not_answer_is_a_sentence() -> None:
    said = program("db", "status", PACS_DATABASE__URL="postgresql://pacs:hunter2@127.0.0.1:1/pacs")
    assert said.returncode == 1
    assert said.stderr.startswith("pacs-actors: the database does not answer: ")
    assert "hunter2" not in said.stderr + said.stdout
