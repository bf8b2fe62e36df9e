/** Merging what arrives live into what is shown. Pure. */

export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** JSON Merge Patch (RFC 7396). Untouched branches keep their identity, so that React redraws only what changed. */
export function mergePatch(target: unknown, patch: unknown): unknown {
  if (!isObject(patch)) return patch;
  const merged: Record<string, unknown> = isObject(target) ? { ...target } : {};
  for (const [key, value] of Object.entries(patch)) {
    if (key === "__proto__") continue;
    if (value === null) Reflect.deleteProperty(merged, key);
    else merged[key] = mergePatch(merged[key], value);
  }
  return merged;
}

export interface Arrivals<T> {
  /** The pages with newer facts about what they already show; nothing moved. */
  pages: T[][];
  /** Keys of what the first page has now and no shown page has. */
  fresh: string[];
}

/** Compares the shown pages with a first page that was just asked for again. */
export function arrivals<T>(pages: readonly T[][], latest: readonly T[], key: (item: T) => string): Arrivals<T> {
  const news = new Map(latest.map((item) => [key(item), item]));
  const shown = new Set(pages.flat().map(key));
  return {
    pages: pages.map((page) => page.map((item) => news.get(key(item)) ?? item)),
    fresh: latest.map(key).filter((one) => !shown.has(one)),
  };
}
