"""Which backup builds on which, and which may go. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime

from pacs_actors.lifecycle.backup.manifest import Kind, Manifest
from protocols.errors import ConfigError, PacsError


class NoChain(PacsError):
    """There is nothing that an incremental or differential backup could build on."""


class NoBackup(PacsError):
    """There is no such backup."""


def in_order(backups: Iterable[Manifest]) -> list[Manifest]:
    """Oldest first, whatever the clock did."""
    return sorted(backups, key=lambda one: (one.sequence, one.id))


def chain_to(chosen: Manifest, backups: Iterable[Manifest]) -> list[Manifest]:
    """The full backup, what follows it, and the chosen one. raises: NoBackup if one of them is not there"""
    known = {one.id: one for one in backups}
    found = [chosen]
    while found[-1].kind != "full":
        parent = known.get(found[-1].parent or "")
        if parent is None or parent in found or parent.archive != chosen.archive:
            raise NoBackup(f"backup {found[-1].parent}, which {found[-1].id} builds on, is not there")
        found.append(parent)
    return found[::-1]


def orphans(backups: Sequence[Manifest]) -> dict[str, str]:
    """Backups that cannot be restored because something that they build on is not there: their ids, and why."""
    found = {}
    for one in in_order(backups):
        try:
            chain_to(one, backups)
        except NoBackup as why:
            found[one.id] = str(why)
    return found


def parent_of(kind: Kind, backups: Iterable[Manifest], archive: str, *, encrypted: bool) -> Manifest | None:
    """What a new backup builds on: the newest one that can be restored, or of a differential the newest full one; of a full one
    nothing.

    raises: NoChain
    """
    if kind == "full":
        return None
    own = in_order(one for one in backups if one.archive == archive)
    fulls = [one for one in own if one.kind == "full"]
    if not fulls:
        raise NoChain("there is no full backup of this archive: make one with --full")
    root = fulls[-1]
    if bool(root.key_check) != encrypted:
        said = "is encrypted and this one would not be" if root.key_check else "is not encrypted"
        raise NoChain(f"backup {root.id} {said}: begin a new chain with --full")
    if kind == "differential":
        return root
    lost = orphans(own)
    members = [one for one in own if one.sequence >= root.sequence and one.id not in lost]
    return members[-1]


def pick(backups: Sequence[Manifest], at: str | None) -> Manifest:
    """The newest backup; or by its id; or the newest that was finished by a time (ISO 8601, UTC unless it says otherwise).

    raises: NoBackup; ConfigError if ``at`` is neither
    """
    ordered = in_order(backups)
    if at is None:
        if not ordered:
            raise NoBackup("there is no backup")
        return ordered[-1]
    for one in ordered:
        if one.id == at:
            return one
    try:
        limit = datetime.fromisoformat(at)
    except ValueError:
        raise ConfigError(f"--at: {at} is neither a backup nor a time such as 2026-11-21T06:00") from None
    limit = limit if limit.tzinfo is not None else limit.replace(tzinfo=UTC)
    early = [one for one in ordered if datetime.fromisoformat(one.finished) <= limit]
    if not early:
        raise NoBackup(f"there is no backup of {at} or before")
    return early[-1]


def superfluous(backups: Sequence[Manifest], verified: Mapping[str, bool], keep_full: int) -> list[Manifest]:
    """What may be deleted so that each archive's newest ``keep_full`` chains stay: whole chains, youngest members first.

    The chain of the newest full backup that was verified stays in any case; so does the newest chain that lacked nothing once, for
    what others lack may be there only; and what builds on something unknown.
    """
    going: list[Manifest] = []
    ordered = in_order(backups)
    for archive in {one.archive for one in ordered}:
        own = [one for one in ordered if one.archive == archive]
        roots = {one.id: _root(one, own) for one in own}
        fulls = [one for one in own if one.kind == "full"]
        kept = {one.id for one in fulls[-max(1, keep_full) :]}
        kept |= {one.id for one in [one for one in fulls if verified.get(one.id)][-1:]}
        complete = {roots[one.id] for one in own if not one.missing}
        whole = [one for one in fulls if one.id in complete]
        kept |= {one.id for one in ([one for one in whole if verified.get(one.id)] or whole)[-1:]}
        going += [one for one in own if (root := roots[one.id]) is not None and root not in kept]
    return in_order(going)[::-1]


def _root(one: Manifest, own: Sequence[Manifest]) -> str | None:
    try:
        return chain_to(one, own)[0].id
    except NoBackup:
        return None
