import { createInstance } from "i18next";
import { beforeAll, describe, expect, it } from "vitest";
import { en } from "@/i18n/en";
import { ru } from "@/i18n/ru";
import { zh } from "@/i18n/zh";

type Texts = { [key: string]: string | Texts };
const flat = (texts: Texts, path = ""): Map<string, string> =>
  new Map(
    Object.entries(texts).flatMap(([key, text]) =>
      typeof text === "string" ? [[path + key, text] as [string, string]] : [...flat(text, `${path}${key}.`)],
    ),
  );
const stem = (key: string) => key.replace(/_(one|few|many|other)$/, "");
const holes = (text: string) => [...new Set(text.match(/\{\{\w+\}\}/g) ?? [])].sort();
const english = flat(en as Texts);

describe.each([
  ["zh", zh],
  ["ru", ru],
])("%s", (language, translation) => {
  const texts = flat(translation as unknown as Texts);

  it("says all that English says, and nothing else", () => {
    expect([...new Set([...texts.keys()].map(stem))].sort()).toEqual(
      [...new Set([...english.keys()].map(stem))].sort(),
    );
    for (const [key, text] of texts) expect(text.trim(), key).not.toBe("");
  });

  it("fills in what English fills in", () => {
    for (const [key, text] of texts) {
      const original = english.get(key) ?? english.get(`${stem(key)}_other`) ?? "";
      // "Make a link" needs no number in English.
      if (!key.startsWith("share.ma")) expect(holes(text), key).toEqual(holes(original));
    }
  });

  it("has every plural form that its grammar has", () => {
    const forms = new Intl.PluralRules(language).resolvedOptions().pluralCategories;
    for (const key of english.keys())
      if (key.endsWith("_other"))
        for (const form of forms) expect(texts.has(`${stem(key)}_${form}`), `${stem(key)}_${form}`).toBe(true);
  });
});

describe("Russian plurals", () => {
  const i18n = createInstance();
  beforeAll(() =>
    i18n.init({ lng: "ru", resources: { ru: { translation: ru } }, interpolation: { escapeValue: false } }),
  );

  it.each([
    [1, "1 новое исследование"],
    [3, "3 новых исследования"],
    [5, "5 новых исследований"],
    [11, "11 новых исследований"],
    [21, "21 новое исследование"],
    [112, "112 новых исследований"],
  ])("%d", (count, text) => expect(i18n.t("studies.new", { count })).toBe(text));
});
