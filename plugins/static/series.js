// Makes lines of a table's rows: finds the time column, the numbers, and what distinguishes lines.

const MOST_LINES = 8;
const MEASURED = ["value", "mean", "min", "max", "lowest", "highest"];
const GAP_FACTOR = 3; // more usual distances than this between two points are a gap
const DATE = /^\d{4}-\d\d(-\d\d|$)/;
const YEAR_1973_MS = 1e11; // a smaller `*_ms` is a duration

const isTime = (name) => /_(ms|at)$/.test(name);
const isNumber = (value) => typeof value === "number";

// Whether there is a time column, and another column that `looksLikeNumber`.
export function chartable(names, looksLikeNumber) {
  return names.some(isTime) && names.some((name, place) => isValue(name) && looksLikeNumber(place));
}

// Whether a column's numbers are values, neither times nor ids.
function isValue(name) {
  return !isTime(name) && !["id", "sensor"].includes(name);
}

function instant(value) {
  const ms = isNumber(value) ? value : typeof value === "string" ? Date.parse(value) : NaN;
  return Math.abs(ms) >= YEAR_1973_MS ? ms : null;
}

function timePlace(columns, rows) {
  return columns.findIndex((name, place) => isTime(name) && rows.some((row) => instant(row[place]) !== null));
}

// Columns such as node and sensor, each of whose values is a line of its own. A text that differs
// in every row doesn't count.
function lineColumns(columns, rows) {
  return columns.map((_, place) => place).filter((place) => {
    const name = columns[place];
    if (isTime(name) || name === "unit") return false;
    const values = new Set(rows.map((row) => row[place]));
    if (name === "sensor") return values.size > 1;
    const texts = rows.every((row) => row[place] === null || (typeof row[place] === "string" && !DATE.test(row[place])));
    return texts && values.size > 1 && values.size < rows.length;
  });
}

function gap(points) {
  const apart = points.slice(1).map(([at], place) => at - points[place][0]).sort((a, b) => a - b);
  return apart.length ? GAP_FACTOR * apart[Math.floor((apart.length - 1) / 2)] : Infinity;
}

// A line for each combination of values in the columns `apart` and each chosen column.
function lines({ columns, rows, known }, time, apart, chosen) {
  const unitPlace = columns.indexOf("unit");
  const sensorPlace = columns.indexOf("sensor");
  const found = new Map();
  for (const row of rows) {
    const at = instant(row[time]);
    if (at === null) continue;
    const group = apart.map((place) => (place === sensorPlace && known[row[place]]?.name) || String(row[place] ?? ""));
    for (const column of chosen) {
      const value = row[columns.indexOf(column)];
      if (!isNumber(value)) continue;
      const unit = MEASURED.includes(column) ? (row[unitPlace] ?? known[row[sensorPlace]]?.unit ?? "") : "";
      const name = [...group, ...(chosen.length > 1 || !group.length ? [column] : [])].join(" ");
      const key = JSON.stringify([name, unit]);
      if (!found.has(key)) found.set(key, { name, unit, points: [] });
      found.get(key).points.push([at, value]);
    }
  }
  for (const line of found.values()) {
    line.points.sort(([a], [b]) => a - b);
    line.gap_ms = gap(line.points);
  }
  return [...found.values()];
}

// Lines of one unit share a chart.
function byUnit(all) {
  const units = [...new Set(all.map(({ unit }) => unit))];
  return units.map((unit) => ({ unit, lines: all.filter((line) => line.unit === unit) }));
}

function spanOf(all) {
  const times = all.flatMap(({ points }) => [points[0][0], points.at(-1)[0]]);
  const [from, to] = [Math.min(...times), Math.max(...times)];
  return from < to ? { from_ms: from, to_ms: to } : { from_ms: from - 3_600_000, to_ms: to + 3_600_000 };
}

// The charts of the `requested` columns, or of the most suitable. Null when nothing can be drawn.
export function charts(result, requested) {
  const { columns, rows } = result;
  const time = timePlace(columns, rows);
  const numbers = columns.filter((name, place) => isValue(name) && rows.some((row) => isNumber(row[place])));
  if (time < 0 || !numbers.length) return null;
  const apart = lineColumns(columns, rows);
  const measured = numbers.filter((name) => MEASURED.includes(name));
  const best = measured.length ? measured : numbers;
  const options = [...new Set([...(apart.length ? [] : [best.join()]), ...best, ...numbers])];
  const chosen = options.includes(requested) ? requested : options[0];
  const all = lines(result, time, apart, columns.includes(chosen) ? [chosen] : chosen.split(","));
  if (!all.length) return null;
  const shown = all.slice(0, MOST_LINES);
  return { charts: byUnit(shown), ...spanOf(shown), options, chosen, left: all.length > MOST_LINES ? all.length : 0 };
}
