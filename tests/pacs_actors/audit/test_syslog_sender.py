"""The audit reaches a syslog receiver over TLS: every row, in order, whatever the receiver does."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from config.settings import AuditSettings
from pacs_actors.audit import syslog_sender
from pacs_actors.audit.dicom_xml import Source
from pacs_actors.audit.syslog_sender import SyslogSender
from pacs_actors.audit.trail import Trail
from protocols.errors import ConfigError
from tests.pacs_actors.audit.receiver import HEADER, Receiver, row_of
from tests.pacs_actors.audit.rows import event
from tests.system.certificates import Authority, Certificate
from tests.system.server import free_port

SOURCE = Source("PACS-NORTH", "PACS", "archive")
WITHIN_S = 20.0
QUICK = {"_LOOK_EVERY_S": 0.02, "_FIRST_RETRY_S": 0.02, "_LONGEST_RETRY_S": 0.1, "_SETTLED_AFTER_S": 0.2}


class Keys:
    def __init__(self, folder: Path) -> None:
        self.authority, self.stranger = Authority(folder, "ca"), Authority(folder, "stranger")
        self.receiver, self.ours = self.authority.issue("127.0.0.1"), self.authority.issue("pacs")


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    return Keys(tmp_path_factory.mktemp("keys"))


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in QUICK.items():
        monkeypatch.setattr(syslog_sender, name, value)


def sender(
    trail: Trail, port: int, ca: str | None, own: Certificate | None = None, holder: str = "a"
) -> SyslogSender:
    shown: dict[str, Any] = (
        {} if own is None else {"syslog_certificate": own.certificate, "syslog_key": own.key}
    )
    settings = AuditSettings(syslog_host="127.0.0.1", syslog_port=port, syslog_ca=ca, **shown)
    return SyslogSender(settings, trail, SOURCE, holder)


@asynccontextmanager
async def sending(actor: SyslogSender) -> AsyncIterator[None]:
    async with trio.open_nursery() as nursery:
        await nursery.start(actor.run)
        yield
        nursery.cancel_scope.cancel()


async def until(condition: Any, what: str) -> None:
    with trio.move_on_after(WITHIN_S):
        while not condition():
            await trio.sleep(0.01)
        return
    raise AssertionError(what)


def rows_of(receiver: Receiver) -> list[int]:
    return [row_of(frame) for frame in receiver.frames]


async def test_every_row_arrives_once_in_order_and_counts_as_delivered(trail: Trail, keys: Keys) -> None:
    await trail.append([event(number, patient_id="P é漢") for number in range(450)])
    receiver = Receiver(keys.authority, keys.receiver)
    async with receiver.listening() as port:
        actor = sender(trail, port, keys.authority.file)
        async with sending(actor):
            await until(lambda: len(receiver.frames) == 450, "all rows")
            await trail.append([event(451)])
            await until(lambda: len(receiver.frames) == 451, "the row that came later")
            await until(lambda: actor.lag == 0, "delivered")
            assert actor.connected
        # A new life goes on where the last one was.
        await trail.append([event(452)])
        async with sending(sender(trail, port, keys.authority.file)):
            await until(lambda: len(receiver.frames) == 452, "the row between two lives")
    assert rows_of(receiver) == list(range(1, 453))
    header = HEADER.fullmatch(receiver.frames[0])
    assert header is not None
    assert (header[3], header[4], header[6]) == (b"archive", b"pacs-actors", b"DICOM+RFC3881")


async def test_nothing_is_lost_by_a_receiver_that_falls_again_and_again(trail: Trail, keys: Keys) -> None:
    """It falls with frames unread: the sender's machine had them acknowledged."""
    await trail.append([event(number) for number in range(300)])
    receiver = Receiver(keys.authority, keys.receiver, falls_after=130)
    async with receiver.listening() as port:
        actor = sender(trail, port, keys.authority.file)
        async with sending(actor):
            await until(lambda: receiver.connections >= 3, "it fell")
            receiver.falls_after = None
            await until(lambda: set(rows_of(receiver)) == set(range(1, 301)), "all rows")
            await until(lambda: actor.lag == 0, "delivered")


async def test_rows_wait_for_a_receiver_that_is_down(trail: Trail, keys: Keys) -> None:
    port = free_port()
    actor = sender(trail, port, keys.authority.file)
    async with sending(actor):
        await trail.append([event(number) for number in range(20)])
        await until(lambda: actor.lag == 20, "the lag is told")
        assert not actor.connected
        first = Receiver(keys.authority, keys.receiver, port=port)
        async with first.listening():
            await until(lambda: len(first.frames) == 20 and actor.lag == 0, "all rows")
        await until(lambda: not actor.connected, "it went down")
        await trail.append([event(21)])
        second = Receiver(keys.authority, keys.receiver, port=port)
        async with second.listening():
            await until(lambda: rows_of(second) == [21], "what came meanwhile, and nothing twice")


async def test_a_receiver_of_an_unknown_authority_gets_nothing(trail: Trail, keys: Keys) -> None:
    await trail.append([event(1)])
    receiver = Receiver(keys.authority, keys.receiver)
    async with receiver.listening() as port, sending(sender(trail, port, keys.stranger.file)):
        await until(lambda: receiver.connections >= 2, "it tries again")
    assert receiver.frames == []


async def test_a_receiver_with_another_name_gets_nothing(trail: Trail, keys: Keys) -> None:
    await trail.append([event(1)])
    receiver = Receiver(keys.authority, keys.receiver)
    async with receiver.listening() as port:
        settings = AuditSettings(syslog_host="localhost", syslog_port=port, syslog_ca=keys.authority.file)
        async with sending(SyslogSender(settings, trail, SOURCE, "a")):
            await until(lambda: receiver.connections >= 1, "it tried")
    assert receiver.frames == []


async def test_a_receiver_that_wants_our_certificate_gets_it(trail: Trail, keys: Keys) -> None:
    await trail.append([event(1)])
    receiver = Receiver(keys.authority, keys.receiver, mutual=True)
    async with receiver.listening() as port:
        async with sending(sender(trail, port, keys.authority.file)):
            await until(lambda: receiver.connections >= 2, "without one it is turned away")
        assert receiver.frames == []
        async with sending(sender(trail, port, keys.authority.file, keys.ours)):
            await until(lambda: len(receiver.frames) == 1, "with it")


async def test_of_two_nodes_one_sends(trail: Trail, keys: Keys) -> None:
    await trail.append([event(number) for number in range(10)])
    receiver = Receiver(keys.authority, keys.receiver)
    async with receiver.listening() as port:
        one, two = (sender(trail, port, keys.authority.file, holder=name) for name in "ab")
        async with sending(one), sending(two):
            await until(lambda: one.lag == two.lag == 0 and receiver.frames, "delivered")
    assert rows_of(receiver) == list(range(1, 11))
    assert sorted([one.sent, two.sent]) == [0, 10]


async def test_files_that_are_no_keys_are_a_mistake_of_the_settings(trail: Trail, keys: Keys) -> None:
    with pytest.raises(ConfigError, match=r"audit\.syslog_ca"):
        sender(trail, 1, keys.receiver.key)
    with pytest.raises(ConfigError, match=r"audit\.syslog_certificate"):
        sender(trail, 1, keys.authority.file, Certificate(keys.receiver.certificate, keys.ours.key))


RSYSLOG = """
global(workDirectory="{folder}" DefaultNetstreamDriverCAFile="{ca}" DefaultNetstreamDriverCertFile="{certificate}"
    DefaultNetstreamDriverKeyFile="{key}" maxMessageSize="64k")
module(load="imtcp" StreamDriver.Name="gtls" StreamDriver.Mode="1" StreamDriver.AuthMode="x509/certvalid")
template(name="whole" type="string" string="%syslogfacility-text%|%app-name%|%msgid%|%msg%\\n")
input(type="imtcp" port="{port}" address="127.0.0.1")
action(type="omfile" file="{folder}/received" template="whole")
"""


async def test_rsyslog_takes_our_messages(trail: Trail, keys: Keys, tmp_path: Path) -> None:
    program = shutil.which("rsyslogd")
    modules = sorted(Path(program).parents[1].glob("lib/*/rsyslog/lmnsd_gtls.so")) if program else []
    if program is None or not modules:
        pytest.skip("rsyslogd with gtls is not installed")
    port, received = free_port(), tmp_path / "received"
    own = keys.receiver
    facts = {"port": port, "ca": keys.authority.file, "certificate": own.certificate, "key": own.key}
    (tmp_path / "conf").write_text(RSYSLOG.format(folder=tmp_path, **facts))
    command = [
        program,
        "-n",
        "-f",
        str(tmp_path / "conf"),
        "-i",
        str(tmp_path / "pid"),
        "-M",
        str(modules[0].parent),
    ]
    await trail.append([event(number, details={"n": number}) for number in range(50)])
    process = subprocess.Popen(  # noqa: ASYNC220 - it is back at once
        command, stdout=subprocess.DEVNULL, stderr=(tmp_path / "log").open("wb")
    )
    try:
        async with sending(sender(trail, port, keys.authority.file, keys.ours)):
            began = time.monotonic()
            while not received.exists() or received.read_bytes().count(b"\n") < 50:
                assert time.monotonic() - began < WITHIN_S, (tmp_path / "log").read_text()
                await trio.sleep(0.02)
    finally:
        process.terminate()
        process.wait(10)
    lines = received.read_text("utf-8-sig").splitlines()
    assert len(lines) == 50
    for line in lines:
        facility, application, message_id, message = line.split("|", 3)
        assert (facility, application, message_id) == ("authpriv", "pacs-actors", "DICOM+RFC3881")
        assert message.lstrip("\ufeff").endswith("</AuditMessage>")
