// A screen on a wall: shows as many tiles or charts as fit, and goes on to the next every few
// seconds with fresh values. Without a connection it goes on with what it has, and says so.

import { choices } from "./choices.js";
import { ago, dayOrMonth, instant, localize, moment, zoneName } from "./format.js";
import { showTimes } from "./ticks.js";
import { gettext } from "./words.js";

const TURN_MS = 15_000;
const TIMEOUT_MS = 10_000; // of a request: a network may drop it in silence
const SCALES = [1.8, 1.5, 1.25]; // of the type, where everything fits; or else 1

let board = document.querySelector(".board");
let href = location.href; // of what the board shows: of many sensors, the first part
let pages = []; // lists of elements that are shown together
let page = 0;
let heardMs, serverAheadMs;

const now = () => Date.now() + serverAheadMs;
const parts = () => [...board.querySelectorAll(".area, .chart")];
const tilesOf = (part) => [...part.querySelectorAll("li[data-sensor]")];

function show(elements) {
  for (const part of parts()) {
    const tiles = tilesOf(part);
    for (const tile of tiles) tile.hidden = !elements.includes(tile);
    part.hidden = !elements.includes(part) && !tiles.some((tile) => !tile.hidden);
  }
}

function fits(elements) {
  show(elements);
  return board.scrollHeight <= board.clientHeight + 1;
}

// An area in pages of about the same length, each as long as fits.
function cut(tiles) {
  show(tiles);
  const bottom = board.getBoundingClientRect().bottom + 1;
  const most = tiles.filter((tile) => tile.getBoundingClientRect().bottom <= bottom).length || 1;
  const length = Math.ceil(tiles.length / Math.ceil(tiles.length / most));
  return Array.from({ length: Math.ceil(tiles.length / length) }, (_, place) =>
    tiles.slice(place * length, (place + 1) * length));
}

// As few pages as possible: a page has whole areas, or a part of one.
function paged() {
  const found = [[]];
  for (const part of parts()) {
    const tiles = tilesOf(part);
    const own = tiles.length ? tiles : [part];
    if (fits([...found.at(-1), ...own])) found.at(-1).push(...own);
    else if (own.length > 1 && !fits(own)) found.push(...cut(own));
    else found.push(own);
  }
  return found.filter((elements) => elements.length);
}

function layOut() {
  const root = document.documentElement.style;
  for (const scale of [...SCALES, 1]) {
    root.setProperty("--scale", scale);
    pages = paged();
    if (pages.length <= 1 && !board.dataset.next) break;
  }
  board.classList.add("paged");
}

function showPage() {
  show(pages[page] ?? []);
  const chosen = choices();
  for (const time of board.querySelectorAll("li[data-sensor] time, .needs time")) {
    const ms = Date.parse(time.dateTime);
    if (time.closest(".needs")) time.textContent = moment(ms, now(), chosen);
    else if (time.closest(".is-history")) time.textContent = dayOrMonth(ms, now(), chosen);
    else time.textContent = ago((now() - ms) / 1000);
  }
  document.querySelector(".turn").textContent = pages.length > 1 ? gettext("{page} of {pages}", { page: page + 1, pages: pages.length }) : "";
}

// Charts come in UTC; show them in the viewer's zone.
function localizeCharts() {
  const charts = board.querySelector(".charts");
  if (!charts) return;
  const chosen = choices();
  localize(charts, chosen);
  for (const drawing of charts.querySelectorAll("svg.drawing")) showTimes(drawing, +charts.dataset.from, +charts.dataset.to, chosen.utc);
}

function showHeard(reached) {
  const line = document.querySelector(".asof");
  const chosen = choices();
  line.parentElement.classList.toggle("late", !reached);
  line.classList.toggle("late", !reached);
  line.querySelector(".heard").textContent = reached ? gettext("as of") : gettext("no connection since");
  const [day, minute] = instant(heardMs, chosen).split(" ");
  const isToday = instant(now(), chosen).startsWith(day);
  line.querySelector("time").textContent = isToday ? minute : `${day} ${minute}`;
  line.querySelector("[data-zone]").textContent = zoneName(chosen);
}

function loaded() {
  heardMs = +board.dataset.now;
  serverAheadMs = heardMs - Date.now();
  localizeCharts();
  layOut();
  showHeard(true);
}

async function load(address) {
  const answer = await fetch(address, { cache: "no-store", signal: AbortSignal.timeout(TIMEOUT_MS) });
  if (!answer.ok) throw new Error(`${address}: ${answer.status}`);
  const found = new DOMParser().parseFromString(await answer.text(), "text/html");
  return found.querySelector(".kiosk .board") ?? Promise.reject(new Error(`${address}: no kiosk`));
}

// The next page, or after the last one of this part the next part, or the first.
async function turn() {
  const isLast = page + 1 >= pages.length;
  page = isLast ? 0 : page + 1;
  const next = isLast ? board.dataset.next || location.href : href;
  try {
    const fresh = await load(next);
    board.replaceWith(fresh);
    [board, href] = [fresh, next];
    loaded();
    page = Math.min(page, Math.max(0, pages.length - 1));
  } catch {
    showHeard(false); // tried again at the next turn
  }
  showPage();
}

async function run() {
  await turn();
  setTimeout(run, TURN_MS);
}

const asked = location.href;
loaded();
showPage(); // asks for °F in the address, if that was chosen in this browser
if (location.href === asked) setTimeout(run, TURN_MS);
else run();
addEventListener("resize", () => {
  layOut();
  page = 0;
  showPage();
});
