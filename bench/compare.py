"""Our server side by side with Orthanc and DCMTK, where installed, on this machine, on fresh data.

    python -m bench.compare                       # the short version, under two minutes
    python -m bench.compare --runs 3 --seconds 5 --mix ct,mr,cr,us,mix --studies 20000
    python -m bench.compare --peers ours,orthanc --suite find

With suite ingest the column "disk" says what the disk takes without a server: bench.disk.
Writes result.json and result.svg to --out and prints a table with ratios. Everything runs on
loopback; servers that would listen on every address run only in a private network namespace.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from time import monotonic

from bench import disk, private_network, report, suites
from bench import run as single
from bench.ingest import Target
from bench.peers import DESTINATION, PEERS, Peer, installed, running
from bench.sink import Sink
from bench.wire import PeerFailed


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(
        prog="python -m bench.compare",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument(
        "--peers",
        type=lambda text: single.names(tuple(PEERS), text),
        default=tuple(PEERS),
        help=f"comma list of {', '.join(PEERS)} (default: all that are installed)",
    )
    single.add_plan(made, suites.Plan(runs=1, seconds=1.5))
    made.add_argument(
        "--data", type=Path, help="folder for the servers' data (default: the temporary folder)"
    )
    made.add_argument(
        "--out", type=Path, default=Path(__file__).parent / "out", help="folder for the results"
    )
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure one server after the other; 1 if a case of ours failed."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    options = parser().parse_args(given)
    if not private_network.entered():
        private_network.enter("bench.compare", given)
        print("no private network here: only servers that bind to loopback by themselves are measured")
    else:
        private_network.raise_loopback()
    results: dict[str, dict[str, suites.Case]] = {}
    began = monotonic()
    with tempfile.TemporaryDirectory(prefix="bench-", dir=options.data) as temporary:
        for name in options.peers:
            peer = PEERS[name]
            if not installed(peer):
                print(f"{name}: not installed")
            elif not peer.loopback_only and not private_network.entered():
                print(f"{name}: would listen on every address")
            else:
                results[name] = _measure(peer, Path(temporary) / name, single.plan_of(options))
        if "ours" in results and "ingest" in options.suite:
            print("\ndisk", flush=True)
            results["disk"] = disk.cases(Path(temporary), single.plan_of(options))
        facts = single.document(results, given, Path(temporary))
    report.write_json(options.out / "result.json", facts)
    print()
    report.show(results)
    commit = (
        f"{facts['machine']['cpu']}, {facts['machine']['cores']} cores, commit {facts['machine']['commit']}"
    )
    if report.plot(options.out / "result.svg", results, commit):
        print(f"plot: {options.out / 'result.svg'}")
    print(f"result: {options.out / 'result.json'} ({monotonic() - began:.0f} s)")
    return int(any(case.error for case in results.get("ours", {}).values()))


def _measure(peer: Peer, folder: Path, plan: suites.Plan) -> dict[str, suites.Case]:
    print(f"\n{peer.name}", flush=True)
    try:
        with Sink() as sink, running(peer, folder, sink.port) as up:
            bench = suites.Bench(
                Target("127.0.0.1", up.port, peer.aet),
                plan.restricted(peer.suites, peer.loaders, DESTINATION, up.pid),
                sink=sink,
                site=up.site,
                say=lambda name, case: print(report.line(name, case), flush=True),
            )
            return bench.run()
    except PeerFailed as error:
        print(error)
        return {"start": suites.Case(error=str(error))}


if __name__ == "__main__":
    sys.exit(main())
