"""The state machine of an association, for both of its ends (PS3.8 9.2, table 9-10).

It only says what to do; the link does it.
"""

from __future__ import annotations

from enum import Enum
from typing import Final, NamedTuple

from protocols.errors import Misuse
from protocols.ul.model import Abort, AbortReason


class Side(Enum):
    """Which end of the association we are."""

    REQUESTOR = "association-requestor"
    ACCEPTOR = "association-acceptor"


class State(Enum):
    """PS3.8 9.2.1."""

    IDLE = "Sta1"
    AWAITING_REQUEST = "Sta2"
    AWAITING_DECISION = "Sta3"
    AWAITING_CONNECTION = "Sta4"
    AWAITING_ANSWER = "Sta5"
    ESTABLISHED = "Sta6"
    AWAITING_RELEASE_REPLY = "Sta7"
    AWAITING_RELEASE_RESPONSE = "Sta8"
    COLLISION_REQUESTOR_AWAITING_RESPONSE = "Sta9"
    COLLISION_ACCEPTOR_AWAITING_REPLY = "Sta10"
    COLLISION_REQUESTOR_AWAITING_REPLY = "Sta11"
    COLLISION_ACCEPTOR_AWAITING_RESPONSE = "Sta12"
    AWAITING_CLOSE = "Sta13"


class Event(Enum):
    """PS3.8 9.2.2. ``…_PDU``: the peer's; the others are local primitives and the transport's news."""

    ASSOCIATE_REQUEST = 1
    TRANSPORT_CONFIRMED = 2
    ASSOCIATE_ACCEPT_PDU = 3
    ASSOCIATE_REJECT_PDU = 4
    TRANSPORT_INDICATED = 5
    ASSOCIATE_REQUEST_PDU = 6
    ACCEPT = 7
    REJECT = 8
    DATA_REQUEST = 9
    DATA_PDU = 10
    RELEASE_REQUEST = 11
    RELEASE_REQUEST_PDU = 12
    RELEASE_REPLY_PDU = 13
    RELEASE_RESPONSE = 14
    ABORT_REQUEST = 15
    ABORT_PDU = 16
    TRANSPORT_CLOSED = 17
    ARTIM_EXPIRED = 18
    INVALID_PDU = 19


class Action(Enum):
    """What the link has to do (PS3.8 tables 9-6 to 9-9)."""

    CONNECT = "AE-1"
    SEND_ASSOCIATE_REQUEST = "AE-2"
    CONFIRM_ACCEPTED = "AE-3"
    CONFIRM_REJECTED_AND_CLOSE = "AE-4"
    AWAIT_REQUEST = "AE-5"
    JUDGE_REQUEST = "AE-6"
    SEND_ACCEPT = "AE-7"
    SEND_REJECT = "AE-8"
    SEND_DATA = "DT-1"
    INDICATE_DATA = "DT-2"
    SEND_RELEASE_REQUEST = "AR-1"
    INDICATE_RELEASE = "AR-2"
    CONFIRM_RELEASE_AND_CLOSE = "AR-3"
    SEND_RELEASE_REPLY = "AR-4"
    FORGET_CONNECTION = "AR-5"
    INDICATE_LATE_DATA = "AR-6"
    SEND_LATE_DATA = "AR-7"
    INDICATE_RELEASE_COLLISION = "AR-8"
    SEND_COLLISION_REPLY = "AR-9"
    CONFIRM_COLLISION_RELEASE = "AR-10"
    SEND_ABORT = "AA-1"
    CLOSE = "AA-2"
    INDICATE_ABORT_AND_CLOSE = "AA-3"
    INDICATE_LOST_CONNECTION = "AA-4"
    FORGET_ARTIM = "AA-5"
    IGNORE_PDU = "AA-6"
    SEND_ABORT_AGAIN = "AA-7"
    SEND_PROVIDER_ABORT = "AA-8"


class Rule(NamedTuple):
    """One cell of table 9-10.

    otherwise:  where AE-6 goes when the provider refuses the request, and AR-8 on the acceptor's side
    """

    action: Action
    next_state: State
    otherwise: State | None = None


_NEXT: Final = {
    "AE-1": "Sta4", "AE-2": "Sta5", "AE-3": "Sta6", "AE-4": "Sta1", "AE-5": "Sta2", "AE-6": "Sta3",
    "AE-7": "Sta6", "AE-8": "Sta13", "DT-1": "Sta6", "DT-2": "Sta6", "AR-1": "Sta7", "AR-2": "Sta8",
    "AR-3": "Sta1", "AR-4": "Sta13", "AR-5": "Sta1", "AR-6": "Sta7", "AR-7": "Sta8", "AR-8": "Sta9",
    "AR-9": "Sta11", "AR-10": "Sta12", "AA-1": "Sta13", "AA-2": "Sta1", "AA-3": "Sta1", "AA-4": "Sta1",
    "AA-5": "Sta1", "AA-6": "Sta13", "AA-7": "Sta13", "AA-8": "Sta13",
}  # fmt: skip
_OTHERWISE: Final = {"AE-6": "Sta13", "AR-8": "Sta10"}
_ASSOCIATING: Final = (3, 5, 6, 7, 8, 9, 10, 11, 12)
"""An association is being made, exists or is being released: AA-8 answers a PDU out of place."""


def _cells() -> dict[tuple[int, int], str]:
    """(event, state) to action: first the general answer to each PDU, then the cells where it is in place."""
    cells: dict[tuple[int, int], str] = {}
    for event in (3, 4, 6, 10, 12, 13, 19):
        cells |= {(event, state): "AA-8" for state in _ASSOCIATING}
        cells[event, 2] = "AA-1"
        cells[event, 13] = "AA-7" if event in (6, 19) else "AA-6"
    cells |= {(15, state): "AA-1" for state in _ASSOCIATING} | {(15, 4): "AA-2"}
    cells |= {(16, state): "AA-3" for state in _ASSOCIATING} | {(16, 2): "AA-2", (16, 13): "AA-2"}
    cells |= {(17, state): "AA-4" for state in (*_ASSOCIATING, 4)} | {(17, 2): "AA-5", (17, 13): "AR-5"}
    cells |= {(18, 2): "AA-2", (18, 13): "AA-2"}
    cells |= {(1, 1): "AE-1", (2, 4): "AE-2", (3, 5): "AE-3", (4, 5): "AE-4"}
    cells |= {(5, 1): "AE-5", (6, 2): "AE-6", (7, 3): "AE-7", (8, 3): "AE-8"}
    cells |= {(9, 6): "DT-1", (9, 8): "AR-7", (10, 6): "DT-2", (10, 7): "AR-6"}
    cells |= {(11, 6): "AR-1", (12, 6): "AR-2", (12, 7): "AR-8"}
    cells |= {(13, 7): "AR-3", (13, 10): "AR-10", (13, 11): "AR-3"}
    cells |= {(14, 8): "AR-4", (14, 9): "AR-9", (14, 12): "AR-4"}
    return cells


def _rule(label: str) -> Rule:
    otherwise = _OTHERWISE.get(label)
    return Rule(Action(label), State(_NEXT[label]), State(otherwise) if otherwise else None)


TABLE: Final[dict[tuple[State, Event], Rule]] = {
    (State(f"Sta{state}"), Event(event)): _rule(label) for (event, state), label in _cells().items()
}
"""PS3.8 table 9-10. What is not in it cannot happen, or we must not do it."""

STARTS_ARTIM: Final = frozenset(map(Action, ("AE-5", "AE-8", "AR-4", "AA-1", "AA-8")))
"""Actions that start ARTIM, or start it anew. AE-6 does too when the provider refuses the request."""
STOPS_ARTIM: Final = frozenset(map(Action, ("AE-6", "AR-5", "AA-2", "AA-5")))

_EVENT_OF_PDU: Final = {
    1: Event.ASSOCIATE_REQUEST_PDU,
    2: Event.ASSOCIATE_ACCEPT_PDU,
    3: Event.ASSOCIATE_REJECT_PDU,
    4: Event.DATA_PDU,
    5: Event.RELEASE_REQUEST_PDU,
    6: Event.RELEASE_REPLY_PDU,
    7: Event.ABORT_PDU,
}


class UpperLayer:
    """The state of one association.

    side:         which end we are: decides a release collision
    state:        where we are in table 9-10
    established:  True in Sta6 only; P-DATA then needs no ``fire``. A plain attribute, for the hot path
    patience:     True while ARTIM runs: the peer has so long to do its part, then ``fire(ARTIM_EXPIRED)``
    """

    __slots__ = ("established", "patience", "side", "state")

    def __init__(self, side: Side) -> None:
        self.side = side
        self.state = State.IDLE
        self.established = False
        self.patience = False

    def fire(self, event: Event, *, acceptable: bool = True) -> Action:
        """Let an event happen; go to the next state and say what to do.

        acceptable:  of an A-ASSOCIATE-RQ: False if the provider refuses it for its protocol version (AE-6).
                     The link then sends the A-ASSOCIATE-RJ at once; a later refusal is event REJECT.
        raises:      Misuse where the table has no cell: a primitive out of place is our own bug
        """
        rule = TABLE.get((self.state, event))
        if rule is None:
            raise Misuse(f"{event.name} in {self.state.value} {self.state.name}")
        action = rule.action
        next_state = rule.next_state
        refused = action is Action.JUDGE_REQUEST and not acceptable
        collided = action is Action.INDICATE_RELEASE_COLLISION and self.side is Side.ACCEPTOR
        if rule.otherwise is not None and (refused or collided):
            next_state = rule.otherwise
        if action in STARTS_ARTIM or refused:
            self.patience = True
        elif action in STOPS_ARTIM:
            self.patience = False
        self.state = next_state
        self.established = next_state is State.ESTABLISHED
        return action

    def received(self, pdu_type: int, *, acceptable: bool = True) -> Action:
        """A PDU of this type has come; a type that the standard does not know is event 19."""
        return self.fire(_EVENT_OF_PDU.get(pdu_type, Event.INVALID_PDU), acceptable=acceptable)


def abort_pdu(action: Action, reason: int = AbortReason.NOT_SPECIFIED) -> Abort | None:
    """The A-ABORT that an action sends, None if it sends none.

    AA-1 speaks for the service user, whose reason field is always 0 (PS3.8 tables 9-9 and 9-26).

    reason:  of ``AbortReason``; ``PeerError.abort_reason`` has it
    """
    if action is Action.SEND_ABORT:
        return Abort(0, AbortReason.NOT_SPECIFIED)
    if action in (Action.SEND_PROVIDER_ABORT, Action.SEND_ABORT_AGAIN):
        return Abort(2, reason)
    return None
