// The home page: updates values and ages, filters while typing, switches to °F and UTC, remembers
// folded groups in the address, and loads more sensors where the page ends.

import { choices, onChoice, showButtons } from "./choices.js";
import { SWITCHED, ago, dayOrMonth, instant, moment, quantity, shownUnit, zoneName } from "./format.js";
import { gettext } from "./words.js";

const REFRESH_MS = 15_000;
const RELOAD_MS = 60_000; // of the whole board: what needs attention, charts, late readings
const MAX_DELAY_MS = 2 * 60_000; // usually, between a measurement and its arrival
const TYPING_PAUSE_MS = 300;

const [filter, form] = [document.querySelector(".bar input"), document.querySelector(".bar")];
const board = () => document.querySelector(".board");
const rows = () => board().querySelectorAll("li[data-sensor]");

let serverAheadMs; // the server's clock minus this machine's
let refreshedMs; // by the server's clock
let reloadedMs;
let latestUrls = []; // of the board, and of what was loaded below it

const now = () => Date.now() + serverAheadMs;

async function get(url) {
  const answer = await fetch(url, { cache: "no-store" });
  if (!answer.ok) throw new Error(`${url}: ${answer.status}`);
  return answer;
}

// Show a row's numbers in the chosen unit.
function showRow(row, chosen) {
  const { unit, decimals } = row.dataset;
  const numbers = [...row.querySelectorAll("data")];
  for (const number of numbers) {
    const given = decimals === undefined ? undefined : +decimals;
    const [text] = quantity(+number.value, unit, chosen, given).split("\u00a0");
    number.textContent = ("switch" in row.dataset && SWITCHED[number.value]) || text;
  }
  const shown = row.querySelector(".unit");
  if (shown) shown.textContent = shownUnit(unit, chosen);
  if (numbers.length < 3) return; // a switch that stayed as it is
  const [, low, high] = numbers.map((number) => number.textContent);
  const label = row.classList.contains("is-archive") ? gettext("All of it: low {low}, high {high}", { low, high })
    : gettext("24 hours: low {low}, high {high}", { low, high });
  row.querySelector("svg")?.setAttribute("aria-label", label);
}

function showChoices() {
  const chosen = choices();
  const unit = chosen.fahrenheit ? "F" : "";
  if (board().dataset.unit !== unit) {
    for (const row of rows()) if (row.dataset.unit === "°C") showRow(row, chosen);
    board().dataset.unit = unit;
  }
  showButtons(chosen);
  for (const time of board().querySelectorAll(".attention time")) {
    time.textContent = moment(Date.parse(time.dateTime), now(), chosen);
  }
  for (const time of board().querySelectorAll(".is-history time")) {
    time.textContent = dayOrMonth(Date.parse(time.dateTime), now(), chosen);
  }
  showRefreshed(true);
}

function showRefreshed(reached) {
  const line = document.querySelector(".asof");
  if (!line) return;
  line.classList.toggle("late", !reached);
  line.querySelector(".heard").textContent = reached ? gettext("as of") : gettext("no connection since");
  line.querySelector("time").textContent = instant(refreshedMs, choices(), true);
  line.querySelector("[data-zone]").textContent = zoneName(choices());
}

function updateAges() {
  for (const time of board().querySelectorAll("li[data-sensor]:not(.is-history) time")) {
    const text = ago((now() - Date.parse(time.dateTime)) / 1000);
    if (time.textContent !== text) time.textContent = text;
  }
}

function boardLoaded() {
  refreshedMs = reloadedMs = +board().dataset.now;
  serverAheadMs = refreshedMs - Date.now();
  latestUrls = [board().dataset.latest];
  form.hidden = "first" in board().dataset;
  watchEnd();
  applyFilter();
  showChoices();
}

async function load(href) {
  const page = await (await get(href)).text();
  return new DOMParser().parseFromString(page, "text/html").querySelector(".board");
}

// Replace the whole board without reloading the page, with as many sensors as it had.
async function reloadBoard(href = location.href) {
  const count = rows().length;
  const isSame = href === location.href;
  const fresh = await load(href);
  const focused = board().contains(document.activeElement) && document.activeElement.getAttribute("href");
  board().replaceWith(fresh);
  boardLoaded();
  while (isSame && rows().length < count && (await loadMore()));
  if (focused) board().querySelector(`a[href="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
}

// Append the next sensors to the board. Returns whether there were more.
async function loadMore() {
  const link = board().querySelector(".more a[rel=next]");
  if (!link) return false;
  const next = await load(link.href);
  const groups = new Map([...board().querySelectorAll(".group")].map((one) => [one.dataset.group, one]));
  for (const part of next.querySelectorAll(".group, .board > .nodes")) {
    const nodes = part.matches(".group") ? part.querySelector(".nodes") : part;
    const same = part.matches(".group")
      ? groups.get(part.dataset.group)?.querySelector(".nodes")
      : board().querySelector(":scope > .nodes");
    if (same) same.append(...nodes.children);
    else link.parentElement.before(part);
  }
  const more = next.querySelector(".more");
  if (more) link.parentElement.replaceWith(more);
  else link.parentElement.remove();
  latestUrls.push(next.dataset.latest);
  board().dataset.unit = next.dataset.unit;
  for (const row of rows()) if (row.dataset.unit === "°C") showRow(row, choices());
  board().dataset.unit = choices().fahrenheit ? "F" : "";
  showChoices();
  watchEnd();
  return true;
}

const end = new IntersectionObserver((seen) => {
  if (!seen.some((one) => one.isIntersecting)) return;
  end.disconnect();
  loadMore().catch(() => {}); // the link is still there
}, { rootMargin: "600px" });

function watchEnd() {
  end.disconnect();
  const more = board().querySelector(".more:has(a[rel=next])");
  if (more) end.observe(more);
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
  const chosen = choices();
  let outdated = false;
  for (const latest of latestUrls) {
    const columns = new URL(latest, location.href).searchParams.getAll("_col");
    const answer = await get(`${latest}&measured_ms__gt=${refreshedMs - MAX_DELAY_MS}`);
    for (const values of (await answer.json()).rows) {
      const reading = Object.fromEntries(columns.map((column, place) => [column, values[place]]));
      const same = board().querySelectorAll(`li[data-sensor="${reading.sensor}"]`);
      for (const row of same) refreshRow(row, reading, chosen);
      outdated ||= !same.length || same[0].classList.contains("is-silent") !== Boolean(reading.silent);
    }
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
  if (!("complete" in board().dataset)) return;
  const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
  for (const section of board().querySelectorAll(".nodes > section")) {
    const described = (section.querySelector("bdi")?.textContent ?? "").toLowerCase();
    const matches = (text) => words.every((word) => text.includes(word) || described.includes(word));
    const area = section.closest(".group")?.dataset.group ?? "";
    const node = `${section.querySelector("h2, h3").textContent} ${area}`.toLowerCase();
    const sensors = [...section.querySelectorAll("li")];
    for (const row of sensors) {
      row.hidden = !matches(`${node} ${row.querySelector(".name").textContent.toLowerCase()}`);
    }
    section.hidden = sensors.length ? sensors.every((row) => row.hidden) : !matches(node);
  }
  for (const group of board().querySelectorAll(".group")) {
    group.hidden = words.length && !group.querySelector("section:not([hidden])");
  }
  const none = words.length && !board().querySelector(".nodes > section:not([hidden])");
  document.querySelector("#sifted").textContent = none ? gettext("No sensor matches “{name}”.", { name: filter.value }) : "";
}

let typed;

function filterChanged() {
  const address = new URL(location.href);
  if (filter.value.trim()) address.searchParams.set("q", filter.value);
  else address.searchParams.delete("q");
  address.searchParams.delete("after");
  history.replaceState(history.state, "", address);
  clearTimeout(typed);
  if ("complete" in board().dataset) applyFilter();
  else typed = setTimeout(() => reloadBoard().catch(() => location.reload()), TYPING_PAUSE_MS);
}

filter.addEventListener("input", filterChanged);
form.addEventListener("submit", (event) => {
  event.preventDefault();
  filterChanged();
});
onChoice(showChoices);
document.addEventListener("pointerover", (event) => {
  const time = event.target.closest?.("li time");
  if (time) time.title = `${instant(Date.parse(time.dateTime), choices(), true)} ${zoneName(choices())}`;
});
document.addEventListener("visibilitychange", refresh);

// A group that is folded, or unfolded: the address knows, and what isn't here is loaded.
document.addEventListener("toggle", (event) => {
  const { group } = event.target.dataset;
  if (group === undefined) return;
  const address = new URL(location.href);
  const closed = address.searchParams.getAll("closed").filter((name) => name !== group);
  address.searchParams.delete("closed");
  for (const name of event.target.open ? closed : [...closed, group]) address.searchParams.append("closed", name);
  if (address.href === location.href) return;
  history.replaceState(history.state, "", address);
  if (event.target.open && !event.target.querySelector("section")) {
    reloadBoard().catch(() => location.reload());
  }
}, true);

form.querySelector(".choices").hidden = false;
boardLoaded();
setInterval(refresh, REFRESH_MS);
