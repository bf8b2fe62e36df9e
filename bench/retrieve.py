"""Suites ``get`` and ``move``: clients that fetch whole studies, on their association or to the null SCP."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter

from bench import fleet, identifiers, wire
from bench.ingest import Target
from bench.link import Link
from bench.sink import response_to
from bench.wire import PeerFailed


@dataclass(frozen=True)
class Retriever:
    """The client of both suites.

    study_uids:       fetched in turn, each client from another place
    instances:        of each study; another count is a failure
    storage_classes:  SOP Class UIDs that C-GET has to be ready for
    destination:      AE title for C-MOVE; None: C-GET
    """

    target: Target
    study_uids: Sequence[str]
    instances: int
    seconds: float
    storage_classes: Sequence[str] = ()
    destination: str | None = None

    def _connect(self) -> Link:
        if self.destination is not None:
            return self.target.connect(wire.Proposal(wire.STUDY_ROOT_MOVE, (wire.IMPLICIT_LE,)))
        storage = (wire.Proposal(uid, as_scp=True) for uid in self.storage_classes)
        return self.target.connect(wire.Proposal(wire.STUDY_ROOT_GET, (wire.IMPLICIT_LE,)), *storage)

    def __call__(self, client: int, gate: fleet.Gate) -> fleet.Seen:
        """Fetch until the time is up or one fails; raises PeerFailed."""
        seen = fleet.Seen()
        with self._connect() as link:
            link.context(0)
            seen.started = asked = gate()
            turn = client
            while asked < seen.started + self.seconds and not seen.failures:
                self._fetch(link, self.study_uids[turn % len(self.study_uids)], turn % 65535 + 1, seen)
                turn += 1
                seen.ended = perf_counter()
                seen.waits_s.append(seen.ended - asked)
                asked = seen.ended
            link.release()
        return seen

    def _fetch(self, link: Link, study_uid: str, message_id: int, seen: fleet.Seen) -> None:
        fields: dict[int, int | str] = {
            wire.AFFECTED_CLASS: wire.STUDY_ROOT_GET if self.destination is None else wire.STUDY_ROOT_MOVE,
            wire.COMMAND_FIELD: wire.C_GET if self.destination is None else wire.C_MOVE,
            wire.MESSAGE_ID: message_id,
            wire.PRIORITY: 0,
            wire.DATA_SET_TYPE: wire.DATA_SET,
        }
        if self.destination is not None:
            fields[wire.MOVE_DESTINATION] = self.destination
        identifier = identifiers.encode({identifiers.STUDY_INSTANCE_UID: study_uid})
        link.send_message(link.context(0), wire.command_set(fields), identifier)
        received = 0
        while (message := link.read_message()) is not None:
            if wire.number(message.command, wire.COMMAND_FIELD) == wire.C_STORE:
                link.send_message(message.context_id, response_to(message.command))
                received += 1
                seen.size_bytes += message.size_bytes
                continue
            status = wire.number(message.command, wire.STATUS)
            if status in wire.PENDING:
                continue
            done = received
            if status == 0 and self.destination is not None:
                # Only the peer knows what C-MOVE delivered; the suite compares with the sink's own count.
                done = wire.number(message.command, wire.COMPLETED)
            if status == 0 and done == self.instances:
                seen.done += 1
                seen.items += done
            else:
                seen.failures[status] += 1
            return
        raise PeerFailed("the peer released the association instead of answering")
