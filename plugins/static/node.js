// A page of charts, of a node or compared: zoom, choices, and new readings and marks as they come.

import { choices, onChoice, showButtons } from "./choices.js";
import { draw } from "./chart.js";
import { SWITCHED, age, ago, instant, localize, quantity } from "./format.js";
import { share } from "./share.js";
import { gettext } from "./words.js";

const REFRESH_MS = 10_000;
const RELOAD_MS = 60_000; // of the charts' data where no reading came: there may be new marks

let drawn = [];
let view = null;
let loadedMs = 0; // when, by this machine's clock

async function get(url) {
  const answer = await fetch(url, { cache: "no-store" });
  if (!answer.ok) throw new Error(`${url}: ${answer.status}`);
  return answer.json();
}

function drawAll() {
  for (const one of drawn) one.destroy();
  const chosen = choices();
  drawn = [...document.querySelectorAll(".chart")].map((figure) =>
    draw(figure, view, view.charts[+figure.dataset.place], chosen, {
      zoomed: (from, to) => {
        const iso = (ms) => new Date(ms).toISOString();
        const unzoomed = history.state?.unzoomed ?? location.href; // before the first zoom
        go(changed({ range: null, from: iso(from), to: iso(to) }), { unzoomed });
      },
      reset: () => {
        if (history.state?.unzoomed) go(history.state.unzoomed);
      },
    }),
  );
  placeMarks();
  localize(document, chosen);
  showButtons(chosen);
  for (const input of document.querySelectorAll(".dates [data-ms]")) {
    input.value = instant(+input.dataset.ms, chosen).replace(" ", "T");
  }
  for (const one of document.querySelectorAll(".choices, [data-share]")) one.hidden = false;
}

// Marks come with the page; of a live one their places move as time goes on, and what is still
// open goes on with it.
function placeMarks() {
  const place = (ms) => `${Math.min(Math.max((ms - view.from_ms) / (view.to_ms - view.from_ms), 0), 1) * 100}%`;
  for (const mark of document.querySelectorAll(".mark")) {
    const { from, to = view.to_ms } = mark.dataset;
    for (const line of mark.querySelectorAll("line")) {
      line.setAttribute("x1", place(+from));
      line.setAttribute("x2", place(line.classList.contains("stem") ? +from : +to));
    }
  }
}

// Tell a mark's text above its chart, and show its line in the list.
function tell(mark) {
  const line = document.getElementById(mark.getAttribute("href").slice(1));
  for (const one of document.querySelectorAll(".told .current")) one.classList.remove("current");
  line.classList.add("current");
  line.closest("details").open = true;
  mark.closest(".chart").querySelector(".readout").textContent = mark.querySelector("title").textContent;
  return line;
}

// This page's address with some parameters changed.
function changed(parameters) {
  const address = new URL(location.href);
  for (const [name, value] of Object.entries(parameters)) {
    if (value === null) address.searchParams.delete(name);
    else address.searchParams.set(name, value);
  }
  return address.href;
}

// Another span: its page and its data are fetched together and put in place at once.
async function go(href, state = {}) {
  const address = new URL(href);
  const data = `${address.pathname}.json${address.search}`;
  try {
    const [page, found] = await Promise.all([fetch(href).then((answer) => answer.text()), get(data)]);
    const main = new DOMParser().parseFromString(page, "text/html").querySelector("main");
    if (state) history.pushState(state, "", href);
    document.querySelector("main").replaceChildren(...main.childNodes);
    [view, loadedMs] = [found, Date.now()];
    drawAll();
  } catch {
    location.assign(href); // the server's own page says what is wrong
  }
}

function newest() {
  const own = view.charts.flatMap(({ lines }) => lines.filter(({ before }) => !before));
  const all = own.flatMap(({ points }) => points.slice(-1));
  return Math.max(0, ...all.map(([time]) => time));
}

function showNow(row) {
  const cell = document.querySelector(`[data-now="${row.sensor}"]`);
  if (!cell) return;
  const ageSpan = document.createElement("span");
  ageSpan.className = row.silent ? "age silent" : "age";
  ageSpan.textContent = row.silent ? gettext("{age} ago, silent", { age: age(row.age_s) }) : ago(row.age_s);
  const word = "switch" in cell.dataset && SWITCHED[row.value];
  cell.replaceChildren(`${word || quantity(row.value, row.unit, choices())} `, ageSpan);
}

const annotations = ({ charts }) => JSON.stringify(charts.map(({ marks, flags, limits }) => [marks, flags, limits]));

// What the page says of marks: their legends and list, and the table of incidents.
async function annotated() {
  const answer = await fetch(location.href, { cache: "no-store" });
  if (!answer.ok) throw new Error(`${location.href}: ${answer.status}`);
  return new DOMParser().parseFromString(await answer.text(), "text/html");
}

function replaceAnnotated(page) {
  const open = document.querySelector(".told")?.open;
  const focused = document.activeElement.closest?.("[data-annotated]") && document.activeElement.getAttribute("href");
  for (const old of document.querySelectorAll("[data-annotated]")) {
    const fresh = page.querySelector(`[data-annotated="${old.dataset.annotated}"]`);
    if (fresh) old.replaceWith(fresh);
  }
  const told = document.querySelector(".told");
  if (told && open !== undefined) told.open = open;
  if (focused) document.querySelector(`[data-annotated] a[href="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
}

async function refresh() {
  const shown = document.querySelector(".charts");
  if (document.hidden || !shown) return;
  try {
    let hasNew = false;
    if (shown.dataset.live === "1") {
      const { rows } = await get(shown.dataset.latest);
      rows.forEach(showNow);
      const last = Math.max(0, ...rows.map((row) => row.measured_ms));
      hasNew = last >= newest() + view.step_ms && last > newest();
    }
    if (!hasNew && Date.now() - loadedMs < RELOAD_MS) return;
    const found = await get(shown.dataset.url);
    const page = annotations(found) === annotations(view) ? null : await annotated();
    if (document.querySelector(".charts") !== shown) return; // meanwhile it shows another span
    if (page) replaceAnnotated(page);
    [view, loadedMs] = [found, Date.now()];
    drawAll();
  } catch {
    // tried again next time
  }
}

document.addEventListener("focusin", (event) => {
  const mark = event.target.closest(".mark");
  if (mark) tell(mark);
});
document.addEventListener("click", (event) => {
  const mark = event.target.closest(".mark");
  if (mark) {
    event.preventDefault();
    tell(mark).scrollIntoView({ block: "nearest" });
  }
  const link = event.target.closest("a[data-range], a[data-span]");
  if (link && !event.ctrlKey && !event.metaKey && !event.shiftKey) {
    event.preventDefault();
    go(link.href);
  }
  const sharing = event.target.closest("[data-share]");
  if (sharing) share(sharing);
});
onChoice(drawAll);
// Dates are typed in the zone that is shown, and sent in UTC.
document.addEventListener("submit", (event) => {
  if (!event.target.closest(".dates")) return;
  event.preventDefault();
  const [from, to] = ["from", "to"].map((name) => {
    const { value } = event.target.elements[name];
    return value ? new Date(choices().utc ? `${value}Z` : value).toISOString() : null;
  });
  go(changed({ range: null, from, to }));
});
window.addEventListener("popstate", () => go(location.href, null));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);

const charts = document.querySelector(".charts");
if (charts) {
  [view, loadedMs] = [await get(charts.dataset.url), Date.now()];
  drawAll();
  setInterval(refresh, REFRESH_MS);
  document.addEventListener("visibilitychange", refresh);
  addEventListener("online", refresh);
}
