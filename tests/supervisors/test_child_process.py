"""Children that are watched without threads, and never outlive their use."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest
import trio
import trio.testing

from supervisors.child_process import (
    MAX_LINE_BYTES,
    MAX_OUTPUT_BYTES,
    end_now,
    finish,
    lines,
    spawn,
    tell,
    wait_exit,
    wait_gone,
    wait_gone_within,
)

ENVIRONMENT = dict(os.environ)


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


async def test_what_it_says_and_how_it_ends() -> None:
    code = "import sys; print(sys.stdin.read()); print('trouble', file=sys.stderr); sys.exit(3)"
    finished = await finish(python(code), environment=ENVIRONMENT, feed=b"hello", limit_s=30)
    assert finished.code == 3
    assert sorted(finished.output.split()) == ["hello", "trouble"]


async def test_only_the_end_of_a_long_output_is_kept() -> None:
    code = f"print('x' * {3 * MAX_OUTPUT_BYTES}); print('the end')"
    finished = await finish(python(code), environment=ENVIRONMENT, limit_s=30)
    assert len(finished.output) == MAX_OUTPUT_BYTES
    assert finished.output.endswith("the end\n")


async def test_one_that_takes_too_long_is_killed() -> None:
    finished = await finish(["sleep", "600"], environment=ENVIRONMENT, limit_s=0.05)
    assert finished.code == -signal.SIGKILL


async def test_one_whose_caller_is_cancelled_is_killed_and_reaped() -> None:
    others = _children()  # of fixtures that live longer than a test
    with trio.move_on_after(5) as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: finish(["sleep", "600"], environment=ENVIRONMENT, limit_s=600))
            await trio.testing.wait_all_tasks_blocked()
            assert len(_children() - others) == 1
            nursery.cancel_scope.cancel()
    assert not scope.cancelled_caught
    assert _children() <= others


async def test_it_has_a_session_of_its_own() -> None:
    process = spawn(["sleep", "600"], environment=ENVIRONMENT)
    try:
        assert os.getsid(process.pid) == process.pid != os.getsid(0)
    finally:
        end_now(process)


async def test_lines_come_whole_and_a_line_without_end_comes_in_pieces() -> None:
    code = f"import sys; print('one'); print('two'); sys.stdout.write('x' * {5 * MAX_LINE_BYTES})"
    process = spawn(python(code), environment=ENVIRONMENT)
    try:
        said = [line async for line in lines(process)]
        assert said[:2] == ["one", "two"]
        assert "".join(said[2:]) == "x" * (5 * MAX_LINE_BYTES)
        assert max(map(len, said)) <= MAX_LINE_BYTES + 16 * 1024
        assert await wait_exit(process) == 0
    finally:
        end_now(process)


async def test_waiting_for_one_that_stays_and_one_that_has_gone() -> None:
    process = spawn(["sleep", "600"], environment=ENVIRONMENT)
    try:
        assert not await wait_gone_within(process.pid, 0.01)
        tell(process.pid, signal.SIGTERM)
        assert await wait_gone_within(process.pid, 10)
        assert await wait_exit(process) == -signal.SIGTERM
        await wait_gone(process.pid)
        tell(process.pid, signal.SIGTERM)  # nobody is there: nothing happens
    finally:
        end_now(process)


def test_a_program_that_is_not_there() -> None:
    with pytest.raises(FileNotFoundError):
        spawn(["/nonexistent/program"], environment=ENVIRONMENT)


def _children() -> set[int]:
    return {int(pid) for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()}
