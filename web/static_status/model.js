// What is computed from the node's state: totals, rates from counters, what needs attention.

const WINDOW_S = 180;
const SMOOTH_S = 3;

/** Apply a JSON Merge Patch (RFC 7396). */
export function merged(state, patch) {
  const result = { ...state };
  for (const [key, value] of Object.entries(patch)) {
    if (value === null) delete result[key];
    else if (typeof value === "object" && !Array.isArray(value)) {
      const before = result[key];
      const isObject = before !== null && typeof before === "object" && !Array.isArray(before);
      result[key] = merged(isObject ? before : {}, value);
    } else result[key] = value;
  }
  return result;
}

const STUDIES_SHOWN = 20;

/** The node out of what the topics say; null as long as there is nothing of the node itself. */
export function composed({ system, associations, queues, studies }) {
  if (!system?.state) return null;
  const open = Object.values(associations?.state?.associations ?? {});
  const workers = {};
  for (const [slot, worker] of Object.entries(system.state.workers)) {
    const mine = open.filter((one) => one.slot === worker.slot);
    const mailboxes = Object.values(queues?.state?.mailboxes[slot] ?? {});
    workers[slot] = { ...worker, associations: mine, mailboxes };
  }
  const newest = Object.values(studies?.state?.studies ?? {}).sort((a, b) => (a.received_at < b.received_at ? 1 : -1));
  const last_studies = newest.slice(0, STUDIES_SHOWN).map((study) => ({
    ...study,
    modalities: study.modalities.join("\\"),
    series: study.number_of_series,
    instances: study.number_of_instances,
  }));
  const studies_note = studies ? (studies.state ? "" : "You may not search for studies.") : "The index has not answered yet.";
  return { ...system.state, workers, last_studies, studies_note };
}

export const workersOf = (state) => Object.values(state.workers).sort((a, b) => a.slot - b.slot);

const sum = (items, of) => items.reduce((total, item) => total + of(item), 0);

export function totals(state) {
  const workers = workersOf(state);
  const actors = workers.flatMap((worker) => worker.actors);
  return {
    associations: workers.flatMap((worker) => worker.associations),
    stored: sum(workers, (worker) => worker.stored_instances),
    storedBytes: sum(workers, (worker) => worker.stored_bytes),
    backlog: sum(workers, (worker) => worker.backlog),
    conflicts: sum(workers, (worker) => worker.conflicts),
    duplicates: sum(workers, (worker) => worker.duplicates),
    restarts: sum(actors, (actor) => actor.restarts),
    restarting: actors.filter((actor) => actor.restarts > 0).length,
    freeBytes: workers.length ? Math.min(...workers.map((worker) => worker.free_bytes)) : 0,
    uptime: workers.length ? Math.max(...workers.map((worker) => worker.uptime_s)) : 0,
    accepting: workers.filter((worker) => worker.accepting).length,
    workers: workers.length,
  };
}

/** Rates out of growing counters. A counter of a restarted worker begins anew and is not a negative rate. */
export class Rates {
  constructor() {
    this.samples = []; // {at, instances, bytes}: running totals since this page was opened
    this.last = new Map();
    this.instances = 0;
    this.bytes = 0;
  }

  /** After a pause in the connection nothing is known about what lies between. */
  interrupt() {
    this.last.clear();
    this.samples = [];
  }

  take(state) {
    for (const worker of workersOf(state)) {
      const before = this.last.get(worker.slot);
      const same = before !== undefined && before.pid === worker.pid;
      if (same) {
        this.instances += Math.max(0, worker.stored_instances - before.stored_instances);
        this.bytes += Math.max(0, worker.stored_bytes - before.stored_bytes);
      }
      this.last.set(worker.slot, worker);
    }
    const newest = this.samples.at(-1);
    if (newest && state.at <= newest.at) return;
    this.samples.push({ at: state.at, instances: this.instances, bytes: this.bytes });
    while (this.samples[0].at < state.at - WINDOW_S - SMOOTH_S) this.samples.shift();
  }

  /** {instances, bytes} per second over the last seconds; null before there are two looks. */
  now() {
    return this.#between(this.samples.length - 1);
  }

  /** Points of the last three minutes: [{x: 0 to 1, y: instances per second}]. */
  history() {
    const end = this.samples.at(-1)?.at ?? 0;
    const points = [];
    for (let index = 1; index < this.samples.length; index += 1) {
      const rate = this.#between(index);
      const x = 1 - (end - this.samples[index].at) / WINDOW_S;
      if (rate && x >= 0) points.push({ x, y: rate.instances });
    }
    return points;
  }

  #between(index) {
    const newer = this.samples[index];
    if (!newer || index < 1) return null;
    let from = index - 1;
    while (from > 0 && newer.at - this.samples[from].at < SMOOTH_S) from -= 1;
    const older = this.samples[from];
    const seconds = newer.at - older.at;
    return { instances: (newer.instances - older.instances) / seconds, bytes: (newer.bytes - older.bytes) / seconds };
  }
}

/** Sentences for the operator: [{bad, what, detail}]. */
export function alerts(state) {
  const found = [];
  for (const worker of workersOf(state)) {
    const name = `Worker ${worker.slot}`;
    if (!worker.accepting) found.push({ bad: true, what: `${name} takes no images.`, detail: worker.why_not || worker.state });
    if (!worker.indexing) {
      found.push({
        bad: true,
        what: `${name} cannot reach the database.`,
        detail: "Images are kept on disk and indexed later; queries fail until then.",
      });
    }
    if (worker.recovery) {
      found.push({ bad: false, what: `${name}: ${worker.recovery}.`, detail: "Everything else of earlier runs can be found." });
    }
  }
  if (!workersOf(state).length) found.push({ bad: true, what: "No worker is up.", detail: "Look at the server's log." });
  return found;
}

const OK = new Set(["up", "accepting"]);
const BAD = new Set(["crashed", "down"]);

/** ok, warn, bad or quiet: how the state of a worker or actor is drawn. */
export function kindOf(state) {
  if (OK.has(state)) return "ok";
  if (BAD.has(state)) return "bad";
  return state === "drained" ? "quiet" : "warn";
}
