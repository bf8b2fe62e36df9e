import { describe, expect, it } from "vitest";
import type { Instance, Tag, WorkerStatus } from "@/api/types";
import { cineFrames } from "@/lib/cine";
import { arrivals, mergePatch } from "@/lib/merge";
import { readMeta } from "@/lib/part10";
import { keep, sampleOf } from "@/lib/rates";
import { cleanScope, EMPTY_RULE, scopeIsWhole } from "@/lib/scope";
import { batches, failureKind, multipart, readAnswer } from "@/lib/stow";
import { filterTags } from "@/lib/tags";

describe("live changes", () => {
  it("merge as RFC 7396 says", () => {
    expect(mergePatch({ a: { b: 1, c: 2 }, d: [1] }, { a: { b: null, e: 3 }, d: [2] })).toEqual({
      a: { c: 2, e: 3 },
      d: [2],
    });
    expect(mergePatch("x", { a: 1 })).toEqual({ a: 1 });
    expect(mergePatch({ a: 1 }, [1])).toEqual([1]);
  });

  it("leave what did not change identical, and prototypes alone", () => {
    const before = { still: { x: 1 }, moved: { y: 1 } };
    const after = mergePatch(before, { moved: { y: 2 } }) as typeof before;
    expect(after.still).toBe(before.still);
    mergePatch({}, JSON.parse('{"__proto__": {"polluted": true}}'));
    expect(({} as Record<string, unknown>)["polluted"]).toBeUndefined();
  });

  it("refresh rows in place and count new ones without moving anything", () => {
    const pages = [[{ id: "a", n: 1 }, { id: "b", n: 1 }], [{ id: "c", n: 1 }]]; // prettier-ignore
    const latest = [{ id: "new", n: 1 }, { id: "a", n: 5 }, { id: "b", n: 1 }]; // prettier-ignore
    const found = arrivals(pages, latest, (one) => one.id);
    expect(found.fresh).toEqual(["new"]);
    expect(found.pages.map((page) => page.map((one) => one.id))).toEqual([["a", "b"], ["c"]]);
    expect(found.pages[0]?.[0]?.n).toBe(5);
  });
});

describe("rates", () => {
  const worker = (pid: number, stored: number) =>
    ({ slot: 0, pid, stored_instances: stored, stored_bytes: stored * 10 }) as WorkerStatus;

  it("are of all workers together", () => {
    const sample = sampleOf({ at: 1, workers: [worker(1, 100)] }, { at: 3, workers: [worker(1, 300)] });
    expect(sample).toEqual({ at: 3, instancesPerSecond: 100, bytesPerSecond: 1000 });
  });

  it("are never negative when a worker begins anew, and none when no time has passed", () => {
    expect(
      sampleOf({ at: 1, workers: [worker(1, 900)] }, { at: 2, workers: [worker(2, 30)] })?.instancesPerSecond,
    ).toBe(30);
    expect(sampleOf({ at: 1, workers: [] }, { at: 1, workers: [] })).toBeUndefined();
  });

  it("are kept for so long only", () => {
    const sample = (at: number) => ({ at, instancesPerSecond: 0, bytesPerSecond: 0 });
    expect(keep([sample(1), sample(5)], sample(11), 10).map((one) => one.at)).toEqual([5, 11]);
  });
});

describe("the cine preview", () => {
  const instance = (uid: string, frames = "", rows = "512") =>
    ({ sop_instance_uid: uid, rows, columns: rows, number_of_frames: frames }) as Instance;

  it("plays instances and frames in order, and leaves out what has no picture", () => {
    expect(cineFrames([instance("a"), instance("sr", "", ""), instance("b", "2")], 48)).toEqual([
      { instance: "a", frame: 1 },
      { instance: "b", frame: 1 },
      { instance: "b", frame: 2 },
    ]);
  });

  it("is thinned evenly, however many frames a file claims to have", () => {
    const frames = cineFrames([instance("a", "1000000")], 10);
    expect(frames).toHaveLength(10);
    expect(frames[5]?.frame).toBe(500_001);
    expect(cineFrames([instance("a", "-5"), instance("b", "x")], 10)).toHaveLength(2);
  });
});

describe("uploads", () => {
  const file = (...elements: [number, string, string][]) => {
    const parts = elements.flatMap(([element, vr, value]) => {
      const text = [...value].map((letter) => letter.charCodeAt(0));
      if (text.length % 2) text.push(0);
      return [2, 0, element, 0, vr.charCodeAt(0), vr.charCodeAt(1), text.length & 255, text.length >> 8, ...text];
    });
    return new Uint8Array([...Array.from({ length: 128 }, () => 0), 0x44, 0x49, 0x43, 0x4d, ...parts]);
  };

  it("read the UIDs of a DICOM file and nothing of others", () => {
    expect(readMeta(file([2, "UI", "1.2.840.10008.5.1.4.1.1.2"], [3, "UI", "1.2.3"]))).toEqual({
      sopClassUid: "1.2.840.10008.5.1.4.1.1.2",
      sopInstanceUid: "1.2.3",
    });
    expect(readMeta(new Uint8Array(4096))).toBeUndefined();
    expect(readMeta(new Uint8Array())).toBeUndefined();
  });

  it("survive a header that is cut off or lies about its lengths", () => {
    const whole = file([2, "UI", "1.2.840"], [3, "UI", "1.2.3"]);
    for (let length = 0; length <= whole.length; length++)
      expect(() => readMeta(whole.subarray(0, length))).not.toThrow();
    const lying = whole.slice();
    lying.set([255, 255], 138);
    expect(readMeta(lying)).toEqual({ sopClassUid: "", sopInstanceUid: "" });
  });

  it("are batched by number and size, a large file alone", () => {
    const sizes = (found: { size: number }[][]) => found.map((batch) => batch.map(({ size }) => size));
    expect(sizes(batches([1, 2, 3].map((size) => ({ size })), 2, 100))).toEqual([[1, 2], [3]]); // prettier-ignore
    expect(sizes(batches([60, 50, 200, 1].map((size) => ({ size })), 9, 100))).toEqual([[60], [50], [200], [1]]); // prettier-ignore
    expect(batches([])).toEqual([]);
  });

  it("are packed as multipart/related", async () => {
    expect(await multipart([new Blob(["one"]), new Blob(["two"])], "B").text()).toBe(
      "--B\r\nContent-Type: application/dicom\r\n\r\none\r\n--B\r\nContent-Type: application/dicom\r\n\r\ntwo\r\n--B--\r\n",
    );
  });

  it("understand what the server says of each file", () => {
    const item = (uid: string, tag?: string, reason?: number) => ({
      "00081155": { vr: "UI", Value: [uid] },
      ...(tag && { [tag]: { vr: "US", Value: [reason] } }),
    });
    const answer = readAnswer({
      "00081199": { vr: "SQ", Value: [item("1.1"), item("1.2", "00081196", 0xb000)] },
      "00081198": { vr: "SQ", Value: [item("1.3", "00081197", 0xa700), null] },
    });
    expect([...answer.stored]).toEqual([["1.1", 0], ["1.2", 0xb000]]); // prettier-ignore
    expect([...answer.failed]).toEqual([["1.3", 0xa700]]);
    for (const odd of [undefined, null, [], "x", { "00081199": {} }]) expect(readAnswer(odd).stored.size).toBe(0);
  });

  it.each([
    [0xa700, "full"],
    [0xa900, "mismatch"],
    [0xc000, "damaged"],
    [0x0122, "class"],
    [0x0111, "conflict"],
    [0x0110, "other"],
  ])(
    // prettier-ignore
    "tell reason %d as %s",
    (reason, kind) => expect(failureKind(reason)).toBe(kind),
  );
});

describe("tags", () => {
  const tag = (number: string, keyword: string, name: string, value: string) =>
    ({ tag: number, keyword, name, value }) as Tag;
  const tags = [tag("00100020", "PatientID", "Patient ID", "P-17"), tag("00080060", "Modality", "Modality", "CT")];

  it.each(["0010,0020", "(0010,0020)", "patientid", "Patient ID", "p-17"])("are found by %s", (wanted) => {
    expect(filterTags(tags, wanted).map((one) => one.keyword)).toEqual(["PatientID"]);
  });

  it("are all shown without a search", () => expect(filterTags(tags, " ")).toHaveLength(2));
});

describe("study rules", () => {
  it("must say something", () => {
    expect(scopeIsWhole({ everything: false, rules: [EMPTY_RULE] })).toBe(false);
    expect(scopeIsWhole({ everything: false, rules: [{ ...EMPTY_RULE, own_referring: true }] })).toBe(true);
    expect(scopeIsWhole({ everything: true, rules: [EMPTY_RULE] })).toBe(true);
    expect(cleanScope({ everything: true, rules: [EMPTY_RULE] })).toEqual({ everything: true, rules: [] });
  });
});
