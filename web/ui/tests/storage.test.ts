import { describe, expect, it } from "vitest";
import { openUrl } from "@/api/client";
import type { Move, Policy, StudyStorage } from "@/api/types";
import { askAgainIn, draftOf, kindOf, lastRecall, liveMoves, ruleOf, shown } from "@/lib/storage";

const move = (facts: Partial<Move>): Move => ({
  id: 1,
  study_instance_uid: "1.2",
  from_store: "online",
  to_store: "nas",
  form: "plain",
  why: "Old CT",
  asked_by: "",
  priority: 110,
  state: "waiting",
  asked_at: "2026-01-01T00:00:00Z",
  begun_at: null,
  ended_at: null,
  attempts: 0,
  instances: 0,
  done: 0,
  size_bytes: 0,
  done_bytes: 0,
  problem: "",
  ...facts,
});
const storage = (facts: Partial<StudyStorage>) => ({ availability: "OFFLINE", moves: [], ...facts }) as StudyStorage;

describe("a policy's form", () => {
  it("gives back the rule that it was made of, to the byte", () => {
    const rule = {
      ...ruleOf(draftOf()),
      action: "move",
      from_store: "nas",
      to_store: "vault",
      form: "zstd",
      studies_a_run: 7,
    } as const;
    rule.when.at_least_bytes = 1_234_567;
    rule.when.modalities = ["CT", "MR"];
    rule.when.online_free_below_percent = 12.5;
    expect(ruleOf(draftOf({ name: "Old", enabled: true, priority: 5, rule } as unknown as Policy))).toEqual(rule);
  });

  it("says only what its action has, whatever was typed before", () => {
    const draft = { ...draftOf(), to_store: "nas", form: "gzip", retention_days: 30 } as const;
    expect(ruleOf({ ...draft, action: "copy" })).toMatchObject({ from_store: "", to_store: "nas", retention_days: 0 });
    expect(ruleOf({ ...draft, action: "remove" })).toMatchObject({ from_store: "online", to_store: "", form: "plain" });
    expect(ruleOf({ ...draft, action: "delete" })).toMatchObject({ from_store: "", to_store: "", retention_days: 30 });
  });

  it("takes an empty field for nothing", () => {
    expect(ruleOf({ ...draftOf(), unused_for_days: "", at_most_bytes: "" }).when).toMatchObject({
      unused_for_days: 0,
      at_most_bytes: 0,
    });
  });
});

describe("moves", () => {
  it("are told apart by where they come from and go to", () => {
    const kinds = [
      ["online", "nas"],
      ["", "nas"],
      ["nas", ""],
      ["", "online"],
    ].map(([from_store = "", to_store = ""]) => kindOf({ from_store, to_store }));
    expect(kinds).toEqual(["move", "copy", "remove", "recall"]);
  });

  it("are in order: the most urgent first of those to come, the latest first of those that ended", () => {
    const told = [
      move({ id: 1 }),
      move({ id: 2, priority: 10 }),
      move({ id: 3, state: "done", ended_at: "2026-01-01T00:00:01Z" }),
      move({ id: 4, state: "failed", ended_at: "2026-01-01T00:00:02Z" }),
      move({ id: 5, state: "running" }),
    ];
    const state = { moves: Object.fromEntries(told.map((one) => [one.id, shown(one)])), counts: { waiting: 9 } };
    const found = liveMoves(state);
    expect(found?.running.map(({ id }) => id)).toEqual([5]);
    expect(found?.waiting.map(({ id }) => id)).toEqual([2, 1]);
    expect(found?.ended.map(({ id }) => id)).toEqual([4, 3]);
    expect(found?.counts["waiting"]).toBe(9);
    expect(liveMoves(undefined)).toBeUndefined();
  });
});

describe("a study that is not at hand", () => {
  it("is asked for often while it is on its way, seldom while it is away, not at all once it is there", () => {
    const recall = move({ from_store: "", to_store: "online" });
    expect(askAgainIn(storage({ moves: [recall] }))).toBe(1_000);
    expect(askAgainIn(storage({ moves: [{ ...recall, state: "failed" }] }))).toBe(5_000);
    expect(askAgainIn(storage({ availability: "ONLINE" }))).toBe(false);
    expect(askAgainIn(undefined)).toBe(false);
    expect(lastRecall(storage({ moves: [move({ id: 9 }), recall] }))?.id).toBe(1);
  });

  it("opens where one waits for it if it is in the archive, else in the viewer", () => {
    const study = (availability: string) => openUrl({ study_instance_uid: "1.2.3", availability }, "1.2.3.4");
    expect(study("OFFLINE")).toBe("/recall/1.2.3?series=1.2.3.4");
    for (const near of ["ONLINE", "NEARLINE", "UNAVAILABLE"])
      expect(study(near)).toBe("/ohif/viewer?StudyInstanceUIDs=1.2.3&SeriesInstanceUIDs=1.2.3.4");
  });
});
