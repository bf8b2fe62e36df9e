/** What the audit notes, in the order in which people look for it. */
export const AUDIT_EVENTS = [
  "login",
  "logout",
  "denied",
  "query",
  "viewed",
  "retrieve",
  "downloaded",
  "exported",
  "move",
  "store",
  "imported",
  "commit",
  "association",
  "deleted",
  "undeleted",
  "erased",
  "share_created",
  "share_used",
  "share_revoked",
  "user_changed",
  "permission_changed",
  "settings_changed",
  "node_changed",
  "audit_read",
  "audit_damaged",
  "instance_quarantined",
  "patient_mismatch",
  "object_healed",
  "object_damaged",
  "integrity_asked",
  "storage_asked",
  "started",
  "stopped",
] as const;

/** Of the audit's table, those that it can be sorted by; its rows are numbered as they were noted. */
export const AUDIT_COLUMNS = ["id", "event", "outcome", "who", "address", "patient_id"] as const;
export const LATEST = "-id";

/** What an address says of the order, if it can be had. */
export function auditSort(asked: string | undefined): string {
  const known: readonly string[] = AUDIT_COLUMNS;
  return asked && known.includes(asked.replace(/^-/, "")) ? asked : LATEST;
}
