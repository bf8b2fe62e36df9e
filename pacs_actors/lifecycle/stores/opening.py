"""Tier stores from the settings."""

from __future__ import annotations

from config.stores import LifecycleStoreSettings
from pacs_actors.lifecycle.stores.folder import FolderStore
from pacs_actors.lifecycle.stores.interface import TierStore


def make_store(name: str, settings: LifecycleStoreSettings) -> TierStore:
    """The store of a ``[stores.NAME]`` table that has been checked; enter it before use."""
    if settings.kind == "folder":
        return FolderStore(name, settings)
    # Not before they are wanted: botocore takes a second and 30 MB.
    if settings.kind == "azure":
        from pacs_actors.lifecycle.stores.azure import AzureStore  # noqa: PLC0415

        return AzureStore(name, settings)
    from pacs_actors.lifecycle.stores.s3 import S3Store  # noqa: PLC0415

    return S3Store(name, settings)
