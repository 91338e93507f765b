// Draws a chart with uPlot: lines, a band from low to high, gaps, and values under the cursor.

import { SWITCHED, converted, instant, quantity, shownUnit } from "./format.js";
import { timeTicks, valueAxis } from "./ticks.js";
import { gettext } from "./words.js";

const HEIGHT = 300;
const GAP = [null, null, null];
// Lines of an earlier span, as their data calls them for everybody.
const BEFORE = {
  "a day before": gettext("a day before"),
  "a week before": gettext("a week before"),
  "a year before": gettext("a year before"),
};

// Data for uPlot: a column of times, and for each line its means, lows and highs. At the times of
// other lines' points a value is undefined, which uPlot skips; in a gap it is null.
export function columns(lines, stepMs, convert) {
  const times = new Set();
  const own = lines.map(({ points, held = [], gap_ms: gapMs }) => {
    const rows = new Map();
    const gaps = [];
    let last = null;
    const drawn = held.length ? [...held, ...points].sort(([a], [b]) => a - b) : points;
    for (const [start, mean, low, high] of drawn) {
      const time = start + stepMs / 2;
      if (last !== null && time - last > gapMs) {
        gaps.push([last, time]);
        rows.set((time + last) / 2, GAP);
      }
      rows.set(time, [mean, low ?? mean, high ?? mean].map(convert));
      last = time;
    }
    for (const time of rows.keys()) times.add(time);
    return { rows, gaps };
  });
  const sorted = [...times].sort((a, b) => a - b);
  const data = [sorted];
  for (const { rows, gaps } of own) {
    let next = 0;
    for (const time of sorted) {
      while (next < gaps.length && gaps[next][1] <= time) next += 1;
      if (!rows.has(time) && gaps[next]?.[0] < time) rows.set(time, GAP);
    }
    for (const place of stepMs ? [0, 1, 2] : [0]) {
      data.push(sorted.map((time) => rows.get(time)?.[place]));
    }
  }
  return data;
}

function colour(element, name) {
  return getComputedStyle(element).getPropertyValue(name).trim();
}

// A colour of the page with an opacity.
function tint(element, name, opacity) {
  return `color-mix(in srgb, ${colour(element, name)} ${opacity * 100}%, transparent)`;
}

// Lines in the order they are drawn, each with the number of its colour: those of an earlier span
// first, so that they are below.
function placed(lines) {
  const own = lines.filter(({ before }) => !before).length || 1;
  const found = lines.map((line, place) => ({ ...line, place: place % own % 8 }));
  return [...found.filter(({ before }) => before), ...found.filter(({ before }) => !before)];
}

// The places of values between two gaps: no line leads to them, so they are dots.
export function alone(values) {
  const places = [...values.keys()].filter((place) => values[place] !== undefined);
  const isGap = (place) => (values[places[place]] ?? null) === null;
  return places.filter((_, place) => !isGap(place) && isGap(place - 1) && isGap(place + 1));
}

function series(figure, lines, stepMs) {
  const few = lines.every(({ points }) => points.length <= 60);
  const found = [{}];
  const bands = [];
  for (const { name, place, before, stepped } of lines) {
    const stroke = before ? tint(figure, `--c${place}`, 0.5) : colour(figure, `--c${place}`);
    const points = before ? { show: false } : {
      size: 4, fill: stroke, ...(few && { show: true }), filter: (u, number, all) => (all ? null : alone(u.data[number])),
    };
    const paths = stepped ? window.uPlot.paths.stepped({ align: 1 }) : undefined;
    found.push({ label: name, stroke, width: 1.6, points, ...(paths && { paths }) });
    if (stepMs) {
      const edge = { stroke: "transparent", width: 0, points: { show: false } };
      if (!before) bands.push({ series: [found.length + 1, found.length], fill: tint(figure, `--c${place}`, 0.2) });
      found.push({ ...edge }, { ...edge });
    }
  }
  return { series: found, bands };
}

// Flagged periods as shades and limits as dashed lines, below the chart's lines.
function annotate(u, figure, { from_ms: first, to_ms: last }, { flags = [] }, levels) {
  const { ctx, bbox } = u;
  ctx.save();
  ctx.fillStyle = tint(figure, "--soft", 0.2);
  for (const { from_ms: from, to_ms: to } of flags) {
    if (to <= first || from >= last) continue;
    const [left, right] = [Math.max(from, first), Math.min(to, last)].map((ms) => u.valToPos(ms, "x", true));
    ctx.fillRect(left, bbox.top, Math.max(right - left, 2), bbox.height);
  }
  ctx.strokeStyle = colour(figure, "--alarm");
  ctx.lineWidth = devicePixelRatio;
  ctx.setLineDash([6, 4].map((length) => length * devicePixelRatio));
  for (const level of levels) {
    const y = u.valToPos(level, "y", true);
    ctx.beginPath();
    ctx.moveTo(bbox.left, y);
    ctx.lineTo(bbox.left + bbox.width, y);
    ctx.stroke();
  }
  ctx.restore();
}

const hidden = new Set(); // lines that were switched off, also while the page zooms

// Make the names of a chart's lines switch them off and on. `lines` are in the order of drawing.
function switchable(figure, drawn, chart, lines, perLine) {
  for (const key of figure.querySelectorAll(".key[data-line]")) {
    const { name, before } = chart.lines[+key.dataset.line];
    const id = JSON.stringify([figure.dataset.place, name, before]);
    const place = lines.findIndex((line) => line.name === name && line.before === before);
    const show = () => {
      for (let part = 0; part < perLine; part += 1) drawn.setSeries(1 + place * perLine + part, { show: !hidden.has(id) });
      key.setAttribute("aria-pressed", !hidden.has(id));
    };
    key.setAttribute("role", "button");
    key.tabIndex = 0;
    key.onclick = () => {
      if (!hidden.delete(id)) hidden.add(id);
      show();
    };
    key.onkeydown = (event) => {
      if (event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault();
      key.click();
    };
    show();
  }
}

// Replace a figure's drawing. Returns the uPlot object; call its `destroy` to remove it.
export function draw(figure, view, chart, chosen, { zoomed, reset }) {
  const plot = figure.querySelector(".plot");
  const readout = figure.querySelector(".readout");
  const unit = shownUnit(chart.unit, chosen);
  const convert = (value) => converted(value, chart.unit, chosen);
  const axis = {
    stroke: colour(figure, "--soft"), font: "12px system-ui, sans-serif",
    grid: { stroke: colour(figure, "--line"), width: 1 }, ticks: { show: false },
  };
  // uPlot would choose ticks of its own; these are those of the SVG that this chart replaces.
  const ticks = (found) => ({
    incrs: [1000], space: 0, // so that it always asks for ours, however wide they are
    splits: () => found().map(([place]) => place),
    values: () => found().map(([, label]) => label),
  });
  const levels = (chart.limits ?? []).map(({ below, above }) => convert(below ?? above));
  const times = timeTicks(view.from_ms, view.to_ms, chosen.utc);
  let values = valueAxis([0, 1]);
  const valueRange = (_, low, high) => {
    if (chart.on_off) values = { low: 0, high: 1, ticks: [[0, SWITCHED[0]], [1, SWITCHED[1]]] };
    else values = valueAxis([low ?? 0, high ?? 1, ...levels], ...[chart.low, chart.high].map((end) => (end == null ? null : convert(end))));
    return [values.low, values.high];
  };
  const lines = placed(chart.lines);
  const nameOf = ({ name, before }) => (before ? `${lines.length > 2 ? `${name}, ` : ""}${BEFORE[before]}` : name);
  const showReadout = (u) => {
    const index = u.cursor.idx;
    if (index == null) {
      readout.textContent = "";
      return;
    }
    const under = u.posToVal(u.cursor.left, "x");
    const flag = chart.flags?.find(({ from_ms: from, to_ms: to }) => from <= under && under < to);
    const told = lines.map((line, place) => {
      const at = u.data[1 + place * (view.step_ms ? 3 : 1)][index];
      if (at == null) return null;
      const text = (chart.on_off && SWITCHED[at]) || quantity(at, unit, {});
      return [line.before, lines.length > 1 ? `${nameOf(line)} ${text}` : text];
    }).filter(Boolean);
    const each = [...told.filter(([before]) => !before), ...told.filter(([before]) => before)].map(([, text]) => text);
    const from = u.data[0][index] - view.step_ms / 2;
    // In a flagged period that was left out, the nearest point is outside of it.
    const hasPoint = each.length && (!flag || (u.data[0][index] >= flag.from_ms && u.data[0][index] < flag.to_ms));
    readout.textContent = [
      ...(hasPoint ? [instant(from, chosen, !view.step_ms), each.join(", ")] : []),
      ...(flag && chart.lines.length > 1 ? [chart.lines.find(({ sensor }) => sensor === flag.sensor).name] : []),
      ...(flag ? [gettext("flagged: {reason}", { reason: flag.reason })] : []),
    ].join("  ");
  };
  const { series: all, bands } = series(figure, lines, view.step_ms);
  const options = {
    width: plot.clientWidth, height: HEIGHT, ms: 1, legend: { show: false },
    series: all, bands, pxAlign: 0, padding: [10, 20, 0, 0],
    scales: { x: { range: [view.from_ms, view.to_ms] }, y: { range: valueRange } },
    axes: [
      { ...axis, ...ticks(() => times), size: 28, gap: 6 },
      { ...axis, ...ticks(() => values.ticks), size: 50 },
    ],
    cursor: {
      sync: { key: "tmon" }, drag: { x: true, y: false, setScale: false },
      bind: { dblclick: () => () => reset() },
    },
    hooks: {
      drawAxes: [(u) => annotate(u, figure, view, chart, levels)],
      setCursor: [showReadout],
      setSelect: [(u) => {
        // A chart that only follows another's cursor has no event of its own.
        if (u.select.width < 5 || !u.cursor.event) return;
        const [from, to] = [u.select.left, u.select.left + u.select.width].map((x) => u.posToVal(x, "x"));
        zoomed(Math.round(from), Math.round(to));
      }],
    },
  };
  const drawn = new window.uPlot(options, columns(lines, view.step_ms, convert), plot);
  switchable(figure, drawn, chart, lines, view.step_ms ? 3 : 1);
  figure.querySelector(".drawing")?.remove();
  figure.querySelector(".unit").textContent = unit;
  const resized = new ResizeObserver(() => drawn.setSize({ width: plot.clientWidth, height: HEIGHT }));
  resized.observe(plot);
  const { destroy } = drawn;
  drawn.destroy = () => {
    resized.disconnect();
    destroy.call(drawn);
  };
  return drawn;
}
