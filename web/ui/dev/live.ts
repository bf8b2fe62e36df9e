import type { NodeStatus, WorkerStatus } from "../src/api/types";

const started = Date.now();
let stored = 48_211;

function worker(slot: number): WorkerStatus {
  stored += Math.round(40 + 60 * Math.abs(Math.sin(Date.now() / 9000)));
  return {
    slot,
    pid: 4100 + slot,
    state: "accepting",
    uptime_s: (Date.now() - started) / 1000 + 93_000,
    accepting: true,
    why_not: "",
    indexing: true,
    memory_bytes: 182_000_000 + slot * 7_000_000,
    stored_instances: stored,
    stored_bytes: stored * 524_288,
    indexed_instances: stored - 12,
    duplicates: 41,
    conflicts: slot,
    backlog: 12 + slot * 3,
    free_bytes: 1_840_000_000_000,
    loop_lag_ms: 0.8,
    counters: {},
    paths: [],
    associations:
      slot === 0
        ? [
            {
              calling_ae: "CT_SOMATOM",
              called_ae: "PACS",
              address: "10.20.4.17",
              since_s: 42,
              requests: 318,
              stored: 318,
              received_bytes: 167_000_000,
              sent_bytes: 40_000,
              doing: "storing",
              place: 0,
            },
            {
              calling_ae: "WORKSTATION1",
              called_ae: "PACS",
              address: "10.20.7.5",
              since_s: 310,
              requests: 12,
              stored: 0,
              received_bytes: 9_000,
              sent_bytes: 812_000_000,
              doing: "retrieving",
              place: 0,
            },
          ]
        : [
            {
              calling_ae: "MR_VIDA",
              called_ae: "PACS",
              address: "10.20.4.21",
              since_s: 7,
              requests: 25,
              stored: 25,
              received_bytes: 6_600_000,
              sent_bytes: 4_000,
              doing: "storing",
              place: 0,
            },
          ],
    actors: [
      { depth: 0, name: "pacs", state: "up", restarts: 0, crashes: 0, last_crash: "" },
      { depth: 1, name: "storage", state: "up", restarts: 0, crashes: 0, last_crash: "" },
      {
        depth: 2,
        name: "indexer",
        state: "up",
        restarts: slot,
        crashes: slot,
        last_crash: slot ? "ConnectionResetError: the database went away" : "",
      },
      { depth: 2, name: "writers", state: "up", restarts: 0, crashes: 0, last_crash: "" },
      { depth: 3, name: "writer-1", state: "up", restarts: 0, crashes: 0, last_crash: "" },
      { depth: 1, name: "edge", state: "up", restarts: 0, crashes: 0, last_crash: "" },
    ],
    mailboxes: [
      {
        name: "indexer",
        depth: 12,
        capacity: 4096,
        told: stored,
        served: stored,
        refused: 0,
        crashed: 0,
        longest_wait_ms: 12.4,
      },
      {
        name: "writer-1",
        depth: 3,
        capacity: 16,
        told: stored,
        served: stored,
        refused: 2,
        crashed: 0,
        longest_wait_ms: 41,
      },
      {
        name: "auditor",
        depth: 0,
        capacity: 1024,
        told: 8211,
        served: 8211,
        refused: 0,
        crashed: 0,
        longest_wait_ms: 1.1,
      },
    ],
    recovery: "",
  };
}

export function nodeStatus(): NodeStatus {
  return { at: Date.now() / 1000, ae_title: "PACS", dicom: "0.0.0.0:11112", workers: [worker(0), worker(1)] };
}

export function liveState(topic: string): unknown {
  const node = nodeStatus();
  const bySlot = <T>(what: (worker: WorkerStatus) => T) =>
    Object.fromEntries(node.workers.map((worker) => [String(worker.slot), what(worker)]));
  switch (topic) {
    case "system":
      return { ...node, workers: bySlot(({ associations: _, mailboxes: __, ...facts }) => facts) };
    case "associations":
      return {
        associations: Object.fromEntries(
          node.workers.flatMap(({ slot, associations }) =>
            associations.map((one, place) => [`${slot}.${place}`, { ...one, slot }]),
          ),
        ),
      };
    case "queues":
      return { mailboxes: bySlot(({ mailboxes }) => Object.fromEntries(mailboxes.map((one) => [one.name, one]))) };
    case "studies":
      return { studies: {} };
    default:
      return { alerts: {} };
  }
}
