"""Results as a table on the terminal, as JSON and as a plot."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from bench.suites import Case

COLUMNS: Final[tuple[tuple[str, str, int], ...]] = (
    ("per_s", "req/s", 1),
    ("items_per_s", "items/s", 0),
    ("mb_s", "MB/s", 0),
    ("p50_ms", "p50 ms", 2),
    ("p99_ms", "p99 ms", 2),
    ("server_cpu_ms_each", "server CPU ms/req", 3),
    ("server_peak_mb", "server MB", 0),
    ("foreign_share", "others' CPU", 2),
)

_DISTURBED: Final = 0.15
_LEGEND: Final = (
    "Per second (requests, or instances retrieved), p50/p99 in ms, server CPU in ms a request.\n"
    "* others used more than 15 % of the machine."
)


def line(name: str, case: Case) -> str:
    """One case as one line of text, for progress."""
    if case.error:
        return f"{name:18} {case.error}"
    figures = (
        f"{title} {case.median[key]:,.{digits}f}" for key, title, digits in COLUMNS if case.median.get(key)
    )
    return f"{name:18} " + "  ".join(figures)


def rate(case: Case) -> float | None:
    """What a case is compared by: instances retrieved per second, else requests per second."""
    if case.error or not case.median:
        return None
    retrieved = case.median["items_each"] > 1 and case.median["mb_s"] > 0
    return case.median["items_per_s" if retrieved else "per_s"]


def table(results: Mapping[str, Mapping[str, Case]]) -> Table:
    """PACS side by side: rate, latency, server CPU; and the first one's rates as multiples of the others'."""
    names = list(results)
    drawn = Table()
    drawn.add_column("case")
    for name in names:
        drawn.add_column(name, justify="right")
    for name in names[1:]:
        drawn.add_column(f"{names[0]} ÷ {name}", justify="right")
    for case_name in dict.fromkeys(case for cases in results.values() for case in cases):
        cases = [results[name].get(case_name) for name in names]
        rates = [rate(case) if case else None for case in cases]
        ratios = [f"{rates[0] / other:.2f}" if rates[0] and other else "" for other in rates[1:]]
        drawn.add_row(case_name, *map(_cell, cases), *ratios)
    return drawn


def _cell(case: Case | None) -> str:
    if case is None:
        return "–"
    if (per_s := rate(case)) is None:
        return "failed"
    median = case.median
    cpu = f"  {median['server_cpu_ms_each']:.2f}" if "server_cpu_ms_each" in median else ""
    disturbed = "*" if median.get("foreign_share", 0) > _DISTURBED else ""
    return f"{disturbed}{per_s:,.0f}  {median['p50_ms']:.1f}/{median['p99_ms']:.1f}{cpu}"


def show(results: Mapping[str, Mapping[str, Case]]) -> None:
    """Print the table; failures follow with their reasons."""
    # Redirected output has no width of its own, and a table squeezed into 80 columns cannot be read.
    console = Console(width=None if Console().is_terminal else 200)
    console.print(_LEGEND, table(results), sep="\n")
    for name, cases in results.items():
        for case_name, case in cases.items():
            if case.error:
                console.print(f"{name} {case_name}: {case.error}", markup=False)


def write_json(path: Path, document: Mapping[str, Any]) -> None:
    """Write a result file, its folder included."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=1) + "\n")


def plot(path: Path, results: Mapping[str, Mapping[str, Case]], title: str) -> bool:
    """Bars of every rate, relative to the slowest PACS that can do the case; SVG or PNG by the suffix.

    returns: False if matplotlib (the ``bench`` extra) is not installed
    """
    try:
        import matplotlib as mpl  # noqa: PLC0415 - an optional extra

        mpl.use("Agg")
        from matplotlib import patches, ticker  # noqa: PLC0415
        from matplotlib import pyplot as plt  # noqa: PLC0415
    except ImportError:
        return False
    names = list(results)
    rates = {
        case: {name: value for name in names if (value := _rate_of(results[name], case))}
        for case in dict.fromkeys(case for cases in results.values() for case in cases)
    }
    cases = [case for case, values in rates.items() if values]
    bars = sum(len(rates[case]) for case in cases)
    figure, axes = plt.subplots(figsize=(9, 1.5 + 0.2 * bars), layout="constrained")
    ticks, top = [], 0.0
    for case in cases:
        slowest = min(rates[case].values())
        for row, (name, value) in enumerate(rates[case].items()):
            drawn = axes.barh(top + row, value / slowest, 0.9, color=f"C{names.index(name)}")
            axes.bar_label(drawn, [f" {value:,.0f}"], fontsize="x-small")
        ticks.append(top + (len(rates[case]) - 1) / 2)
        top += len(rates[case]) + 0.7
    axes.set_yticks(ticks, cases)
    axes.set_ylim(top, -1)
    axes.set_xscale("log")
    axes.set_xlim(left=0.5)
    axes.xaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:g}×")
    axes.xaxis.set_minor_formatter("")
    axes.set_xlabel("rate over the slowest that can do it; at the bars: requests or instances per second")
    axes.set_title(title, fontsize="small")
    keys = [patches.Patch(color=f"C{rank}") for rank in range(len(names))]
    figure.legend(keys, names, loc="outside upper right", ncols=len(names), fontsize="small")
    axes.spines[["top", "right"]].set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
    plt.close(figure)
    return True


def _rate_of(cases: Mapping[str, Case], name: str) -> float | None:
    return rate(cases[name]) if name in cases else None
