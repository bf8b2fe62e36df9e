"""The renderer: processes that die, hang and queue; what is kept; who leaves."""

from __future__ import annotations

import os
import signal
from contextlib import ExitStack
from pathlib import Path

import imagecodecs
import pytest
import trio
import trio.testing

from pacs_actors.archive.objects.interface import ObjectFile
from pacs_actors.archive.transcoder import Transcoder
from pacs_actors.pixels.notices import MAX_MESSAGE_BYTES
from pacs_actors.pixels.pool import PixelPool
from pacs_actors.rendering import renderer as renderer_module
from pacs_actors.rendering.messages import (
    MAX_VIEWPORT,
    CannotRender,
    Look,
    Picture,
    RenderJob,
    Viewport,
    Window,
    encode,
)
from pacs_actors.rendering.renderer import Renderer, RenderingFailed, StoredPixels
from protocols.errors import Unavailable
from tests.pacs_actors.archive.transcoding_data import EXPLICIT, gradient, image
from tests.pacs_actors.rendering.rendering_data import native

STORED = native(image(gradient()), gradient())
PNG = Look(picture=Picture.PNG)


def of(data: bytes = STORED.data, syntax: str = EXPLICIT, digest: bytes = b"digest") -> StoredPixels:
    def opened() -> ObjectFile:
        fd = os.memfd_create("object")
        os.write(fd, bytes(900) + data)
        return ObjectFile(fd, 0, 900 + len(data))

    return StoredPixels(opened, 900, len(data), syntax, digest)


@pytest.fixture
def descriptors() -> object:
    """None may be left behind."""
    before = set(os.listdir("/proc/self/fd"))  # noqa: PTH208
    yield
    assert set(os.listdir("/proc/self/fd")) <= before  # noqa: PTH208


async def stopped(pool: PixelPool) -> int:
    """Render once, then let the process stand still."""
    await Renderer(pool).render(of(), PNG)
    (pid,) = pool.pids
    os.kill(pid, signal.SIGSTOP)
    return pid


async def test_a_picture_through_a_process(descriptors: object) -> None:
    async with Transcoder() as pool:
        made = await Renderer(pool).render(of(), PNG)
        assert imagecodecs.png_decode(made.data).shape == (16, 20) and made.frames == 1
        with pytest.raises(CannotRender):
            await Renderer(pool).render(of(b"\0" * 8), PNG)
        assert pool.starts == 1


async def test_one_process_does_both_kinds_of_work() -> None:
    async with Transcoder() as pool:
        await Renderer(pool).render(of(), PNG)
        stored = of()
        fd, length = await pool.convert(
            stored.open().fd, offset=900, length=stored.length, source=EXPLICIT, target="1.2.840.10008.1.2"
        )
        os.close(fd)
        assert length and pool.starts == 1


async def test_a_process_that_dies_of_a_picture_fails_that_one_only() -> None:
    async with Transcoder() as pool:
        pid = await stopped(pool)
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def failing() -> None:
                with pytest.raises(RenderingFailed):
                    await Renderer(pool).render(of(), PNG)

            await trio.testing.wait_all_tasks_blocked()
            os.kill(pid, signal.SIGKILL)
        assert (await Renderer(pool).render(of(), PNG)).data


async def test_a_picture_that_takes_too_long_is_unavailable() -> None:
    async with Transcoder() as pool:
        pid = await stopped(pool)
        with pytest.raises(Unavailable, match="longer"):
            await Renderer(pool, deadline_s=0.05).render(of(), PNG)
        assert not Path(f"/proc/{pid}").exists()


async def test_a_full_queue_is_unavailable() -> None:
    async with Transcoder(queue=1) as pool:
        await stopped(pool)
        async with trio.open_nursery() as nursery:
            for _ in range(2):
                nursery.start_soon(Renderer(pool).render, of(), PNG)
                await trio.testing.wait_all_tasks_blocked()
            with pytest.raises(Unavailable, match="too many"):
                await Renderer(pool).render(of(), PNG)
            nursery.cancel_scope.cancel()


async def test_who_leaves_the_queue_makes_no_work_and_who_leaves_a_picture_costs_no_process(
    descriptors: object,
) -> None:
    async with Transcoder() as pool:
        pid = await stopped(pool)
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(Renderer(pool).render, of(), PNG)
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
            os.kill(pid, signal.SIGCONT)
        assert pool.pids == [pid]
        made = await Renderer(pool).render(of(), Look(picture=Picture.PNG, window=Window(0, 1)))
        assert set(imagecodecs.png_decode(made.data).flat) == {255} and pool.starts == 1


async def test_what_is_kept_is_made_once_and_the_oldest_makes_room() -> None:
    async with Transcoder() as pool:
        renderer = Renderer(pool, cache_bytes=1000)
        first = await renderer.render(of(), PNG, keep=True)
        assert await renderer.render(of(), PNG, keep=True) is first
        assert renderer.known(renderer.tag(of(), PNG)) is first
        assert renderer.known(renderer.tag(of(), Look())) is None
        assert await renderer.render(of(), PNG) is not first
        for number in range(5):
            await renderer.render(of(digest=bytes([number])), PNG, keep=True)
        assert await renderer.render(of(), PNG, keep=True) is not first


async def test_what_cannot_be_written_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk or too little memory is no property of the object."""

    def full(stack: ExitStack) -> int:
        fd = os.open("/dev/full", os.O_RDWR)
        stack.callback(os.close, fd)
        return fd

    monkeypatch.setattr(renderer_module, "_memory", full)
    async with Transcoder() as pool:
        with pytest.raises(Unavailable, match="cannot be written"):
            await Renderer(pool).render(of(), PNG)


def test_a_tag_tells_every_difference() -> None:
    looks = [
        PNG,
        Look(),
        Look(quality=5),
        Look(window=Window(1, 2)),
        Look(viewport=Viewport(1, 2)),
        Look(frames=(2,)),
    ]
    tags = {Renderer.tag(of(digest=digest), look) for look in looks for digest in (b"a", b"b")}
    assert len(tags) == 12 and Renderer.tag(of(), PNG) != Renderer.tag(of(), PNG, "SR")


async def test_memory_has_a_limit() -> None:
    async with Transcoder(memory_bytes=200 * 1024**2) as pool:
        stored = of()
        look = Look(picture=Picture.PNG, viewport=Viewport(MAX_VIEWPORT, MAX_VIEWPORT))
        with pytest.raises(CannotRender, match="memory"):
            await Renderer(pool).render(stored, look)
        assert (await Renderer(pool).render(stored, PNG)).data


def test_the_largest_job_fits_into_a_message() -> None:
    number = 2**31 - 1
    look = Look(frames=(number,) * 1000, viewport=Viewport(*[number] * 6), window=Window(1e-300, 1e300))
    assert len(encode(RenderJob(2**62, 2**62, "1" * 64, look, "X" * 16))) < MAX_MESSAGE_BYTES
