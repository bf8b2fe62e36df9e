/**
 * What the API says, as the panel reads it: the server's own description, and names for it.
 *
 * Dates of DICOM attributes are YYYYMMDD; our own moments RFC 3339 in UTC.
 */

import type { components } from "./schema";

type Schemas = components["schemas"];

export interface Page<T> {
  items: T[];
  next: string | null;
  total: number;
  total_exact: boolean;
}

export type Action =
  | "study.search"
  | "study.view"
  | "study.download"
  | "study.store"
  | "study.delete"
  | "study.share"
  | "study.audit"
  | "system.read"
  | "nodes.read"
  | "nodes.write"
  | "people.read"
  | "people.write"
  | "audit.read"
  | "settings.read"
  | "settings.write"
  | "storage.write";

export type Me = Schemas["Me"];
export type LoginOptions = Schemas["LoginOptions"];

export type Study = Schemas["ListedStudy"];
export type StudyDetail = Schemas["Study"];
export type Series = Schemas["SeriesRow"];
export type Instance = Schemas["Instance"];
export type Tag = Schemas["TagRow"];
export type SavedSearch = Schemas["SavedSearch"];

export type Deletion = Schemas["Deleted"];
export type PendingDeletion = Schemas["Deletion"];
export type Share = Schemas["Share"];
export type NewShare = Schemas["MadeLink"];

export const NODE_RIGHTS = ["store", "find", "move", "get", "commit"] as const;
export type Node = Schemas["Node"];
export type Echo = Schemas["EchoResult"];

export type AssociationStatus = Schemas["AssociationStatus"];
export type ActorStatus = Schemas["ActorStatus"];
export type MailboxStatus = Schemas["MailboxStatus"];
export type WorkerStatus = Schemas["WorkerStatus"];
/** Without the list of last studies, which the panel asks for by itself. */
export type NodeStatus = Pick<Schemas["NodeStatus"], "at" | "ae_title" | "dicom" | "workers">;

export type StudyScope = Schemas["RoleScope"];
export type ScopeRule = Schemas["RoleRule"];
export type User = Schemas["User"];
export type Role = Schemas["Role"];
export type Permission = Schemas["Permission"];
export type Token = Schemas["ApiToken"];
export type NewToken = Schemas["MadeToken"];

export type Storage = Schemas["web.api.lifecycle.Storage"];
export type StoreState = Schemas["StoreState"];
export type Policy = Schemas["Policy"];
export type PolicyRule = Schemas["Rule"];
export type PolicyRun = Schemas["pacs_actors.lifecycle.policy_book.Run"];
export type PolicyPreview = Schemas["Preview"];
export type Move = Schemas["Move"];
export type StudyStorage = Schemas["StudyStorage"];
export type Integrity = Schemas["Integrity"];
export type IntegrityRun = Schemas["pacs_actors.lifecycle.integrity_runs.Run"];
export type Finding = Schemas["Finding"];
export type Quarantined = Schemas["Quarantined"];
export type Backup = Schemas["Backup"];
export type BackupSchedule = Schemas["Schedule"];
export type Holdings = Schemas["web.api.system.Storage"];

export type AuditEvent = Schemas["AuditRow"];
export type AuditVerdict = Schemas["Verdict"];
export type Setting = Schemas["Setting"];
