"""Access: the rules for who gets in and what they may do, and the book that keeps them current."""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from config.scope import NodeScope, ScopeRule
from config.settings import DicomSettings, NodeSettings, Settings
from pacs_actors.archive.scope import EVERYTHING, NOTHING, StudyScope, both
from pacs_actors.dicom.access import (
    ALL_RIGHTS,
    CALLED_UNKNOWN,
    CALLING_UNKNOWN,
    AccessPolicy,
    Grant,
    Right,
    Turned,
    known_ae,
    policy,
)
from pacs_actors.dicom.access_book import AccessBook
from pacs_actors.dicom.identity import Identified
from pacs_actors.people.rights import Action, Principal, Via
from protocols.errors import Unavailable


def node(ae_title: str = "MODALITY", host: str = "192.0.2.10", **fields: Any) -> NodeSettings:
    return NodeSettings(ae_title=ae_title, host=host, port=104, **fields)


def rules(*nodes: NodeSettings, promiscuous: bool = False) -> AccessPolicy:
    return policy("PACS", promiscuous, map(known_ae, nodes))


# -- who gets in ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("networks", "host", "address", "taken"),
    [
        ((), "192.0.2.10", "192.0.2.10", True),
        ((), "192.0.2.10", "192.0.2.11", False),
        ((), "192.0.2.10", "::ffff:192.0.2.10", True),
        ((), "192.0.2.10", "127.0.0.1", False),
        ((), "2001:db8::1", "2001:db8::1", True),
        ((), "2001:db8::1", "2001:0db8:0::0:1", True),
        ((), "2001:db8::1", "2001:db8::2", False),
        ((), "fe80::1", "fe80::1%eth0", True),
        ((), "localhost", "127.0.0.1", True),
        ((), "localhost", "::1", True),
        ((), "localhost", "192.0.2.10", False),
        ((), "modality.example", "192.0.2.10", False),
        (("192.0.2.0/24", "2001:db8::/32"), "modality.example", "192.0.2.200", True),
        (("192.0.2.0/24", "2001:db8::/32"), "modality.example", "2001:db8:7::1", True),
        (("192.0.2.0/24",), "198.51.100.1", "198.51.100.1", False),
        (("192.0.2.77/24",), "modality.example", "192.0.2.1", True),
        (("0.0.0.0/0",), "modality.example", "198.51.100.1", True),
        (("0.0.0.0/0",), "modality.example", "2001:db8::1", False),
    ],
)
def test_known_ae_gets_in_from_where_it_belongs(
    networks: tuple[str, ...], host: str, address: str, taken: bool
) -> None:
    answer = rules(node(host=host, networks=networks)).admit("MODALITY", "PACS", address, None)
    assert isinstance(answer, Grant) if taken else answer == CALLING_UNKNOWN


def test_unknown_ae_gets_in_on_loopback_only() -> None:
    for address in ("127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"):
        assert rules(node()).admit("WHOEVER", "PACS", address, None) == Grant(ALL_RIGHTS, None)
    for address in ("192.0.2.10", "::ffff:192.0.2.10", "2001:db8::1", "0.0.0.0", "::"):
        assert rules(node()).admit("WHOEVER", "PACS", address, None) == CALLING_UNKNOWN


@given(st.text(max_size=16), st.text(max_size=16), st.ip_addresses())
def test_nobody_unknown_gets_in_from_the_network(calling: str, called: str, address: object) -> None:
    answer = rules(node()).admit(calling, called, str(address), None)
    loopback = str(address).startswith(("127.", "::ffff:7f")) or str(address) == "::1"
    at_home = calling == "MODALITY" and str(address) in ("192.0.2.10", "::ffff:c000:20a")
    assert isinstance(answer, Turned) or (called == "PACS" and (loopback or at_home))


def test_another_called_title_is_not_ours() -> None:
    assert rules(node()).admit("MODALITY", "OTHER", "192.0.2.10", None) == CALLED_UNKNOWN
    assert rules(node()).admit("MODALITY", "pacs", "192.0.2.10", None) == CALLED_UNKNOWN


def test_promiscuous_takes_all_but_gives_a_known_ae_no_more_than_its_rights() -> None:
    """From its own address; from elsewhere it is anybody, which promiscuous mode lets in."""
    open_to_all = rules(node(rights=("store",)), promiscuous=True)
    assert open_to_all.admit("WHOEVER", "OTHER", "198.51.100.1", None) == Grant(ALL_RIGHTS, None)
    assert open_to_all.admit("MODALITY", "PACS", "192.0.2.10", None) == Grant(frozenset({Right.STORE}), None)
    assert open_to_all.admit("MODALITY", "PACS", "198.51.100.1", None) == Grant(ALL_RIGHTS, None)


def test_bound_certificate_has_to_be_shown() -> None:
    bound = rules(node(certificate_name="ct.example"))
    for shown, taken in (
        (("ct.example",), True),
        (("other.example", "ct.example"), True),
        (("other.example",), False),
        (("xct.example",), False),
        ((), False),
        (None, False),
    ):
        answer = bound.admit("MODALITY", "PACS", "192.0.2.10", shown)
        assert isinstance(answer, Grant) is taken, shown
    assert isinstance(rules(node()).admit("MODALITY", "PACS", "192.0.2.10", ("other.example",)), Grant)


# -- what they may do -----------------------------------------------------------------------------------------------------


def test_rights_and_destinations_are_the_nodes() -> None:
    grant = rules(node(rights=("move", "find"), destinations=("ONE", "TWO"))).admit(
        "MODALITY", "PACS", "192.0.2.10", None
    )
    assert isinstance(grant, Grant)
    assert {right for right in Right if grant.allows(right)} == {Right.MOVE, Right.FIND}
    assert [grant.allows_destination(name) for name in ("ONE", "TWO", "THREE")] == [True, True, False]
    anywhere = Grant(ALL_RIGHTS, None)
    assert anywhere.allows_destination("THREE")
    assert not Grant(ALL_RIGHTS, frozenset()).allows_destination("ONE")


def test_a_node_sees_what_its_scope_says_and_its_user_no_more_than_both() -> None:
    ct, north = ScopeRule(modalities=("CT",)), ScopeRule(institutions=("North",))
    user = StudyScope(rules=(north,))
    for scope, alone, with_user in (
        (None, EVERYTHING, user),
        (NodeScope(everything=True), EVERYTHING, user),
        (NodeScope(), NOTHING, both(NOTHING, user)),
        (NodeScope(rules=(ct,)), StudyScope(rules=(ct,)), StudyScope(rules=(ct,), within=user)),
    ):
        grant = rules(node(scope=scope)).admit("MODALITY", "PACS", "192.0.2.10", None)
        assert isinstance(grant, Grant)
        assert grant.scope == alone
        somebody = Principal("nurse", frozenset({Action.SEARCH}), user, Via.DIMSE, 7)
        limited = Identified(principal=somebody).limit(grant)
        assert (limited.scope, limited.rights, limited.user) == (with_user, {Right.FIND}, "nurse")


def test_only_known_aes_are_destinations() -> None:
    known = rules(node("DEST", "modality.example"))
    destination = known.destination("DEST")
    assert destination is not None
    assert (destination.host, destination.port) == ("modality.example", 104)
    assert known.destination("OTHER") is None
    assert rules(node("DEST"), promiscuous=True).destination("OTHER") is None


# -- the book -------------------------------------------------------------------------------------------------------------


class Ledger:
    """What the database says, or that it says nothing."""

    def __init__(self) -> None:
        self.nodes: list[NodeSettings] | None = []
        self.asked = 0

    async def ae_nodes(self) -> list[NodeSettings]:
        self.asked += 1
        if self.nodes is None:
            raise Unavailable("PostgreSQL is away")
        return self.nodes


def book(ledger: Ledger, *fixed: NodeSettings) -> AccessBook:
    return AccessBook(Settings(dicom=DicomSettings(), nodes=fixed), ledger)  # type: ignore[arg-type]


async def test_database_adds_to_the_settings_and_never_overrides_them() -> None:
    ledger = Ledger()
    kept = book(ledger, node("BOTH", "192.0.2.1"), node("FILE", "192.0.2.2"))
    assert set(kept.policy().known) == {"BOTH", "FILE"}
    ledger.nodes = [node("BOTH", "198.51.100.1"), node("TABLE", "192.0.2.3")]
    await kept.reread()
    assert {name: known.host for name, known in kept.policy().known.items()} == {
        "BOTH": "192.0.2.1",
        "FILE": "192.0.2.2",
        "TABLE": "192.0.2.3",
    }
    ledger.nodes = []
    await kept.reread()
    assert set(kept.policy().known) == {"BOTH", "FILE"}


async def test_last_known_aes_hold_while_the_database_is_away() -> None:
    ledger = Ledger()
    kept = book(ledger)
    ledger.nodes = [node("TABLE")]
    await kept.reread()
    ledger.nodes = None
    await kept.reread()
    assert set(kept.policy().known) == {"TABLE"}


async def test_row_that_makes_no_sense_keeps_nobody_else_out() -> None:
    ledger = Ledger()
    kept = book(ledger)
    ledger.nodes = [node("BAD", rights=("everything",)), node("WORSE", networks=("nowhere",)), node("GOOD")]
    await kept.reread()
    assert set(kept.policy().known) == {"GOOD"}


async def test_book_is_read_again_and_again(autojump_clock: trio.testing.MockClock) -> None:
    ledger = Ledger()
    kept = book(ledger)
    async with trio.open_nursery() as nursery:
        await nursery.start(kept.run)
        for title in ("ONE", "TWO"):
            ledger.nodes = [node(title)]
            await trio.sleep(6)
            assert set(kept.policy().known) == {title}
        asked = ledger.asked
        ledger.nodes = None
        await trio.sleep(60)
        assert ledger.asked > asked, "it gives up while the database is away"
        nursery.cancel_scope.cancel()
