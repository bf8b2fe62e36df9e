"""A byte stream to PDUs, for tests and slow paths; the link parses its receive buffer in place."""

from __future__ import annotations

from collections.abc import Iterator

from protocols.ul.pdata import PDU_HEADER, PDU_HEADER_BYTES, check_header


class PduSplitter:
    """Cuts what was received into PDUs. Holds at most one incomplete PDU beyond what it was fed last.

    max_pdu_bytes:  the maximum length that we offered; may change once an association is agreed
    """

    def __init__(self, max_pdu_bytes: int) -> None:
        self.max_pdu_bytes = max_pdu_bytes
        self._buffer = bytearray()
        self._at = 0

    def feed(self, data: bytes | bytearray | memoryview) -> Iterator[tuple[int, bytes]]:
        """Take ``data``; give type and body of each PDU that is now complete.

        A header that lies raises where it stands: after the PDUs before it, and without waiting for its body.

        raises:  PeerError from the iterator; the stream is then beyond repair
        """
        del self._buffer[: self._at]
        self._at = 0
        self._buffer += data
        return self._complete()

    def _complete(self) -> Iterator[tuple[int, bytes]]:
        while len(self._buffer) - self._at >= PDU_HEADER_BYTES:
            pdu_type, length = PDU_HEADER.unpack_from(self._buffer, self._at)
            check_header(pdu_type, length, self.max_pdu_bytes)
            start = self._at + PDU_HEADER_BYTES
            if len(self._buffer) < start + length:
                return
            self._at = start + length
            yield pdu_type, bytes(self._buffer[start : self._at])
