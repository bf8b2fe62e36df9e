/** Rules about where studies are kept: what a policy says, what a move is, what somebody waits for. Pure. */

import type { Move, Policy, PolicyRule, StudyStorage } from "@/api/types";

export const ONLINE = "online";
export const ACTIONS = ["copy", "move", "remove", "delete"] as const;
export type PolicyAction = PolicyRule["action"];
export type Form = PolicyRule["form"];
export const FORMS: readonly Form[] = ["plain", "gzip", "zstd", "lz4", "rle", "jpeg-ls", "jpeg-2000", "htj2k"];

/** What an action needs to know. */
export const NEEDS: Readonly<Record<PolicyAction, { from: boolean; to: boolean; retention: boolean }>> = {
  copy: { from: false, to: true, retention: false },
  move: { from: true, to: true, retention: false },
  remove: { from: true, to: false, retention: false },
  delete: { from: false, to: false, retention: true },
};

export const DAYS = ["received_before_days", "study_before_days", "unused_for_days"] as const;
export const SIZES = ["at_least_bytes", "at_most_bytes"] as const;
export const WORDS = [
  "modalities",
  "body_parts",
  "stations",
  "institutions",
  "departments",
  "sources",
  "labels",
  "without_labels",
  "workflow_states",
  "patient_classes",
] as const;
const MEGABYTE = 1e6;

/** A policy as its form has it: sizes in megabytes, and fields that are empty for a moment while somebody types. */
export interface Draft {
  name: string;
  enabled: boolean;
  priority: number | string;
  action: PolicyAction;
  from_store: string;
  to_store: string;
  form: Form;
  retention_days: number | string;
  studies_a_run: number | string;
  received_before_days: number | string;
  study_before_days: number | string;
  unused_for_days: number | string;
  at_least_bytes: number | string;
  at_most_bytes: number | string;
  online_free_below_percent: number | string;
  words: Record<(typeof WORDS)[number], string[]>;
}

export function draftOf(policy?: Policy): Draft {
  const { rule } = policy ?? {};
  const when: Partial<PolicyRule["when"]> = rule?.when ?? {};
  return {
    name: policy?.name ?? "",
    enabled: policy?.enabled ?? false,
    priority: policy?.priority ?? 100,
    action: rule?.action ?? "move",
    from_store: rule?.from_store || ONLINE,
    to_store: rule?.to_store ?? "",
    form: rule?.form ?? "plain",
    retention_days: rule?.retention_days ?? 0,
    studies_a_run: rule?.studies_a_run ?? 500,
    received_before_days: when.received_before_days ?? 0,
    study_before_days: when.study_before_days ?? 0,
    unused_for_days: when.unused_for_days ?? 0,
    at_least_bytes: (when.at_least_bytes ?? 0) / MEGABYTE,
    at_most_bytes: (when.at_most_bytes ?? 0) / MEGABYTE,
    online_free_below_percent: when.online_free_below_percent ?? 0,
    words: Object.fromEntries(WORDS.map((name) => [name, when[name] ?? []])) as Draft["words"],
  };
}

/** The rule that a form says; what its action does not have is left out, whatever was typed before. */
export function ruleOf(draft: Draft): PolicyRule {
  const needs = NEEDS[draft.action];
  const number = (typed: number | string) => Number(typed) || 0;
  return {
    when: {
      received_before_days: number(draft.received_before_days),
      study_before_days: number(draft.study_before_days),
      unused_for_days: number(draft.unused_for_days),
      at_least_bytes: Math.round(number(draft.at_least_bytes) * MEGABYTE),
      at_most_bytes: Math.round(number(draft.at_most_bytes) * MEGABYTE),
      online_free_below_percent: number(draft.online_free_below_percent),
      ...draft.words,
    },
    action: draft.action,
    from_store: needs.from ? draft.from_store : "",
    to_store: needs.to ? draft.to_store : "",
    form: needs.to ? draft.form : "plain",
    retention_days: needs.retention ? number(draft.retention_days) : 0,
    studies_a_run: number(draft.studies_a_run),
  };
}

/** A move as it is shown, from the live topic or from a list: what has not happened is "". */
export type ShownMove = Omit<Move, "begun_at" | "ended_at"> & { begun_at: string; ended_at: string };

export interface Moves {
  running: ShownMove[];
  waiting: ShownMove[];
  ended: ShownMove[];
  counts: Readonly<Record<string, number>>;
}

export function movesOf(moves: readonly ShownMove[], counts: Readonly<Record<string, number>>): Moves {
  const urgent = (one: ShownMove, other: ShownMove) => one.priority - other.priority || one.id - other.id;
  return {
    running: moves.filter((move) => move.state === "running").sort(urgent),
    waiting: moves.filter((move) => move.state === "waiting").sort(urgent),
    ended: moves
      .filter((move) => move.state !== "running" && move.state !== "waiting")
      .sort((one, other) => other.ended_at.localeCompare(one.ended_at) || other.id - one.id),
    counts,
  };
}

/** What the live topic `moves` says; undefined as long as it has said nothing. */
export function liveMoves(state: unknown): Moves | undefined {
  const told = state as { moves?: Record<string, ShownMove>; counts?: Record<string, number> } | undefined;
  return told?.moves && movesOf(Object.values(told.moves), told.counts ?? {});
}

export function shown(move: Move): ShownMove {
  return { ...move, begun_at: move.begun_at ?? "", ended_at: move.ended_at ?? "" };
}

export function isUnderWay({ state }: Pick<Move, "state">): boolean {
  return state === "running" || state === "waiting";
}

export function isRecall({ from_store, to_store }: Pick<Move, "from_store" | "to_store">): boolean {
  return from_store === "" && to_store === ONLINE;
}

/** Which of the sentences about a move fits. */
export function kindOf(move: Pick<Move, "from_store" | "to_store">): "recall" | "copy" | "move" | "remove" {
  if (isRecall(move)) return "recall";
  if (move.from_store === "") return "copy";
  return move.to_store === "" ? "remove" : "move";
}

/** The last recall of a study; undefined: there was none. */
export function lastRecall(storage: Pick<StudyStorage, "moves">): Move | undefined {
  return storage.moves.find(isRecall);
}

/** How often to ask where a study is, in milliseconds; false: nothing of it changes by itself. */
export function askAgainIn(storage: StudyStorage | undefined): number | false {
  if (!storage) return false;
  if (storage.moves.some(isUnderWay)) return 1_000;
  return storage.availability === "ONLINE" ? false : 5_000;
}

/** Nobody waits for the images of such a study: it is recalled first. */
export function mustBeRecalled(availability: string): boolean {
  return availability === "OFFLINE";
}
