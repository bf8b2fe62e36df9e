"""Who may do what over DIMSE: pure rules, from the known AEs to a grant.

An AE title alone never grants anything: the address must fit as well. On loopback any AE is taken; on other addresses only known
ones, unless promiscuous mode is asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import Enum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

from msgspec import Struct

from config.settings import NodeSettings
from pacs_actors.archive.scope import EVERYTHING, StudyScope, scope_of_node


class Right(Enum):
    STORE = "store"
    FIND = "find"
    MOVE = "move"
    GET = "get"
    COMMIT = "commit"


ALL_RIGHTS: Final = frozenset(Right)


class KnownAe(Struct, frozen=True):
    """A peer that the settings or the database name.

    networks:      where it may call from; empty: it is only a destination
    destinations:  AE titles it may move to; None: any known
    scope:         the studies that it sees
    """

    ae_title: str
    host: str
    port: int
    networks: tuple[IPv4Network | IPv6Network, ...] = ()
    tls: bool = False
    rights: frozenset[Right] = ALL_RIGHTS
    destinations: frozenset[str] | None = None
    transfer_syntaxes: tuple[str, ...] = ()
    certificate_name: str | None = None
    scope: StudyScope = EVERYTHING


class Grant(Struct, frozen=True):
    """What one association may do.

    scope:  the studies that it sees
    user:   whose rights these are, by name; "": the AE's own
    """

    rights: frozenset[Right]
    destinations: frozenset[str] | None
    transfer_syntaxes: tuple[str, ...] = ()
    scope: StudyScope = EVERYTHING
    user: str = ""

    def allows(self, right: Right) -> bool:
        return right in self.rights

    def allows_destination(self, ae_title: str) -> bool:
        return self.destinations is None or ae_title in self.destinations


class Turned(Struct, frozen=True):
    """An A-ASSOCIATE-RJ to send (PS3.8 table 9-21) and, for the log, why."""

    result: int
    source: int
    reason: int
    why: str


CALLED_UNKNOWN: Final = Turned(1, 1, 7, "called AE title not recognized")
CALLING_UNKNOWN: Final = Turned(1, 1, 3, "calling AE title not recognized")
TOO_MANY: Final = Turned(2, 3, 2, "local limit exceeded")

_OPEN: Final = Grant(ALL_RIGHTS, None)


class AccessPolicy(Struct, frozen=True):
    """known: by AE title."""

    ae_title: str
    promiscuous: bool
    known: Mapping[str, KnownAe]

    def admit(
        self, calling: str, called: str, address: str, certificate_names: tuple[str, ...] | None
    ) -> Grant | Turned:
        """Decide on an association request.

        address:            the peer's, as text
        certificate_names:  of its verified TLS certificate; None without mutual TLS
        """
        if called != self.ae_title and not self.promiscuous:
            return CALLED_UNKNOWN
        peer = ip_address(address)
        if isinstance(peer, IPv6Address) and peer.ipv4_mapped is not None:
            peer = peer.ipv4_mapped
        node = self.known.get(calling)
        if node is not None and _comes_from(peer, node) and _shows(certificate_names, node):
            return Grant(node.rights, node.destinations, node.transfer_syntaxes, node.scope)
        if self.promiscuous:
            return _OPEN
        if node is None and peer.is_loopback:
            return _OPEN
        return CALLING_UNKNOWN

    def destination(self, ae_title: str) -> KnownAe | None:
        """Where a C-MOVE to this AE title goes."""
        return self.known.get(ae_title)


def _comes_from(peer: IPv4Address | IPv6Address, node: KnownAe) -> bool:
    return any(peer in network for network in node.networks)


def _shows(certificate_names: tuple[str, ...] | None, node: KnownAe) -> bool:
    if node.certificate_name is None or certificate_names is None:
        return node.certificate_name is None
    return node.certificate_name in certificate_names


def known_ae(node: NodeSettings) -> KnownAe:
    """A known AE from its settings. A host given by name counts by the networks listed for it only."""
    networks = [ip_network(text, strict=False) for text in node.networks]
    if not networks:
        if node.host == "localhost":
            networks = [ip_network("127.0.0.0/8"), ip_network("::1/128")]
        else:
            try:
                networks = [ip_network(node.host)]
            except ValueError:
                networks = []
    return KnownAe(
        node.ae_title,
        node.host,
        node.port,
        tuple(networks),
        node.tls,
        frozenset(map(Right, node.rights)),
        None if node.destinations is None else frozenset(node.destinations),
        node.transfer_syntaxes,
        node.certificate_name,
        scope_of_node(node.scope),
    )


def policy(ae_title: str, promiscuous: bool, nodes: Iterable[KnownAe]) -> AccessPolicy:
    return AccessPolicy(ae_title, promiscuous, {node.ae_title: node for node in nodes})
