"""C-ECHO to a known AE, for whoever asks whether it is there: a verdict within a deadline, whatever the peer does."""

from __future__ import annotations

import socket
from ipaddress import ip_address
from typing import Final

import trio
from msgspec import Struct

from config.settings import Settings
from pacs_actors.dicom.access import KnownAe
from pacs_actors.dicom.client import ASSOCIATION_ERRORS, VERIFICATION, PeerGone, associate, connection_problem
from pacs_actors.dicom.client_association import Timeouts
from pacs_actors.dicom.tls import client_context
from protocols.errors import ConfigError

WITHIN_S: Final = 10.0
_TIMEOUTS: Final = Timeouts(connect=5.0, association=5.0, message=5.0, response=5.0, release=1.0)


class EchoResult(Struct, frozen=True):
    """ms: until the answer, connecting and association included; None without one. why: what to do about it; "" if ok"""

    ok: bool
    ms: float | None
    why: str


async def echo(node: KnownAe, settings: Settings) -> EchoResult:
    """Connect, associate, C-ECHO, release. raises nothing"""
    began = trio.current_time()
    try:
        with trio.move_on_after(WITHIN_S):
            host = await _address(node.host, node.port) if not node.tls else node.host
            async with associate(
                host, node.port, called=node.ae_title, calling=settings.dicom.ae_title,
                contexts=VERIFICATION, tls=client_context(settings.tls) if node.tls else None,
                timeouts=_TIMEOUTS, certificate_name=node.certificate_name,
            ) as peer:  # fmt: skip
                await peer.echo()
                return EchoResult(True, round((trio.current_time() - began) * 1e3, 1), "")
        return EchoResult(False, None, f"no answer within {WITHIN_S:g} s")
    except PeerGone as gone:
        return EchoResult(False, None, connection_problem(gone) or str(gone))
    except (*ASSOCIATION_ERRORS, ConfigError) as error:
        return EchoResult(False, None, str(error))
    except OSError as error:
        return EchoResult(False, None, error.strerror or "the name cannot be resolved")


async def _address(host: str, port: int) -> str:
    """Resolved once, so that what was looked at is what is connected to. raises: OSError, ConfigError"""
    found = await trio.socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    address = str(found[0][4][0])
    parsed = ip_address(address.partition("%")[0])
    if parsed.is_link_local or parsed.is_multicast or parsed.is_unspecified:
        raise ConfigError(f"{host} is at {address}, where no AE can be")
    return address
