/** Rates of the whole node out of its workers' counters. Pure. */

import type { WorkerStatus } from "@/api/types";

export interface Sample {
  /** Seconds since 1970. */
  at: number;
  instancesPerSecond: number;
  bytesPerSecond: number;
}

export interface Counted {
  at: number;
  workers: readonly WorkerStatus[];
}

/**
 * What came in between two looks. A worker that was restarted counts from nought: its count is what it has taken in since, and a
 * rate is never negative.
 */
export function sampleOf(before: Counted, after: Counted): Sample | undefined {
  const seconds = after.at - before.at;
  if (seconds <= 0) return undefined;
  const earlier = new Map(before.workers.map((worker) => [`${worker.slot} ${worker.pid}`, worker]));
  const gained = (counter: "stored_instances" | "stored_bytes") =>
    after.workers.reduce((sum, worker) => {
      const was = earlier.get(`${worker.slot} ${worker.pid}`)?.[counter] ?? 0;
      return sum + Math.max(0, worker[counter] - was);
    }, 0);
  return {
    at: after.at,
    instancesPerSecond: gained("stored_instances") / seconds,
    bytesPerSecond: gained("stored_bytes") / seconds,
  };
}

/** The samples of the last so many seconds, the new one included. */
export function keep(samples: readonly Sample[], sample: Sample, seconds: number): Sample[] {
  return [...samples, sample].filter((one) => one.at > sample.at - seconds);
}
