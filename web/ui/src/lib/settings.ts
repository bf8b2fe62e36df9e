/** Values of settings as text and back. Pure. */

export function showValue(value: unknown): string {
  if (value === null || value === undefined) return "";
  return typeof value === "string" ? value : JSON.stringify(value);
}

/** What was typed, as the kind that `like` is; undefined if it is none. */
export function parseValue(text: string, like: unknown): unknown {
  if (typeof like === "string") return text;
  if (typeof like === "number") return text.trim() !== "" && Number.isFinite(Number(text)) ? Number(text) : undefined;
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === typeof like && Array.isArray(value) === Array.isArray(like) ? value : undefined;
  } catch {
    return text.trim() === "" && like === null ? null : undefined;
  }
}

export function same(one: unknown, other: unknown): boolean {
  return JSON.stringify(one) === JSON.stringify(other);
}
