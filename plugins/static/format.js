// Formats values and times for people.

import { MONTHS, dayAndMonth, gettext, locale } from "./words.js";

// For each unit, as in tmon/pages/cells.py.
const UNITS = [
  ["lx", "ppm", "ppb", "W", "µg/m³", "rpm", "Wh", "mA", "Pa", "dBm", "°"],
  ["°C", "°F", "%", "hPa", "mm", "mm/h", "km/h", "m/s", "kWh", "dB", "kPa"],
  ["V", "A", "kW"],
];
export const DECIMALS = Object.fromEntries(UNITS.flatMap((units, count) => units.map((unit) => [unit, count])));
const DURATION_UNITS = [[2 * 86400, 86400, "d"], [2 * 3600, 3600, "h"], [60, 60, "min"]];

export const SWITCHED = { 0: gettext("off"), 1: gettext("on") };

export function converted(value, unit, { fahrenheit }) {
  return fahrenheit && unit === "°C" && value != null ? (value * 9) / 5 + 32 : value;
}

export function shownUnit(unit, { fahrenheit }) {
  return fahrenheit && unit === "°C" ? "°F" : unit || "";
}

// A value with its unit; `given` decimals take the place of those of an unknown unit.
export function quantity(value, unit, chosen, given) {
  if (value == null) return "";
  const shown = shownUnit(unit, chosen);
  const number = converted(value, unit, chosen);
  const large = Math.abs(number) >= 1e6 && Math.abs(number) < 1e12;
  const decimals = DECIMALS[shown] ?? given ?? (large ? 0 : undefined);
  const text = decimals === undefined ? String(+number.toPrecision(6)) : number.toFixed(decimals);
  return `${text}\u00a0${shown}`.trim();
}

export function age(seconds) {
  const [, length, name] = DURATION_UNITS.find(([from]) => seconds >= from) || [0, 1, "s"];
  return `${Math.max(0, Math.round(seconds / length))} ${name}`;
}

export function ago(seconds) {
  return gettext("{age} ago", { age: age(seconds) });
}

const formats = {};

function format(options, utc) {
  const key = JSON.stringify([options, utc]);
  formats[key] ||= new Intl.DateTimeFormat(locale, {
    ...options, hourCycle: "h23", timeZone: utc ? "UTC" : undefined,
  });
  return formats[key];
}

const DAY = { year: "numeric", month: "2-digit", day: "2-digit" };
const MINUTE = { hour: "2-digit", minute: "2-digit" };

function parts(ms, options, utc) {
  const found = format(options, utc).formatToParts(ms);
  return Object.fromEntries(found.map(({ type, value }) => [type, value]));
}

// An instant like 2026-11-22 12:00, in the chosen time zone.
export function instant(ms, { utc }, seconds = false) {
  const options = { ...DAY, ...MINUTE, ...(seconds ? { second: "2-digit" } : {}) };
  const at = parts(ms, options, utc);
  return `${at.year}-${at.month}-${at.day} ${at.hour}:${at.minute}${seconds ? `:${at.second}` : ""}`;
}

const OLD_MS = 300 * 86_400_000; // older times are shown with their year

// An instant for a list: 13:20 within a day, else 12 Nov 13:20, or 12 Nov 2013.
export function moment(ms, nowMs, { utc }) {
  const at = parts(ms, { ...DAY, ...MINUTE }, utc);
  if (nowMs - ms < 86_400_000) return `${at.hour}:${at.minute}`;
  return `${dayAndMonth(+at.day, at.month)} ${nowMs - ms < OLD_MS ? `${at.hour}:${at.minute}` : at.year}`;
}

// When history ends: 13:20, 12 Nov or, after a year, May 2014.
export function dayOrMonth(ms, nowMs, { utc }) {
  const at = parts(ms, { ...DAY, ...MINUTE }, utc);
  if (nowMs - ms < 86_400_000) return `${at.hour}:${at.minute}`;
  return nowMs - ms < OLD_MS ? dayAndMonth(+at.day, at.month) : `${MONTHS[at.month - 1]} ${at.year}`;
}

// The zone's name at some instants, such as CET; CET/CEST where clocks change between them.
export function zoneName({ utc }, ...instants) {
  if (utc) return "UTC";
  const names = (instants.length ? instants : [Date.now()]).map((ms) => parts(ms, { timeZoneName: "short" }, false).timeZoneName);
  return [...new Set(names)].join("/");
}

// Show all times and values below an element in the chosen unit and zone.
export function localize(root, chosen) {
  for (const time of root.querySelectorAll("time[datetime]")) {
    time.textContent = instant(Date.parse(time.dateTime), chosen, time.dataset.minutes === undefined);
  }
  for (const zone of root.querySelectorAll("[data-zone]")) {
    const instants = zone.dataset.zone.split(" ").filter(Boolean).map(Number);
    zone.textContent = zoneName(chosen, ...instants);
  }
  for (const value of root.querySelectorAll(".quantity[title]")) {
    const [number, unit] = value.title.split(" ");
    if (unit === "°C") value.textContent = quantity(+number, unit, chosen);
  }
}
