// Take the charts along: the page's link, or all charts as one PNG.

import { gettext } from "./words.js";

const [MARGIN, LINE] = [16, 20];

function style(element, name) {
  return getComputedStyle(element).getPropertyValue(name);
}

// The names of a chart's lines in their colours; returns where the next line of text is.
function legend(context, figure, width, top) {
  let [x, y] = [MARGIN, top];
  for (const key of figure.querySelectorAll(".key:not([aria-pressed=false]), .unit")) {
    const text = key.classList.contains("key") ? `\u2014 ${key.textContent}` : key.textContent;
    const length = context.measureText(text).width;
    if (x > MARGIN && x + length > width - MARGIN) [x, y] = [MARGIN, y + LINE];
    context.fillStyle = style(key, "color");
    context.fillText(text, x, y);
    x += length + MARGIN;
  }
  return y + LINE;
}

function marks(context, figure, left, top) {
  const inside = figure.querySelector(".plot").getBoundingClientRect();
  context.lineCap = "round";
  for (const line of figure.querySelectorAll(".mark line:not(.target)")) {
    const isStem = line.classList.contains("stem");
    const over = figure.querySelector(".u-over").getBoundingClientRect();
    const place = (name, length) => (line.getAttribute(name) ?? "0").replace(/(.*)%$/, (_, share) => (share / 100) * length);
    context.strokeStyle = style(line, "stroke");
    context.lineWidth = isStem ? 1 : 7;
    context.setLineDash(isStem ? [2, 3] : []);
    context.beginPath();
    for (const [end, go] of [[1, "moveTo"], [2, "lineTo"]]) {
      const [x, y] = [+place(`x${end}`, over.width), +place(`y${end}`, over.height)];
      // A line of no length would have no end to be round.
      context[go](left + over.left - inside.left + x + end / 100, top + over.top - inside.top + y);
    }
    context.stroke();
  }
  context.setLineDash([]);
}

// All charts below each other, with title, span and legends, as a canvas.
function picture() {
  const figures = [...document.querySelectorAll(".chart")];
  const plots = figures.map((figure) => figure.querySelector("canvas"));
  const ratio = devicePixelRatio;
  const width = Math.max(...plots.map((plot) => plot.width / ratio)) + 2 * MARGIN;
  const canvas = document.createElement("canvas");
  const context = canvas.getContext("2d");
  const font = (weight) => `${weight} 14px system-ui, sans-serif`;
  const paint = () => {
    context.font = font(600);
    context.fillStyle = style(document.body, "color");
    context.fillText(document.querySelector("h1").textContent.trim(), MARGIN, 24, width - 2 * MARGIN);
    context.font = font(400);
    context.fillText(document.querySelector("[data-span-words]")?.textContent ?? "", MARGIN, 24 + LINE, width - 2 * MARGIN);
    let y = 24 + 3 * LINE;
    figures.forEach((figure, place) => {
      y = legend(context, figure, width, y) - LINE / 2;
      context.drawImage(plots[place], MARGIN, y, plots[place].width / ratio, plots[place].height / ratio);
      marks(context, figure, MARGIN, y);
      y += plots[place].height / ratio;
      context.fillStyle = style(figure.querySelector(".zone"), "color");
      context.font = "12px system-ui, sans-serif";
      context.fillText(figure.querySelector(".zone").textContent, MARGIN, y - 14);
      context.font = font(400);
      y += 2 * LINE;
    });
    return y;
  };
  canvas.width = width * ratio;
  const height = paint(); // once to measure: setting a height clears the canvas
  canvas.height = height * ratio;
  context.scale(ratio, ratio);
  context.fillStyle = style(figures[0], "background-color");
  context.fillRect(0, 0, width, height);
  paint();
  return canvas;
}

function download(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  URL.revokeObjectURL(link.href);
}

// A page that came without TLS may not use the clipboard, but may still copy what is selected.
async function copy(text) {
  if (navigator.clipboard) {
    await navigator.clipboard.writeText(text);
    return true;
  }
  const field = document.createElement("textarea");
  field.value = text;
  document.body.append(field);
  field.select();
  const done = document.execCommand("copy");
  field.remove();
  return done;
}

export async function share(button) {
  if (button.dataset.share === "png") {
    const name = document.querySelector("h1").textContent.trim().replace(/[^\p{L}\p{N}]+/gu, "-").slice(0, 80);
    picture().toBlob((blob) => download(blob, `${name || "chart"}.png`));
    return;
  }
  const done = await copy(location.href).catch(() => false);
  button.textContent = done ? gettext("Copied") : gettext("Copy it above"); // from the browser's address bar
}
