/** Invented facts about storage, for working on the panel without a server. */

import { http, HttpResponse } from "msw";
import type { Backup, BackupSchedule, Integrity, Policy, Storage, StudyStorage } from "../src/api/types";
import { draftOf, ruleOf } from "../src/lib/storage.ts";
import { studies } from "./data.ts";

const ago = (minutes: number) => new Date(Date.now() - minutes * 60_000).toISOString();
const page = <T>(items: T[]) => HttpResponse.json({ items, next: null, total: items.length, total_exact: true });
const month = (back: number) => new Date(Date.now() - back * 2_629_800_000).toISOString().slice(0, 7);

const storage = (): Storage => ({
  stores: [
    { name: "nas", tier: "nearline", kind: "folder", free_bytes: 41e12, problem: "" },
    { name: "vault", tier: "archive", kind: "s3", free_bytes: null, problem: "" },
  ],
  figures: {
    at: ago(0),
    total_bytes: 8e12,
    free_bytes: 1.84e12,
    places: [
      { store: "online", studies: 21_400, instances: 9_800_000, size_bytes: 5.9e12 },
      { store: "nas", studies: 148_000, instances: 61_000_000, size_bytes: 33e12 },
      { store: "vault", studies: 301_000, instances: 98_000_000, size_bytes: 52e12 },
    ],
    modalities: ["CT", "MR", "MG", "XA", "US", "DX"].map((modality, at) => ({
      modality,
      series: 90_000 >> at,
      instances: 40_000_000 >> at,
      size_bytes: 30e12 / 2 ** at,
    })),
    months: Array.from({ length: 24 }, (_, at) => ({
      month: month(23 - at),
      studies: 6_000,
      instances: 2_000_000,
      size_bytes: 1e12 + at * 3e10 + (at % 5) * 6e10,
    })),
    growth_days: 30,
    grown_bytes: 1.7e12,
    full_on: ago(-60 * 24 * 33).slice(0, 10),
  },
  moves: {},
  nodes: [],
  replication: [],
  paths: [{ name: "nas: put", count: 1200, p50_ms: 12, p99_ms: 240 }],
  now: ago(0),
  clock_doubted_since: null,
});
const policies: Policy[] = [
  { id: 1, name: "CT after a year", enabled: true, priority: 10, changed_by: "admin", changed_at: ago(9000), rule: { ...ruleOf(draftOf()), to_store: "nas", form: "zstd" } },
]; // prettier-ignore
const quiet = { running: null, last: null, next_at: null };
const integrity: Integrity = { scrub: quiet, reconcile: quiet, findings: {} };
const schedule: BackupSchedule = { place: "/mnt/backup", full_every_days: 7, incremental_every_h: 24, keep_full: 8, encrypted: true, next_at: ago(-400), next_kind: "incremental",
        restored: { at: ago(60_000), who: "root", backup: "20260101T010000Z-full", instances: 1_204_551 } }; // prettier-ignore
const of = (study: string): StudyStorage => {
  const known = studies.find((one) => one.study_instance_uid === study);
  const availability = (known?.availability ?? "ONLINE") as StudyStorage["availability"];
  const instances = known?.number_of_instances ?? 0;
  return { availability, instances, online: availability === "ONLINE" ? instances : 0, copies: [], accessed_at: ago(400), recalled_at: null, labels: [], workflow_state: "", patient_class: "", hold: null, moves: [] }; // prettier-ignore
};

export const storageHandlers = [
  http.get("*/api/v1/storage", () => HttpResponse.json(storage())),
  http.get("*/api/v1/storage/policies", () => HttpResponse.json(policies)),
  http.get("*/api/v1/storage/policies/:policy/runs", () =>
    HttpResponse.json([{ at: ago(60), studies: 12, size_bytes: 9e9, problem: "" }]),
  ),
  http.post("*/api/v1/storage/preview", () => HttpResponse.json({ studies: 0, size_bytes: 0, some: [] })),
  http.get("*/api/v1/storage/moves", () => HttpResponse.json({ items: [], next: null })),
  http.get("*/api/v1/studies/:study/storage", ({ params }) => HttpResponse.json(of(String(params["study"])))),
  http.get("*/api/v1/integrity", () => HttpResponse.json(integrity)),
  http.get("*/api/v1/integrity/findings", () => page([])),
  http.get("*/api/v1/quarantine", () => page([])),
  http.get("*/api/v1/backups", () => page<Backup>([])),
  http.get("*/api/v1/backups/schedule", () => HttpResponse.json(schedule)),
];
