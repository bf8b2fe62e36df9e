import { describe, expect, it } from "vitest";
import { ageAt, clock, dateRange, fromDicom, momentRange, parseRange, rangeFilter, toDicom } from "@/lib/dates";
import { bytes, day, duration, relative } from "@/lib/format";
import { lines } from "@/lib/lines";
import { personName } from "@/lib/names";
import { doorOf, isViewer, ourPath } from "@/lib/paths";
import { parseValue, showValue } from "@/lib/settings";

describe("person names", () => {
  it.each([
    ["Smith^Eleanor^Jane^Dr^MD", "Smith, Dr Eleanor Jane, MD"],
    ["Smith", "Smith"],
    ["^Eleanor", "Eleanor"],
    ["", ""],
    ["^^^^", ""],
    ["Buc^Jérôme", "Buc, Jérôme"],
  ])("shows %s as %s", (value, shown) => {
    expect(personName(value)).toEqual({ main: shown, others: [] });
  });

  it("keeps component groups apart, the reader's writing first", () => {
    const name = "Yamada^Tarou=山田^太郎=やまだ^たろう";
    expect(personName(name, "en")).toEqual({ main: "Yamada, Tarou", others: ["山田 太郎", "やまだ たろう"] });
    expect(personName(name, "zh")).toEqual({ main: "山田 太郎", others: ["Yamada, Tarou", "やまだ たろう"] });
  });

  it("shows the group that there is", () => {
    expect(personName("=王^小明", "en").main).toBe("王 小明");
    expect(personName("a=b=c=d=e").others).toHaveLength(2);
  });
});

describe("dates", () => {
  it("are read as DICOM writes them, or not at all", () => {
    expect(fromDicom("20240229")).toEqual(new Date(2024, 1, 29));
    expect(fromDicom("1998.12.31")).toEqual(new Date(1998, 11, 31));
    for (const wrong of ["20230229", "20241301", "2024", "today", ""]) expect(fromDicom(wrong)).toBeUndefined();
    expect(toDicom(new Date(2024, 1, 9))).toBe("20240209");
  });

  it("make ranges, open at either end", () => {
    const [first, last] = [new Date(2024, 0, 1), new Date(2024, 0, 31)];
    expect(rangeFilter(first, last)).toBe("20240101-20240131");
    expect(rangeFilter(first, first)).toBe("20240101");
    expect(rangeFilter(undefined, last)).toBe("-20240131");
    expect(rangeFilter(undefined, undefined)).toBe("");
    expect(parseRange("20240101-20240131")).toEqual([first, last]);
    expect(parseRange("20240101")).toEqual([first, first]);
    expect(parseRange("-20240131")).toEqual([undefined, last]);
  });

  it("keep presets as they are until they are asked for", () => {
    const today = new Date(2024, 2, 31);
    expect(dateRange("today", today)).toBe("20240331");
    expect(dateRange("yesterday", today)).toBe("20240330");
    expect(dateRange("30d", today)).toBe("20240302-");
    expect(dateRange("20240101-", today)).toBe("20240101-");
    expect(momentRange("20240101-")).toBe(`${new Date(2024, 0, 1).toISOString()}/`);
  });

  it("give an age in whole years", () => {
    expect(ageAt("20000615", new Date(2024, 5, 14))).toBe(23);
    expect(ageAt("20000615", new Date(2024, 5, 15))).toBe(24);
    expect(ageAt("20300101", new Date(2024, 0, 1))).toBeUndefined();
    expect(clock("093015.25")).toBe("09:30");
    expect(clock("9")).toBe("");
  });
});

describe("figures", () => {
  it("are short, in the reader's language", () => {
    expect(bytes(0)).toBe("0 B");
    expect(bytes(999)).toBe("999 B");
    expect(bytes(999_600)).toBe("1 MB");
    expect(bytes(1_536_000, "ru")).toBe("1,54 MB");
    expect(duration(3725)).toBe("1 h 02 min");
    expect(duration(-5)).toBe("0:00");
    expect(day(new Date(2024, 1, 9), "en")).toBe("2024-02-09");
    expect(day(new Date(2024, 1, 9), "ru")).toBe("09.02.2024");
  });

  it("say how long ago", () => {
    const now = new Date("2026-01-01T12:00:00Z");
    const ago = (seconds: number) => relative(new Date(now.getTime() - seconds * 1000), now, "en", "long");
    expect(ago(1)).toBe("now");
    expect(ago(90)).toBe("1 minute ago");
    expect(ago(-7200)).toBe("in 2 hours");
    expect(ago(86_400)).toBe("yesterday");
    expect(relative(new Date(now.getTime() - 5 * 60_000), now, "ru", "long")).toBe("5 минут назад");
  });
});

describe("what comes from outside", () => {
  it("never leads to another site", () => {
    const here = "https://pacs.example";
    for (const evil of [
      "https://evil.example/",
      "//evil.example",
      "/\\evil.example",
      "javascript:alert(1)",
      "data:text/html,x",
    ])
      expect(ourPath(evil, "/", here)).toBe("/");
    expect(ourPath("/study/1.2?tab=audit#x", "/", here)).toBe("/study/1.2?tab=audit#x");
    expect(ourPath("/ohif/viewer?a=1", "/", here)).toBe("/ohif/viewer?a=1");
  });

  it("of the viewer lead out of the panel", () => {
    expect(["/ohif", "/ohif/viewer?a=1", "/ohifx", "/"].map(isViewer)).toEqual([true, true, false, false]);
  });

  it("are pages, not the server's other answers, nor the login again", () => {
    for (const none of [
      "/login?next=/login",
      "/api/v1/logout",
      "/dicom-web/studies/1",
      "/share/x",
      `/${"a".repeat(3000)}`,
    ])
      expect(ourPath(none, "/", "https://pacs.example")).toBe("/");
  });

  it("are kept through the login that the viewer sends people to", () => {
    const door = (address: string) => doorOf(new URL(address, "https://pacs.example"));
    expect(door("/")).toBeUndefined();
    expect(door("/?modality=CT")).toBeUndefined();
    expect(door("/system?next=/audit")).toBeUndefined();
    expect(door("/?next=%2Fohif%2Fviewer%3Fa%3D1%26b%3D2")).toBe("/login?next=%2Fohif%2Fviewer%3Fa%3D1%26b%3D2");
    for (const evil of [
      "",
      "https://evil.example/",
      "//evil.example",
      "/\\evil.example",
      "/\t/evil.example",
      "javascript:alert(1)",
    ])
      expect(door(`/?next=${encodeURIComponent(evil)}`)).toBe("/login?next=%2F");
  });
});

describe("settings", () => {
  it("keep their kind", () => {
    expect(parseValue("12", 3)).toBe(12);
    expect(parseValue("12a", 3)).toBeUndefined();
    expect(parseValue("", 3)).toBeUndefined();
    expect(parseValue("12", "x")).toBe("12");
    expect(parseValue('["a"]', [])).toEqual(["a"]);
    expect(parseValue('{"a":1}', [])).toBeUndefined();
    expect(parseValue("true", false)).toBe(true);
    expect(showValue(["a"])).toBe('["a"]');
    expect(lines(" a \n\nb\na")).toEqual(["a", "b"]);
  });
});
