/** Numbers, sizes and times as people read them. Pure. */

const DASH = "–";
// Made once: each toLocaleString with options makes one of its own, which takes longer than a row.
const WHOLE = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const SIGNIFICANT = new Map();
const DATE_TIME = new Intl.DateTimeFormat("en-GB", {
  day: "numeric",
  month: "short",
  year: "numeric",
  hour: "2-digit",
  minute: "2-digit",
  second: "2-digit",
});
const CLOCK_TIME = new Intl.DateTimeFormat("en-GB", {
  hour: "2-digit",
  minute: "2-digit",
  second: "2-digit",
});
const DAY = new Intl.DateTimeFormat("en-GB", {
  weekday: "long",
  day: "numeric",
  month: "long",
  year: "numeric",
});

/** 0.0123 → "0.0123", 12345.678 → "12,346", null → "–"; `padded`, for columns: 1.8 → "1.800". */
export function number(value, digits = 4, padded = false) {
  if (value === null || value === undefined || Number.isNaN(value)) return DASH;
  if (!Number.isFinite(value)) return String(value);
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e9)) return value.toExponential(2);
  if ((Number.isInteger(value) && !padded) || size >= 1000) return WHOLE.format(value);
  return significant(digits, padded).format(value);
}

function significant(digits, padded) {
  const key = padded ? -digits : digits;
  if (!SIGNIFICANT.has(key)) {
    const least = padded ? digits : 1;
    SIGNIFICANT.set(
      key,
      new Intl.NumberFormat("en", { maximumSignificantDigits: digits, minimumSignificantDigits: least }),
    );
  }
  return SIGNIFICANT.get(key);
}

export function percent(fraction, digits = 1) {
  return fraction == null ? DASH : `${(fraction * 100).toFixed(digits)} %`;
}

/** 1536 → "1.5 KiB". */
export function bytes(size) {
  if (size == null) return DASH;
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let value = size;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${value >= 100 || unit === 0 ? Math.round(value) : value.toFixed(1)} ${units[unit]}`;
}

/** 3725 → "1 h 2 min"; 12.3 → "12 s"; 0.045 → "45 ms". */
export function duration(seconds) {
  if (seconds == null) return DASH;
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${pad(whole % 60)} s`;
  if (whole < 86_400) return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
  return `${Math.floor(whole / 86_400)} d ${Math.floor((whole % 86_400) / 3600)} h`;
}

/** "just now", "3 min ago", "2 d ago"; `now` in milliseconds. */
export function ago(iso, now = Date.now()) {
  if (!iso) return "never";
  const seconds = (now - Date.parse(iso)) / 1000;
  if (seconds < 10) return "just now";
  if (seconds < 60) return `${Math.floor(seconds)} s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)} h ago`;
  return `${Math.floor(seconds / 86_400)} d ago`;
}

/** "28 Nov 2026, 14:03:21", in the reader's zone. */
export const dateTime = (iso) => (iso ? DATE_TIME.format(Date.parse(iso)) : DASH);

/** "14:03:21". */
export const clockTime = (iso) => (iso ? CLOCK_TIME.format(Date.parse(iso)) : DASH);

/** "Saturday, 28 November 2026". */
export const dayOf = (iso) => DAY.format(Date.parse(iso));

/** "1 update", "3 updates". */
export function count(n, one, many = `${one}s`) {
  return `${number(n)} ${n === 1 ? one : many}`;
}

/** The first characters of an id or hash. */
export const short = (id, length = 8) => (id ? String(id).slice(0, length) : DASH);

/** "Ada Lovelace" where there is a name, else the user name. */
export function personName(user) {
  return [user.first_name, user.last_name].filter(Boolean).join(" ") || user.username;
}

const pad = (n) => String(n).padStart(2, "0");
