"""What somebody may do, and to which studies. Pure.

Every way to an object asks the same two questions of a ``Principal``: does it allow the action, and is the study within its
scope. Somebody else's object is answered as if it were not there.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

from msgspec import Struct

from pacs_actors.archive.scope import NOTHING, StudyScope
from protocols.messages.audit import Actor


class Action(Enum):
    """A permission. The text is what roles, tokens and the API name it by."""

    SEARCH = "study.search"
    VIEW = "study.view"
    DOWNLOAD = "study.download"
    STORE = "study.store"
    DELETE = "study.delete"
    SHARE = "study.share"
    STUDY_AUDIT = "study.audit"
    SYSTEM_READ = "system.read"
    NODES_READ = "nodes.read"
    NODES_WRITE = "nodes.write"
    PEOPLE_READ = "people.read"
    PEOPLE_WRITE = "people.write"
    AUDIT_READ = "audit.read"
    STORAGE_WRITE = "storage.write"
    SETTINGS_READ = "settings.read"
    SETTINGS_WRITE = "settings.write"


DESCRIPTIONS: Final = {
    Action.SEARCH: "Find studies and see what is written about them",
    Action.VIEW: "Look at images and reports",
    Action.DOWNLOAD: "Take DICOM objects out: download, zip, C-GET, C-MOVE",
    Action.STORE: "Add objects: upload, STOW-RS, C-STORE",
    Action.DELETE: "Delete studies, series and instances, and undo it",
    Action.SHARE: "Share a study by link",
    Action.STUDY_AUDIT: "See what happened to a study: who stored it, looked at it, shared it",
    Action.SYSTEM_READ: "See the system's status: associations, queues, storage",
    Action.NODES_READ: "See the AE nodes",
    Action.NODES_WRITE: "Change the AE nodes and test them with C-ECHO",
    Action.PEOPLE_READ: "See users and roles",
    Action.PEOPLE_WRITE: "Change users and roles",
    Action.AUDIT_READ: "Read and export the audit, of the studies that they may see",
    Action.STORAGE_WRITE: "Say where studies are kept: policies, moves, legal holds, scrubs, backups",
    Action.SETTINGS_READ: "See the settings",
    Action.SETTINGS_WRITE: "Change settings that take effect at once",
}


class Via(Enum):
    """How somebody showed who they are; the audit's words."""

    SESSION = "session"
    TOKEN = "token"  # noqa: S105 - the word, not a secret
    SHARE = "link"
    DIMSE = "ae"


class Principal(Struct, frozen=True):
    """Somebody who acts, as the gate found them.

    name:     user name, or the name of the token's owner, or of the share link; for the audit
    user_id:  None for who is no user
    session:  identifies the session or token, so that what it holds open ends when it is revoked
    cookie:   it came with a cookie, which a browser sends on its own: writes must come from our own pages
    """

    name: str
    actions: frozenset[Action] = frozenset()
    scope: StudyScope = NOTHING
    via: Via = Via.SESSION
    user_id: int | None = None
    session: str = ""
    cookie: bool = False

    def may(self, action: Action) -> bool:
        return action in self.actions

    def actor(self, address: str) -> Actor:
        """Themselves, for the audit."""
        return Actor(self.name, self.via.value, address)
