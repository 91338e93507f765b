// The home page: fresh values and ages without a reload, a filter at once, °F and UTC on demand.

import { choices, choose } from "./choices.js";
import { age, instant, quantity, shownUnit, zoneName } from "./format.js";

const FRESH_EVERY_MS = 15_000;
const ANEW_EVERY_MS = 5 * 60_000; // silent marks, lines, lows and highs; and what came late
const LATE_MS = 2 * 60_000; // between a reading and its arrival, as a rule
const TYPED_MS = 300;

const [filter, form] = [document.querySelector(".bar input"), document.querySelector(".bar")];
const board = () => document.querySelector(".board");
const rows = () => board().querySelectorAll("li[data-sensor]");

let ahead; // of this machine's clock is the server's, in ms
let heard; // by the server's clock
let anew; // when the board last came as a whole

const now = () => Date.now() + ahead;

async function get(url) {
  const answer = await fetch(url, { cache: "no-store" });
  if (!answer.ok) throw new Error(`${url}: ${answer.status}`);
  return answer;
}

// A row's numbers and units, as chosen.
function tell(row, chosen) {
  const { unit } = row.dataset;
  const numbers = [...row.querySelectorAll("data")];
  for (const number of numbers) {
    [number.textContent] = quantity(+number.value, unit, chosen).split("\u00a0");
  }
  row.querySelector(".unit").textContent = shownUnit(unit, chosen);
  const [, low, high] = numbers.map((number) => number.textContent);
  row.querySelector("svg")?.setAttribute("aria-label", `24 hours: low ${low}, high ${high}`);
}

function tellAll() {
  const chosen = choices();
  const unit = chosen.fahrenheit ? "F" : "";
  if (board().dataset.unit !== unit) {
    for (const row of rows()) if (row.dataset.unit === "°C") tell(row, chosen);
    board().dataset.unit = unit;
  }
  for (const button of document.querySelectorAll("[data-choice]")) {
    const on = button.dataset.choice === "unit" ? chosen.fahrenheit : chosen.utc;
    button.setAttribute("aria-pressed", on);
  }
  tellHeard(true);
}

function tellHeard(reached) {
  const line = document.querySelector(".asof");
  if (!line) return;
  line.classList.toggle("late", !reached);
  line.querySelector(".heard").textContent = reached ? "as of" : "no connection since";
  line.querySelector("time").textContent = instant(heard, choices(), true);
  line.querySelector("[data-zone]").textContent = zoneName(choices());
}

function tick() {
  for (const time of board().querySelectorAll("li time")) {
    const told = `${age((now() - Date.parse(time.dateTime)) / 1000)} ago`;
    if (time.textContent !== told) time.textContent = told;
  }
}

function arrived() {
  heard = anew = +board().dataset.now;
  ahead = heard - Date.now();
  form.hidden = "first" in board().dataset;
  sift();
  tellAll();
}

// The board anew from the server, without a reload: all of it may have changed.
async function renew(href = location.href) {
  const page = await (await get(href)).text();
  const fresh = new DOMParser().parseFromString(page, "text/html").querySelector(".board");
  const focused = board().contains(document.activeElement) && document.activeElement.getAttribute("href");
  board().replaceWith(fresh);
  if (focused) board().querySelector(`a[href="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
  arrived();
}

function freshenRow(row, { measured_ms, value, unit }, chosen) {
  const time = row.querySelector("time");
  if (measured_ms <= Date.parse(time.dateTime)) return;
  time.dateTime = new Date(measured_ms).toISOString();
  row.dataset.unit = unit ?? "";
  row.querySelector("data").value = value;
  tell(row, chosen);
  if (!matchMedia("(prefers-reduced-motion: reduce)").matches) {
    const mark = getComputedStyle(row).getPropertyValue("--mark");
    row.animate([{ background: mark }, { background: "transparent" }], 2000);
  }
}

// The sensors that measured lately; whether any of them isn't on the board as it should be.
async function freshenRows() {
  const { latest } = board().dataset;
  const columns = new URL(latest, location.href).searchParams.getAll("_col");
  const answer = await get(`${latest}&measured_ms__gt=${heard - LATE_MS}`);
  const chosen = choices();
  let differs = false;
  for (const values of (await answer.json()).rows) {
    const reading = Object.fromEntries(columns.map((column, place) => [column, values[place]]));
    const row = board().querySelector(`li[data-sensor="${reading.sensor}"]`);
    if (row) freshenRow(row, reading, chosen);
    differs ||= !row || row.classList.contains("is-silent") !== Boolean(reading.silent);
  }
  return differs;
}

async function freshen() {
  if (document.hidden) return;
  const asked = now();
  try {
    if (asked - anew > ANEW_EVERY_MS || (await freshenRows())) await renew();
    else heard = asked;
    tellHeard(true);
  } catch {
    tellHeard(false); // the next time will tell
  }
  tick();
}

// Hide what hasn't all of the words; whether a word is meant for a node, its text or a sensor.
function sift() {
  if (!("whole" in board().dataset)) return;
  const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
  for (const section of board().querySelectorAll("section")) {
    const described = (section.querySelector("bdi")?.textContent ?? "").toLowerCase();
    const matches = (text) => words.every((word) => text.includes(word) || described.includes(word));
    const node = section.querySelector("h2").textContent.toLowerCase();
    const sensors = [...section.querySelectorAll("li")];
    for (const row of sensors) {
      row.hidden = !matches(`${node} ${row.querySelector(".name").textContent.toLowerCase()}`);
    }
    section.hidden = sensors.length ? sensors.every((row) => row.hidden) : !matches(node);
  }
  const none = words.length && !board().querySelector("section:not([hidden])");
  document.querySelector("#sifted").textContent = none ? `No sensor matches “${filter.value}”.` : "";
}

let typed;

function filtered() {
  const address = new URL(location.href);
  if (filter.value.trim()) address.searchParams.set("q", filter.value);
  else address.searchParams.delete("q");
  address.searchParams.delete("after");
  history.replaceState(history.state, "", address);
  clearTimeout(typed);
  if ("whole" in board().dataset) sift();
  else typed = setTimeout(() => renew().catch(() => location.reload()), TYPED_MS);
}

filter.addEventListener("input", filtered);
form.addEventListener("submit", (event) => {
  event.preventDefault();
  filtered();
});
form.addEventListener("click", (event) => {
  const button = event.target.closest("[data-choice]");
  if (!button) return;
  choose(button.dataset.choice, button.getAttribute("aria-pressed") !== "true");
  tellAll();
});
document.addEventListener("pointerover", (event) => {
  const time = event.target.closest?.("li time");
  if (time) time.title = `${instant(Date.parse(time.dateTime), choices(), true)} ${zoneName(choices())}`;
});
document.addEventListener("visibilitychange", freshen);

form.querySelector(".choices").hidden = false;
arrived();
setInterval(freshen, FRESH_EVERY_MS);
