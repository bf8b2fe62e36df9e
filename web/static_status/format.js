// Numbers, times and sizes as people read them. Pure functions.

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const tenths = new Intl.NumberFormat("en", { minimumFractionDigits: 1, maximumFractionDigits: 1 });

export const count = (value) => whole.format(value);

export const rate = (value) => (value > 0 && value < 10 ? tenths.format(value) : whole.format(value));

/** Bytes in decimal units, as disks are sold. */
export function bytes(value) {
  const units = ["B", "kB", "MB", "GB", "TB", "PB"];
  let unit = 0;
  while (value >= 999.5 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${unit > 0 && value < 99.95 ? tenths.format(value) : whole.format(value)} ${units[unit]}`;
}

/** A length of time in its two largest units. */
export function duration(seconds) {
  const all = Math.max(0, Math.floor(seconds));
  const [days, hours, minutes] = [Math.floor(all / 86400), Math.floor(all / 3600) % 24, Math.floor(all / 60) % 60];
  if (days) return `${days} d ${hours} h`;
  if (hours) return `${hours} h ${minutes} min`;
  return minutes ? `${minutes} min ${all % 60} s` : `${all} s`;
}

export const wait = (ms) => (ms >= 1000 ? `${tenths.format(ms / 1000)} s` : `${count(ms)} ms`);

/** A DICOM date (DA), 20240131, as 2024-01-31; anything else as it is. */
export const date = (da) => (/^\d{8}$/.test(da) ? `${da.slice(0, 4)}-${da.slice(4, 6)}-${da.slice(6)}` : da);

export const clock = (seconds) => new Date(seconds * 1000).toLocaleTimeString();

/** How long before `now` (seconds since 1970) an ISO time was; the text itself if it is none. */
export function ago(text, now) {
  const then = Date.parse(text) / 1000;
  if (Number.isNaN(then)) return text;
  const seconds = Math.max(0, now - then);
  if (seconds < 2) return "just now";
  if (seconds < 60) return `${Math.floor(seconds)} s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ago`;
  return `${Math.floor(seconds / 86400)} d ago`;
}

export function absolute(text) {
  const then = Date.parse(text);
  return Number.isNaN(then) ? text : new Date(then).toLocaleString();
}
