"""The cases: what is run how often against one PACS, and what is kept of it."""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Final

from bench import find, fleet, identifiers, ingest, procs, retrieve, templates, web
from bench.http_link import Site
from bench.population import Run
from bench.sink import Sink
from bench.wire import PeerFailed

SUITES: Final = ("ingest", "find", "get", "move", "web")
MIXES: Final[dict[str, dict[str, int]]] = {
    "ct": {"ct": 1},
    "mr": {"mr": 1},
    "cr": {"cr": 1},
    "us": {"us": 1},
    "small": {"small": 1},
    # Studies of a general hospital; with the usual sizes of studies most instances are CT and MR.
    "mix": {"ct": 3, "mr": 3, "cr": 3, "us": 1},
}
_RETRIEVED_STUDIES: Final = 4
_POSTED: Final = 20  # instances a request of STOW-RS: a body of 10 MB


@dataclass(frozen=True)
class Plan:
    """What to measure. Names as in ``python -m bench.run --help``.

    population: name of a run whose ``studies`` are in the archive already; None: they are stored first
    """

    suites: tuple[str, ...] = SUITES
    mixes: tuple[str, ...] = ("ct", "mr")
    clients: tuple[int, ...] = (1, 8)
    processes: int = 2
    runs: int = 3
    seconds: float = 3.0
    think_s: float = 0.0
    studies: int = 2000
    population: str | None = None
    per_study: int = 100
    loaders: int = 4
    destination: str = "BENCHSINK"
    server_pids: tuple[int, ...] = ()

    def restricted(self, able: tuple[str, ...], loaders: int, destination: str, pid: int) -> Plan:
        """The same plan for a server that can do only some suites, or be filled only so fast."""
        return replace(
            self,
            suites=tuple(suite for suite in self.suites if suite in able),
            loaders=min(self.loaders, loaders),
            destination=destination,
            server_pids=(pid,),
        )


@dataclass
class Case:
    """One line of the result. ``median`` is by figure over the runs; empty with an ``error``."""

    median: dict[str, float] = field(default_factory=dict)
    runs: list[dict[str, float]] = field(default_factory=list)
    error: str | None = None

    def record(self) -> dict[str, Any]:
        """As it stands in the JSON."""
        return {"median": self.median, "runs": self.runs, "error": self.error}


class Bench:
    """All cases of a plan against one PACS.

    sink: where C-MOVE goes; site: its DICOMweb service; without them the suites that need them are left out
    """

    def __init__(
        self,
        target: ingest.Target,
        plan: Plan,
        *,
        sink: Sink | None = None,
        site: Site | None = None,
        say: Callable[[str, Case], None] = lambda name, case: None,
    ) -> None:
        self.target, self.plan, self.sink, self.site, self.say = target, plan, sink, site, say
        self.cases: dict[str, Case] = {}
        self._templates: dict[str, templates.Template] = {}
        self._loaded: dict[str, Run | None] = {}

    def run(self) -> dict[str, Case]:
        """Run every suite. A case that the PACS cannot do is recorded with its error; the rest goes on."""
        suites = {
            "ingest": self._ingest, "find": self._find, "get": self._get, "move": self._move, "web": self._web,
        }  # fmt: skip
        for suite in self.plan.suites:
            suites[suite]()
        return self.cases

    def _case(
        self,
        name: str,
        clients: int,
        make: Callable[[], fleet.Client],
        *,
        runs: int | None = None,
        finish: Callable[[dict[str, float]], None] = lambda figures: None,
    ) -> Case:
        case = Case()
        try:
            for _ in range(runs or self.plan.runs):
                client = make()
                # The write-back of what a server did not sync in the last case must not fall into this one.
                os.sync()
                with procs.Meter(self.plan.server_pids) as meter:
                    total = fleet.run(client, clients, processes=self.plan.processes)
                figures = _figures(total, meter)
                case.runs.append(figures)
                if total.seen.failures:
                    status, times = total.seen.failures.most_common(1)[0]
                    raise PeerFailed(f"{times} requests ended with status {status:04X} or incomplete")
                finish(figures)
            case.median = {key: statistics.median(run[key] for run in case.runs) for key in case.runs[0]}
        except PeerFailed as error:
            case.error = str(error)
        self.cases[name] = case
        self.say(name, case)
        return case

    def _storer(self, run: Run, load: ingest.Load, clients: int) -> ingest.Storer:
        for name in load.mix:
            if name not in self._templates:
                self._templates[name] = templates.template(name)
        return ingest.Storer(self.target, run, load, self._templates, clients=clients)

    def _new_storer(self, load: ingest.Load, clients: int) -> ingest.Storer:
        return self._storer(Run.new(), load, clients)

    def _ingest(self) -> None:
        plan = self.plan
        for mix in plan.mixes:
            load = ingest.Load(MIXES[mix], seconds=plan.seconds, think_s=plan.think_s)
            warm_up = ingest.Load(MIXES[mix], seconds=min(1.0, plan.seconds / 4))
            for clients in plan.clients:
                try:
                    fleet.run(self._new_storer(warm_up, clients), clients, processes=plan.processes)
                except PeerFailed:
                    pass  # the measured case says the same
                self._case(f"ingest/{mix}/{clients}", clients, partial(self._new_storer, load, clients))

    def _load(self, name: str, load: ingest.Load, loaders: int) -> Run | None:
        """A run whose studies are stored once for all suites; None if they could not be stored."""
        if name not in self._loaded:
            run = Run.new()
            case = self._case(f"load/{name}", loaders, partial(self._storer, run, load, loaders), runs=1)
            self._loaded[name] = None if case.error else run
        return self._loaded[name]

    def _searched(self) -> Run | None:
        """Whose studies are looked for."""
        plan = self.plan
        if plan.population is not None:
            return Run.named(plan.population)
        load = ingest.Load(MIXES["small"], seconds=None, instances=plan.studies, per_study=1)
        return self._load("small", load, plan.loaders)

    def _find(self) -> None:
        plan = self.plan
        if (run := self._searched()) is None:
            return
        for kind, questions_of in identifiers.KINDS.items():
            questions = questions_of(run, plan.studies, 100)
            try:
                find.check(self.target, run, plan.studies, questions[:3])
            except PeerFailed as error:
                self.cases[f"find/{kind}"] = Case(error=str(error))
                self.say(f"find/{kind}", self.cases[f"find/{kind}"])
                continue
            encoded = [identifiers.encode(question.keys) for question in questions]
            finder = find.Finder(self.target, encoded, plan.seconds)
            for clients in plan.clients:
                self._case(f"find/{kind}/{clients}", clients, partial(_same, finder))

    def _retrieved(self) -> Run | None:
        """Whose first CT studies are fetched."""
        per_study = self.plan.per_study
        load = ingest.Load(
            MIXES["ct"], seconds=None, instances=_RETRIEVED_STUDIES * per_study, per_study=per_study
        )
        # Shares come out as whole studies only if the clients divide their number.
        return self._load("ct", load, max(count for count in (1, 2, 4) if count <= self.plan.loaders))

    def _get(self) -> None:
        if (run := self._retrieved()) is None:
            return
        plan = self.plan
        classes = (templates.SHAPES["ct"].sop_class_uid,)
        retriever = retrieve.Retriever(
            self.target, _studies(run), plan.per_study, plan.seconds, storage_classes=classes
        )
        for clients in plan.clients:
            self._case(f"get/ct/{clients}", clients, partial(_same, retriever))

    def _move(self) -> None:
        if self.sink is None or (run := self._retrieved()) is None:
            return
        plan = self.plan
        retriever = retrieve.Retriever(
            self.target, _studies(run), plan.per_study, plan.seconds, destination=plan.destination
        )
        for clients in plan.clients:
            count = partial(self._arrived, self.sink, [self.sink.instances, self.sink.size_bytes])
            self._case(f"move/ct/{clients}", clients, partial(_same, retriever), finish=count)

    @staticmethod
    def _arrived(sink: Sink, before: list[int], figures: dict[str, float]) -> None:
        """The requester of a C-MOVE sees no data set: what came is the sink's to say."""
        now = [sink.instances, sink.size_bytes]
        arrived, size_bytes = now[0] - before[0], now[1] - before[1]
        before[:] = now
        if arrived != figures["items"]:
            raise PeerFailed(f"C-MOVE reported {figures['items']:.0f} instances, {arrived} arrived")
        figures["mb_s"] = size_bytes / figures["seconds"] / 1e6

    def _web(self) -> None:
        if (site := self.site) is None:
            return
        plan, shape = self.plan, templates.SHAPES["ct"]
        if (run := self._searched()) is not None:
            for kind, questions_of in identifiers.KINDS.items():
                questions = questions_of(run, plan.studies, 100)
                self._asked(f"web/qido-{kind}", site, web.searches(site, run, plan.studies, questions))
        if (run := self._retrieved()) is not None:
            pixel_bytes = 2 * shape.rows * shape.columns
            kinds = web.retrievals(site, run, _RETRIEVED_STUDIES, plan.per_study, pixel_bytes)
            for kind, wanted in kinds.items():
                self._asked(f"web/{kind}", site, wanted)
        template = templates.template("ct")
        for clients in plan.clients:

            def poster(clients: int = clients) -> fleet.Client:
                return web.Poster(site, Run.new(), template, plan.seconds, _POSTED, clients)

            self._case(f"web/stow/{clients}", clients, poster)

    def _asked(self, name: str, site: Site, wanted: Sequence[web.Wanted]) -> None:
        try:
            web.check(site, wanted[:4])
        except PeerFailed as error:
            self.cases[name] = Case(error=str(error))
            self.say(name, self.cases[name])
            return
        asker = web.Asker(site, wanted, self.plan.seconds)
        for clients in self.plan.clients:
            self._case(f"{name}/{clients}", clients, partial(_same, asker))


def _studies(run: Run) -> list[str]:
    return [run.study(number).study_uid for number in range(_RETRIEVED_STUDIES)]


def _same(client: fleet.Client) -> fleet.Client:
    return client


def _figures(total: fleet.Total, meter: procs.Meter) -> dict[str, float]:
    figures = total.figures()
    units = max(1.0, figures["items"] or figures["done"])
    figures["foreign_share"] = meter.foreign_share
    if meter.cpu_s is not None:
        figures["server_cpu_s"] = meter.cpu_s
        figures["server_cpu_ms_each"] = 1000 * meter.cpu_s / max(1.0, figures["done"])
        figures["server_cpu_ms_item"] = 1000 * meter.cpu_s / units
        figures["server_peak_mb"] = (meter.peak_bytes or 0) / 1e6
    return figures


def json_cases(cases: Mapping[str, Case]) -> dict[str, Any]:
    """All cases as they stand in the JSON."""
    return {name: case.record() for name, case in cases.items()}
