from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import trio
import trio.testing

from pacs_actors.archive.transcoder import CannotTranscode, CannotTranscodeNow, Transcoder
from pacs_actors.archive.transcoding.messages import Job
from pacs_actors.archive.transcoding.messages import encode as encode_message
from protocols.errors import Misuse, Unavailable

from .transcoding_data import (
    BUNDLED,
    DEFLATED,
    EXPLICIT,
    IMPLICIT,
    JPEG_2000,
    JPEG_BASELINE,
    JPEG_LS,
    JPEG_XL,
    RLE,
    Stored,
    encapsulated,
    gradient,
    image,
    stored,
)

FRAME = gradient()
SMALL = encapsulated(image(FRAME), [imagecodecs.jpegls_encode(FRAME)], JPEG_LS)
OFFSET = 5000


def descriptor(data: bytes) -> int:
    fd = os.memfd_create("object")
    os.write(fd, bytes(OFFSET) + data)
    return fd


async def convert(transcoder: Transcoder, source: Stored = SMALL, target: str = EXPLICIT) -> bytes:
    """Convert; what was given has to be closed, whatever happens."""
    given = descriptor(source.data)
    inode = os.fstat(given).st_ino
    try:
        fd, length = await transcoder.convert(
            given, offset=OFFSET, length=len(source.data), source=source.syntax, target=target
        )
    finally:
        assert not Path(f"/proc/self/fd/{given}").exists() or os.fstat(given).st_ino != inode
    try:
        assert os.fstat(fd).st_size == length and os.fstat(fd).st_nlink == 0
        return os.pread(fd, length, 0)
    finally:
        os.close(fd)


@asynccontextmanager
async def stopped(transcoder: Transcoder) -> AsyncIterator[int]:
    """A transcoder's process that has worked before and now does not move."""
    await convert(transcoder)
    (pid,) = transcoder.pids
    os.kill(pid, signal.SIGSTOP)
    yield pid


async def gone(pid: int) -> None:
    pidfd = os.pidfd_open(pid)
    try:
        with trio.fail_after(20):
            await trio.lowlevel.wait_readable(pidfd)
    finally:
        trio.lowlevel.notify_closing(pidfd)
        os.close(pidfd)


def is_there(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def template_of(transcoder: Transcoder) -> int:
    assert transcoder._template is not None
    return transcoder._template.pid


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])


@pytest.fixture
def descriptors() -> object:
    """None may be left behind."""
    before = set(os.listdir("/proc/self/fd"))  # noqa: PTH208
    yield
    assert set(os.listdir("/proc/self/fd")) <= before  # noqa: PTH208


async def test_it_starts_nothing_until_it_is_needed_and_then_one_process_for_all(tmp_path: Path) -> None:
    async with Transcoder(folder=tmp_path) as transcoder:
        assert transcoder.pids == []
        for target in (EXPLICIT, IMPLICIT, DEFLATED):
            assert await convert(transcoder, target=target) == SMALL.to(target).data
        assert transcoder.starts == 1
        (pid,) = transcoder.pids
    assert not is_there(pid)
    assert list(tmp_path.iterdir()) == []


async def test_files_through_a_process(tmp_path: Path) -> None:
    names = ("MR_small.dcm", "SC_rgb_rle_2frame.dcm", "image_dfl.dcm", "examples_jpeg2k.dcm")
    sources = [stored(path) for name in names if (path := BUNDLED / name).is_file()]
    assert len(sources) >= 3, "one is not among pydicom's own"
    async with Transcoder(folder=tmp_path) as transcoder:
        for source in sources:
            assert await convert(transcoder, source, IMPLICIT) == source.to(IMPLICIT).data


async def test_nothing_stays_open(descriptors: object) -> None:
    async with Transcoder() as transcoder:
        await convert(transcoder)
        with pytest.raises(CannotTranscode):
            await convert(transcoder, Stored(SMALL.data, RLE))
        with pytest.raises(CannotTranscode):
            await convert(transcoder, Stored(SMALL.data, DEFLATED))


async def test_a_refusal_leaves_the_process_alive() -> None:
    async with Transcoder() as transcoder:
        with pytest.raises(CannotTranscode, match="no JPEG"):
            await convert(transcoder, Stored(SMALL.data.replace(b"\xff\xd8\xff", b"\0\0\0"), JPEG_BASELINE))
        await convert(transcoder)
        assert transcoder.starts == 1


async def test_what_cannot_be_converted_starts_no_process() -> None:
    async with Transcoder() as transcoder:
        for source, target in (("1.2.840.10008.1.2.4.100", EXPLICIT), (EXPLICIT, JPEG_BASELINE)):
            with pytest.raises(CannotTranscode):
                await convert(transcoder, Stored(b"\0" * 8, source), target)
        assert transcoder.starts == 0


async def test_an_object_shorter_than_the_index_says_is_refused() -> None:
    async with Transcoder() as transcoder:
        with pytest.raises(CannotTranscode, match="shorter"):
            await transcoder.convert(
                descriptor(SMALL.data),
                offset=OFFSET,
                length=len(SMALL.data) + 1,
                source=JPEG_LS,
                target=EXPLICIT,
            )


async def test_a_process_that_dies_fails_its_conversion_only() -> None:
    async with Transcoder() as transcoder, stopped(transcoder) as pid:
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def failing() -> None:
                with pytest.raises(CannotTranscode, match="died") as died:
                    await convert(transcoder)
                assert not isinstance(died.value, CannotTranscodeNow), "the same object fails again"

            await trio.testing.wait_all_tasks_blocked()
            os.kill(pid, signal.SIGKILL)
        assert await convert(transcoder) == SMALL.to(EXPLICIT).data
        assert transcoder.starts == 2 and pid not in transcoder.pids


async def test_a_process_that_has_ended_is_not_signalled_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async with Transcoder() as transcoder:
        await convert(transcoder)
        (process,) = transcoder._alive
        assert await process.end() == -signal.SIGKILL

        def found_another(*_: int) -> None:
            raise AssertionError("the number is somebody else's by now")

        with monkeypatch.context() as patched:
            patched.setattr(os, "kill", found_another)
            patched.setattr(signal, "pidfd_send_signal", found_another)
            assert await process.end() == -signal.SIGKILL


async def test_what_processes_need_can_be_loaded_ahead() -> None:
    async with Transcoder() as transcoder:
        transcoder.prepare()
        template = template_of(transcoder)
        assert transcoder.pids == []
        await convert(transcoder)
        transcoder.prepare()
        (pid,) = transcoder.pids
        assert template_of(transcoder) == template == parent_of(pid)
        assert len(list(Path(f"/proc/{template}/task").iterdir())) == 1, "forking wants one thread"
    assert not is_there(template) and not is_there(pid)


async def test_after_a_crash_processes_come_from_another_template() -> None:
    """All of one template have the same addresses: nobody is to find out by trying where things lie."""
    async with Transcoder(processes=2) as transcoder, stopped(transcoder) as pid:
        template = template_of(transcoder)
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def failing() -> None:
                with pytest.raises(CannotTranscode, match="died"):
                    await convert(transcoder)

            await trio.testing.wait_all_tasks_blocked()
            os.kill(pid, signal.SIGSEGV)
            os.kill(pid, signal.SIGCONT)
        assert not is_there(template)
        await convert(transcoder)
        assert [parent_of(pid) for pid in transcoder.pids] == [template_of(transcoder)] != [template]


async def test_a_conversion_under_way_goes_on_when_another_crashes_its_process() -> None:
    async with Transcoder(processes=2) as transcoder, stopped(transcoder) as first:
        template = template_of(transcoder)
        done = []

        async def one() -> None:
            try:
                done.append(await convert(transcoder))
            except CannotTranscode:
                done.append(b"")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(one)
            await trio.testing.wait_all_tasks_blocked()
            await convert(transcoder)
            second = next(pid for pid in transcoder.pids if pid != first)
            os.kill(second, signal.SIGSTOP)
            nursery.start_soon(one)
            await trio.testing.wait_all_tasks_blocked()
            os.kill(first, signal.SIGKILL)
            with trio.fail_after(20):
                while not done:
                    await trio.sleep(0.01)
            assert done == [b""] and is_there(template)
            os.kill(second, signal.SIGCONT)
        assert done == [b"", SMALL.to(EXPLICIT).data] and not is_there(template) and transcoder.pids == []


async def test_a_template_that_died_is_replaced(descriptors: object) -> None:
    async with Transcoder() as transcoder:
        await convert(transcoder)
        (pid,), template = transcoder.pids, template_of(transcoder)
        os.kill(template, signal.SIGKILL)
        await gone(pid)
        with pytest.raises(CannotTranscodeNow):
            await convert(transcoder)
        assert await convert(transcoder) == SMALL.to(EXPLICIT).data
        assert template_of(transcoder) != template


async def test_what_cannot_be_written_may_go_well_another_time(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: Transcoder, stack: ExitStack) -> int:
        fd = os.open("/dev/full", os.O_RDWR)
        stack.callback(os.close, fd)
        return fd

    async with Transcoder() as transcoder:
        with monkeypatch.context() as patched:
            patched.setattr(Transcoder, "_unnamed", full)
            with pytest.raises(CannotTranscodeNow, match="cannot be written"):
                await convert(transcoder)
        assert await convert(transcoder) == SMALL.to(EXPLICIT).data


async def test_a_conversion_that_takes_too_long_is_ended() -> None:
    async with Transcoder(deadline_s=20) as transcoder, stopped(transcoder) as pid:
        transcoder._deadline_s = 0.05
        with pytest.raises(CannotTranscodeNow, match="longer than"):
            await convert(transcoder)
        assert not is_there(pid)


async def test_a_cancelled_conversion_ends_its_process(descriptors: object) -> None:
    async with Transcoder() as transcoder, stopped(transcoder) as pid:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(convert, transcoder)
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        assert not is_there(pid) and transcoder.pids == []
        await convert(transcoder)


async def test_closing_ends_what_is_at_work_and_what_waits() -> None:
    transcoder = Transcoder()
    refused = 0

    async def turned_away() -> None:
        nonlocal refused
        with pytest.raises(Unavailable):
            await convert(transcoder)
        refused += 1

    async with trio.open_nursery() as nursery, transcoder, stopped(transcoder) as pid:
        nursery.start_soon(turned_away)
        nursery.start_soon(turned_away)
        await trio.testing.wait_all_tasks_blocked()
    assert refused == 2 and not is_there(pid)
    with pytest.raises(Unavailable):
        await convert(transcoder)


async def test_only_so_many_may_wait() -> None:
    async with Transcoder(queue=1) as transcoder, stopped(transcoder), trio.open_nursery() as nursery:
        nursery.start_soon(convert, transcoder)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(convert, transcoder)
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(Unavailable, match="too many"):
            await convert(transcoder)
        nursery.cancel_scope.cancel()


async def test_conversions_side_by_side() -> None:
    async with Transcoder(processes=2) as transcoder:
        found: list[bytes] = []

        async def one() -> None:
            found.append(await convert(transcoder))

        async with trio.open_nursery() as nursery:
            for _ in range(12):
                nursery.start_soon(one)
        assert found == [SMALL.to(EXPLICIT).data] * 12
        assert transcoder.starts == 2 and len(transcoder.pids) == 2


async def test_an_idle_process_leaves_and_the_next_conversion_starts_another() -> None:
    async with Transcoder(idle_s=0.05) as transcoder:
        await convert(transcoder)
        (pid,) = transcoder.pids
        await gone(pid)
        assert await convert(transcoder) == SMALL.to(EXPLICIT).data
        assert transcoder.starts == 2 and pid not in transcoder.pids


async def test_memory_has_a_limit() -> None:
    wide = np.zeros((8000, 8000), np.uint8)
    source = encapsulated(image(wide), [imagecodecs.jpegls_encode(wide)], JPEG_LS)
    async with Transcoder(memory_bytes=160 * 1024**2) as transcoder:
        with pytest.raises(CannotTranscode, match="memory"):
            await convert(transcoder, source)
        assert await convert(transcoder) == SMALL.to(EXPLICIT).data


async def test_damaged_codestreams_are_refused_or_decoded_and_nothing_else() -> None:
    random = np.random.default_rng(7)
    coded_as = {
        JPEG_LS: imagecodecs.jpegls_encode(FRAME),
        JPEG_BASELINE: imagecodecs.jpeg8_encode(FRAME),
        JPEG_2000: imagecodecs.jpeg2k_encode(FRAME, codecformat="j2k"),
        JPEG_XL: imagecodecs.jpegxl_encode(FRAME),
    }
    refused = set()
    async with Transcoder(deadline_s=5, memory_bytes=512 * 1024**2) as transcoder:
        for syntax, coded in coded_as.items():
            for _ in range(40):
                damaged = bytearray(coded)
                for at in random.integers(0, len(damaged), 3):
                    damaged[at] = random.integers(0, 256)
                try:
                    made = await convert(transcoder, encapsulated(image(FRAME), [damaged], syntax))
                except CannotTranscode:
                    refused.add(syntax)
                else:
                    assert made[-FRAME.nbytes - 4 :][:4] == FRAME.nbytes.to_bytes(4, "little")
            assert await convert(transcoder) == SMALL.to(EXPLICIT).data
    assert refused == set(coded_as)


async def test_the_output_has_a_limit() -> None:
    async with Transcoder(max_bytes=100) as transcoder:
        with pytest.raises(CannotTranscode, match="larger than 100 bytes"):
            await convert(transcoder)


async def test_no_folder_is_a_refusal(tmp_path: Path, descriptors: object) -> None:
    async with Transcoder(folder=tmp_path / "missing") as transcoder:
        with pytest.raises(CannotTranscodeNow, match="no temporary file"):
            await convert(transcoder)


async def test_a_process_has_no_socket_but_ours_and_no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PACS_DATABASE__URL", "postgresql://somebody:secret@nowhere/pacs")
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.set_inheritable(True)
        async with Transcoder(processes=2) as transcoder:
            async with trio.open_nursery() as nursery:
                for _ in range(4):
                    nursery.start_soon(convert, transcoder)
            for pid in transcoder.pids:  # the second is forked while the template holds the first one's link
                assert sorted(path.name for path in Path(f"/proc/{pid}/fd").iterdir()) == ["0", "1", "2"]
                assert b"secret" not in Path(f"/proc/{pid}/environ").read_bytes()
                status = Path(f"/proc/{pid}/status").read_text()
                assert "NoNewPrivs:\t1" in status
                limits = Path(f"/proc/{pid}/limits").read_text()
                assert "Max core file size        0                    0" in limits
                assert "Max open files            32                   32" in limits
            assert len(transcoder.pids) == 2


PARENT = """
import os, signal, sys, trio
from pacs_actors.archive.transcoder import Transcoder
async def main():
    transcoder = Transcoder()
    fd = os.open(sys.argv[1], os.O_RDONLY)
    await transcoder.convert(fd, offset=int(sys.argv[2]), length=int(sys.argv[3]), source=sys.argv[4], target=sys.argv[5])
    os.kill(transcoder.pids[0], signal.SIGSTOP)
    print(transcoder.pids[0], flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
trio.run(main)
"""


async def test_processes_die_with_the_server_even_when_it_is_killed(tmp_path: Path) -> None:
    (tmp_path / "object").write_bytes(bytes(OFFSET) + SMALL.data)
    ran = await trio.run_process(
        [
            sys.executable,
            "-c",
            PARENT,
            tmp_path / "object",
            str(OFFSET),
            str(len(SMALL.data)),
            JPEG_LS,
            EXPLICIT,
        ],
        capture_stdout=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[3])},
    )
    assert ran.returncode == -signal.SIGKILL
    pid = int(ran.stdout)
    if is_there(pid):
        await gone(pid)


def test_a_process_leaves_when_its_socket_ends_and_takes_no_strange_parent() -> None:
    for parent, expected in ((os.getpid(), 0), (1, 1)):
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with ours, theirs:
            process = subprocess.Popen(
                [sys.executable, "-m", "pacs_actors.pixels", str(parent), str(1 << 31), "60"],
                stdin=theirs.fileno(),
                cwd=Path(__file__).resolve().parents[3],
            )
            theirs.close()
            ours.close()
            assert process.wait(30) == expected


def test_messages_are_small() -> None:
    job = Job(1 << 60, 1 << 60, "1" * 64, "1" * 64, 1 << 60, 1 << 30)
    assert len(encode_message(job)) < 512


def test_a_pool_without_processes_is_a_bug() -> None:
    with pytest.raises(Misuse):
        Transcoder(processes=0)
