import { describe, expect, it } from "vitest";
import {
  apiQuery,
  DEFAULT_SORT,
  formatSearch,
  fromSaved,
  nextSort,
  NO_SEARCH,
  parseSearch,
  toSaved,
  turnSort,
  wayOf,
  withFilter,
} from "@/lib/search";

describe("the study list's address", () => {
  it("is empty for the usual list", () => {
    expect(formatSearch(NO_SEARCH)).toEqual({});
    expect(parseSearch({})).toEqual(NO_SEARCH);
  });

  it("comes back as it went", () => {
    const search = {
      filters: { q: "a&b=c", patient_name: "山田", modality: "CT,MR", study_date: "7d" },
      sort: "patient_name",
      columns: ["patient_name", "study_instance_uid"] as const,
    };
    expect(parseSearch(formatSearch(search))).toEqual(search);
    expect(fromSaved(toSaved(search))).toEqual(search);
  });

  it("leaves out what it does not know, cannot be or is too long", () => {
    const search = parseSearch({
      limit: "100000",
      sort: "password",
      columns: "x,,patient_id",
      q: "y".repeat(5000),
      patient_id: 7,
      modality: "  ",
    });
    expect(search.sort).toBe(DEFAULT_SORT);
    expect(search.columns).toEqual(["patient_id"]);
    expect(search.filters).toEqual({ q: "y".repeat(256) });
  });

  it("keeps columns in their order, each once", () => {
    expect(parseSearch({ columns: "source,patient_name,source" }).columns).toEqual(["patient_name", "source"]);
  });
});

describe("filters", () => {
  it("go when they are blank", () => {
    const set = withFilter(NO_SEARCH, "q", "x");
    expect(set.filters).toEqual({ q: "x" });
    expect(withFilter(set, "q", "  ").filters).toEqual({});
  });

  it("become parameters of the API, presets as dates of today", () => {
    const search = parseSearch({ modality: "CT,MR", study_date: "7d", received: "today", patient_name: "x" });
    const query = apiQuery(search, new Date(2026, 0, 3, 12));
    expect(query["modality"]).toEqual(["CT", "MR"]);
    expect(query["study_date"]).toBe("20251228-");
    expect(query["patient_name"]).toBe("x");
    expect(query["received"]).toBe(`${new Date(2026, 0, 3).toISOString()}/${new Date(2026, 0, 4).toISOString()}`);
    expect(query["sort"]).toBe(DEFAULT_SORT);
  });
});

describe("sorting by a heading", () => {
  it("goes one way, the other way, and back to the latest", () => {
    expect(nextSort(DEFAULT_SORT, "patient_name")).toBe("patient_name");
    expect(nextSort("patient_name", "patient_name")).toBe("-patient_name");
    expect(nextSort("-patient_name", "patient_name")).toBe(DEFAULT_SORT);
  });

  it("begins with the most and the latest for numbers and dates", () => {
    expect(nextSort(DEFAULT_SORT, "number_of_instances")).toBe("-number_of_instances");
    expect(nextSort("patient_name", "study_date")).toBe("-study_date");
    expect(nextSort("-received_at", "received_at")).toBe("received_at");
    expect(nextSort("received_at", "received_at")).toBe("-received_at");
  });
});

describe("a list of any kind", () => {
  it("turns from its usual order to a column, the other way, and back", () => {
    expect(turnSort("-id", "who", "-id")).toBe("who");
    expect(turnSort("who", "who", "-id")).toBe("-who");
    expect(turnSort("-who", "who", "-id")).toBe("-id");
    expect(["-id", "id", "who"].map((sort) => turnSort(sort, "id", "-id"))).toEqual(["id", "-id", "-id"]);
  });

  it("says which way it is sorted by a column", () => {
    expect(["who", "-who", "-at"].map((sort) => wayOf(sort, "who"))).toEqual(["ascending", "descending", undefined]);
  });
});
