/** Numbers and moments as people of a language read them. */

const UNITS = ["B", "kB", "MB", "GB", "TB", "PB"];

export function bytes(count: number, language = "en"): string {
  let [value, unit] = [count, 0];
  while (value >= 999.5 && unit < UNITS.length - 1) [value, unit] = [value / 1000, unit + 1];
  const digits = unit === 0 || value >= 100 ? 0 : value >= 10 ? 1 : 2;
  return `${new Intl.NumberFormat(language, { maximumFractionDigits: digits }).format(value)} ${UNITS[unit]}`;
}

export function whole(count: number, language = "en"): string {
  return new Intl.NumberFormat(language, { maximumFractionDigits: 0 }).format(count);
}

const STEPS: [Intl.RelativeTimeFormatUnit, number][] = [
  ["year", 31_557_600],
  ["month", 2_629_800],
  ["day", 86_400],
  ["hour", 3_600],
  ["minute", 60],
];

/** "5 minutes ago", "in 2 days". */
export function relative(moment: Date, now: Date, language = "en", style: "long" | "short" = "short"): string {
  const seconds = (moment.getTime() - now.getTime()) / 1000;
  const format = new Intl.RelativeTimeFormat(language, { numeric: "auto", style });
  for (const [unit, size] of STEPS)
    if (Math.abs(seconds) >= size) return format.format(Math.trunc(seconds / size), unit);
  return format.format(Math.abs(seconds) < 5 ? 0 : Math.trunc(seconds), "second");
}

export function absolute(moment: Date, language = "en"): string {
  return new Intl.DateTimeFormat(language, { dateStyle: "full", timeStyle: "long" }).format(moment);
}

/** English readers on two continents swap day and month: for them the year comes first. */
export function day(date: Date | undefined, language = "en"): string {
  const locale = language.startsWith("en") ? "en-CA" : language;
  return date
    ? new Intl.DateTimeFormat(locale, { year: "numeric", month: "2-digit", day: "2-digit" }).format(date)
    : "";
}

/** Seconds as "3:07" or "2 h 05 min" or "4 d 3 h". */
export function duration(seconds: number): string {
  const s = Math.max(0, Math.floor(seconds));
  const pad = (value: number) => String(value).padStart(2, "0");
  if (s < 3600) return `${Math.floor(s / 60)}:${pad(s % 60)}`;
  if (s < 86_400) return `${Math.floor(s / 3600)} h ${pad(Math.floor((s % 3600) / 60))} min`;
  return `${Math.floor(s / 86_400)} d ${Math.floor((s % 86_400) / 3600)} h`;
}
