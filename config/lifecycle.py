"""Settings of the lifecycle: when studies move between tiers, and how they come back. Policies are in the database."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct


class LifecycleSettings(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    every_s: Annotated[float, Meta(ge=1, le=86_400, description="How often policies are asked, seconds.")] = (
        60.0
    )
    movers: Annotated[int, Meta(ge=1, le=16, description="Studies that a worker moves at once.")] = 1
    objects_at_once: Annotated[
        int, Meta(ge=1, le=64, description="Objects of a study that are on their way at once.")
    ] = 8
    read_back: Annotated[
        bool,
        Meta(
            description="Read every new copy back before it counts as one, besides comparing checksums with the store."
        ),
    ] = True
    recall_wait_s: Annotated[
        float, Meta(ge=1, le=3600, description="Longest wait for an object that is brought back, seconds.")
    ] = 30.0
    recalls_at_once: Annotated[
        int, Meta(ge=1, le=64, description="Objects that a worker brings back at once for those who wait.")
    ] = 8
    cache_bytes: Annotated[
        int,
        Meta(
            ge=0,
            description="Most that recalled studies may take of the online store; the longest unused leave first. 0: no limit.",
        ),
    ] = 0
    replicate_to: Annotated[
        tuple[str, ...],
        Meta(
            description="Stores that get a copy of every instance as soon as it is indexed: what other nodes serve it from, or a"
            " second site."
        ),
    ] = ()
    replicas_at_once: Annotated[
        int, Meta(ge=1, le=64, description="Such copies that a worker makes at once, for each store.")
    ] = 4
    replication_alert_s: Annotated[
        float,
        Meta(
            ge=1,
            description="An instance that lacks such a copy for longer than that raises an alert, seconds.",
        ),
    ] = 900.0
    node_cache_bytes: Annotated[
        int,
        Meta(ge=1048576, description="Most disk space that copies of other nodes' objects may take, bytes."),
    ] = 10 * 1024**3
    prefetch_priors: Annotated[
        int,
        Meta(
            ge=0,
            le=100,
            description="When a study arrives, recall so many of the patient's newest studies of the same modality. 0: none.",
        ),
    ] = 3
    most_clock_jump_days: Annotated[
        float,
        Meta(
            ge=0.1,
            le=3650,
            description="A wall clock that is further ahead than that since policies were last asked, or an hour back, is"
            " doubted: no policy moves or deletes anything until an administrator confirms it.",
        ),
    ] = 7.0
    history_days: Annotated[
        int, Meta(ge=1, le=3650, description="How long moves that ended are remembered.")
    ] = 90
