"""Settings of what looks after the integrity of the archive."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct


class IntegritySettings(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    cycle_days: Annotated[
        float,
        Meta(
            ge=0,
            le=3650,
            description="Every object is read and compared with its checksum once in so many days; 0: only when asked.",
        ),
    ] = 30.0
    rate_mb_s: Annotated[
        float,
        Meta(gt=0, le=100_000, description="It reads so much at most, MB a second; less while images come."),
    ] = 40.0
    copies_cycle_days: Annotated[
        float,
        Meta(
            ge=0,
            le=3650,
            description="Every copy in the stores is read and compared once in so many days; 0: never by itself. Mind what reading "
            "costs there.",
        ),
    ] = 90.0
    copies_rate_mb_s: Annotated[
        float, Meta(gt=0, le=100_000, description="So much of them is read at most, MB a second and store.")
    ] = 10.0
    threads: Annotated[
        int, Meta(ge=1, le=32, description="Native threads that read, of the one worker that does it.")
    ] = 2
