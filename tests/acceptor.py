"""A pynetdicom SCP that ends at once when it is asked to."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from pynetdicom import AE
from pynetdicom.transport import ThreadedAssociationServer


class _Acceptor(ThreadedAssociationServer):
    def serve_forever(self, poll_interval: float = 0.02) -> None:
        """The usual half a second between two looks at whether to end is as long as most tests take."""
        super().serve_forever(poll_interval)


@contextmanager
def accepting(
    entity: AE, port: int = 0, handlers: Sequence[tuple[Any, ...]] = (), ssl_context: Any = None
) -> Iterator[ThreadedAssociationServer]:
    """Serve on a loopback port for the length of a block; 0: any port, server_address says which."""
    server = entity.make_server(
        ("127.0.0.1", port),
        evt_handlers=list(handlers),  # type: ignore[arg-type]
        ssl_context=ssl_context,
        server_class=_Acceptor,
    )
    assert isinstance(server, ThreadedAssociationServer)
    entity._servers.append(server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
