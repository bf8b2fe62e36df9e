"""Many clients in several processes that start at the same instant.

A client is a callable that connects, waits at the gate, works until its deadline and returns what it saw.
Clients are threads in forked processes: their time passes in system calls, which release the lock.
"""

from __future__ import annotations

import multiprocessing
import resource
import statistics
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier
from time import perf_counter
from typing import Final

from bench.wire import PeerFailed

_FORK: Final = multiprocessing.get_context("fork")
_CONNECT_WAIT_S: Final = 120.0


@dataclass(slots=True)
class Seen:
    """What one client saw.

    done:      requests answered with success
    items:     what came along: instances retrieved, matches found
    size_bytes: of the data sets sent or received
    waits_s:   latency of each request
    failures:  status -> how often
    """

    done: int = 0
    items: int = 0
    size_bytes: int = 0
    waits_s: list[float] = field(default_factory=list)
    failures: Counter[int] = field(default_factory=Counter)
    started: float = 0.0
    ended: float = 0.0


@dataclass(frozen=True, slots=True)
class Total:
    """What all clients saw together; rates are per second of wall clock from the gate to the last answer."""

    seen: Seen
    generator_cpu_s: float

    @property
    def seconds(self) -> float:
        """From the first client's start to the last one's last answer."""
        return max(self.seen.ended - self.seen.started, 1e-9)

    def percentile_ms(self, share: float) -> float:
        """Latency that this share (0 to 1) of the requests did not exceed."""
        waits = self.seen.waits_s
        if len(waits) < 2:
            return 1000 * waits[0] if waits else 0.0
        cuts = statistics.quantiles(waits, n=1000, method="inclusive")
        return 1000 * cuts[min(998, max(0, round(share * 1000) - 1))]

    def figures(self) -> dict[str, float]:
        """The flat record that goes into the JSON."""
        seen = self.seen
        return {
            "done": seen.done,
            "failed": sum(seen.failures.values()),
            "items": seen.items,
            "seconds": self.seconds,
            "per_s": seen.done / self.seconds,
            "items_per_s": seen.items / self.seconds,
            "items_each": seen.items / max(1, seen.done),
            "mb_s": seen.size_bytes / self.seconds / 1e6,
            "p50_ms": self.percentile_ms(0.5),
            "p90_ms": self.percentile_ms(0.9),
            "p99_ms": self.percentile_ms(0.99),
            "max_ms": 1000 * max(seen.waits_s, default=0.0),
            "generator_cpu_s": self.generator_cpu_s,
        }


Gate = Callable[[], float]
Client = Callable[[int, Gate], Seen]


def _thread(client: Client, index: int, barrier: Barrier, results: list[Seen | str]) -> None:
    def gate() -> float:
        barrier.wait(_CONNECT_WAIT_S)
        return perf_counter()

    try:
        results.append(client(index, gate))
    except threading.BrokenBarrierError:
        pass  # another client failed to connect and has said why
    except Exception as error:
        barrier.abort()
        results.append(str(error) if isinstance(error, PeerFailed) else f"{type(error).__name__}: {error}")


def _process(client: Client, indices: Sequence[int], barrier: Barrier, pipe: Connection) -> None:
    results: list[Seen | str] = []
    threads = [threading.Thread(target=_thread, args=(client, index, barrier, results)) for index in indices]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    usage = resource.getrusage(resource.RUSAGE_SELF)
    pipe.send((results, usage.ru_utime + usage.ru_stime))
    pipe.close()


def run(client: Client, clients: int, *, processes: int) -> Total:
    """Run so many clients at once; raises PeerFailed with the first reason if any could not do its work."""
    barrier = _FORK.Barrier(clients)
    workers = []
    for rank in range(min(processes, clients)):
        receiver, sender = _FORK.Pipe(duplex=False)
        worker = _FORK.Process(
            target=_process, args=(client, range(rank, clients, min(processes, clients)), barrier, sender)
        )
        worker.start()
        sender.close()
        workers.append((worker, receiver))
    total = Seen(started=float("inf"))
    reasons: list[str] = []
    generator_cpu_s = 0.0
    for worker, receiver in workers:
        try:
            results, used = receiver.recv()
        except EOFError:
            reasons.append(f"a generator process ended with code {worker.exitcode}")
            barrier.abort()
        else:
            generator_cpu_s += used
            for result in results:
                if isinstance(result, str):
                    reasons.append(result)
                else:
                    _add(total, result)
        worker.join()
    if reasons:
        raise PeerFailed(reasons[0])
    return Total(total, generator_cpu_s)


def _add(total: Seen, one: Seen) -> None:
    total.done += one.done
    total.items += one.items
    total.size_bytes += one.size_bytes
    total.waits_s += one.waits_s
    total.failures += one.failures
    total.started = min(total.started, one.started)
    total.ended = max(total.ended, one.ended)
