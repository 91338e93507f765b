// Ticks of a chart's axes, by the rules of tmon/pages/svg.py: nothing moves when the browser draws
// a chart again.

import { MONTHS, dayAndMonth } from "./words.js";

const MAX_TIME_TICKS = 6; // what fits a phone's width
const MAX_VALUE_TICKS = 6; // what fits a chart's height
const MAX_TICK = 1e6; // an axis has no room for more digits
const MAX_DECIMALS = 5;

const [MINUTE_MS, HOUR_MS, DAY_MS] = [60_000, 3_600_000, 86_400_000];
const STEPS_MS = [
  ...[1, 2, 5, 10, 15, 30].map((minutes) => minutes * MINUTE_MS),
  ...[1, 2, 3, 6, 12].map((hours) => hours * HOUR_MS),
  ...[1, 2, 5, 10, 15].map((days) => days * DAY_MS),
];
const STEPS_MONTHS = [1, 2, 3, 6, ...[1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000].map((years) => years * 12)];

// The smallest axis for these values that begins and ends with a round number, or at a fixed edge.
export function valueAxis(values, fixedLow = null, fixedHigh = null) {
  let [low, high] = [fixedLow ?? Math.min(...values), fixedHigh ?? Math.max(...values)];
  if (high - low <= 1e-12 * Math.max(Math.abs(low), Math.abs(high))) { // equal, or beyond a fixed edge
    const margin = Math.abs(low) < MAX_TICK ? 0.5 : Math.abs(low) / 10;
    if (fixedHigh === null) [low, high] = [fixedLow ?? low - margin, low + margin];
    else low = high - margin;
  }
  // The smallest of 1, 2 and 5 times a power of ten that makes few enough ticks.
  const least = (high - low) / (MAX_VALUE_TICKS - 1);
  const power = Number(`1e${Math.floor(Math.log10(least))}`);
  const step = [1, 2, 5, 10].map((by) => power * by).find((one) => one >= least * (1 - 1e-9));
  if (fixedLow === null) low = Math.floor(low / step) * step;
  if (fixedHigh === null) high = Math.ceil(high / step) * step;
  const ticks = [];
  const last = Math.floor(high / step + 1e-9);
  for (let number = Math.ceil(low / step - 1e-9); number <= last; number += 1) ticks.push([number * step, valueLabel(number * step, step)]);
  return { low, high, ticks };
}

function valueLabel(value, step) {
  // 1e-9: the logarithm of 0.001 may come out a little below -3.
  const decimals = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
  const plain = Math.abs(value) < MAX_TICK && decimals <= MAX_DECIMALS;
  const text = plain ? value.toFixed(decimals) : sixDigits(value);
  return text.replace(/-/g, "\u2212");
}

// Like Python's format ".6g", but 2.5e7 for 2.5e+07.
function sixDigits(value) {
  const rounded = +(value * (1 + 1e-12)).toPrecision(6);
  const size = Math.abs(rounded);
  const plain = rounded === 0 || (size >= 1e-4 && size < 1e6);
  return plain ? String(rounded) : rounded.toExponential().replace("+", "");
}

// Round instants of a span, with their labels, in UTC or in the browser's time zone.
export function timeTicks(fromMs, toMs, utc) {
  // A local time is written as the Unix milliseconds of the same date and time in UTC.
  const toLocal = (ms) => (utc ? ms : ms - new Date(ms).getTimezoneOffset() * MINUTE_MS);
  const fromLocal = (localMs) => {
    const at = new Date(localMs);
    return utc ? localMs : +new Date(at.getUTCFullYear(), at.getUTCMonth(), at.getUTCDate(), at.getUTCHours(), at.getUTCMinutes());
  };
  const length = toMs - fromMs;
  const [first, last] = [toLocal(fromMs), toLocal(toMs)];
  const step = STEPS_MS.find((one) => length / one <= MAX_TIME_TICKS);
  const found = step ? multiples(first, last, step) : firstsOfMonths(first, last, length);
  const label = step ? timeLabel : monthLabel;
  // Where clocks skip an hour, two local times are the same instant.
  const instants = new Set(found.map(fromLocal));
  return [...instants].filter((ms) => ms >= fromMs && ms < toMs).map((ms) => [ms, label(new Date(toLocal(ms)))]);
}

function multiples(first, last, step) {
  const found = [];
  for (let at = Math.ceil(first / step) * step; at <= last; at += step) found.push(at);
  return found;
}

function firstsOfMonths(first, last, length) {
  const step = STEPS_MONTHS.find((months) => length / (months * 30 * DAY_MS) <= MAX_TIME_TICKS);
  const start = (month) => new Date(0).setUTCFullYear(Math.floor(month / 12), month % 12, 1);
  const found = [];
  let month = Math.floor((new Date(first).getUTCFullYear() * 12) / step) * step;
  for (; start(month) <= last; month += step) found.push(start(month));
  return found;
}

function timeLabel(at) {
  const [hour, minute] = [at.getUTCHours(), at.getUTCMinutes()].map((number) => String(number).padStart(2, "0"));
  const midnight = hour === "00" && minute === "00";
  return midnight ? dayAndMonth(at.getUTCDate(), at.getUTCMonth() + 1) : `${hour}:${minute}`;
}

function monthLabel(at) {
  return at.getUTCMonth() === 0 ? String(at.getUTCFullYear()) : MONTHS[at.getUTCMonth()];
}

const SIDE = 10_000; // of the square that svg.py draws in

// Replace the ticks of time of an SVG that came in UTC.
export function showTimes(drawing, fromMs, toMs, utc) {
  const create = (name, attributes) => {
    const one = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) one.setAttribute(key, value);
    return one;
  };
  for (const old of drawing.querySelectorAll(".time")) old.remove();
  for (const [ms, label] of timeTicks(fromMs, toMs, utc)) {
    const place = (ms - fromMs) / (toMs - fromMs);
    const text = create("text", { class: "tick time", x: `${place * 100}%`, y: "100%", dy: 17, "text-anchor": "middle" });
    text.textContent = label;
    drawing.querySelector("svg").prepend(create("path", { class: "grid time", d: `M${place * SIDE},0V${SIDE}` }));
    drawing.append(text);
  }
}
