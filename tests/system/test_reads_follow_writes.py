"""What has been answered is found: on any association, of any worker, at once."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial

from tests.system import peers
from tests.system.peers import FIND
from tests.system.server import Server

SUCCESS = 0x0000


def busy_workers(node: Server, calling: str) -> set[int]:
    """Slots of the workers that serve associations of an AE."""
    return {
        worker["slot"]
        for worker in node.status()["workers"]
        if any(one["calling_ae"] == calling for one in worker["associations"])
    }


def test_a_find_right_after_a_store_sees_it_on_every_worker(node: Server) -> None:
    with ExitStack() as stack:
        storing = stack.enter_context(peers.opened(node, [(peers.CT, peers.EXPLICIT)]))
        finding = []
        while len(finding) < 4 or (busy_workers(node, "FINDER") != {0, 1} and len(finding) < 24):
            context = [(FIND["study"], peers.EXPLICIT)]
            finding.append(stack.enter_context(peers.opened(node, context, calling="FINDER")))
        peers.wait_until(lambda: busy_workers(node, "FINDER") == {0, 1}, "finders on both workers")
        for number in range(60):
            instance = peers.make()
            keys = {"StudyInstanceUID": instance.study, "NumberOfStudyRelatedInstances": ""}
            assert peers.ask(finding[number % len(finding)], "STUDY", keys).data == [], (
                "the control: not there before"
            )
            assert peers.store(storing, instance) == SUCCESS
            answers = peers.ask(finding[number % len(finding)], "STUDY", keys)
            assert answers.values("NumberOfStudyRelatedInstances") == ["1"], f"in round {number}"


def test_a_get_right_after_a_store_sends_it(node: Server) -> None:
    for _ in range(10):
        instance = peers.make()
        assert peers.send(node, instance) == [SUCCESS]
        told, inbox = peers.get(node, [instance], "STUDY", {"StudyInstanceUID": instance.study})
        assert (told.counts(), set(inbox.received)) == ((None, 1, 0, 0), {instance.uid})


def test_many_who_store_and_find_at_once_each_see_their_own(node: Server) -> None:
    def rounds(count: int) -> list[int]:
        contexts = [(peers.CT, peers.EXPLICIT), (FIND["study"], peers.EXPLICIT)]
        seen = []
        with peers.opened(node, contexts) as storing, peers.opened(node, contexts) as finding:
            first = peers.make()
            for number in range(count):
                again = peers.make(StudyInstanceUID=first.study, InstanceNumber=number)
                assert peers.store(storing, again) == SUCCESS
                keys = {"StudyInstanceUID": first.study, "NumberOfStudyRelatedInstances": ""}
                (answer,) = peers.ask(finding, "STUDY", keys).data
                seen.append(int(answer.NumberOfStudyRelatedInstances))
        return seen

    assert peers.at_once(*[partial(rounds, 12)] * 6) == [list(range(1, 13))] * 6
