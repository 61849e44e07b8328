/**
 * Numbers and times as people read them.
 * @module format
 */

const whole = new Intl.NumberFormat("en");
const compact = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });

/** 12,345; from a million on 1.2M. */
export const count = (number) => (number < 1_000_000 ? whole : compact).format(number);

/** "1 task", "2 tasks". */
export const plural = (number, noun) => `${count(number)} ${noun}${number === 1 ? "" : "s"}`;

/** A share from 0 to 1 as a percentage; "0 %" and "100 %" stand for exactly 0 and 1 only. */
export function percent(share) {
  if (share === 0 || share === 1) return `${share * 100} %`;
  return `${Math.min(Math.max(share * 100, 0.1), 99.9).toFixed(1)} %`;
}

/** A rate, from events per second: "12/s", "1.5/s", "40/min". */
export function rate(perSecond) {
  if (perSecond === 0) return "0/s";
  if (perSecond >= 10) return `${count(Math.round(perSecond))}/s`;
  if (perSecond >= 1) return `${perSecond.toFixed(1)}/s`;
  const perMinute = perSecond * 60;
  return `${perMinute >= 10 ? Math.round(perMinute) : perMinute.toFixed(1)}/min`;
}

/** A length of time, from seconds, in three figures or two units. */
export function duration(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  if (seconds < 0.00001) return seconds <= 0 ? "0 ms" : "<0.01 ms";
  if (seconds < 0.9995) return `${figures(seconds * 1000)} ms`;
  if (seconds < 59.95) return `${figures(seconds)} s`;
  return twoUnits(Math.round(seconds));
}

/** A round length of time on an axis, from seconds: "2 s", "1.5 s". */
export const mark = (seconds) => (seconds ? duration(seconds).replace(/(\.\d*?)0+ /, "$1 ").replace(". ", " ") : "0");

/** A length of time in its largest unit alone, from seconds: "3 min". */
export function age(seconds) {
  const [unit, size] = UNITS.find(([, each]) => seconds >= each) ?? UNITS.at(-1);
  return `${Math.max(0, Math.floor(seconds / size))} ${unit}`;
}

/** How long ago a moment was, or how soon it is; both in milliseconds since 1970. */
export function relative(moment, now) {
  const seconds = (now - moment) / 1000;
  if (Math.abs(seconds) < 1) return "now";
  return seconds > 0 ? `${age(seconds)} ago` : `in ${age(-seconds)}`;
}

/** A moment to the millisecond, in the reader's time and in UTC. */
export const exact = (moment) => `${local(moment)} (${new Date(moment).toISOString()})`;

/** A moment to the millisecond, in the reader's time. */
export function local(moment) {
  const date = new Date(moment);
  const offset = -date.getTimezoneOffset();
  const minutes = Math.abs(offset);
  const zone = `${offset < 0 ? "−" : "+"}${pad(Math.floor(minutes / 60))}:${pad(minutes % 60)}`;
  const day = `${date.getFullYear()}-${pad(date.getMonth() + 1)}-${pad(date.getDate())}`;
  return `${day} ${clockTime(date)} ${zone}`;
}

/** Milliseconds since 1970, from RFC 3339; with the microseconds, which `Date.parse` drops. */
export function precise(text) {
  const micros = /\.\d{3}(\d{3})/.exec(text)?.[1] ?? 0;
  return Date.parse(text) + Number(micros) / 1000;
}

/** The time of day, to the millisecond. */
export function clockTime(moment) {
  const date = new Date(moment);
  const parts = [date.getHours(), date.getMinutes(), date.getSeconds()].map((number) => pad(number));
  return `${parts.join(":")}.${pad(date.getMilliseconds(), 3)}`;
}

/** An exception in one line: the last part of its type's name, and its text if it has one. */
export const errorText = (type, text) => [type?.split(".").at(-1), text].filter(Boolean).join(": ");

/** The first characters of an id, enough to tell tasks apart. */
export const shortId = (id) => id.slice(0, 8);

const UNITS = [
  ["d", 86_400],
  ["h", 3_600],
  ["min", 60],
  ["s", 1],
];

function twoUnits(seconds) {
  const index = UNITS.findIndex(([, size]) => seconds >= size);
  const [unit, size] = UNITS[index];
  const [lesser, lesserSize] = UNITS[index + 1];
  const rest = Math.floor((seconds % size) / lesserSize);
  return `${Math.floor(seconds / size)} ${unit}${rest ? ` ${rest} ${lesser}` : ""}`;
}

function figures(number) {
  if (number >= 99.95) return String(Math.round(number));
  return number.toFixed(number >= 9.995 ? 1 : 2);
}

const pad = (number, width = 2) => String(number).padStart(width, "0");
