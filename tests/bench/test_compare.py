"""Servers side by side, in a network of their own."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from bench import compare, peers, private_network
from bench.wire import PeerFailed

ROOT = Path(compare.__file__).parent.parent


def run_module(module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", module, *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100)


def test_the_private_network_has_loopback_only() -> None:
    done = run_module("tests.bench.interfaces")
    assert done.returncode == 0, done.stderr
    if done.stdout.strip() == "refused":
        pytest.skip("this system allows no network namespaces")
    assert done.stdout.split() == ["lo", "echoed"]


def test_a_peer_is_measured_on_fresh_data_and_stopped(tmp_path: Path) -> None:
    if not peers.installed(peers.PEERS["storescp"]):
        pytest.skip("DCMTK is not installed")
    done = run_module(
        "bench.compare", "--peers", "storescp", "--seconds", "0.2", "--clients", "1,2", "--mix", "small",
        "--data", str(tmp_path), "--out", str(tmp_path / "out"),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    if "would listen on every address" in done.stdout:
        pytest.skip("this system allows no network namespaces")
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    cases = result["results"]["storescp"]
    assert set(cases) == {"ingest/small/1", "ingest/small/2"}
    assert all(case["error"] is None and case["median"]["per_s"] > 1 for case in cases.values())
    assert all(case["median"]["server_cpu_s"] >= 0 for case in cases.values())
    if find_spec("matplotlib"):
        assert (tmp_path / "out" / "result.svg").stat().st_size > 1000
    assert [entry.name for entry in tmp_path.iterdir()] == ["out"]
    assert not [line for line in _command_lines() if str(tmp_path) in line]


def _command_lines() -> list[str]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                found.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace"))
            except OSError:
                continue
    return found


def test_a_server_that_dies_at_once_is_reported_with_its_last_words(tmp_path: Path) -> None:
    dying = peers.Peer(
        "dying",
        "X",
        None,
        lambda folder, port, sink, web: [sys.executable, "-c", "raise SystemExit('no licence')"],
    )
    with pytest.raises(PeerFailed, match="no licence"), peers.running(dying, tmp_path / "x", 1):
        raise AssertionError("it must not be seen as running")


@pytest.mark.parametrize("name", sorted(peers.PEERS))
def test_every_command_names_its_folder_port_and_destination(name: str, tmp_path: Path) -> None:
    folder = tmp_path / name
    folder.mkdir()
    command = peers.PEERS[name].command(folder, 40001, 40002, 40003)
    written = " ".join(command) + "".join(path.read_text() for path in folder.iterdir() if path.is_file())
    assert "40001" in written and str(folder) in written
    assert ("40002" in written and "BENCHSINK" in written) == ("move" in peers.PEERS[name].suites)


def test_entering_is_marked_for_the_next_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BENCH_PRIVATE_NETWORK", raising=False)
    assert not private_network.entered()
    monkeypatch.setenv("BENCH_PRIVATE_NETWORK", "1")
    assert private_network.entered()
