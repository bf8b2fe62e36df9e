"""Suite ``web``: clients that ask a DICOMweb service one request after the other, each on a connection of its own (PS3.18)."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Final
from urllib.parse import quote

from bench import fleet, identifiers, wire
from bench.http_link import Answer, HttpLink, Site
from bench.population import Run, Study
from bench.templates import PLACEHOLDERS, SERIES_UID, SOP_INSTANCE, STUDY_UID, Template
from bench.wire import PeerFailed

_JSON: Final = ("Accept", "application/dicom+json")
_DICOM: Final = ("Accept", 'multipart/related; type="application/dicom"')
_FRAMES: Final = ("Accept", 'multipart/related; type="application/octet-stream"')
_JPEG: Final = ("Accept", "image/jpeg")
_BOUNDARY: Final = "bench-3f9a1c0d7e"
_PART: Final = f"\r\n--{_BOUNDARY}\r\nContent-Type: application/dicom\r\n\r\n".encode()
_END: Final = f"\r\n--{_BOUNDARY}--\r\n".encode()


@dataclass(frozen=True, slots=True)
class Wanted:
    """A request, and what tells a right answer.

    items:       matches or instances that come
    least_bytes: below which the body of an answer is not complete
    check:       looks at a body outside the clock; raises PeerFailed
    """

    request: bytes
    items: int
    least_bytes: int
    check: Callable[[bytes], None]


@dataclass(frozen=True)
class Asker:
    """The client of all that is only read; clients walk through the same requests from different places."""

    site: Site
    wanted: Sequence[Wanted]
    seconds: float

    def __call__(self, client: int, gate: fleet.Gate) -> fleet.Seen:
        """Ask until the time is up or one fails; raises PeerFailed."""
        seen = fleet.Seen()
        turn = client * len(self.wanted) // 8
        with self.site.connect() as link:
            seen.started = asked = gate()
            while asked < seen.started + self.seconds and not seen.failures:
                one = self.wanted[turn % len(self.wanted)]
                answer = link.ask(one.request)
                turn += 1
                seen.ended = perf_counter()
                seen.waits_s.append(seen.ended - asked)
                asked = seen.ended
                if answer.status == 200 and answer.size_bytes >= one.least_bytes:
                    seen.done += 1
                    seen.items += one.items
                    seen.size_bytes += answer.size_bytes
                else:
                    seen.failures[answer.status] += 1
        return seen


@dataclass(frozen=True)
class Poster:
    """The client of STOW-RS: a new study of CT with each request, of so many instances."""

    site: Site
    run: Run
    template: Template
    seconds: float
    per_request: int
    clients: int

    def __call__(self, client: int, gate: fleet.Gate) -> fleet.Seen:
        """Store until the time is up or one request is not answered 200; raises PeerFailed."""
        seen = fleet.Seen()
        head, tail = part_10(self.template)
        size = self.per_request * (len(_PART) + len(head.data) + len(tail)) + len(_END)
        request = self.site.request("POST", "/studies", [
            ("Content-Type", f'multipart/related; type="application/dicom"; boundary={_BOUNDARY}'),
            ("Content-Length", str(size)),
            _JSON,
        ])  # fmt: skip
        study = client
        with self.site.connect() as link:
            seen.started = asked = gate()
            while asked < seen.started + self.seconds and not seen.failures:
                parts: list[bytes | memoryview] = [request]
                for instance in range(1, self.per_request + 1):
                    parts += [_PART, head.of(self.run, self.run.study(study), instance), tail]
                asked = perf_counter()  # what is asked is made outside of the clock of a request
                answer = link.ask(*parts, _END)
                seen.ended = perf_counter()
                seen.waits_s.append(seen.ended - asked)
                asked = seen.ended
                if answer.status == 200:
                    seen.done += 1
                    seen.items += self.per_request
                    seen.size_bytes += size
                else:
                    seen.failures[answer.status] += 1
                study += self.clients
        return seen


class Head:
    """A Part 10 file up to its last changing value, to be filled in for each instance."""

    def __init__(self, data: bytes, places: Mapping[int, Sequence[int]]) -> None:
        self.data, self._places = data, places

    def of(self, run: Run, study: Study, instance: int) -> bytes:
        filled = bytearray(self.data)
        values = {
            STUDY_UID: study.study_uid,
            SERIES_UID: study.series_uid,
            SOP_INSTANCE: run.instance_uid(study.number, instance),
            identifiers.PATIENT_ID: study.patient_id,
            identifiers.PATIENT_NAME: study.patient_name,
            identifiers.STUDY_DATE: study.study_date,
            0x00080050: study.accession_number,
            0x00200013: f"{instance:08d}",
        }
        for tag, value in values.items():
            room = len(PLACEHOLDERS[tag])
            for at in self._places[tag]:
                filled[at : at + room] = value.ljust(room).encode()
        return bytes(filled)


def part_10(template: Template) -> tuple[Head, memoryview]:
    """Head and tail of the template as a Part 10 file (PS3.10 7.1)."""
    uid = PLACEHOLDERS[SOP_INSTANCE]
    information = b"".join((
        _meta(1, b"OB", b"\0\1"), _meta(2, b"UI", template.sop_class_uid.encode()), _meta(3, b"UI", uid.encode()),
        _meta(0x10, b"UI", wire.EXPLICIT_LE.encode()), _meta(0x12, b"UI", wire.IMPLEMENTATION_CLASS.encode()),
    ))  # fmt: skip
    start = bytes(128) + b"DICM" + _meta(0, b"UL", struct.pack("<I", len(information))) + information
    places = {tag: [len(start) + at] for tag, at in template.offsets.items()}
    places[SOP_INSTANCE].append(start.index(uid.encode()))
    data = memoryview(template.data)
    return Head(start + bytes(data[: template.header_bytes]), places), data[template.header_bytes :]


def _meta(element: int, vr: bytes, value: bytes) -> bytes:
    value += b"\0" * (len(value) % 2)
    length = struct.pack("<2xI", len(value)) if vr == b"OB" else struct.pack("<H", len(value))
    return struct.pack("<HH", 2, element) + vr + length + value


def searches(site: Site, run: Run, studies: int, questions: Sequence[identifiers.Question]) -> list[Wanted]:
    """QIDO-RS for studies (PS3.18 10.6) by the keys of questions to C-FIND."""
    population = [run.study(number) for number in range(studies)]

    def wanted(question: identifiers.Question) -> Wanted:
        expected = sorted(study.study_uid for study in population if question.matches(study))
        keys = [f"{tag:08X}={quote(value, safe='*')}" for tag, value in question.keys.items() if value]

        def check(body: bytes) -> None:
            came = [study["0020000D"]["Value"][0] for study in json.loads(body or b"[]")]
            ours = sorted(uid for uid in came if uid.startswith(run.uid_root))
            if ours != expected:
                raise PeerFailed(f"{len(ours)} of {len(expected)} expected studies came")

        target = f"/studies?{'&'.join(keys)}&limit={max(100, len(expected))}"
        return Wanted(site.request("GET", target, [_JSON]), len(expected), 100 * len(expected), check)

    return [wanted(question) for question in questions]


def retrievals(
    site: Site, run: Run, studies: int, per_study: int, pixel_bytes: int
) -> dict[str, list[Wanted]]:
    """By kind: what viewers and archives ask for of CT studies (PS3.18 10.4), one series each.

    pixel_bytes: of one instance
    """
    kinds: dict[str, list[Wanted]] = {
        kind: [] for kind in ("metadata", "instance", "frame", "rendered", "study")
    }
    for number in range(studies):
        study = run.study(number)
        at = f"/studies/{study.study_uid}/series/{study.series_uid}"

        def get(target: str, accept: tuple[str, str]) -> bytes:
            return site.request("GET", target, [accept])

        kinds["metadata"].append(
            Wanted(get(f"{at}/metadata", _JSON), per_study, 200 * per_study, _lists(per_study))
        )
        whole = per_study * pixel_bytes
        kinds["study"].append(
            Wanted(get(f"/studies/{study.study_uid}", _DICOM), per_study, whole, _holds(b"DICM", per_study))
        )
        for instance in range(1, per_study + 1):
            one = f"{at}/instances/{run.instance_uid(number, instance)}"
            kinds["instance"].append(Wanted(get(one, _DICOM), 1, pixel_bytes, _holds(b"DICM", 1)))
            kinds["frame"].append(
                Wanted(get(f"{one}/frames/1", _FRAMES), 1, pixel_bytes, _holds(b"octet-stream", 1))
            )
            kinds["rendered"].append(Wanted(get(f"{one}/rendered", _JPEG), 1, 100, _is_jpeg))
    return kinds


def check(site: Site, wanted: Sequence[Wanted]) -> None:
    """Ask each once, outside the clock, and look at the answers; raises PeerFailed."""
    with site.connect() as link:
        for one in wanted:
            answer = _answered(link, one)
            one.check(answer.body)


def _answered(link: HttpLink, one: Wanted) -> Answer:
    answer = link.ask(one.request, keep=True)
    if answer.status != 200:
        raise PeerFailed(f"HTTP status {answer.status}: {answer.body[:200].decode(errors='replace')}")
    if answer.size_bytes < one.least_bytes:
        raise PeerFailed(f"{answer.size_bytes} bytes came, {one.least_bytes} are the least")
    return answer


def _lists(count: int) -> Callable[[bytes], None]:
    def look(body: bytes) -> None:
        if (came := len(json.loads(body))) != count:
            raise PeerFailed(f"{came} of {count} instances came")

    return look


def _holds(mark: bytes, count: int) -> Callable[[bytes], None]:
    def look(body: bytes) -> None:
        if (came := body.count(mark)) != count:
            raise PeerFailed(f"{came} of {count} parts came")

    return look


def _is_jpeg(body: bytes) -> None:
    if not body.startswith(b"\xff\xd8\xff"):
        raise PeerFailed("no JPEG came")
