// The home page: updates values and ages, filters while typing, switches to °F and UTC.

import { choices, choose } from "./choices.js";
import { age, instant, quantity, shownUnit, zoneName } from "./format.js";

const REFRESH_MS = 15_000;
const RELOAD_MS = 5 * 60_000; // of the whole board: charts, silent marks, late readings
const MAX_DELAY_MS = 2 * 60_000; // usually, between a measurement and its arrival
const TYPING_PAUSE_MS = 300;

const [filter, form] = [document.querySelector(".bar input"), document.querySelector(".bar")];
const board = () => document.querySelector(".board");
const rows = () => board().querySelectorAll("li[data-sensor]");

let serverAheadMs; // the server's clock minus this machine's
let refreshedMs; // by the server's clock
let reloadedMs;

const now = () => Date.now() + serverAheadMs;

async function get(url) {
  const answer = await fetch(url, { cache: "no-store" });
  if (!answer.ok) throw new Error(`${url}: ${answer.status}`);
  return answer;
}

// Show a row's numbers in the chosen unit.
function showRow(row, chosen) {
  const { unit } = row.dataset;
  const numbers = [...row.querySelectorAll("data")];
  for (const number of numbers) {
    [number.textContent] = quantity(+number.value, unit, chosen).split("\u00a0");
  }
  row.querySelector(".unit").textContent = shownUnit(unit, chosen);
  const [, low, high] = numbers.map((number) => number.textContent);
  row.querySelector("svg")?.setAttribute("aria-label", `24 hours: low ${low}, high ${high}`);
}

function showChoices() {
  const chosen = choices();
  const unit = chosen.fahrenheit ? "F" : "";
  if (board().dataset.unit !== unit) {
    for (const row of rows()) if (row.dataset.unit === "°C") showRow(row, chosen);
    board().dataset.unit = unit;
  }
  for (const button of document.querySelectorAll("[data-choice]")) {
    const on = button.dataset.choice === "unit" ? chosen.fahrenheit : chosen.utc;
    button.setAttribute("aria-pressed", on);
  }
  showRefreshed(true);
}

function showRefreshed(reached) {
  const line = document.querySelector(".asof");
  if (!line) return;
  line.classList.toggle("late", !reached);
  line.querySelector(".heard").textContent = reached ? "as of" : "no connection since";
  line.querySelector("time").textContent = instant(refreshedMs, choices(), true);
  line.querySelector("[data-zone]").textContent = zoneName(choices());
}

function updateAges() {
  for (const time of board().querySelectorAll("li time")) {
    const text = `${age((now() - Date.parse(time.dateTime)) / 1000)} ago`;
    if (time.textContent !== text) time.textContent = text;
  }
}

function boardLoaded() {
  refreshedMs = reloadedMs = +board().dataset.now;
  serverAheadMs = refreshedMs - Date.now();
  form.hidden = "first" in board().dataset;
  applyFilter();
  showChoices();
}

// Replace the whole board without reloading the page.
async function reloadBoard(href = location.href) {
  const page = await (await get(href)).text();
  const fresh = new DOMParser().parseFromString(page, "text/html").querySelector(".board");
  const focused = board().contains(document.activeElement) && document.activeElement.getAttribute("href");
  board().replaceWith(fresh);
  if (focused) board().querySelector(`a[href="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
  boardLoaded();
}

function refreshRow(row, { measured_ms, value, unit }, chosen) {
  const time = row.querySelector("time");
  if (measured_ms <= Date.parse(time.dateTime)) return;
  time.dateTime = new Date(measured_ms).toISOString();
  row.dataset.unit = unit ?? "";
  row.querySelector("data").value = value;
  showRow(row, chosen);
  if (!matchMedia("(prefers-reduced-motion: reduce)").matches) {
    const mark = getComputedStyle(row).getPropertyValue("--mark");
    row.animate([{ background: mark }, { background: "transparent" }], 2000);
  }
}

// Update the sensors with new readings. Returns whether the whole board must be reloaded.
async function refreshRows() {
  const { latest } = board().dataset;
  const columns = new URL(latest, location.href).searchParams.getAll("_col");
  const answer = await get(`${latest}&measured_ms__gt=${refreshedMs - MAX_DELAY_MS}`);
  const chosen = choices();
  let outdated = false;
  for (const values of (await answer.json()).rows) {
    const reading = Object.fromEntries(columns.map((column, place) => [column, values[place]]));
    const row = board().querySelector(`li[data-sensor="${reading.sensor}"]`);
    if (row) refreshRow(row, reading, chosen);
    outdated ||= !row || row.classList.contains("is-silent") !== Boolean(reading.silent);
  }
  return outdated;
}

async function refresh() {
  if (document.hidden) return;
  const requestedMs = now();
  try {
    if (requestedMs - reloadedMs > RELOAD_MS || (await refreshRows())) await reloadBoard();
    else refreshedMs = requestedMs;
    showRefreshed(true);
  } catch {
    showRefreshed(false); // tried again next time
  }
  updateAges();
}

// Hide sensors that lack a word of the filter in their name, node or description.
function applyFilter() {
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

function filterChanged() {
  const address = new URL(location.href);
  if (filter.value.trim()) address.searchParams.set("q", filter.value);
  else address.searchParams.delete("q");
  address.searchParams.delete("after");
  history.replaceState(history.state, "", address);
  clearTimeout(typed);
  if ("whole" in board().dataset) applyFilter();
  else typed = setTimeout(() => reloadBoard().catch(() => location.reload()), TYPING_PAUSE_MS);
}

filter.addEventListener("input", filterChanged);
form.addEventListener("submit", (event) => {
  event.preventDefault();
  filterChanged();
});
form.addEventListener("click", (event) => {
  const button = event.target.closest("[data-choice]");
  if (!button) return;
  choose(button.dataset.choice, button.getAttribute("aria-pressed") !== "true");
  showChoices();
});
document.addEventListener("pointerover", (event) => {
  const time = event.target.closest?.("li time");
  if (time) time.title = `${instant(Date.parse(time.dateTime), choices(), true)} ${zoneName(choices())}`;
});
document.addEventListener("visibilitychange", refresh);

form.querySelector(".choices").hidden = false;
boardLoaded();
setInterval(refresh, REFRESH_MS);
