"""A worker process: reads its orders, runs the tree of actors, drains on SIGTERM, ends when the parent is gone."""

from __future__ import annotations

import gc
import os
import resource
import signal
import sys

import msgspec
import trio

from pacs_actors import cores
from pacs_actors.node_page import DRAINING, STARTING, NodePage
from pacs_actors.operations import logs
from supervisors.orders import WorkerOrders
from supervisors.tree import WorkerTree

_WANTED_FILES = 16_384


def main() -> int:
    orders = msgspec.json.decode(sys.stdin.buffer.readline(), type=WorkerOrders)
    logs.configure(orders.settings.server.log_level, f"worker {orders.slot}")
    raise_file_limit()
    if orders.settings.server.own_cores:
        cores.settle(orders.slot, orders.workers)
    try:
        return trio.run(run, orders)
    except KeyboardInterrupt:
        return 130
    except BaseException as crash:
        logs.error("worker_failed", exception=crash)
        return 1


async def run(orders: WorkerOrders) -> int:
    page = NodePage(orders.page_fd, orders.workers, orders.slot)
    page.set_state(STARTING)
    tree = WorkerTree(orders, page)
    # What is loaded now stays: the collector need not look at it again.
    gc.collect()
    gc.freeze()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_end_with_parent, nursery.cancel_scope)
        nursery.start_soon(_drain_on_signal, tree, page)
        await tree.run()
        nursery.cancel_scope.cancel()
    if not tree.drained:
        logs.error("parent_gone")
        return 1
    return 0


async def _drain_on_signal(tree: WorkerTree, page: NodePage) -> None:
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for _ in signals:
            page.set_state(DRAINING)
            tree.drain()


async def _end_with_parent(scope: trio.CancelScope) -> None:
    """The parent holds the other end of our standard input: its end means that nobody would restart or stop us."""
    os.set_blocking(0, False)
    while True:
        await trio.lowlevel.wait_readable(0)
        if not os.read(0, 4096):
            scope.cancel()
            return


def raise_file_limit() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _WANTED_FILES if hard == resource.RLIM_INFINITY else min(hard, _WANTED_FILES)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


if __name__ == "__main__":
    sys.exit(main())
