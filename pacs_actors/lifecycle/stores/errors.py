"""What a tier store can say no with. The text names the store and never a key of access."""

from __future__ import annotations

from protocols.errors import PacsError, Unavailable


class StoreError(PacsError):
    """store: its name in the settings; what: one sentence's worth."""

    def __init__(self, store: str, what: str) -> None:
        super().__init__(store, what)
        self.store, self.what = store, what

    def __str__(self) -> str:
        return f"store {self.store}: {self.what}"


class BadCopyKey(StoreError):
    """Not a key that ``copy_keys`` makes or takes; nothing was asked of the store."""


class CopyMissing(StoreError):
    """There is no such copy."""


class CopyDiffers(StoreError):
    """Other bytes lie under this key. They stay: to replace a damaged copy, remove it first."""


class SourceBroken(StoreError):
    """The source gave fewer or more bytes than it said, or could not be read. Nothing was stored."""


class StoreDenied(StoreError):
    """The store does not let us: wrong access key, missing right, read-only. Somebody has to change that."""


class StoreFull(StoreError):
    """No room. Nothing was stored."""


class StoreUnavailable(StoreError, Unavailable):
    """Away, overloaded, too slow, or its answer was cut off or wrong. What had been asked may have happened or not.

    retry: asking again later may help; a remote store has asked as often as its settings say
    """

    def __init__(self, store: str, what: str, *, retry: bool = True) -> None:
        super().__init__(store, what)
        self.retry = retry
