// The figures. Each takes the points that are chosen and gives an element, or says what is missing.

const PLACE = (place) => (place === "average" ? "average" : place);
const WORD = (measure) => data.words[measure] || measure;

function pointText(point, more = "") {
  const shots = point.shots === null ? "" : `, ${point.shots} shots`;
  const seeds = point.seeds.length > 1 ? `${point.seeds.length} seeds` : point.seeds[0] === 0 ? "no seed matters" : `seed ${point.seeds[0]}`;
  return `${point.label}${shots}\n${PLACE(point.place)}, ${WORD(point.measure)} ${spread(point)} %\n${more}${seeds}`;
}

// Horizontal bars from zero: every method less the baseline, place by place.
function differenceBars(points, look, baseline, width, open) {
  const zero = new Map(points.filter((point) => point.label === baseline).map((point) => [point.place, point]));
  const others = points.filter((point) => point.label !== baseline && zero.has(point.place));
  if (!zero.size) return empty("No zero-shot run", `Bars show the difference from ${baseline}: add it with --methods ${baseline},…`);
  if (!others.length) return empty("Nothing to compare", "No other method is shown for these data sets.");
  const places = [...new Set(others.map((point) => point.place))];
  const labels = [...new Set(others.map((point) => point.label))];
  const bar = Math.max(6, Math.min(13, 44 / labels.length));
  const row = labels.length * (bar + 2) + 14;
  const longest = Math.max(...places.map((place) => place.length));
  const area = frame({ width, height: places.length * row + 52, left: Math.min(width * 0.4, 24 + longest * 6.6), right: 42, top: 6 },
    `Difference from ${baseline} in percentage points`);
  const values = others.map((point) => point.mean - zero.get(point.place).mean);
  const ends = others.flatMap((point, index) => [values[index] - (point.std || 0), values[index] + (point.std || 0)]);
  const range = padded([0, ...ends], 0.5);
  const x = linear(range, area.left, area.right);
  xAxis(area, x, ticks(...range, width / 90), (value) => signed(value, Number.isInteger(value) ? 0 : 1), width > 520 ? `difference from ${baseline}, percentage points` : "percentage points");
  places.forEach((place, index) => {
    const top = area.top + index * row + 7;
    area.svg.append(s("text", { x: area.left - 10, y: top + (row - 14) / 2 + 3, "text-anchor": "end", class: "strong", "font-weight": place === "average" ? 650 : null }, PLACE(place)));
    if (index) area.svg.append(s("line", { class: "grid", x1: 8, x2: area.right, y1: top - 7, y2: top - 7 }));
    labels.forEach((label, slot) => {
      const point = others.find((one) => one.place === place && one.label === label);
      const y = top + slot * (bar + 2);
      if (!point) {
        area.svg.append(s("text", { x: x(0) + 6, y: y + bar - 1 }, `${MISSING} ${label}`));
        return;
      }
      const value = point.mean - zero.get(place).mean;
      const [from, to] = value < 0 ? [x(value), x(0)] : [x(0), x(value)];
      const drawn = s("rect", { x: from, y, width: Math.max(1.5, to - from), height: bar, rx: 1.5, fill: look.get(label).color });
      const group = s("g", {}, s("rect", { x: Math.min(from, x(0)) - 4, y: y - 1, width: to - from + 8, height: bar + 2, fill: "transparent" }), drawn);
      if (point.std !== null && point.seeds.length > 1) {
        const [low, high] = [x(value - point.std), x(value + point.std)];
        group.append(s("line", { x1: low, x2: high, y1: y + bar / 2, y2: y + bar / 2, stroke: "var(--ink)", "stroke-width": 1.2, opacity: 0.75 }));
      }
      area.svg.append(mark(group, pointText(point, `${signed(value)} points from ${baseline}\n`), () => open(point)));
      if (bar >= 9) {
        const end = value < 0 ? x(value - (point.std || 0)) - 5 : x(value + (point.std || 0)) + 5;
        area.svg.append(s("text", { x: end, y: y + bar - 1.5, "text-anchor": value < 0 ? "end" : "start", "font-size": 10 }, signed(value, 1)));
      }
    });
  });
  area.svg.append(s("line", { x1: x(0), x2: x(0), y1: area.top, y2: area.bottom, stroke: "var(--ink)", "stroke-width": 1.2 }));
  return area.svg;
}

// Accuracy on base classes against novel ones; dashed curves have equal harmonic means.
function baseNovel(points, [ofBase, ofNovel], look, width, open) {
  const base = points.filter((point) => point.measure === ofBase);
  const pairs = base.map((point) => [point, points.find((one) => one.measure === ofNovel && one.label === point.label)]).filter(([, novel]) => novel);
  if (!pairs.length) return empty("No pair of base and novel accuracies", "Some runs of this data set are missing.");
  const area = frame({ width, height: Math.min(380, Math.max(300, width * 0.75)) }, "Accuracy on base classes against accuracy on novel classes");
  const xs = percentRange(pairs.flatMap(([point]) => [point.mean - (point.std || 0), point.mean + (point.std || 0)]), 2);
  const ys = percentRange(pairs.flatMap(([, novel]) => [novel.mean - (novel.std || 0), novel.mean + (novel.std || 0)]), 2);
  const [x, y] = [linear(xs, area.left, area.right), linear(ys, area.bottom, area.top)];
  xAxis(area, x, ticks(...xs, 5), String, "base classes, %");
  yAxis(area, y, ticks(...ys, 5), String, "novel classes, %");
  const middle = 2 / (2 / (xs[0] + xs[1]) + 2 / (ys[0] + ys[1]));
  for (const hm of ticks(middle - (ys[1] - ys[0]), middle + (ys[1] - ys[0]), 5)) {
    const line = [];
    for (let step = 0; step <= 60; step += 1) {
      const b = xs[0] + (step / 60) * (xs[1] - xs[0]);
      const n = (hm * b) / (2 * b - hm);
      if (2 * b > hm && n >= ys[0] && n <= ys[1]) line.push(`${x(b).toFixed(1)},${y(n).toFixed(1)}`);
    }
    if (line.length > 4) {
      const [endX, endY] = line.at(-1).split(",").map(Number);
      area.svg.append(s("polyline", { class: "iso", points: line.join(" ") }), s("text", { x: endX - 3, y: endY - 4, "text-anchor": "end", "font-size": 10 }, `H ${hm}`));
    }
  }
  for (const [point, novel] of pairs) {
    const style = look.get(point.label);
    const [cx, cy] = [x(point.mean), y(novel.mean)];
    const h2 = (2 * point.mean * novel.mean) / (point.mean + novel.mean || 1);
    const group = s("g", {}, s("circle", { cx, cy, r: 14, fill: "transparent" }));
    if (point.std) group.append(s("line", { x1: x(point.mean - point.std), x2: x(point.mean + point.std), y1: cy, y2: cy, stroke: style.color, opacity: 0.6 }));
    if (novel.std) group.append(s("line", { x1: cx, x2: cx, y1: y(novel.mean - novel.std), y2: y(novel.mean + novel.std), stroke: style.color, opacity: 0.6 }));
    group.append(shape(style.shape, cx, cy, 6, style.color));
    area.svg.append(mark(group, pointText(point, `novel ${spread(novel)} %\nH ${fixed(h2)}\n`), () => open(point)));
  }
  nameMarks(area, pairs.map(([point, novel]) => ({ label: point.label, x: x(point.mean), y: y(novel.mean) })));
  return area.svg;
}

// Names beside marks, left of those near the right edge, moved apart where they would touch.
function nameMarks(area, marks) {
  const placed = [];
  for (const one of [...marks].sort((a, b) => a.y - b.y)) {
    const width = one.label.length * 6.4;
    const left = one.x + 11 + width > area.right + 8;
    let y = one.y + 4;
    while (placed.some((other) => Math.abs(other.y - y) < 13 && Math.abs(other.x - one.x) < width + 40)) y += 13;
    placed.push({ x: one.x, y });
    area.svg.append(s("text", { x: one.x + (left ? -11 : 11), y, "text-anchor": left ? "end" : "start", class: "name" }, one.label));
  }
}

// Accuracy against shots, a line per method; the baseline, which has none, is a level line.
function curves(points, look, baseline, width, open) {
  const lines = points.filter((point) => point.label !== baseline && point.shots > 0);
  if (!lines.length) return empty("No few-shot run here", "On average there is a number only where every data set has the same shots and seeds: choose a data set.");
  const shots = [...new Set(lines.map((point) => point.shots))].sort((a, b) => a - b);
  const area = frame({ width, height: Math.min(380, Math.max(300, width * 0.75)) }, "Accuracy against images per class");
  const level = points.find((point) => point.label === baseline);
  const all = [...lines, ...(level ? [level] : [])];
  const ys = percentRange(all.flatMap((point) => [point.mean - (point.std || 0), point.mean + (point.std || 0)]));
  const range = [shots[0] / 1.15, shots.at(-1) * 1.15];
  const [x, y] = [logarithmic(range, area.left, area.right), linear(ys, area.bottom, area.top)];
  xAxis(area, x, shots, String, "training images per class");
  yAxis(area, y, ticks(...ys, 5), String, "accuracy, %");
  if (level) {
    area.svg.append(s("line", { x1: area.left, x2: area.right, y1: y(level.mean), y2: y(level.mean), stroke: "var(--base)", "stroke-width": 2, "stroke-dasharray": "4 4" }));
    area.svg.append(mark(s("g", {}, s("circle", { cx: area.left + 12, cy: y(level.mean), r: 12, fill: "transparent" }), shape("ring", area.left + 12, y(level.mean), 6, "var(--base)")), pointText(level), () => open(level)));
  }
  for (const label of new Set(lines.map((point) => point.label))) {
    const own = lines.filter((point) => point.label === label).sort((a, b) => a.shots - b.shots);
    const style = look.get(label);
    const path = own.map((point) => `${x(point.shots)},${y(point.mean)}`).join(" ");
    area.svg.append(s("polyline", { points: path, fill: "none", stroke: style.color, "stroke-width": 2, "stroke-dasharray": style.dash || null }));
    for (const point of own) {
      const [cx, cy] = [x(point.shots), y(point.mean)];
      const group = s("g", {}, s("circle", { cx, cy, r: 12, fill: "transparent" }));
      if (point.std) group.append(s("line", { x1: cx, x2: cx, y1: y(point.mean - point.std), y2: y(point.mean + point.std), stroke: style.color, opacity: 0.6 }));
      group.append(shape(style.shape, cx, cy, 5, style.color));
      area.svg.append(mark(group, pointText(point), () => open(point)));
    }
  }
  return area.svg;
}

// Accuracy against what it costs: seconds of a run, or learnt parameters, both on a logarithmic axis.
function cost(points, look, quantity, width, open) {
  const known = points.filter((point) => quantity === "seconds" || point.parameters > 0);
  if (!known.length) return empty("Nothing is learnt here", "The methods shown have no learnt parameters.");
  const values = known.map((point) => Math.max(point[quantity], quantity === "seconds" ? 0.01 : 1));
  const area = frame({ width, height: Math.min(380, Math.max(300, width * 0.75)) }, `Accuracy against ${quantity}`);
  const range = [Math.min(...values) / 1.6, Math.max(...values) * 1.6];
  const ys = percentRange(known.flatMap((point) => [point.mean - (point.std || 0), point.mean + (point.std || 0)]));
  const [x, y] = [logarithmic(range, area.left, area.right), linear(ys, area.bottom, area.top)];
  const text = quantity === "seconds" ? (value) => (value < 600 ? `${value} s` : duration(value)) : short;
  xAxis(area, x, logTicks(...range), text, quantity === "seconds" ? "seconds of a run, training and tests" : "learnt parameters");
  yAxis(area, y, ticks(...ys, 5), String, "accuracy, %");
  known.forEach((point, index) => {
    const style = look.get(point.label);
    const [cx, cy] = [x(values[index]), y(point.mean)];
    const group = s("g", {}, s("circle", { cx, cy, r: 13, fill: "transparent" }));
    if (point.std) group.append(s("line", { x1: cx, x2: cx, y1: y(point.mean - point.std), y2: y(point.mean + point.std), stroke: style.color, opacity: 0.6 }));
    group.append(shape(style.shape, cx, cy, 6, style.color));
    const costs = `${duration(point.seconds)} a run, ${thousands(point.parameters)} learnt parameters\n`;
    area.svg.append(mark(group, pointText(point, costs), () => open(point)));
  });
  nameMarks(area, known.map((point, index) => ({ label: point.label, x: x(values[index]), y: y(point.mean) })));
  return area.svg;
}

// Accuracy by confidence, a small square per method: bars on the diagonal are honest.
function reliability(points, look, open) {
  const known = points.filter((point) => point.bins.length);
  if (!known.length) return empty("No confidence bins", "These numbers have none: H is of two tests, and records of version 1 keep none.");
  return h("div", { class: "small-multiples" }, known.map((point) => {
    const area = frame({ width: 200, height: 196, left: 28, right: 8, top: 6, bottom: 40 }, `Reliability of ${point.label}`);
    const [x, y] = [linear([0, 100], area.left, area.right), linear([0, 100], area.bottom, area.top)];
    xAxis(area, x, [0, 50, 100], String, "confidence, %");
    yAxis(area, y, [0, 50, 100], String, "");
    const style = look.get(point.label);
    const images = point.bins.reduce((sum, [count]) => sum + count, 0);
    const width = (area.right - area.left) / point.bins.length;
    let gap = 0;
    point.bins.forEach(([count, correct, confidence], index) => {
      if (!count) return;
      const accuracy = (100 * correct) / count;
      gap += (count / images) * Math.abs(accuracy - confidence);
      const text = `confidence ${fixed(confidence, 1)} %, right ${fixed(accuracy, 1)} %\n${count} of ${images} images`;
      area.svg.append(mark(s("rect", { x: area.left + index * width + 0.75, y: y(accuracy), width: width - 1.5, height: Math.max(1, area.bottom - y(accuracy)), fill: style.color, opacity: 0.35 + 0.65 * Math.min(1, (count / images) * 5) }), text, () => open(point)));
    });
    area.svg.append(s("line", { x1: x(0), y1: y(0), x2: x(100), y2: y(100), stroke: "var(--ink)", "stroke-dasharray": "4 3", opacity: 0.7 }));
    return h("div", {}, h("p", {}, swatch(style), point.label, h("span", {}, `ECE ${fixed(gap, 1)} %`)), area.svg);
  }));
}
