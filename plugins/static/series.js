// Lines out of rows: which column is the time, which are numbers, and what tells lines apart.

const MOST_LINES = 8;
const MEASURED = ["value", "mean", "min", "max", "lowest", "highest"];
const APART = 3; // usual distances; further apart, two points have a gap between them
const DATE = /^\d{4}-\d\d(-\d\d|$)/;
const YEAR_1973_MS = 1e11; // a smaller `*_ms` is the time between two instants

const isTime = (name) => /_(ms|at)$/.test(name);
const isNumber = (value) => typeof value === "number";

// Whether a page's columns may be charted: a time, and something `looksLikeNumber` beside it.
export function chartable(names, looksLikeNumber) {
  return names.some(isTime) && names.some((name, place) => isValue(name) && looksLikeNumber(place));
}

// Whether a column's numbers are values, not times or the numbers of rows.
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

// Texts such as node and sensor, of which each value is a line. A text that is another in every
// row tells nothing apart.
function tellingApart(columns, rows) {
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
  return apart.length ? APART * apart[Math.floor((apart.length - 1) / 2)] : Infinity;
}

// A line for each value of the columns that tell apart, and each of the chosen columns.
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

// What to draw: `asked` columns, or those that suit the rows. Null where nothing can be drawn.
export function charts(result, asked) {
  const { columns, rows } = result;
  const time = timePlace(columns, rows);
  const numbers = columns.filter((name, place) => isValue(name) && rows.some((row) => isNumber(row[place])));
  if (time < 0 || !numbers.length) return null;
  const apart = tellingApart(columns, rows);
  const measured = numbers.filter((name) => MEASURED.includes(name));
  const best = measured.length ? measured : numbers;
  const options = [...new Set([...(apart.length ? [] : [best.join()]), ...best, ...numbers])];
  const chosen = options.includes(asked) ? asked : options[0];
  const all = lines(result, time, apart, columns.includes(chosen) ? [chosen] : chosen.split(","));
  if (!all.length) return null;
  const shown = all.slice(0, MOST_LINES);
  return { charts: byUnit(shown), ...spanOf(shown), options, chosen, left: all.length > MOST_LINES ? all.length : 0 };
}
