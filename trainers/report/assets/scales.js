// Axes: round numbers for ticks, and where a value lies.

function ticks(low, high, count) {
  const rough = (high - low) / Math.max(1, count);
  const power = 10 ** Math.floor(Math.log10(rough || 1));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((size) => size >= rough * 0.999);
  const first = Math.ceil(low / step - 1e-9);
  const values = [];
  for (let index = first; index * step <= high + step * 1e-9; index += 1) values.push(+(index * step).toPrecision(12));
  return values;
}

function padded(values, least = 1) {
  const low = Math.min(...values);
  const high = Math.max(...values);
  const room = Math.max((high - low) * 0.08, least);
  return [low - room, high + room];
}

function percentRange(values, least = 1) {
  const [low, high] = padded(values, least);
  return [Math.max(0, low), Math.min(100, high)];
}

function linear([low, high], from, to) {
  return (value) => from + ((value - low) / (high - low || 1)) * (to - from);
}

function logarithmic([low, high], from, to) {
  const scale = linear([Math.log(low), Math.log(high)], from, to);
  return (value) => scale(Math.log(value));
}

function logTicks(low, high) {
  const decades = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power += 1) {
    for (const factor of [1, 2, 5]) decades.push(factor * 10 ** power);
  }
  const inside = decades.filter((value) => value >= low * 0.999 && value <= high * 1.001);
  return inside.length > 7 ? inside.filter((value) => Number.isInteger(+Math.log10(value).toFixed(9))) : inside;
}

// The drawing area of a figure: grid lines, tick labels, names of the axes.
function frame({ width, height, left = 46, right = 14, top = 12, bottom = 40 }, label) {
  const svg = s("svg", { viewBox: `0 0 ${width} ${height}`, role: "group", "aria-label": label });
  return { svg, width, height, left, right: width - right, top, bottom: height - bottom };
}

function xAxis(area, scale, values, text, name) {
  for (const value of values) {
    area.svg.append(
      s("line", { class: "grid", x1: scale(value), x2: scale(value), y1: area.top, y2: area.bottom }),
      s("text", { x: scale(value), y: area.bottom + 16, "text-anchor": "middle" }, text(value)));
  }
  area.svg.append(s("line", { class: "axis", x1: area.left, x2: area.right, y1: area.bottom, y2: area.bottom }),
    s("text", { x: (area.left + area.right) / 2, y: area.height - 5, "text-anchor": "middle", class: "strong" }, name));
}

function yAxis(area, scale, values, text, name) {
  for (const value of values) {
    area.svg.append(
      s("line", { class: "grid", x1: area.left, x2: area.right, y1: scale(value), y2: scale(value) }),
      s("text", { x: area.left - 7, y: scale(value) + 4, "text-anchor": "end" }, text(value)));
  }
  const middle = (area.top + area.bottom) / 2;
  area.svg.append(s("text", { x: 12, y: middle, "text-anchor": "middle", class: "strong", transform: `rotate(-90 12 ${middle})` }, name));
}

// Methods differ in colour and in shape, so that neither is needed alone. The baseline is grey.
const SHAPES = ["circle", "square", "triangle", "diamond", "down", "cross", "pentagon"];
const DASHES = ["", "7 3", "2 3", "9 3 2 3", "4 2"];

function styles(labels, baseline) {
  const others = labels.filter((label) => label !== baseline);
  return new Map(labels.map((label) => {
    const index = others.indexOf(label);
    return [label, index < 0 ? { color: "var(--base)", shape: "ring", dash: "4 4" }
      : { color: `var(--c${index % 8})`, shape: SHAPES[index % SHAPES.length], dash: DASHES[index % DASHES.length] }];
  }));
}

function shape(kind, x, y, r, color) {
  const polygon = (corners, turn) => Array.from({ length: corners }, (_, index) => {
    const angle = turn + (2 * Math.PI * index) / corners;
    return `${(x + r * 1.25 * Math.cos(angle)).toFixed(2)},${(y + r * 1.25 * Math.sin(angle)).toFixed(2)}`;
  }).join(" ");
  const up = -Math.PI / 2;
  if (kind === "ring") return s("circle", { cx: x, cy: y, r: r - 1, fill: "var(--surface)", stroke: color, "stroke-width": 2.5 });
  if (kind === "circle") return s("circle", { cx: x, cy: y, r, fill: color });
  if (kind === "square") return s("rect", { x: x - r * 0.9, y: y - r * 0.9, width: r * 1.8, height: r * 1.8, rx: 1, fill: color });
  if (kind === "cross") {
    const d = r * 0.95;
    return s("path", { d: `M${x - d} ${y - d}L${x + d} ${y + d}M${x - d} ${y + d}L${x + d} ${y - d}`, stroke: color, "stroke-width": 3, "stroke-linecap": "round" });
  }
  const corners = { triangle: [3, up], down: [3, -up], diamond: [4, up], pentagon: [5, up] }[kind];
  return s("polygon", { points: polygon(...corners), fill: color });
}

function swatch(style) {
  return s("svg", { viewBox: "0 0 16 16", width: 14, height: 14, "aria-hidden": "true", style: "flex:none;width:14px" }, shape(style.shape, 8, 8, 5.5, style.color));
}
