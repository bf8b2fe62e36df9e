/** Dates as DICOM writes them, and the periods that people search by. */

const DAY = /^(\d{4})(\d{2})(\d{2})$/;

/** YYYYMMDD of a local date. */
export function toDicom(date: Date): string {
  const pad = (value: number, width = 2) => String(value).padStart(width, "0");
  return `${pad(date.getFullYear(), 4)}${pad(date.getMonth() + 1)}${pad(date.getDate())}`;
}

/** The local date of YYYYMMDD (or the old YYYY.MM.DD); undefined if it is none. */
export function fromDicom(text: string): Date | undefined {
  const match = DAY.exec(text.replaceAll(".", ""));
  if (!match) return undefined;
  const [year, month, day] = [Number(match[1]), Number(match[2]), Number(match[3])];
  const date = new Date(year, month - 1, day);
  date.setFullYear(year);
  return date.getMonth() === month - 1 && date.getDate() === day ? date : undefined;
}

export const PRESETS = ["today", "yesterday", "7d", "30d", "12m"] as const;
export type Preset = (typeof PRESETS)[number];

export function isPreset(text: string): text is Preset {
  return (PRESETS as readonly string[]).includes(text);
}

function shifted(day: Date, days: number, months = 0): Date {
  return new Date(day.getFullYear(), day.getMonth() + months, day.getDate() + days);
}

/**
 * What a date filter means today, as a DICOM range. A preset stays a preset in addresses and saved searches, so that
 * "last 7 days" is still that next month.
 */
export function dateRange(filter: string, today = new Date()): string {
  switch (filter) {
    case "today":
      return toDicom(today);
    case "yesterday":
      return toDicom(shifted(today, -1));
    case "7d":
      return `${toDicom(shifted(today, -6))}-`;
    case "30d":
      return `${toDicom(shifted(today, -29))}-`;
    case "12m":
      return `${toDicom(shifted(today, 1, -12))}-`;
    default:
      return filter;
  }
}

/** Same for moments of ours: FROM/TO in RFC 3339, whole local days. */
export function momentRange(filter: string, today = new Date()): string {
  const range = dateRange(filter, today);
  if (!range) return "";
  const [from = "", to] = range.includes("-") ? range.split("-") : [range, range];
  const start = fromDicom(from);
  const end = to ? fromDicom(to) : undefined;
  return `${start ? start.toISOString() : ""}/${end ? shifted(end, 1).toISOString() : ""}`;
}

/** A range of two dates as a filter; either end may be open. */
export function rangeFilter(from: Date | undefined, to: Date | undefined): string {
  if (!from && !to) return "";
  const [first, last] = [from ? toDicom(from) : "", to ? toDicom(to) : ""];
  return first && first === last ? first : `${first}-${last}`;
}

export function parseRange(filter: string): [Date | undefined, Date | undefined] {
  const range = dateRange(filter);
  if (!range) return [undefined, undefined];
  const [from = "", to] = range.includes("-") ? range.split("-") : [range, range];
  return [fromDicom(from), fromDicom(to ?? "")];
}

/** HHMMSS.FFFFFF as HH:MM. */
export function clock(time: string): string {
  const match = /^(\d{2}):?(\d{2})/.exec(time);
  return match ? `${match[1]}:${match[2]}` : "";
}

/** Whole years between two dates; undefined when either is missing or they contradict each other. */
export function ageAt(birth: string, at: Date): number | undefined {
  const born = fromDicom(birth);
  if (!born || born > at) return undefined;
  const before =
    at.getMonth() < born.getMonth() || (at.getMonth() === born.getMonth() && at.getDate() < born.getDate());
  return at.getFullYear() - born.getFullYear() - (before ? 1 : 0);
}
