"use strict";

// Building blocks: elements from data (never from markup), numbers as text, small drawings.

/** An element; text children are text, null children are left out, "on..." properties are listeners. */
function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  apply(element, properties);
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

function s(tag, properties = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  apply(element, properties);
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return element;
}

function apply(element, properties) {
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "style") for (const [key, text] of Object.entries(value)) element.style.setProperty(key, text);
    else if (name === "class") element.setAttribute("class", value);
    else element.setAttribute(name, value === true ? "" : value);
  }
}

const collator = new Intl.Collator(undefined, { numeric: true });
const percent = (part) => `${(100 * part).toFixed(1)}%`;
const colour = (index) => `var(--c${index % 8})`;

function duration(seconds) {
  if (seconds === null || seconds === undefined) return "";
  if (seconds < 1) return `${(1000 * seconds).toFixed(seconds < 0.01 ? 1 : 0)} ms`;
  if (seconds < 90) return `${seconds.toFixed(1)} s`;
  if (seconds < 5400) return `${(seconds / 60).toFixed(1)} min`;
  return `${(seconds / 3600).toFixed(1)} h`;
}

function card(title, ...content) {
  const head = Array.isArray(title) ? title : [h("h2", {}, title)];
  return h("section", { class: "card" }, h("div", { class: "cardhead" }, head), content);
}

function segmented(label, choices, chosen, pick) {
  return h("div", { class: "segmented", role: "group", "aria-label": label },
    choices.map(([value, text]) =>
      h("button", { type: "button", "aria-pressed": String(value === chosen), onclick: () => pick(value) }, text)));
}

function select(choices, chosen, pick, label) {
  const element = h("select", { "aria-label": label, onchange: (event) => pick(event.target.value) });
  for (const [value, text] of choices) element.add(new Option(text, value, false, String(value) === String(chosen)));
  return element;
}

/** An estimate with its interval on a scale from 0 to the largest score. */
function intervalBar(estimate, largest, index) {
  const bar = h("div", { class: "interval", title: `${estimate.text} ${estimate.between}` });
  if (estimate.value === null) return bar;
  const at = (value) => `${(100 * Math.min(Math.max(value, 0), largest)) / largest}%`;
  if (estimate.low !== null) {
    const width = `${(100 * (Math.min(estimate.high, largest) - Math.max(estimate.low, 0))) / largest}%`;
    bar.append(h("i", { style: { left: at(estimate.low), width, background: colour(index) } }));
  }
  bar.append(h("b", { style: { left: at(estimate.value), background: colour(index) } }));
  return bar;
}

/** Caption of a table -> how the reader left it: sorted by which column, whether downwards, shown as a whole. */
const tables = new Map();

/** A table whose columns can be sorted; rows are {cells: [node or text], keys: [value to sort by], open}; more than `first` rows wait for a button. */
function sortableTable(columns, rows, caption, first = Infinity) {
  const left = tables.get(caption) || { by: null, down: false, whole: false };
  tables.set(caption, left);
  const body = h("tbody");
  const headers = columns.map((column) =>
    h("th", { scope: "col", class: column.number ? "number" : column.class || null }, column.head || null));
  const more = h("button", { type: "button", class: "more", onclick: () => { left.whole = true; more.remove(); fill(); } }, `Show all ${rows.length}`);
  const fill = () => {
    const sorted = left.by === null ? rows : sortedBy(rows, (row) => row.keys[left.by], left.down);
    headers.forEach((header, index) => {
      if (index === left.by) header.setAttribute("aria-sort", left.down ? "descending" : "ascending"); else header.removeAttribute("aria-sort");
    });
    body.replaceChildren(...sorted.slice(0, left.whole ? Infinity : first).map((row) => {
      const cells = row.cells.map((cell, index) => h("td", { class: columns[index].class || (columns[index].number ? "number" : null) }, cell));
      const link = row.open ? { class: "link", tabindex: "0", onclick: row.open, onkeydown: (event) => { if (event.key === "Enter") row.open(); } } : {};
      return h("tr", link, cells);
    }));
  };
  headers.forEach((header, index) => {
    if (!columns[index].title) return;
    header.prepend(h("button", { type: "button", onclick: () => { left.down = left.by === index && !left.down; left.by = index; fill(); } }, columns[index].title));
  });
  fill();
  const table = h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
    h("table", {}, h("thead", {}, h("tr", {}, headers)), body));
  return rows.length > first && !left.whole ? [table, more] : table;
}

function sortedBy(rows, value, down) {
  const sign = down ? -1 : 1;
  const empty = (key) => key === null || key === undefined || key === "";
  const compare = (a, b) => {
    if (empty(a) || empty(b)) return empty(a) - empty(b);
    return sign * (typeof a === "number" && typeof b === "number" ? a - b : collator.compare(a, b));
  };
  return rows.map((row, index) => [row, value(row), index]).sort((a, b) => compare(a[1], b[1]) || a[2] - b[2]).map((entry) => entry[0]);
}

/** A line drawing: series of {points: [[x, y, low, high]], class or colour}, with axes from `box`. */
function lineChart({ width = 760, height = 240, x, y, xLabel, yLabel, series, marks = [], label }) {
  // Drawn as wide as it will be shown, so that its words are as large as the page's.
  width = Math.max(280, Math.min(width, document.documentElement.clientWidth - 100));
  const left = 46, right = 14, top = 14, bottom = 34;
  const toX = (value) => left + ((value - x[0]) / (x[1] - x[0] || 1)) * (width - left - right);
  const toY = (value) => height - bottom - ((value - y[0]) / (y[1] - y[0] || 1)) * (height - top - bottom);
  const chart = s("svg", { class: "chart", viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label });
  for (const value of ticks(y[0], y[1], 4)) {
    chart.append(s("line", { class: "grid", x1: left, x2: width - right, y1: toY(value), y2: toY(value) }),
      s("text", { x: left - 6, y: toY(value) + 4, "text-anchor": "end" }, short(value)));
  }
  for (const value of ticks(x[0], x[1], width > 500 ? 8 : 4)) chart.append(s("text", { x: toX(value), y: height - bottom + 16, "text-anchor": "middle" }, short(value)));
  chart.append(s("line", { class: "axis", x1: left, x2: width - right, y1: height - bottom, y2: height - bottom }));
  chart.append(s("text", { x: width - right, y: height - 4, "text-anchor": "end" }, xLabel), s("text", { x: left, y: 10 }, yLabel));
  for (const mark of marks) {
    chart.append(s("line", { class: mark.class || "mark", x1: toX(mark.at), x2: toX(mark.at), y1: top, y2: height - bottom }),
      toX(mark.at) > width * 0.72
        ? s("text", { x: toX(mark.at) - 4, y: top + 10 + 12 * (mark.row || 0), "text-anchor": "end" }, mark.text)
        : s("text", { x: toX(mark.at) + 4, y: top + 10 + 12 * (mark.row || 0) }, mark.text));
  }
  for (const one of series) {
    const style = one.colour ? { stroke: one.colour, fill: "none", "stroke-width": "2" } : {};
    if (one.band) {
      const upper = one.points.map((p) => `${toX(p[0])},${toY(p[3])}`), lower = one.points.map((p) => `${toX(p[0])},${toY(p[2])}`).reverse();
      chart.append(s("polygon", { points: [...upper, ...lower].join(" "), style: { fill: one.colour, "fill-opacity": ".14" } }));
    }
    chart.append(s("polyline", { class: one.class, style, points: one.points.map((p) => `${toX(p[0]).toFixed(1)},${toY(p[1]).toFixed(1)}`).join(" ") }));
    if (one.dots) for (const p of one.points) chart.append(s("circle", { cx: toX(p[0]), cy: toY(p[1]), r: 3.5, style: { fill: one.colour } }, s("title", {}, `${one.name}: ${short(p[1])} at ${short(p[0])}`)));
  }
  const cursor = s("line", { class: "cursor", x1: -9, x2: -9, y1: top, y2: height - bottom });
  chart.append(cursor);
  chart.moveTo = (value) => { cursor.setAttribute("x1", toX(value)); cursor.setAttribute("x2", toX(value)); };
  return chart;
}

function ticks(low, high, count) {
  const span = high - low || 1;
  const raw = span / count, power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((value) => value >= raw);
  const found = [];
  for (let value = Math.ceil(low / step) * step; value <= high + step / 1e6; value += step) found.push(Math.abs(value) < step / 1e6 ? 0 : value);
  return found;
}

function short(value) {
  if (Math.abs(value) >= 10000) return value.toLocaleString("en", { notation: "compact" });
  return String(Number(value.toPrecision(3)));
}
