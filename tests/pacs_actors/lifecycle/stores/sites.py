"""Remote stores for tests of faults: a real server behind a proxy, and a plain client that sees what is there."""

from __future__ import annotations

from typing import Any, Protocol

from config.stores import LifecycleStoreSettings
from tests.azure_server import ACCOUNT, ACCOUNT_KEY, Azurite
from tests.pacs_actors.lifecycle.stores.misbehaving import Misbehaving
from tests.seaweed import SECRET_KEY, Seaweed

PUT = r"PUT .*\.dcm$"
HEAD = "HEAD "
GET = r"GET .*\.dcm"


class Site(Protocol):
    """proxy:   through which the settings lead
    part, finish, listing, removal: patterns of requests, as ``Misbehaving`` has seen them
    secrets:    what must never be said; wrong_key: one that opens nothing
    """

    part: str
    finish: str
    listing: str
    removal: str
    secrets: tuple[str, ...]
    wrong_key: str
    proxy: Misbehaving
    settings: LifecycleStoreSettings

    def pattern(self, request: str) -> str:
        """Of a request by its name: put, head, part, finish."""
        return {"put": PUT, "head": HEAD, "part": self.part, "finish": self.finish}[request]

    def endpoint(self, port: int) -> str: ...

    def sizes(self) -> list[int]:
        """Of all that is visible under the prefix."""

    def unfinished(self) -> int:
        """How many puts in parts have begun and not ended, where somebody pays for them."""

    def upload(self, name: str, content: bytes) -> None:
        """name: below the prefix; what is there is replaced"""

    def download(self, name: str) -> bytes: ...

    def delete(self, name: str) -> None: ...


class S3Site(Site):
    part, finish, listing, removal = r"PUT .*partNumber=", r"POST .*uploadId=", "list-type", "POST .*delete"
    secrets = (SECRET_KEY,)
    wrong_key = "planted-wrong-key"

    def __init__(self, server: Seaweed, proxy: Misbehaving, **changes: Any) -> None:
        self.proxy = proxy
        self.settings = server.settings(endpoint=self.endpoint(proxy.port), **changes)
        self.client = server.client()
        self._bucket, self._prefix = self.settings.bucket, self.settings.prefix

    def endpoint(self, port: int) -> str:
        return f"http://127.0.0.1:{port}"

    def sizes(self) -> list[int]:
        found = self.client.list_objects_v2(Bucket=self._bucket, Prefix=self._prefix)
        return [each["Size"] for each in found.get("Contents", [])]

    def unfinished(self) -> int:
        found = self.client.list_multipart_uploads(Bucket=self._bucket, Prefix=self._prefix)
        return len(found.get("Uploads", []))

    def begin_upload(self, name: str) -> None:
        self.client.create_multipart_upload(Bucket=self._bucket, Key=self._prefix + name)

    def upload(self, name: str, content: bytes) -> None:
        self.client.put_object(Bucket=self._bucket, Key=self._prefix + name, Body=content)

    def download(self, name: str) -> bytes:
        content: bytes = self.client.get_object(Bucket=self._bucket, Key=self._prefix + name)["Body"].read()
        return content

    def delete(self, name: str) -> None:
        self.client.delete_object(Bucket=self._bucket, Key=self._prefix + name)


class AzureSite(Site):
    part, finish, listing, removal = r"PUT .*comp=block&", r"PUT .*comp=blocklist", "comp=list", "DELETE "
    secrets = (ACCOUNT_KEY, "SharedKey ")
    wrong_key = "cGxhbnRlZC13cm9uZy1rZXktcGxhbnRlZA=="

    def __init__(self, server: Azurite, proxy: Misbehaving, **changes: Any) -> None:
        self.proxy = proxy
        self.settings = server.settings(endpoint=self.endpoint(proxy.port), **changes)
        self.container = server.container()
        self._prefix = self.settings.prefix

    def endpoint(self, port: int) -> str:
        return f"http://127.0.0.1:{port}/{ACCOUNT}"

    def sizes(self) -> list[int]:
        return [each.size for each in self.container.list_blobs(name_starts_with=self._prefix)]

    def unfinished(self) -> int:
        """The service drops blocks itself."""
        return 0

    def upload(self, name: str, content: bytes) -> None:
        self.container.upload_blob(self._prefix + name, content, overwrite=True)

    def download(self, name: str) -> bytes:
        content: bytes = self.container.download_blob(self._prefix + name).readall()
        return content

    def delete(self, name: str) -> None:
        self.container.delete_blob(self._prefix + name)

    def md5(self, name: str) -> bytes:
        told = self.container.get_blob_client(self._prefix + name).get_blob_properties()
        return bytes(told.content_settings.content_md5)
