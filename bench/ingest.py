"""Suite ``ingest``: associations that store prepared instances, flat out or with think times."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from time import perf_counter, sleep

from bench import fleet, stream, wire
from bench.link import Link
from bench.population import Run
from bench.templates import SHAPES, Template


@dataclass(frozen=True, slots=True)
class Target:
    """The PACS under test."""

    host: str
    port: int
    aet: str
    calling: str = "BENCH"
    timeout_s: float = 60.0

    def connect(self, *proposals: wire.Proposal) -> Link:
        """An association to it; raises PeerFailed."""
        return Link.connect(
            (self.host, self.port), self.calling, self.aet, proposals, timeout_s=self.timeout_s
        )


@dataclass(frozen=True, slots=True)
class Load:
    """How to store.

    mix:        template name -> weight; a study is of one template
    per_study:  instances of a study, 0: what is usual for its modality
    seconds:    after which no client begins another instance; None: until its share of ``instances`` is sent
    instances:  of all clients together; None: no limit
    think_s:    mean of the exponential pause before each instance
    """

    mix: Mapping[str, int]
    per_study: int = 0
    seconds: float | None = 3.0
    instances: int | None = None
    think_s: float = 0.0


class Storer:
    """The client of this suite: one association each. ``first_study`` keeps two loads apart."""

    def __init__(
        self,
        target: Target,
        run: Run,
        load: Load,
        templates: Mapping[str, Template],
        *,
        clients: int,
        first_study: int = 0,
    ) -> None:
        self.target, self.run, self.load, self.clients, self.first_study = (
            target,
            run,
            load,
            clients,
            first_study,
        )
        self.names = sorted(load.mix)
        self.templates = templates
        # Streams depend on what the peer negotiates: they are made after one association, before the clock.
        self.proposals = [
            wire.Proposal(templates[name].sop_class_uid, (wire.EXPLICIT_LE,)) for name in self.names
        ]
        with target.connect(*self.proposals) as link:
            limit = link.accepted.max_pdu_bytes
            self.streams = {
                name: stream.build(templates[name], link.context(index), limit)
                for index, name in enumerate(self.names)
            }
            link.release()

    def _studies(self, client: int) -> Iterator[tuple[int, str]]:
        wheel = [name for name in self.names for _ in range(self.load.mix[name])]
        number = client
        while True:
            yield self.first_study + number, wheel[number % len(wheel)]
            number += self.clients

    def _share(self, client: int) -> int | None:
        total = self.load.instances
        return None if total is None else total // self.clients + (client < total % self.clients)

    def __call__(self, client: int, gate: fleet.Gate) -> fleet.Seen:
        """Store until the time or the share is used up; raises PeerFailed."""
        seen = fleet.Seen()
        pauses = random.Random(client)
        share = self._share(client)
        load = self.load
        with self.target.connect(*self.proposals) as link:
            streams = {name: prepared.copy() for name, prepared in self.streams.items()}
            seen.started = gate()
            deadline = seen.started + load.seconds if load.seconds is not None else float("inf")
            for number, name in self._studies(client):
                study, prepared = self.run.study(number), streams[name]
                prepared.begin_study(study)
                for instance in range(1, (load.per_study or SHAPES[name].per_study) + 1):
                    if perf_counter() >= deadline or (share is not None and len(seen.waits_s) >= share):
                        seen.ended = perf_counter()
                        link.release()
                        return seen
                    if load.think_s:
                        sleep(pauses.expovariate(1 / load.think_s))
                    prepared.begin_instance(self.run, study, instance, len(seen.waits_s) % 65535 + 1)
                    _store(link, prepared, seen)
        raise AssertionError("studies never run out")


def _store(link: Link, prepared: stream.Stream, seen: fleet.Seen) -> None:
    asked = perf_counter()
    link.send(prepared.head, prepared.tail)
    answer = link.read_message()
    seen.waits_s.append(perf_counter() - asked)
    if answer is None or wire.number(answer.command, wire.COMMAND_FIELD) != wire.C_STORE | wire.RESPONSE:
        raise wire.PeerFailed("no C-STORE-RSP in answer to a C-STORE-RQ")
    status = wire.number(answer.command, wire.STATUS)
    # Warnings (PS3.7 annex C: 0001H, Bxxx) mean stored.
    if status in {0, 1} or status >> 12 == 0xB:
        seen.done += 1
        seen.items += 1
        seen.size_bytes += prepared.size_bytes
    else:
        seen.failures[status] += 1
