/** How a worker, an actor or a piece of work is doing, by the state that the server names. Pure. */

export type Tone = "good" | "busy" | "ended" | "bad";

const TONES: Readonly<Record<string, Tone>> = {
  accepting: "good",
  up: "good",
  starting: "busy",
  draining: "busy",
  drained: "ended",
  usable: "good",
  done: "good",
  running: "busy",
  waiting: "ended",
  cancelled: "ended",
};

/** What is not known to be well is not shown as well. */
export function toneOf(state: string): Tone {
  return Object.hasOwn(TONES, state) ? (TONES[state] ?? "bad") : "bad";
}
