"""The shared page: watermarks, association slots, snapshots."""

from __future__ import annotations

import os

import pytest

from pacs_actors.node_page import ASSOCIATION_SLOTS, NodePage
from protocols.errors import Misuse


def pages(workers: int) -> list[NodePage]:
    created = NodePage.create(workers)
    return [NodePage(os.dup(created.fd), workers, slot) for slot in range(workers)]


def recovered(workers: int) -> list[NodePage]:
    made = pages(workers)
    for page in made:
        page.set_recovered()
    return made


def test_a_query_waits_until_every_worker_has_recovered_what_earlier_servers_answered() -> None:
    first, second = pages(2)
    mark = first.watermark()
    first.set_recovered()
    assert first.behind(mark)
    second.set_recovered()
    assert not first.behind(mark)


def test_a_query_waits_for_what_any_worker_answered_before_it() -> None:
    first, second = recovered(2)
    second.count_answered(3)
    mark = first.watermark()
    assert first.behind(mark)
    second.count_answered()  # after the query came: not waited for
    second.count_indexed(3)
    assert not first.behind(mark)
    assert first.lag() == 1


def test_associations_are_counted_over_all_workers() -> None:
    first, second = pages(2)
    place = first.enter("10.0.0.1")
    assert first.established() == 0
    first.name(place, "CT1")
    other = second.enter("10.0.0.1")
    second.name(other, "MR1")
    assert (first.established(), second.established_from("10.0.0.1"), second.established_by("CT1")) == (
        2,
        2,
        1,
    )
    first.leave(place)
    assert (second.established(), second.established_by("CT1")) == (1, 0)


def test_places_run_out_and_a_dead_workers_are_freed() -> None:
    (page,) = pages(1)
    assert all(page.enter("10.0.0.1") >= 0 for _ in range(ASSOCIATION_SLOTS))
    assert page.enter("10.0.0.2") == -1
    page.forget_associations(0)
    assert page.associations(0) == 0
    assert page.enter("10.0.0.2") == 0


def test_snapshots_are_read_by_the_siblings_and_never_torn() -> None:
    first, second = pages(2)
    assert second.snapshot(0) is None
    first.publish({"depth": 7})
    assert second.snapshot(0) == b'{"depth":7}'
    with pytest.raises(Misuse):
        first.publish("x" * 200_000)
    assert second.snapshot(0) == b'{"depth":7}'
