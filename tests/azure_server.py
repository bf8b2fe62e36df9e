"""A server of Azure Blob Storage for tests: Azurite, Microsoft's own emulator, from npm, on loopback and in a folder of its own."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from config.stores import LifecycleStoreSettings
from tests.store_server import StoreServer

ACCOUNT, CONTAINER = "testaccount", "copies"
ACCOUNT_KEY = b64encode(b"an account's key that opens tests").decode()
_PACKAGES = Path(__file__).resolve().parent / "azurite"


class Azurite(StoreServer):
    """A running server. endpoint: ``http://127.0.0.1:port/account``"""

    start_within_s = 60.0

    def __init__(self, folder: Path, port: int) -> None:
        super().__init__(folder, port)
        self.endpoint = f"{self.endpoint}/{ACCOUNT}"

    def settings(self, **changes: Any) -> LifecycleStoreSettings:
        """A store in it; ``prefix`` keeps the tests apart."""
        return LifecycleStoreSettings(
            **{
                "kind": "azure", "endpoint": self.endpoint, "bucket": CONTAINER, "access_key": ACCOUNT,
                "secret_key": ACCOUNT_KEY, "first_wait_s": 0.01, "longest_wait_s": 0.1,
            }
            | changes
        )  # fmt: skip

    def container(self) -> Any:
        """A plain client."""
        from azure.storage.blob import ContainerClient

        key = {"account_name": ACCOUNT, "account_key": ACCOUNT_KEY}
        return ContainerClient(self.endpoint, CONTAINER, key, retry_total=0, read_timeout=30)

    def start(self) -> None:
        """Start, and wait until there is a container."""
        node = installed()
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    node, str(_PACKAGES / "node_modules" / ".bin" / "azurite-blob"), f"--location={self.folder / 'data'}",
                    "--blobHost=127.0.0.1", f"--blobPort={self.port}", "--silent", "--disableTelemetry",
                    "--skipApiVersionCheck", "--disableProductStyleUrl",
                ],
                env={**os.environ, "AZURITE_ACCOUNTS": f"{ACCOUNT}:{ACCOUNT_KEY}"},
                stdout=log, stderr=log, stdin=subprocess.DEVNULL,
            )  # fmt: skip
        container = self.container()

        def ready() -> None:
            if not container.exists():
                container.create_container()

        self.wait(ready)

    def stop(self) -> None:
        """Gently: what it stores it keeps in memory for a while."""
        if self.process is not None:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
            self.process = None


def installed() -> str:
    """The program ``node``, with azurite in its place; skips where they cannot be had."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        pytest.skip("node is not installed")
    with (_PACKAGES / "package.json").open() as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)  # two test processes at once would be in each other's way
        if not (_PACKAGES / "node_modules" / ".package-lock.json").is_file():
            command = [npm, "ci", "--no-audit", "--no-fund"]
            try:
                if subprocess.run(command, cwd=_PACKAGES, capture_output=True, timeout=90).returncode:
                    pytest.skip("npm cannot fetch azurite")
            except subprocess.TimeoutExpired:
                pytest.skip("npm does not fetch azurite in time")
    return node


@pytest.fixture(scope="session")
def azurite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Azurite]:
    """One server for all tests of a process; each has a prefix of its own."""
    with Azurite.running(tmp_path_factory.mktemp("azurite")) as server:
        yield server
