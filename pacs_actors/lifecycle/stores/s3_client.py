"""One S3 bucket, a method a request. Trio on the outside; aioboto3 on a thread of its own.

What a server acknowledges is held against what was sent: it is given the MD5 of each body (RFC 1864), which every kind of S3
server checks, and what it answers as ETag must be the same where it is one.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any, Final

import aioboto3
from aiobotocore.config import AioConfig
from msgspec import Struct

from config.stores import LifecycleStoreSettings
from pacs_actors.lifecycle.stores.errors import StoreError, StoreUnavailable
from pacs_actors.lifecycle.stores.remote import Head, RemoteClient, Window
from pacs_actors.lifecycle.stores.s3_failures import translated
from pacs_actors.lifecycle.stores.sources import Block

_DIGEST: Final = "xxh3-128"
_MD5: Final = re.compile(r"[0-9a-f]{32}", re.ASCII)
_RANGE: Final = re.compile(r"bytes (\d+)-(\d+)/(\d+)", re.ASCII)


class Page(Struct, frozen=True):
    """after: the last name that the server listed, ours or not; empty if there is no more"""

    names: list[str]
    after: str


class S3Client(RemoteClient):
    """See ``remote.RemoteClient``."""

    def __init__(self, store: str, settings: LifecycleStoreSettings) -> None:
        super().__init__(store, settings)
        self._s3: Any = None
        self._bucket = settings.bucket or ""
        self._new: dict[str, Any] = {
            name: value
            for name, value in {
                "StorageClass": settings.storage_class,
                "ServerSideEncryption": settings.encryption,
                "SSEKMSKeyId": settings.kms_key,
            }.items()
            if value is not None
        }

    async def put(self, name: str, block: Block, digest: bytes, *, only_new: bool) -> str:
        """Store an object in one request; its ETag.

        only_new: refuse if there is one (PreconditionFailed); servers that do not know it raise NotImplementedThere or
                  store all the same
        """

        async def unit() -> str:
            answer = await self._s3.put_object(
                Bucket=self._bucket,
                Key=name,
                Body=block.content,
                ContentMD5=b64encode(block.md5).decode(),
                ContentType="application/octet-stream",
                Metadata={_DIGEST: digest.hex()},
                **({"IfNoneMatch": "*"} if only_new else {}),
                **self._new,
            )
            return _etag(answer)

        return await self._ask(unit)

    async def begin_upload(self, name: str, digest: bytes | None) -> str:
        """ID of a new multipart upload."""

        async def unit() -> str:
            answer = await self._s3.create_multipart_upload(
                Bucket=self._bucket,
                Key=name,
                ContentType="application/octet-stream",
                Metadata={} if digest is None else {_DIGEST: digest.hex()},
                **self._new,
            )
            return str(answer["UploadId"])

        return await self._ask(unit)

    async def put_part(self, name: str, upload: str, number: int, block: Block) -> str:
        """Its ETag. raises: NoSuchUpload"""

        async def unit() -> str:
            answer = await self._s3.upload_part(
                Bucket=self._bucket,
                Key=name,
                UploadId=upload,
                PartNumber=number,
                Body=block.content,
                ContentMD5=b64encode(block.md5).decode(),
            )
            etag = _etag(answer)
            if contradicts(etag, block.md5.hex()):
                raise StoreUnavailable(self.store, "acknowledged other bytes than were sent")
            return etag

        return await self._ask(unit)

    async def end_upload(self, name: str, upload: str, etags: list[str]) -> str:
        """Make the parts an object; its ETag. raises: NoSuchUpload"""
        parts = [{"PartNumber": number, "ETag": f'"{etag}"'} for number, etag in enumerate(etags, 1)]

        async def unit() -> str:
            answer = await self._s3.complete_multipart_upload(
                Bucket=self._bucket, Key=name, UploadId=upload, MultipartUpload={"Parts": parts}
            )
            return _etag(answer)

        return await self._ask(unit)

    async def abort_upload(self, name: str, upload: str) -> None:
        """raises: NoSuchUpload"""
        await self._ask(
            lambda: self._s3.abort_multipart_upload(Bucket=self._bucket, Key=name, UploadId=upload)
        )

    async def uploads(self, prefix: str) -> list[tuple[str, str, datetime]]:
        """Multipart uploads that have not ended, up to a thousand: name, ID, begin."""

        async def unit() -> list[tuple[str, str, datetime]]:
            answer = await self._s3.list_multipart_uploads(
                Bucket=self._bucket, Prefix=prefix, MaxUploads=1000
            )
            return [(each["Key"], each["UploadId"], each["Initiated"]) for each in answer.get("Uploads", [])]

        return await self._ask(unit)

    async def head(self, name: str) -> Head:
        async def unit() -> Head:
            answer = await self._s3.head_object(Bucket=self._bucket, Key=name)
            digest = str(answer.get("Metadata", {}).get(_DIGEST, ""))
            etag = _etag(answer)
            # With encryption by key service, and of several parts, it is none.
            md5 = etag if _MD5.fullmatch(etag) else ""
            return Head(size_bytes=int(answer["ContentLength"]), etag=etag, digest=digest, md5=md5)

        async with self._readers:
            return await self._ask(unit)

    async def listing(self, prefix: str, after: str, most: int) -> Page:
        """Names that begin with ``prefix`` and are greater than ``after``, ascending."""

        async def unit() -> Page:
            answer = await self._s3.list_objects_v2(
                Bucket=self._bucket, Prefix=prefix, MaxKeys=most, **({"StartAfter": after} if after else {})
            )
            names = [str(each["Key"]) for each in answer.get("Contents", [])]
            return Page(names=names, after=names[-1] if answer.get("IsTruncated") and names else "")

        async with self._readers:
            return await self._ask(unit)

    async def remove(self, names: list[str]) -> None:
        wanted = {"Objects": [{"Key": name} for name in names], "Quiet": True}

        async def unit() -> None:
            answer = await self._s3.delete_objects(Bucket=self._bucket, Delete=wanted)
            if answer.get("Errors"):
                code = str(answer["Errors"][0].get("Code", ""))[:64]
                raise StoreUnavailable(
                    self.store,
                    f"{len(answer['Errors'])} copies were not removed: {code}",
                    retry=code != "AccessDenied",
                )

        await self._ask(unit)

    def _failure(self, error: Exception) -> StoreError | None:
        return translated(self.store, error)

    # On the asyncio thread.

    async def _connect(self) -> None:
        settings = self.settings
        config = AioConfig(
            connect_timeout=settings.request_timeout_s,
            read_timeout=settings.request_timeout_s,
            max_pool_connections=2 * settings.connections + 2,
            # We ask again ourselves: with our deadlines, and one part at a time.
            retries={"total_max_attempts": 1, "mode": "standard"},
            s3={"addressing_style": "path" if settings.path_style else "virtual"},
            # botocore's own checksums are not understood everywhere; Content-MD5 is.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        )
        made = aioboto3.Session().client(
            "s3",
            region_name=settings.region,
            endpoint_url=settings.endpoint,
            aws_access_key_id=settings.access_key,
            aws_secret_access_key=settings.secret_key,
            verify=settings.ca,
            config=config,
        )
        self._s3 = await self._held.enter_async_context(made)

    def _window_unit(self, name: str, offset: int, length: int, etag: str) -> Callable[[], Awaitable[Window]]:
        async def unit() -> Window:
            answer = await self._s3.get_object(
                Bucket=self._bucket,
                Key=name,
                Range=f"bytes={offset}-{offset + length - 1}",
                **({"IfMatch": f'"{etag}"'} if etag else {}),
            )
            body = answer["Body"]
            try:
                size_bytes = _size_of(answer, offset, length)
                if size_bytes is None:
                    raise StoreUnavailable(
                        self.store, "answered another range than was asked for", retry=False
                    )
                content: bytes = await body.read()
            finally:
                body.close()
            if len(content) != min(length, size_bytes - offset):
                raise StoreUnavailable(self.store, "an answer was cut off")
            return Window(content=content, size_bytes=size_bytes, etag=_etag(answer))

        return unit


def _size_of(answer: dict[str, Any], offset: int, length: int) -> int | None:
    """Of the whole object, of which this is a part; None if it is another part than the one we asked for."""
    match = _RANGE.fullmatch(str(answer.get("ContentRange", "")))
    if match is None:
        # The whole object in answer to a range: fine if it is what we asked for, and else too much to be read.
        size_bytes = int(answer["ContentLength"])
        return size_bytes if offset == 0 and size_bytes <= length else None
    first, last, size_bytes = (int(number) for number in match.groups())
    return size_bytes if first == offset and last == min(offset + length, size_bytes) - 1 else None


def _etag(answer: dict[str, Any]) -> str:
    return str(answer.get("ETag", "")).strip('"')


def contradicts(etag: str, md5: str) -> bool:
    """Whether an ETag is an MD5, but of other bytes. With encryption by key service it is none."""
    return _MD5.fullmatch(etag) is not None and etag != md5
