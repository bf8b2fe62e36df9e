"""Suite ``find``: clients that ask one C-FIND after the other, each on one association (PS3.4 C.4.1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter

from bench import fleet, identifiers, wire
from bench.ingest import Target
from bench.link import Link
from bench.population import Run
from bench.wire import PeerFailed

PROPOSAL = wire.Proposal(wire.STUDY_ROOT_FIND, (wire.IMPLICIT_LE,))


def ask(
    link: Link, identifier: bytes, message_id: int, answers: list[bytes] | None = None
) -> tuple[int, int]:
    """One C-FIND on the first context.

    answers: where the identifiers of the matches go; None: they are only counted
    returns: final status, matches
    """
    link.send_message(
        link.context(0),
        wire.command_set(
            {
                wire.AFFECTED_CLASS: wire.STUDY_ROOT_FIND,
                wire.COMMAND_FIELD: wire.C_FIND,
                wire.MESSAGE_ID: message_id,
                wire.PRIORITY: 0,
                wire.DATA_SET_TYPE: wire.DATA_SET,
            }
        ),
        identifier,
    )
    matches = 0
    while (answer := link.read_message(keep_data=answers is not None)) is not None:
        status = wire.number(answer.command, wire.STATUS)
        if status not in wire.PENDING:
            return status, matches
        matches += 1
        if answers is not None:
            answers.append(answer.data)
    raise PeerFailed("the peer released the association instead of answering")


@dataclass(frozen=True)
class Finder:
    """The client of this suite; clients walk through the same questions from different places."""

    target: Target
    identifiers: Sequence[bytes]
    seconds: float

    def __call__(self, client: int, gate: fleet.Gate) -> fleet.Seen:
        """Ask until the time is up or one fails; raises PeerFailed."""
        seen = fleet.Seen()
        turn = client * len(self.identifiers) // 8
        with self.target.connect(PROPOSAL) as link:
            link.context(0)
            seen.started = asked = gate()
            while asked < seen.started + self.seconds and not seen.failures:
                status, matches = ask(link, self.identifiers[turn % len(self.identifiers)], turn % 65535 + 1)
                turn += 1
                seen.ended = perf_counter()
                seen.waits_s.append(seen.ended - asked)
                asked = seen.ended
                if status == 0:
                    seen.done += 1
                    seen.items += matches
                else:
                    seen.failures[status] += 1
            link.release()
        return seen


def check(target: Target, run: Run, studies: int, questions: Sequence[identifiers.Question]) -> int:
    """Ask each question once, outside the clock.

    All studies of the run that match have to come, and none of the run that does not; the archive may hold
    studies of others too.

    returns: matches seen
    raises:  PeerFailed if an answer is wrong
    """
    population = [run.study(number) for number in range(studies)]
    seen = 0
    with target.connect(PROPOSAL) as link:
        for number, question in enumerate(questions):
            answers: list[bytes] = []
            status, _ = ask(link, identifiers.encode(question.keys), number + 1, answers)
            if status:
                raise PeerFailed(f"C-FIND ended with status {status:04X}")
            found = [str(identifiers.decode(answer).StudyInstanceUID) for answer in answers]
            ours = sorted(uid for uid in found if uid.startswith(run.uid_root))
            expected = sorted(study.study_uid for study in population if question.matches(study))
            if ours != expected:
                raise PeerFailed(f"{len(ours)} of {len(expected)} expected studies came")
            seen += len(found)
        link.release()
    return seen
