// A chart of a page's rows over their time column. The address has its columns.

import { draw } from "./chart.js";
import { choices, onChoice } from "./choices.js";
import { zoneName } from "./format.js";
import { chartable, charts } from "./series.js";
import { gettext, thousands } from "./words.js";

const MOST_ROWS = 2000;
const STEP = 1 / 100; // of the chart's width, for the arrow keys

const here = document.querySelector(".chart-here");
let result = null; // the rows, once loaded
let drawn = [];

function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

// Whether the table on the page can be charted.
function isChartable() {
  const table = document.querySelector("table.rows-and-columns");
  const names = [...table.querySelectorAll("thead th")].map((th) => th.dataset.column ?? th.textContent.trim());
  const number = (cell) => cell && (cell.querySelector(".quantity") || /^-?[\d.]+(e[+-]?\d+)?$/i.test(cell.textContent.trim()));
  const rows = [...table.querySelectorAll("tbody tr")].slice(0, 20);
  return chartable(names, (place) => rows.some((row) => number(row.cells[place])));
}

async function get(path, query) {
  const answer = await fetch(`${path}?${query}`);
  if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
  return answer.json();
}

// The page's rows as JSON; of a table, more than one page.
async function rows() {
  const query = new URLSearchParams(location.search);
  for (const name of ["_labels", "_facet", "_shape"]) query.delete(name);
  query.set("_shape", "arrays");
  query.set("_extra", "columns");
  if (document.body.classList.contains("table")) {
    query.set("_size", MOST_ROWS);
    query.set("_nocount", "1");
  }
  const { columns, rows: all, next, truncated } = await get(`${location.pathname}.json`, query);
  const known = await sensors(columns, all);
  return { columns, rows: all.slice(0, MOST_ROWS), known, cut: Boolean(next || truncated) || all.length > MOST_ROWS };
}

// Names and units of the sensors whose ids are in the column `sensor`.
async function sensors(columns, all) {
  const place = columns.indexOf("sensor");
  const numbers = [...new Set(all.map((row) => row[place]).filter(Number.isInteger))];
  if (!numbers.length) return {};
  const query = new URLSearchParams({ id__in: numbers.slice(0, 100).join(), _shape: "objects", _size: 100, _nocount: 1 });
  const { rows: found } = await get(here.dataset.sensors, query);
  return Object.fromEntries(found.map(({ id, label, unit }) => [id, { name: label, unit }]));
}

function uPlotLoaded() {
  if (window.uPlot) return true;
  const at = (name) => new URL(`./uplot/${name}`, import.meta.url).href;
  document.head.append(element("link", { rel: "stylesheet", href: at("uPlot.min.css") }));
  return new Promise((resolve, reject) => {
    document.head.append(element("script", { src: at("uPlot.iife.min.js"), onload: resolve, onerror: reject }));
  });
}

function figure(chart) {
  const caption = element("figcaption");
  chart.lines.forEach((line, place) => {
    caption.append(element("span", { className: `key c${place % 8}` }, element("bdi", {}, line.name)));
  });
  caption.append(element("span", { className: "unit" }), element("span", { className: "readout" }));
  const plot = element("div", { className: "plot", tabIndex: 0 });
  plot.setAttribute("role", "img");
  plot.setAttribute("aria-label", gettext("{names}, read by the left and right arrow keys", { names: chart.lines.map(({ name }) => name).join(", ") }));
  return element("figure", { className: "chart" }, caption, plot);
}

// Move the cursor to the next point, or by a hundredth of the width where points are denser.
function moveCursor(one, key) {
  const width = one.over.clientWidth;
  const direction = key === "ArrowLeft" ? -1 : 1;
  const from = one.cursor.left >= 0 ? one.cursor.left : direction > 0 ? 0 : width;
  const [first, last] = one.series[0].idxs;
  let place = one.cursor.idx ?? (direction > 0 ? first : last);
  const at = () => one.valToPos(one.data[0][place], "x");
  while (place + direction >= first && place + direction <= last) {
    place += direction;
    if (Math.abs(at() - from) >= width * STEP) break;
  }
  one.setCursor({ left: at(), top: one.over.clientHeight / 2 });
}

// Draw a span of the charts. Zooming calls it by setTimeout: uPlot still handles the mouse event.
function show(found, span = found) {
  for (const one of drawn) one.destroy();
  const view = { from_ms: span.from_ms, to_ms: span.to_ms, step_ms: 0 };
  const figures = found.charts.map(figure);
  here.querySelector(".charts").replaceChildren(...figures);
  drawn = found.charts.map((chart, place) => draw(figures[place], view, chart, choices(), {
    zoomed: (from_ms, to_ms) => setTimeout(show, 0, found, { from_ms, to_ms }),
    reset: () => setTimeout(show, 0, found),
  }));
  figures.forEach((one, place) => one.querySelector(".plot").addEventListener("keydown", (event) => {
    if (event.key !== "ArrowLeft" && event.key !== "ArrowRight") return;
    event.preventDefault();
    moveCursor(drawn[place], event.key);
  }));
}

function noteText(found) {
  const parts = [gettext("Times are {zone}.", { zone: zoneName(choices()) })];
  if (result.cut) parts.unshift(gettext("The first {count} rows.", { count: thousands(result.rows.length) }));
  const shown = found.charts.flatMap(({ lines }) => lines).length;
  if (found.left) parts.unshift(gettext("{shown} of {count} lines.", { shown, count: thousands(found.left) }));
  return parts.join(" ");
}

// Open the chart of the columns in the address, or of the most suitable.
async function open() {
  const button = here.querySelector("button");
  const note = here.querySelector(".note");
  button.setAttribute("aria-expanded", "true");
  note.textContent = gettext("Reading…");
  try {
    [result] = await Promise.all([result ?? rows(), uPlotLoaded()]);
  } catch {
    note.textContent = gettext("These rows could not be read.");
    return;
  }
  const requested = new URLSearchParams(location.hash.slice(1)).get("chart");
  const found = charts(result, requested);
  if (!found) {
    note.textContent = gettext("There are no numbers here that change with time.");
    return;
  }
  showOptions(found);
  note.textContent = noteText(found);
  show(found);
}

// Let the visitor choose between several columns.
function showOptions(found) {
  const select = here.querySelector("select");
  select.replaceChildren(...found.options.map((value) => element("option", { value, textContent: value, selected: value === found.chosen })));
  here.querySelector("label").hidden = found.options.length < 2;
  const address = `#${new URLSearchParams({ chart: found.chosen })}`;
  if (location.hash !== address) history.replaceState(history.state, "", address);
}

function close() {
  for (const one of drawn.splice(0)) one.destroy();
  here.querySelector(".charts").replaceChildren();
  here.querySelector("label").hidden = true;
  here.querySelector(".note").textContent = "";
  here.querySelector("button").setAttribute("aria-expanded", "false");
  history.replaceState(history.state, "", location.pathname + location.search);
}

function addControls() {
  const button = element("button", { type: "button", textContent: gettext("Chart") });
  button.setAttribute("aria-expanded", "false");
  button.addEventListener("click", () => (drawn.length ? close() : open()));
  const select = element("select");
  select.addEventListener("change", () => {
    history.replaceState(history.state, "", `#${new URLSearchParams({ chart: select.value })}`);
    open();
  });
  const note = element("span", { className: "note soft" });
  note.setAttribute("role", "status");
  here.append(
    element("p", { className: "bar" }, button, element("label", { hidden: true }, gettext("of"), " ", select), note),
    element("div", { className: "charts" }),
  );
}

const isRequested = () => new URLSearchParams(location.hash.slice(1)).has("chart");

if (here && isChartable()) {
  addControls();
  if (isRequested()) open();
  window.addEventListener("hashchange", () => isRequested() && open());
  onChoice(() => drawn.length && open());
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => drawn.length && open());
}
