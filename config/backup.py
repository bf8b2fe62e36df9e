"""Settings of backups."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct


class BackupSettings(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    to: Annotated[
        str | None,
        Meta(
            description="Where the server makes backups by itself: a folder on another disk or machine, or s3://bucket/prefix;"
            " none: it does not."
        ),
    ] = None
    full_every_days: Annotated[
        float, Meta(gt=0, le=365, description="A full backup begins a new chain after so many days.")
    ] = 7.0
    incremental_every_h: Annotated[
        float,
        Meta(gt=0, le=8760, description="In between, what has changed is backed up after so many hours."),
    ] = 24.0
    keep_full: Annotated[
        int,
        Meta(
            ge=0, le=1000, description="So many full backups stay, with what builds on them; 0: all of them."
        ),
    ] = 0
    key_file: Annotated[
        str | None,
        Meta(
            description="File of the key that backups are encrypted with (64 hexadecimal digits); none: they are not."
        ),
    ] = None
