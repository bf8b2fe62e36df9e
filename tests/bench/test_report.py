from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console

from bench import report
from bench.suites import Case

BASE = {"items_each": 1.0, "mb_s": 5.0, "p50_ms": 1.0, "p99_ms": 2.0, "items_per_s": 0.0}
RESULTS = {
    "ours": {
        "ingest/ct/1": Case({**BASE, "per_s": 3000.0, "server_cpu_ms_each": 0.25}),
        "get/ct/1": Case({**BASE, "per_s": 10.0, "items_per_s": 1000.0, "items_each": 100.0}),
        "find/name/1": Case(error="1 of 2 expected studies came"),
    },
    "other": {
        "ingest/ct/1": Case({**BASE, "per_s": 400.0, "foreign_share": 0.5}),
        "get/ct/1": Case({**BASE, "per_s": 5.0, "items_per_s": 500.0, "items_each": 100.0}),
    },
}


def test_the_table_has_rates_ratios_and_failures(capsys: pytest.CaptureFixture[str]) -> None:
    report.show(RESULTS)
    text = capsys.readouterr().out
    assert "7.50" in text and "2.00" in text and "*400" in text and "*3,000" not in text
    assert "failed" in text and "1 of 2 expected studies came" in text


def test_a_server_without_a_case_leaves_a_gap() -> None:
    console = Console(width=200, record=True)
    console.print(report.table({"ours": RESULTS["ours"], "none": {}}))
    assert "–" in console.export_text()


@pytest.mark.parametrize("suffix", ["svg", "png"])
def test_the_plot_is_drawn(tmp_path: Path, suffix: str) -> None:
    pytest.importorskip("matplotlib")
    path = tmp_path / "sub" / f"plot.{suffix}"
    assert report.plot(path, RESULTS, "a title")
    assert path.stat().st_size > 1000


def test_a_line_names_the_error() -> None:
    assert "expected studies" in report.line("find/name/1", RESULTS["ours"]["find/name/1"])
    assert "3,000.0" in report.line("ingest/ct/1", RESULTS["ours"]["ingest/ct/1"])
