"""The state table against a second copy, typed from PS3.8 table 9-10 row by row."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.errors import Misuse
from protocols.ul.association import (
    STARTS_ARTIM,
    TABLE,
    Action,
    Event,
    Side,
    State,
    UpperLayer,
    abort_pdu,
)
from protocols.ul.model import Abort

# One row per event, one column per state; "." is a blank cell.
GRID = """
event Sta1 Sta2 Sta3 Sta4 Sta5 Sta6 Sta7 Sta8 Sta9 Sta10 Sta11 Sta12 Sta13
1     AE-1 .    .    .    .    .    .    .    .    .     .     .     .
2     .    .    .    AE-2 .    .    .    .    .    .     .     .     .
3     .    AA-1 AA-8 .    AE-3 AA-8 AA-8 AA-8 AA-8 AA-8  AA-8  AA-8  AA-6
4     .    AA-1 AA-8 .    AE-4 AA-8 AA-8 AA-8 AA-8 AA-8  AA-8  AA-8  AA-6
5     AE-5 .    .    .    .    .    .    .    .    .     .     .     .
6     .    AE-6 AA-8 .    AA-8 AA-8 AA-8 AA-8 AA-8 AA-8  AA-8  AA-8  AA-7
7     .    .    AE-7 .    .    .    .    .    .    .     .     .     .
8     .    .    AE-8 .    .    .    .    .    .    .     .     .     .
9     .    .    .    .    .    DT-1 .    AR-7 .    .     .     .     .
10    .    AA-1 AA-8 .    AA-8 DT-2 AR-6 AA-8 AA-8 AA-8  AA-8  AA-8  AA-6
11    .    .    .    .    .    AR-1 .    .    .    .     .     .     .
12    .    AA-1 AA-8 .    AA-8 AR-2 AR-8 AA-8 AA-8 AA-8  AA-8  AA-8  AA-6
13    .    AA-1 AA-8 .    AA-8 AA-8 AR-3 AA-8 AA-8 AR-10 AR-3  AA-8  AA-6
14    .    .    .    .    .    .    .    AR-4 AR-9 .     .     AR-4  .
15    .    .    AA-1 AA-2 AA-1 AA-1 AA-1 AA-1 AA-1 AA-1  AA-1  AA-1  .
16    .    AA-2 AA-3 .    AA-3 AA-3 AA-3 AA-3 AA-3 AA-3  AA-3  AA-3  AA-2
17    .    AA-5 AA-4 AA-4 AA-4 AA-4 AA-4 AA-4 AA-4 AA-4  AA-4  AA-4  AR-5
18    .    AA-2 .    .    .    .    .    .    .    .     .     .     AA-2
19    .    AA-1 AA-8 .    AA-8 AA-8 AA-8 AA-8 AA-8 AA-8  AA-8  AA-8  AA-7
"""

# Tables 9-6 to 9-9: where each action ends.
ENDS = """
AE-1 Sta4|AE-2 Sta5|AE-3 Sta6|AE-4 Sta1|AE-5 Sta2|AE-6 Sta3 Sta13|AE-7 Sta6|AE-8 Sta13
DT-1 Sta6|DT-2 Sta6
AR-1 Sta7|AR-2 Sta8|AR-3 Sta1|AR-4 Sta13|AR-5 Sta1|AR-6 Sta7|AR-7 Sta8|AR-8 Sta9 Sta10|AR-9 Sta11|AR-10 Sta12
AA-1 Sta13|AA-2 Sta1|AA-3 Sta1|AA-4 Sta1|AA-5 Sta1|AA-6 Sta13|AA-7 Sta13|AA-8 Sta13
"""


def typed_table() -> dict[tuple[str, int], str]:
    header, *rows = (line.split() for line in GRID.strip().splitlines())
    return {
        (state, int(row[0])): cell
        for row in rows
        for state, cell in zip(header[1:], row[1:], strict=True)
        if cell != "."
    }


def test_every_cell_is_the_standards() -> None:
    ours = {(state.value, event.value): rule.action.value for (state, event), rule in TABLE.items()}
    assert ours == typed_table()


def test_every_action_ends_where_the_standard_says() -> None:
    ends = {
        first: rest for first, *rest in (one.split() for one in "|".join(ENDS.split("\n")).split("|") if one)
    }
    assert set(ends) == {action.value for action in Action}
    for rule in TABLE.values():
        ours = [rule.next_state.value] + ([rule.otherwise.value] if rule.otherwise else [])
        assert ours == ends[rule.action.value]


def walk(side: Side, *events: Event) -> UpperLayer:
    layer = UpperLayer(side)
    for event in events:
        layer.fire(event)
    return layer


ACCEPTED = (Event.TRANSPORT_INDICATED, Event.ASSOCIATE_REQUEST_PDU, Event.ACCEPT)
REQUESTED = (Event.ASSOCIATE_REQUEST, Event.TRANSPORT_CONFIRMED, Event.ASSOCIATE_ACCEPT_PDU)


def test_an_acceptor_lives_from_connection_to_release() -> None:
    layer = walk(Side.ACCEPTOR, *ACCEPTED)
    assert layer.established and not layer.patience
    assert layer.received(5) is Action.INDICATE_RELEASE
    assert not layer.established
    assert layer.fire(Event.RELEASE_RESPONSE) is Action.SEND_RELEASE_REPLY
    assert layer.patience
    layer.fire(Event.TRANSPORT_CLOSED)
    assert layer.state is State.IDLE and not layer.patience


@pytest.mark.parametrize(
    ("side", "path"),
    [
        (Side.REQUESTOR, ["Sta7", "Sta9", "Sta11", "Sta1"]),
        (Side.ACCEPTOR, ["Sta7", "Sta10", "Sta12", "Sta13"]),
    ],
)
def test_both_ends_get_out_of_a_release_collision(side: Side, path: list[str]) -> None:
    layer = walk(side, *(REQUESTED if side is Side.REQUESTOR else ACCEPTED))
    own_turn_first = [Event.RELEASE_RESPONSE, Event.RELEASE_REPLY_PDU]
    order = own_turn_first if side is Side.REQUESTOR else own_turn_first[::-1]
    seen = []
    for event in (Event.RELEASE_REQUEST, Event.RELEASE_REQUEST_PDU, *order):
        layer.fire(event)
        seen.append(layer.state.value)
    assert seen == path


def test_a_request_that_the_provider_refuses_leads_to_closing() -> None:
    layer = walk(Side.ACCEPTOR, Event.TRANSPORT_INDICATED)
    assert layer.received(1, acceptable=False) is Action.JUDGE_REQUEST
    assert layer.state is State.AWAITING_CLOSE and layer.patience


def test_an_unknown_pdu_type_is_an_invalid_pdu() -> None:
    assert walk(Side.ACCEPTOR, Event.TRANSPORT_INDICATED).received(0xFF) is Action.SEND_ABORT
    assert walk(Side.ACCEPTOR, *ACCEPTED).received(0) is Action.SEND_PROVIDER_ABORT


def test_a_primitive_out_of_place_is_misuse_and_changes_nothing() -> None:
    layer = walk(Side.ACCEPTOR, Event.TRANSPORT_INDICATED)
    with pytest.raises(Misuse, match="DATA_REQUEST in Sta2"):
        layer.fire(Event.DATA_REQUEST)
    assert layer.state is State.AWAITING_REQUEST and layer.patience


@given(st.sampled_from(Side), st.lists(st.sampled_from(Event), max_size=40), st.booleans())
def test_artim_runs_exactly_while_the_peer_is_awaited_without_association(
    side: Side, events: list[Event], acceptable: bool
) -> None:
    layer = UpperLayer(side)
    for event in events:
        try:
            layer.fire(event, acceptable=acceptable)
        except Misuse:
            assert (layer.state, event) not in TABLE
        assert layer.patience == (layer.state.value in ("Sta2", "Sta13"))
        assert layer.established == (layer.state.value == "Sta6")


def test_every_abort_that_is_sent_speaks_for_the_right_part() -> None:
    assert abort_pdu(Action.SEND_ABORT, 6) == Abort(0, 0)
    assert abort_pdu(Action.SEND_PROVIDER_ABORT, 6) == Abort(2, 6)
    assert abort_pdu(Action.SEND_ABORT_AGAIN, 1) == Abort(2, 1)
    assert all(abort_pdu(action) is None for action in STARTS_ARTIM if not action.value.startswith("AA"))
