"""What the commands that call a DICOM peer share: options, the association, errors as sentences and exit codes.

0: done. 1: the peer said no to some of it, or was lost on the way. 2: the command line is wrong, or the peer cannot be reached.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

from protocols.errors import ConfigError, PacsError
from supervisors.options import add_json_option

if TYPE_CHECKING:
    import ssl

    from pacs_actors.archive.transcoder import Transcoder
    from pacs_actors.dicom.client import Peer, Proposal, Timeouts
    from pacs_actors.threads import NativePool

DONE: Final = 0
FAILED: Final = 1
UNUSABLE: Final = 2

Command = Callable[[argparse.Namespace], Awaitable[int]]

_ADDRESS: Final = re.compile(
    r"(?:\[(?P<six>[0-9A-Fa-f:.%]+)\]|(?P<host>[^:\[\]]+)):(?P<port>\d{1,5})"
).fullmatch


class CannotConnect(PacsError):
    """No association could be opened."""


def address(text: str) -> tuple[str, int]:
    """HOST:PORT; an IPv6 address in brackets. For argparse."""
    match = _ADDRESS(text)
    if match is None or not 0 < int(match["port"]) < 65536:
        raise argparse.ArgumentTypeError(f"{text!r} is not HOST:PORT, such as 127.0.0.1:11112")
    return match["six"] or match["host"], int(match["port"])


def add_peer_options(parser: argparse.ArgumentParser) -> None:
    """Who to call and as whom, over what."""
    parser.add_argument(
        "peer", metavar="HOST:PORT", type=address, help="the peer, for example 127.0.0.1:11112"
    )
    parser.add_argument("--called", metavar="AET", default="PACS", help="its AE title (default: %(default)s)")
    parser.add_argument(
        "--calling", metavar="AET", default="PACSSCU", help="our AE title (default: %(default)s)"
    )
    parser.add_argument(
        "--timeout", metavar="S", type=_seconds, default=120.0, help="patience with a silent peer, seconds"
    )
    tls = parser.add_argument_group("TLS")
    tls.add_argument("--tls", action="store_true", help="connect with TLS; its certificate is verified")
    tls.add_argument("--ca", metavar="FILE", help="PEM file of the CAs to trust (default: the system's)")
    tls.add_argument("--cert", metavar="FILE", help="PEM file: our certificate, for mutual TLS")
    tls.add_argument("--key", metavar="FILE", help="PEM file: our private key")
    add_json_option(parser)


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1e6:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds")
    return value


def count(text: str) -> int:
    """A number from 1 on. For argparse."""
    if not text.isdigit() or not 0 < int(text) < 10**9:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 1 on")
    return int(text)


def run_client(command: Command, arguments: argparse.Namespace) -> int:
    """Run an async command to its exit code."""
    import trio  # noqa: PLC0415  # as below: the command line has to come up quickly

    from pacs_actors.operations import logs  # noqa: PLC0415

    logs.configure("error", "client")
    try:
        return trio.run(command, arguments)
    except CannotConnect as error:
        complain(arguments, error)
    except BaseExceptionGroup as group:
        unreachable, others = group.split(CannotConnect)
        if unreachable is None or others is not None:
            raise
        complain(arguments, _first(unreachable))
    return UNUSABLE


def _first(group: BaseExceptionGroup[CannotConnect]) -> CannotConnect:
    error = group.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error


def complain(arguments: argparse.Namespace, error: PacsError) -> None:
    """Say on standard error what went wrong."""
    if arguments.json:
        print(json.dumps({"error": {"kind": type(error).__name__, "text": str(error)}}), file=sys.stderr)
    else:
        print(f"pacs-actors: {error}", file=sys.stderr)


@asynccontextmanager
async def connected(
    arguments: argparse.Namespace,
    contexts: Sequence[Proposal],
    pool: NativePool | None = None,
    transcoder: Transcoder | None = None,
) -> AsyncIterator[Peer]:
    """An association with the peer of the command line. Raises CannotConnect, ConfigError."""
    from pacs_actors.dicom.client import ASSOCIATION_ERRORS, associate  # noqa: PLC0415

    host, port = arguments.peer
    async with AsyncExitStack() as stack:
        association = associate(
            host,
            port,
            called=arguments.called,
            calling=arguments.calling,
            contexts=contexts,
            tls=tls_context(arguments),
            timeouts=timeouts(arguments),
            pool=pool,
            transcoder=transcoder,
        )
        try:
            peer = await stack.enter_async_context(association)
        except ASSOCIATION_ERRORS as error:
            raise CannotConnect(cannot_connect(arguments, error)) from error
        yield peer


def timeouts(arguments: argparse.Namespace) -> Timeouts:
    from pacs_actors.dicom.client import Timeouts  # noqa: PLC0415

    usual = Timeouts()
    patience_s = arguments.timeout
    return Timeouts(
        connect=min(usual.connect, patience_s),
        association=min(usual.association, patience_s),
        message=min(usual.message, patience_s),
        response=patience_s,
        cancel=min(usual.cancel, patience_s),
        release=min(usual.release, patience_s),
    )


def cannot_connect(arguments: argparse.Namespace, error: PacsError) -> str:
    """Why there is no association, and what to look at."""
    from pacs_actors.dicom.client import PeerGone, connection_problem  # noqa: PLC0415

    host, port = arguments.peer
    where = f"{host}:{port}"
    if not isinstance(error, PeerGone):
        return f"{where}: {error}"
    problem = connection_problem(error)
    if problem is None:
        hint = "" if arguments.tls else " Does it want --tls?"
        return f"{where}: {error}. Is that its DICOM port?{hint}"
    return f"{where}: {problem}"


def tls_context(arguments: argparse.Namespace) -> ssl.SSLContext | None:
    """TLS 1.2 or better, the peer's certificate verified (PS3.15 B.12). Raises ConfigError."""
    if not arguments.tls:
        if arguments.ca or arguments.cert or arguments.key:
            raise ConfigError("--ca, --cert and --key are of use with --tls only: add --tls")
        return None
    import ssl  # noqa: PLC0415

    if arguments.key and not arguments.cert:
        raise ConfigError("--key without --cert: give our certificate, too")
    try:
        context = ssl.create_default_context(cafile=arguments.ca)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if arguments.cert:
            context.load_cert_chain(arguments.cert, arguments.key)
    except OSError as error:  # ssl.SSLError is one
        raise ConfigError(f"TLS: cannot use --ca, --cert or --key: {error}") from error
    return context


def print_line(facts: dict[str, Any]) -> None:
    """One JSON object on one line, at once."""
    sys.stdout.write(json.dumps(facts, ensure_ascii=False, default=str) + "\n")
    sys.stdout.flush()
