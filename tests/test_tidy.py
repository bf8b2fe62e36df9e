"""What no linter knows: generated files, the shape of actors, sizes, traces of somebody's machine."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from config import reference
from web.topics.reference import reference as live_reference

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("pacs_actors", "supervisors", "protocols", "web", "config")
SOURCES = sorted(
    path
    for package in PACKAGES
    for path in (ROOT / package).rglob("*.py")
    if "node_modules" not in path.parts
)
TESTS = sorted((ROOT / "tests").rglob("*.py"))
TEXTS = [
    *SOURCES,
    *TESTS,
    *(ROOT / "bench").rglob("*.py"),
    *ROOT.glob("*.md"),
    *ROOT.glob("*.toml"),
    ROOT / "Makefile",
]
MOST_LINES = 400
# Spelled so that this file does not find itself.
MACHINE_PATHS = re.compile(r"(?<![\w.$}])/(?:work|root|home/\w+|tmp/w)/")


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def classes(path: Path) -> Iterator[ast.ClassDef]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ClassDef):
            yield node


def methods(of: ast.ClassDef) -> dict[str, ast.FunctionDef | ast.AsyncFunctionDef]:
    return {node.name: node for node in of.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def actors() -> list[tuple[str, ast.ClassDef]]:
    """Classes whose ``run`` a supervisor can start."""
    found = []
    for path in SOURCES:
        for each in classes(path):
            run = methods(each).get("run")
            if run is not None and "task_status" in {argument.arg for argument in _arguments(run)}:
                found.append((f"{named(path)}:{each.name}", each))
    return found


def _arguments(function: ast.FunctionDef | ast.AsyncFunctionDef) -> list[ast.arg]:
    return [*function.args.args, *function.args.kwonlyargs]


@pytest.mark.parametrize("name", ["reference.md", "pacs.toml"])
def test_generated_files_are_fresh(name: str) -> None:
    made = reference.reference() if name == "reference.md" else reference.sample()
    assert (ROOT / "config" / name).read_text(encoding="utf-8") == made, "run: make docs"


def test_the_description_of_the_live_websocket_is_fresh() -> None:
    assert (ROOT / "docs" / "live.md").read_text(encoding="utf-8") == live_reference(), "run: make docs"


def test_there_are_actors_to_look_at() -> None:
    assert len(actors()) >= 3


@pytest.mark.parametrize(("name", "actor"), actors(), ids=[name for name, _ in actors()])
def test_an_actor_has_the_shape_of_all_others(name: str, actor: ast.ClassDef) -> None:
    """__init__, then ``async run(*, task_status=…)``; what serves a mailbox has ``async handle``."""
    found = methods(actor)
    run = found["run"]
    assert "__init__" in found, name
    assert isinstance(run, ast.AsyncFunctionDef), f"{name}.run is not async"
    assert [argument.arg for argument in run.args.kwonlyargs] == ["task_status"], f"{name}.run takes more"
    assert [argument.arg for argument in run.args.args] == ["self"], f"{name}.run takes more"
    assert run.args.kw_defaults[0] is not None, f"{name}.run: task_status needs its default"
    if "mailbox.serve(" in ast.unparse(run):
        assert isinstance(found.get("handle"), ast.AsyncFunctionDef), (
            f"{name} serves a mailbox without handle"
        )


def test_every_module_says_what_it_is_for() -> None:
    silent = [
        path for path in SOURCES if _text(path).strip() and not ast.get_docstring(ast.parse(_text(path)))
    ]
    assert [named(path) for path in silent] == []


def test_every_module_is_small() -> None:
    assert [named(path) for path in SOURCES if len(_text(path).splitlines()) > MOST_LINES] == []


def test_nothing_of_somebodys_machine_is_left() -> None:
    assert _lines_with(MACHINE_PATHS, TEXTS) == []


def test_nothing_is_left_to_do_later() -> None:
    assert _lines_with(re.compile(r"#.*\b(?:TODO|FIXME|XXX|HACK)\b"), SOURCES) == []


def test_tests_do_not_sleep_except_to_look_again() -> None:
    assert [named(path) for path in TESTS if _sleeps(ast.parse(_text(path)), looping=False)] == []


def _sleeps(node: ast.AST, *, looping: bool) -> bool:
    """Is there a ``time.sleep`` outside of every loop?"""
    if isinstance(node, ast.Call) and ast.unparse(node.func) == "time.sleep":
        return not looping
    looping = looping or isinstance(node, ast.While | ast.For)
    return any(_sleeps(child, looping=looping) for child in ast.iter_child_nodes(node))


def test_the_rule_about_sleeping_finds_what_it_should() -> None:
    assert _sleeps(ast.parse("def test():\n    time.sleep(1)"), looping=False)
    assert not _sleeps(ast.parse("while not ready():\n    time.sleep(0.01)"), looping=False)


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def _lines_with(mark: re.Pattern[str], paths: list[Path]) -> list[str]:
    return [
        f"{named(path)}:{number}"
        for path in paths
        for number, line in enumerate(_text(path).splitlines(), 1)
        if mark.search(line)
    ]


# What takes long to load, and what needs it: not a process that starts or is started again while peers wait.
NOT_AT_START = {
    "supervisors.worker": (
        "pydicom", "pynetdicom", "numpy", "imagecodecs", "PIL",  # its tables are loaded alone; pixels have processes of their own
        "httpx", "requests", "rich", "aioboto3", "botocore", "azure",  # where a provider, a bucket, a terminal is
        "supervisors.backup_work", "supervisors.postgres", "supervisors.cli", "playwright", "pytest",
    ),
    "supervisors.node": (
        "pydicom", "pynetdicom", "numpy", "imagecodecs", "PIL", "httpx", "requests", "rich", "aioboto3", "botocore", "azure",
        "quart", "jwt", "h2", "web", "supervisors.tree",
    ),
    "supervisors.cli": ("trio", "asyncpg", "pydicom", "numpy", "rich", "cryptography", "pacs_actors.database"),
}  # fmt: skip


@pytest.mark.parametrize("name", NOT_AT_START)
def test_a_start_loads_nothing_large_that_it_does_not_need(name: str) -> None:
    program = f"import sys, {name}; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT
    )
    loaded = set(done.stdout.split())
    assert name in loaded
    assert sorted(loaded.intersection(NOT_AT_START[name])) == []


def test_both_locks_hold_what_pyproject_asks_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = [wish for extra in project["optional-dependencies"].values() for wish in extra]
    runtime, everything = _locked("requirements.lock"), _locked("requirements-dev.lock")
    assert {_name(wish) for wish in project["dependencies"]} <= set(runtime), "run: make lock"
    assert {_name(wish) for wish in extras} <= set(everything), "run: make lock"
    assert runtime.items() <= everything.items(), "the locks disagree; run: make lock"


def _name(wish: str) -> str:
    return re.split(r"[^\w.-]", wish, maxsplit=1)[0].lower().replace("_", "-")


def _locked(file: str) -> dict[str, frozenset[str]]:
    """Package -> its locked versions (several where they depend on the Python version)."""
    found: dict[str, frozenset[str]] = {}
    for name, version in re.findall(
        r"^([\w.-]+)(?:\[.*?\])?==(\S+)", (ROOT / file).read_text(encoding="utf-8"), re.M
    ):
        found[name.lower()] = found.get(name.lower(), frozenset()) | {version}
    return found


def test_every_task_of_the_makefile_explains_itself() -> None:
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    (phony,) = re.findall(r"^\.PHONY: (.*)$", text, re.M)
    explained = set(re.findall(r"^([a-z-]+):.*## ", text, re.M))
    assert set(phony.split()) == explained
