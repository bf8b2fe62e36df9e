from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.ingest import Target
from bench.sink import Sink


@pytest.fixture
def sink() -> Iterator[Sink]:
    with Sink(processes=2, timeout_s=10) as running:
        yield running


@pytest.fixture
def pacs(sink: Sink) -> Iterator[Target]:
    """A pynetdicom PACS that knows the sink as BENCHSINK."""
    command = [sys.executable, str(Path(__file__).with_name("pynetdicom_pacs.py")), str(sink.port)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        yield Target("127.0.0.1", int(process.stdout.readline()), "PYNETDICOM", timeout_s=20)
