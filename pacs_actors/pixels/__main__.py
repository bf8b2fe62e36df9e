"""A pixel process: takes jobs from the socket that is its standard input, one at a time, until nobody needs it.

``python -m pacs_actors.pixels PARENT MEMORY_BYTES IDLE_S``. Exit code 0 means: no job was taken that is not answered.
"""

from __future__ import annotations

import errno
import gc
import os
import select
import socket
import sys
from contextlib import suppress
from typing import Final

import msgspec

from pacs_actors.archive.transcoding.messages import (
    MAX_REASON_CHARACTERS,
    CannotTranscode,
    Converted,
    Job,
    Refused,
    encode,
)
from pacs_actors.pixels.limits import confine, renounce
from pacs_actors.pixels.pool import MAX_MESSAGE_BYTES
from pacs_actors.rendering.messages import CannotRender, Rendered, RenderJob

_MOST_DESCRIPTORS: Final = 3
_TOO_MUCH_MEMORY: Final = "it takes more memory than a conversion may have"
# Decoders leak, and their arenas grow.
_MOST_JOBS: Final = 1000
_MOST_RENDERINGS: Final = 20_000
# Failures hold on to the mapped object through their tracebacks; answers do not.
_COLLECT_EVERY: Final = 64

_decode_job: Final = msgspec.json.Decoder[Job | RenderJob](Job | RenderJob).decode


def serve(link: socket.socket, *, memory_bytes: int, idle_s: float) -> None:
    """Answer jobs until the other end is closed, nothing has come for a while, or it is time for a fresh process."""
    waiting = select.poll()
    waiting.register(link, select.POLLIN)
    work = 0.0
    since_collected = 0
    while work < 1.0:
        if not waiting.poll(idle_s * 1000):
            return
        data, descriptors, _, _ = socket.recv_fds(link, MAX_MESSAGE_BYTES, _MOST_DESCRIPTORS)
        if not data:
            return
        try:
            job = _decode_job(data)
            answer = _answer(job, descriptors, memory_bytes)
        finally:
            for fd in descriptors:
                os.close(fd)
        with suppress(BrokenPipeError):
            link.send(encode(answer))
        rendered = isinstance(answer, Rendered)
        work += 1 / (_MOST_RENDERINGS if isinstance(job, RenderJob) else _MOST_JOBS)
        since_collected += 1
        if not rendered or since_collected >= _COLLECT_EVERY:
            gc.collect()
            since_collected = 0


def _answer(
    job: Job | RenderJob, descriptors: list[int], memory_bytes: int
) -> Converted | Rendered | Refused:
    # A job brings the object, the file for the result, and one for what has to be inflated before.
    confine(
        memory_bytes=memory_bytes,
        mapped_bytes=job.length + (job.max_bytes if len(descriptors) > 2 else 0),
        file_bytes=job.max_bytes,
        cpu_s=job.cpu_s,
    )
    try:
        return _work(job, descriptors)
    except CannotRender as failure:
        return Refused(failure.reason[:MAX_REASON_CHARACTERS], failure.why.value)
    except CannotTranscode as failure:
        reason = failure.reason
    except MemoryError:
        reason = _TOO_MUCH_MEMORY
    except OSError as failure:
        no_memory = failure.errno == errno.ENOMEM
        reason = _TOO_MUCH_MEMORY if no_memory else f"it cannot be written: {failure.strerror}"
    except Exception as failure:
        # Its text may quote the data set.
        reason = f"the conversion failed ({type(failure).__name__})"
    return Refused(reason[:MAX_REASON_CHARACTERS])


def _work(job: Job | RenderJob, descriptors: list[int]) -> Converted | Rendered:
    """Libraries are imported with the first job of a kind: each brings some that the other does without."""
    if isinstance(job, RenderJob):
        from pacs_actors.rendering.render import render  # noqa: PLC0415

        return render(job, *descriptors)
    from pacs_actors.archive.transcoding.convert import convert  # noqa: PLC0415

    return Converted(convert(job, *descriptors))


def main() -> None:
    parent, memory_bytes, idle_s = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    renounce(parent)
    with socket.socket(fileno=0) as link:
        # What was imported lives as long as we do: collecting it anew after every job would take longer than most jobs.
        gc.freeze()
        serve(link, memory_bytes=memory_bytes, idle_s=idle_s)


if __name__ == "__main__":
    main()
