"""A PACS in memory on pynetdicom, in a process of its own: the bench forks, and threads do not survive that.

Prints its port. ``BENCHSINK`` is known as the C-MOVE destination on the port given as argument.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

from pydicom.dataset import Dataset
from pynetdicom import AE, evt

STORAGE = ("1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4")
VERIFICATION = "1.2.840.10008.1.1"
STUDY_ROOT = "1.2.840.10008.5.1.4.1.2.2."  # 1 find, 2 move, 3 get
STORED: dict[str, Dataset] = {}


def matches(query: Dataset, image: Dataset) -> bool:
    for keyword in ("PatientID", "PatientName", "StudyDate", "StudyInstanceUID"):
        wanted, value = str(query.get(keyword, "")), str(image.get(keyword, ""))
        if keyword == "StudyDate" and "-" in wanted:
            first, last = wanted.split("-")
            if not first <= value <= last:
                return False
        elif wanted.endswith("*"):
            if not value.startswith(wanted[:-1]):
                return False
        elif wanted and wanted != value:
            return False
    return True


def on_store(event: Any) -> int:
    image = event.dataset
    image.file_meta = event.file_meta
    STORED[image.SOPInstanceUID] = image
    return 0x0000


def on_find(event: Any) -> Iterator[tuple[int, Dataset | None]]:
    seen = set()
    for image in list(STORED.values()):
        if image.StudyInstanceUID not in seen and matches(event.identifier, image):
            seen.add(image.StudyInstanceUID)
            answer = Dataset()
            for element in event.identifier:
                if element.keyword == "QueryRetrieveLevel":
                    answer.QueryRetrieveLevel = "STUDY"
                else:
                    setattr(answer, element.keyword, image.get(element.keyword, None))
            yield 0xFF00, answer


def retrieved(event: Any) -> list[Dataset]:
    return [image for image in STORED.values() if matches(event.identifier, image)]


def on_get(event: Any) -> Iterator[Any]:
    images = retrieved(event)
    yield len(images)
    for image in images:
        yield 0xFF00, image


def on_move(event: Any) -> Iterator[Any]:
    yield "127.0.0.1", int(sys.argv[1])
    yield from on_get(event)


def main() -> None:
    application = AE("PYNETDICOM")
    for uid in STORAGE:
        application.add_supported_context(uid, scu_role=True, scp_role=True)
        application.add_requested_context(uid, "1.2.840.10008.1.2.1")
    for uid in (VERIFICATION, STUDY_ROOT + "1", STUDY_ROOT + "2", STUDY_ROOT + "3"):
        application.add_supported_context(uid)
    handlers: list[Any] = [
        (evt.EVT_C_STORE, on_store),
        (evt.EVT_C_FIND, on_find),
        (evt.EVT_C_GET, on_get),
        (evt.EVT_C_MOVE, on_move),
    ]
    application.dimse_timeout = 10
    server = application.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    assert server is not None
    print(server.server_address[1], flush=True)
    sys.stdin.read()  # the parent closes it to end us
    server.shutdown()


if __name__ == "__main__":
    main()
