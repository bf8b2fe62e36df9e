"""Merge patches between states."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from protocols.messages.status import NodeStatus
from tests.fakes.node_status import FakeStatus, worker
from web.changes import changes, merged
from web.topics.system import system_state

scalars = st.one_of(st.integers(), st.text(max_size=4), st.booleans(), st.floats(allow_nan=False))
states = st.dictionaries(
    st.sampled_from("abcd"),
    st.recursive(
        st.one_of(scalars, st.lists(scalars, max_size=3)),
        lambda inner: st.dictionaries(st.sampled_from("xyz"), inner, max_size=3),
        max_leaves=8,
    ),
    max_size=4,
)


@given(states, states)
def test_a_patch_makes_the_new_state_of_the_old_one(old, new):
    assert merged(old, changes(old, new)) == new


@given(states)
def test_nothing_changed_is_an_empty_patch(state):
    assert changes(state, state) == {}


@given(states, states)
def test_merging_leaves_its_arguments_as_they_were(old, new):
    before = msgspec.json.encode(old)
    merged(old, changes(old, new))
    assert msgspec.json.encode(old) == before


def state_of(node: NodeStatus) -> dict:
    return msgspec.to_builtins(system_state(node))


def test_a_patch_names_only_what_changed_in_one_worker():
    source = FakeStatus()
    before = state_of(source.value)
    source.change_worker(1, stored_instances=120_401, loop_lag_ms=0.9, associations=())
    patch = changes(before, state_of(source.value))
    assert patch == {"workers": {"1": {"stored_instances": 120_401, "loop_lag_ms": 0.9}}}


def test_a_worker_that_is_gone_is_removed_and_a_new_one_comes_whole():
    source = FakeStatus()
    before = state_of(source.value)
    source.change(workers=(worker(0), worker(2)))
    after = state_of(source.value)
    patch = changes(before, after)
    assert patch["workers"]["1"] is None
    assert patch["workers"]["2"]["slot"] == 2
    assert merged(before, patch) == after


def test_a_state_holds_no_null():
    def nulls(value: object) -> bool:
        if isinstance(value, dict):
            return any(map(nulls, value.values()))
        if isinstance(value, (list, tuple)):
            return any(map(nulls, value))
        return value is None

    assert not nulls(state_of(FakeStatus().value))
