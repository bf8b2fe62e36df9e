from __future__ import annotations

import random
import tempfile
from pathlib import Path

import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from xxhash import xxh3_128_digest

from pacs_actors.archive.objects.buffers import BLOCK_BYTES, BUFFER_BYTES

from .helpers import CT, EXPLICIT_LE, length, on_disk, open_store

UID = "1.2.840.99.1"
SIZES = st.one_of(
    st.integers(0, 3 * BLOCK_BYTES),
    st.integers(-600, 600).map(lambda step: BUFFER_BYTES + step),
    st.sampled_from([BLOCK_BYTES - 1, BLOCK_BYTES, BLOCK_BYTES + 1, 2 * BUFFER_BYTES]),
)
STEPS = st.lists(st.tuples(st.sampled_from(["write", "receive", "spill", "park"]), SIZES), max_size=8)


@pytest.mark.usefixtures("layout")
@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(STEPS, st.integers(0, 2**32))
def test_however_an_object_comes_its_file_is_the_same(steps: list[tuple[str, int]], seed: int) -> None:
    randomness = random.Random(seed)

    async def receive() -> None:
        with tempfile.TemporaryDirectory() as folder:
            async with open_store(Path(folder), buffers=4) as store:
                sent = bytearray()
                with await store.stage(CT, UID, EXPLICIT_LE, "M") as staging:
                    for what, size in steps:
                        if what == "write":
                            data = randomness.randbytes(size)
                            sent += data
                            await staging.write(data)
                        elif what == "receive":  # as the link does: into what is free of the view
                            data = randomness.randbytes(min(size, len(staging.view) - staging.position))
                            sent += data
                            staging.view[staging.position : staging.position + len(data)] = data
                            staging.position += len(data)
                        elif what == "spill":
                            await staging.spill()
                            assert staging.position < BLOCK_BYTES
                        else:
                            await staging.park()
                            assert store.health.buffers.free == 4
                            await staging.resume()
                    stored, seen = await store.commit(staging, length)
                raw = on_disk(Path(folder), stored.key).read_bytes()
                assert raw[stored.data_offset :] == sent
                assert stored.size_bytes == len(raw)
                assert stored.digest == xxh3_128_digest(raw[128:])
                assert seen[0] <= len(sent)
                assert await store.verify(stored.key)

    trio.run(receive)
