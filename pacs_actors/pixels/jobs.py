"""What a pixel process does: takes jobs from its link, one at a time, and answers them."""

from __future__ import annotations

import errno
import gc
import os
import select
import socket
from contextlib import suppress
from typing import Final

import imagecodecs
import msgspec

from pacs_actors.archive.transcoding.convert import convert
from pacs_actors.archive.transcoding.messages import (
    MAX_REASON_CHARACTERS,
    PASSING,
    CannotTranscode,
    Converted,
    Job,
    Refused,
    encode,
)
from pacs_actors.pixels.limits import confine
from pacs_actors.pixels.notices import MAX_MESSAGE_BYTES
from pacs_actors.rendering.messages import CannotRender, Rendered, RenderJob
from pacs_actors.rendering.render import render

_MOST_DESCRIPTORS: Final = 4
_TOO_MUCH_MEMORY: Final = "it takes more memory than a conversion may have"
# Decoders leak, and their arenas grow.
_MOST_JOBS: Final = 1000
_MOST_RENDERINGS: Final = 20_000
# Failures hold on to the mapped object through their tracebacks; answers do not.
_COLLECT_EVERY: Final = 64
# What an object meets again whenever it is tried: the limits of its job. All else is trouble of our own.
_LIMITS: Final = frozenset({errno.ENOMEM, errno.EFBIG})

# Each comes with a library of its own, which is loaded when it is first looked at.
_CODECS: Final = (
    "cms_transform", "htj2k_encode", "jpeg2k_decode", "jpeg8_decode", "jpegls_decode", "jpegxl_decode", "packbits_decode",
    "png_encode", "webp_encode",
)  # fmt: skip

_decode_job: Final = msgspec.json.Decoder[Job | RenderJob](Job | RenderJob).decode


def load_codecs() -> None:
    """Have the codecs' libraries in memory, so that whoever is forked from here need not load them."""
    for name in _CODECS:
        getattr(imagecodecs, name)


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
    # A job brings the object, the file for the result, one for what has to be inflated before, and a presentation state.
    state = job.state if isinstance(job, RenderJob) else None
    scratch = len(descriptors) > (2 if state is None else 3)
    confine(
        memory_bytes=memory_bytes,
        mapped_bytes=job.length + (job.max_bytes if scratch else 0) + (state.length if state else 0),
        file_bytes=job.max_bytes,
        cpu_s=job.cpu_s,
    )
    kind = ""
    try:
        if isinstance(job, RenderJob):
            return render(job, *descriptors)
        return Converted(convert(job, *descriptors))
    except CannotRender as failure:
        return Refused(failure.reason[:MAX_REASON_CHARACTERS], failure.why.value)
    except CannotTranscode as failure:
        reason = failure.reason
    except MemoryError:
        reason = _TOO_MUCH_MEMORY
    except OSError as failure:
        no_memory = failure.errno == errno.ENOMEM
        kind = "" if failure.errno in _LIMITS else PASSING
        reason = _TOO_MUCH_MEMORY if no_memory else f"it cannot be written: {failure.strerror}"
    except Exception as failure:
        # Its text may quote the data set.
        reason = f"the conversion failed ({type(failure).__name__})"
    return Refused(reason[:MAX_REASON_CHARACTERS], kind)
