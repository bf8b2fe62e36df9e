"""A transcoding process: takes jobs from the socket that is its standard input, one at a time, until nobody needs it.

``python -m pacs_actors.archive.transcoding PARENT MEMORY_BYTES IDLE_S``. Exit code 0 means: no job was taken that is not answered.
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

from pacs_actors.archive.transcoding.convert import convert
from pacs_actors.archive.transcoding.limits import confine, renounce
from pacs_actors.archive.transcoding.messages import (
    MAX_MESSAGE_BYTES,
    MAX_REASON_CHARACTERS,
    Answer,
    CannotTranscode,
    Converted,
    Job,
    Refused,
    decode_job,
    encode,
)

_MOST_DESCRIPTORS: Final = 3
_TOO_MUCH_MEMORY: Final = "it takes more memory than a conversion may have"
# Decoders leak, and their arenas grow.
_MOST_JOBS: Final = 1000


def serve(link: socket.socket, *, memory_bytes: int, idle_s: float) -> None:
    """Answer jobs until the other end is closed, nothing has come for a while, or it is time for a fresh process."""
    waiting = select.poll()
    waiting.register(link, select.POLLIN)
    for _ in range(_MOST_JOBS):
        if not waiting.poll(idle_s * 1000):
            return
        data, descriptors, _, _ = socket.recv_fds(link, MAX_MESSAGE_BYTES, _MOST_DESCRIPTORS)
        if not data:
            return
        try:
            answer = _answer(decode_job(data), descriptors, memory_bytes)
        finally:
            for fd in descriptors:
                os.close(fd)
        with suppress(BrokenPipeError):
            link.send(encode(answer))
        # Failures hold on to the mapped object through their tracebacks.
        gc.collect()


def _answer(job: Job, descriptors: list[int], memory_bytes: int) -> Answer:
    source, target, *scratch = descriptors
    confine(
        memory_bytes=memory_bytes,
        mapped_bytes=job.length + (job.max_bytes if scratch else 0),
        file_bytes=job.max_bytes,
        cpu_s=job.cpu_s,
    )
    try:
        return Converted(convert(job, source, target, *scratch))
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


def main() -> None:
    parent, memory_bytes, idle_s = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    renounce(parent)
    # What was imported lives as long as we do: collecting it anew after every job would take longer than most jobs.
    gc.freeze()
    with socket.socket(fileno=0) as link:
        serve(link, memory_bytes=memory_bytes, idle_s=idle_s)


if __name__ == "__main__":
    main()
