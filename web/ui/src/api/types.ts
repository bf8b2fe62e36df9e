/** What the API says, as the panel reads it. Dates of DICOM attributes are YYYYMMDD; our own moments RFC 3339 in UTC. */

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
  | "system.read"
  | "nodes.read"
  | "nodes.write"
  | "people.read"
  | "people.write"
  | "audit.read"
  | "settings.read"
  | "settings.write";

export interface Me {
  name: string;
  display_name: string;
  roles: string[];
  actions: Action[];
  language: string | null;
  via: string;
}

export interface LoginOptions {
  oidc: { name: string; url: string } | null;
}

export interface Study {
  study_instance_uid: string;
  patient_id: string;
  issuer_of_patient_id: string;
  patient_name: string;
  patient_birth_date: string;
  patient_sex: string;
  study_date: string;
  study_time: string;
  accession_number: string;
  study_description: string;
  study_id: string;
  modalities: string[];
  referring_physician_name: string;
  institution_name: string;
  number_of_series: number;
  number_of_instances: number;
  size_bytes: number;
  received_at: string;
  source: string;
}

export interface Series {
  series_instance_uid: string;
  modality: string;
  series_number: string;
  series_description: string;
  series_date: string;
  series_time: string;
  body_part_examined: string;
  protocol_name: string;
  number_of_instances: number;
  size_bytes: number;
  received_at: string | null;
  institution_name: string;
  station_name: string;
  manufacturer: string;
  source: string;
}

export interface StudyDetail extends Study {
  series: Series[];
}

export interface Instance {
  sop_instance_uid: string;
  sop_class_uid: string;
  sop_class_name: string;
  instance_number: string;
  transfer_syntax_uid: string;
  transfer_syntax_name: string;
  rows: string;
  columns: string;
  number_of_frames: string;
  size_bytes: number;
  received_at: string;
}

export interface Tag {
  path: string;
  tag: string;
  vr: string;
  keyword: string;
  name: string;
  value: string;
  length: number;
  depth: number;
}

export interface Deletion {
  deletion: string | number;
  undo_until: string;
  instances: number;
}

export interface PendingDeletion {
  id: string | number;
  level?: string;
  study_instance_uid: string;
  instances: number;
  deleted_by?: string;
  deleted_at?: string;
  undo_until: string;
  patient_name?: string;
}

export interface Share {
  id: string | number;
  study_instance_uid: string;
  created_at: string;
  created_by?: string;
  expires_at: string;
  note: string;
  has_password: boolean;
  opened: number;
  revoked_at?: string | null;
}

export interface NewShare {
  id: string | number;
  url: string;
  expires_at: string;
}

export interface SavedSearch {
  id: string | number;
  name: string;
  query: string;
}

export const NODE_RIGHTS = ["store", "find", "move", "get", "commit"] as const;

export interface Node {
  ae_title: string;
  host: string;
  port: number;
  networks: string[];
  tls: boolean;
  rights: string[];
  destinations: string[] | null;
  transfer_syntaxes: string[];
  certificate_name: string | null;
  fixed: boolean;
}

export interface Echo {
  ok: boolean;
  ms: number | null;
  why: string;
}

export interface AssociationStatus {
  calling_ae: string;
  called_ae: string;
  address: string;
  since_s: number;
  requests: number;
  stored: number;
  received_bytes: number;
  sent_bytes: number;
  doing: string;
}

export interface ActorStatus {
  depth: number;
  name: string;
  state: string;
  restarts: number;
  crashes: number;
  last_crash: string;
}

export interface MailboxStatus {
  name: string;
  depth: number;
  capacity: number;
  told: number;
  served: number;
  refused: number;
  crashed: number;
  longest_wait_ms: number;
}

export interface WorkerStatus {
  slot: number;
  pid: number;
  state: string;
  uptime_s: number;
  accepting: boolean;
  why_not: string;
  indexing: boolean;
  memory_bytes: number;
  stored_instances: number;
  stored_bytes: number;
  indexed_instances: number;
  duplicates: number;
  conflicts: number;
  backlog: number;
  free_bytes: number;
  loop_lag_ms: number;
  counters: Record<string, number>;
  associations: AssociationStatus[];
  actors: ActorStatus[];
  mailboxes: MailboxStatus[];
  recovery: string;
}

export interface NodeStatus {
  at: number;
  ae_title: string;
  dicom: string;
  workers: WorkerStatus[];
}

export interface StudyScope {
  everything: boolean;
  rules: ScopeRule[];
}

export interface ScopeRule {
  modalities: string[];
  sources: string[];
  institutions: string[];
  departments: string[];
  referring_physicians: string[];
  studies: string[];
  own_department: boolean;
  own_referring: boolean;
}

export interface User {
  id: number;
  username: string;
  display_name: string;
  roles: string[];
  enabled: boolean;
  email: string;
  department: string;
  /** Studies besides those of the roles. */
  scope: StudyScope | null;
  has_password: boolean;
  issuer: string | null;
  last_login_at: string | null;
}

export interface Role {
  name: string;
  description: string;
  actions: Action[];
  scope: StudyScope;
}

export interface Permission {
  action: Action;
  description: string;
}

export interface Token {
  id: string | number;
  name: string;
  actions: Action[] | null;
  created_at: string;
  expires_at: string;
  used_at: string | null;
}

export interface NewToken extends Token {
  token: string;
}

export interface AuditEvent {
  id: number;
  at: string;
  event: string;
  outcome: string;
  who: string;
  address: string;
  patient_id: string;
  uids: string[];
  details: Record<string, unknown>;
}

export interface AuditVerdict {
  ok: boolean;
  events?: number;
  first_bad?: number | null;
  why?: string;
}

export interface Setting {
  key: string;
  value: unknown;
  default: unknown;
  description: string;
  live: boolean;
  source: string;
}
