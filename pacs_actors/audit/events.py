"""What can happen: the names of events, as they stand in the audit."""

from __future__ import annotations

from typing import Final

# Over DICOM and over the web alike
STORE: Final = "store"
IMPORTED: Final = "imported"
QUERY: Final = "query"
RETRIEVE: Final = "retrieve"
MOVE: Final = "move"
COMMIT: Final = "commit"
ASSOCIATION: Final = "association"
INSTANCE_QUARANTINED: Final = "instance_quarantined"
PATIENT_MISMATCH: Final = "patient_mismatch"
OBJECT_HEALED: Final = "object_healed"
OBJECT_DAMAGED: Final = "object_damaged"

# People
LOGIN: Final = "login"
LOGOUT: Final = "logout"
DENIED: Final = "denied"
VIEWED: Final = "viewed"
DOWNLOADED: Final = "downloaded"
EXPORTED: Final = "exported"
DELETED: Final = "deleted"
UNDELETED: Final = "undeleted"
ERASED: Final = "erased"
SHARE_CREATED: Final = "share_created"
SHARE_USED: Final = "share_used"
SHARE_REVOKED: Final = "share_revoked"

# The archive itself
USER_CHANGED: Final = "user_changed"
PERMISSION_CHANGED: Final = "permission_changed"
SETTINGS_CHANGED: Final = "settings_changed"
NODE_CHANGED: Final = "node_changed"
AUDIT_READ: Final = "audit_read"
AUDIT_DAMAGED: Final = "audit_damaged"
INTEGRITY_ASKED: Final = "integrity_asked"
STORAGE_ASKED: Final = "storage_asked"
STARTED: Final = "started"
STOPPED: Final = "stopped"

ALL: Final = (
    STORE, IMPORTED, QUERY, RETRIEVE, MOVE, COMMIT, ASSOCIATION, INSTANCE_QUARANTINED, PATIENT_MISMATCH, OBJECT_HEALED,
    OBJECT_DAMAGED, INTEGRITY_ASKED, STORAGE_ASKED,
    LOGIN, LOGOUT, DENIED, VIEWED, DOWNLOADED, EXPORTED, DELETED, UNDELETED, ERASED,
    SHARE_CREATED, SHARE_USED, SHARE_REVOKED,
    USER_CHANGED, PERMISSION_CHANGED, SETTINGS_CHANGED, NODE_CHANGED, AUDIT_READ, AUDIT_DAMAGED, STARTED, STOPPED,
)  # fmt: skip
