"""Measure one PACS from outside.

    python -m bench.run --port 11112 --aet PACS             # all suites, 1 and 8 clients, ~2 minutes
    python -m bench.run --port 4242 --aet ORTHANC --suite ingest --mix ct,mix --clients 1,4,16
    python -m bench.run --port 11112 --aet PACS --suite find --studies 20000 --pid 4711 --out r.json

ingest  C-STORE of generated CT (526 KB), MR (132 KB), CR (10 MB), US (5.5 MB); every instance is new
find    stores --studies small studies, then C-FIND by PatientID, name prefix, date range; all checked
get     stores four CT studies, then C-GET of whole studies on the same association
move    the same by C-MOVE; the PACS has to know --sink AET:PORT on 127.0.0.1, a null SCP run by us

Stored data stay in the PACS: use one that may be thrown away. UIDs and PatientIDs are new at every start.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from bench import procs, report, suites
from bench.http_link import Site
from bench.ingest import Target
from bench.population import Run
from bench.sink import Sink


def _numbers(text: str) -> tuple[int, ...]:
    values = tuple(int(part) for part in text.split(","))
    if min(values) < 1:
        raise argparse.ArgumentTypeError("numbers from 1 on, separated by commas")
    return values


def names(allowed: Sequence[str], text: str) -> tuple[str, ...]:
    """An argument type: a comma list of allowed names."""
    values = tuple(text.split(","))
    if unknown := set(values) - set(allowed):
        raise argparse.ArgumentTypeError(f"{', '.join(sorted(unknown))}: not among {', '.join(allowed)}")
    return values


def _destination(text: str) -> tuple[str, int]:
    title, _, port = text.rpartition(":")
    if not title or not port.isdigit():
        raise argparse.ArgumentTypeError("expected AET:PORT")
    return title, int(port)


def _population(text: str) -> str:
    return Run.named(text).name


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(
        prog="python -m bench.run", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--host", default="127.0.0.1", help="address of the PACS (default %(default)s)")
    made.add_argument("--port", type=int, required=True, help="its DICOM port")
    made.add_argument("--aet", required=True, help="its AE title")
    made.add_argument("--calling", default="BENCH", help="our AE title (default %(default)s)")
    add_plan(made, suites.Plan())
    made.add_argument("--sink", type=_destination, default=("BENCHSINK", 11190), help="AET:PORT for move")
    made.add_argument("--web", help="its DICOMweb service, as in http://127.0.0.1:8042/dicom-web")
    made.add_argument("--token", help="for it: sent as Authorization: Bearer")
    made.add_argument(
        "--pid", type=_numbers, default=(), help="root pids of the server: adds its CPU and memory"
    )
    made.add_argument("--label", default="", help="name of the PACS in the result (default: its AE title)")
    made.add_argument("--out", type=Path, help="result file (JSON)")
    return made


def add_plan(made: argparse.ArgumentParser, plan: suites.Plan) -> None:
    """Options of what to measure, with the defaults of a plan."""
    made.add_argument(
        "--suite",
        type=lambda text: names(suites.SUITES, text),
        default=plan.suites,
        help=f"comma list of {', '.join(suites.SUITES)} (default: all)",
    )
    made.add_argument(
        "--mix",
        type=lambda text: names(tuple(suites.MIXES), text),
        default=plan.mixes,
        help=f"what ingest sends, comma list of {', '.join(suites.MIXES)} (default ct,mr)",
    )
    made.add_argument(
        "--clients", type=_numbers, default=plan.clients, help="associations at once (default 1,8)"
    )
    made.add_argument(
        "--processes", type=int, default=plan.processes, help="that run them (default %(default)s)"
    )
    made.add_argument(
        "--runs", type=int, default=plan.runs, help="of each case; medians count (default %(default)s)"
    )
    made.add_argument(
        "--seconds", type=float, default=plan.seconds, help="length of a run (default %(default)s)"
    )
    made.add_argument(
        "--think", type=float, default=0.0, help="mean pause before an instance, ms (default: none)"
    )
    made.add_argument(
        "--studies", type=int, default=plan.studies, help="that find looks in (default %(default)s)"
    )
    made.add_argument("--population", type=_population, help="find: studies already there, from bench.rows")
    made.add_argument("--per-study", type=int, default=plan.per_study, help="instances of a study retrieved")
    made.add_argument("--loaders", type=int, default=plan.loaders, help="associations that fill the archive")


def plan_of(options: argparse.Namespace) -> suites.Plan:
    """The plan that the options of ``add_plan`` describe."""
    return suites.Plan(
        suites=options.suite,
        mixes=options.mix,
        clients=options.clients,
        processes=options.processes,
        runs=options.runs,
        seconds=options.seconds,
        think_s=options.think / 1000,
        studies=options.studies,
        population=options.population,
        per_study=options.per_study,
        loaders=options.loaders,
    )


def _site(url: str | None, token: str | None) -> Site | None:
    if url is None:
        return None
    parts = urlsplit(url)
    if parts.scheme != "http" or parts.hostname is None:
        raise SystemExit("--web: expected http://HOST:PORT/PATH")
    fields = (("Authorization", f"Bearer {token}"),) if token else ()
    return Site(parts.hostname, parts.port or 80, parts.path.rstrip("/"), fields)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the chosen suites; 1 if any case failed."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    options = parser().parse_args(given)
    title, sink_port = options.sink
    plan = replace(plan_of(options), destination=title, server_pids=options.pid)
    label = options.label or options.aet
    with contextlib.ExitStack() as stack:
        sink = stack.enter_context(Sink(sink_port)) if "move" in plan.suites else None
        bench = suites.Bench(
            Target(options.host, options.port, options.aet, options.calling),
            plan,
            sink=sink,
            site=_site(options.web, options.token),
            say=lambda name, case: print(report.line(name, case), flush=True),
        )
        cases = bench.run()
    if options.out:
        report.write_json(options.out, document({label: cases}, given))
    return int(any(case.error for case in cases.values()))


def document(
    results: dict[str, dict[str, suites.Case]], arguments: Sequence[str], data: Path | None = None
) -> dict[str, Any]:
    """The result file: machine, moment, command, and the cases of every PACS."""
    return {
        "machine": procs.machine(data),
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "arguments": list(arguments),
        "results": {label: suites.json_cases(cases) for label, cases in results.items()},
    }


if __name__ == "__main__":
    sys.exit(main())
