"""STOW-RS requests of tests, put together by hand: nothing of ours is trusted with it."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterable, Mapping
from io import SEEK_END, BytesIO
from typing import Any, NamedTuple

from pydicom.dataset import FileMetaDataset
from pydicom.filebase import DicomFileLike
from pydicom.filewriter import write_file_meta_info
from pydicom.uid import UID

from tests.system import peers
from tests.system.server import Server

BOUNDARY = "a-boundary-that-is-in-no-image"
DICOM = "application/dicom"
DICOM_JSON = "application/dicom+json"


class Reply(NamedTuple):
    status: int
    content_type: str
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def stored(self) -> list[str]:
        """SOP Instance UIDs of what was stored."""
        return [item["00081155"]["Value"][0] for item in self.items("00081199")]

    @property
    def failed(self) -> list[tuple[str, int]]:
        """(SOP Instance UID or nothing, reason) of what was not."""
        return [
            (item.get("00081155", {"Value": [""]})["Value"][0], item["00081197"]["Value"][0])
            for item in self.items("00081198")
        ]

    def items(self, tag: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.json().get(tag, {}).get("Value", [])
        return found


def part10(instance: peers.Instance) -> bytes:
    """The instance as a file, its header by pydicom, its data set byte for byte as it is."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UID(instance.sop_class)
    meta.MediaStorageSOPInstanceUID = UID(instance.uid)
    meta.TransferSyntaxUID = UID(instance.syntax)
    file = BytesIO(b"\0" * 128 + b"DICM")
    file.seek(0, SEEK_END)
    write_file_meta_info(DicomFileLike(file), meta, enforce_standard=True)
    return file.getvalue() + instance.data


def multipart(parts: Iterable[tuple[Mapping[str, str], bytes]]) -> bytes:
    body = b""
    for headers, content in parts:
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        body += f"--{BOUNDARY}\r\n{lines}\r\n".encode() + content + b"\r\n"
    return body + f"--{BOUNDARY}--\r\n".encode()


def related(kind: str) -> str:
    return f'multipart/related; type="{kind}"; boundary={BOUNDARY}'


def files(*contents: bytes) -> bytes:
    return multipart(({"Content-Type": DICOM}, content) for content in contents)


def post(
    server: Server, body: Any, content_type: str = related(DICOM), *, study: str = "", token: str | None = None,
    **headers: str,
) -> Reply:  # fmt: skip
    """body: bytes, or an iterable of them for a body without a length. headers: underscores stand for hyphens"""
    connection = http.client.HTTPConnection("127.0.0.1", server.web_port, timeout=120)
    sent = {"content-type": content_type, "accept": DICOM_JSON}
    sent |= {name.replace("_", "-"): value for name, value in headers.items()}
    bearer = server.token if token is None else token
    if bearer:
        sent["authorization"] = f"Bearer {bearer}"
    path = "/dicom-web/studies" + (f"/{study}" if study else "")
    try:
        connection.request("POST", path, body, sent, encode_chunked=not isinstance(body, bytes))
        answer = connection.getresponse()
        return Reply(answer.status, answer.headers.get("content-type", ""), answer.read())
    finally:
        connection.close()


def store(server: Server, *instances: peers.Instance, **options: Any) -> Reply:
    return post(server, files(*map(part10, instances)), **options)
