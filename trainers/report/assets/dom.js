// Elements, numbers as text, and one tooltip for everything that can be pointed at or focused.

const SVG = "http://www.w3.org/2000/svg";
const MISSING = "–";

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return element;
}

function h(tag, attributes, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

function s(tag, attributes, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function fixed(value, digits = 2) {
  return value === null || value === undefined ? MISSING : value.toFixed(digits);
}

function signed(value, digits = 2) {
  return (value > 0 ? "+" : value < 0 ? "−" : "") + Math.abs(value).toFixed(digits);
}

function spread(point) {
  return fixed(point.mean) + (point.std !== null && point.seeds.length > 1 ? ` ± ${fixed(point.std)}` : "");
}

function thousands(value) {
  return value.toLocaleString("en");
}

function short(value) {
  const units = [[1e9, "G"], [1e6, "M"], [1e3, "k"]];
  const [size, unit] = units.find(([least]) => value >= least) || [1, ""];
  const scaled = value / size;
  return `${+scaled.toPrecision(scaled < 10 ? 2 : 3)}${unit}`;
}

function duration(seconds) {
  if (seconds < 120) return `${seconds < 10 ? seconds.toFixed(1) : Math.round(seconds)} s`;
  return seconds < 7200 ? `${Math.round(seconds / 60)} min` : `${(seconds / 3600).toFixed(1)} h`;
}

const tip = document.getElementById("tip");

function showTip(event, text) {
  tip.textContent = text;
  tip.hidden = false;
  const box = tip.getBoundingClientRect();
  const at = event.clientX === undefined || event.type === "focus"
    ? event.currentTarget.getBoundingClientRect() : { left: event.clientX, top: event.clientY, height: 0 };
  const x = Math.min(Math.max(8, at.left + 12), window.innerWidth - box.width - 8);
  const above = at.top - box.height - 10;
  tip.style.left = `${x}px`;
  tip.style.top = `${above > 4 ? above : at.top + at.height + 14}px`;
}

function hideTip() {
  tip.hidden = true;
}

// A mark of a figure: it says what it stands for, and opens the runs behind it.
function mark(element, text, open) {
  fill(element, {
    tabindex: "0", role: "button", "aria-label": text.replaceAll("\n", ", "),
    onpointermove: (event) => showTip(event, text), onpointerleave: hideTip,
    onfocus: (event) => showTip(event, text), onblur: hideTip,
    onclick: () => { hideTip(); open(); },
    onkeydown: (event) => {
      if (event.key === "Enter" || event.key === " ") { event.preventDefault(); hideTip(); open(); }
    },
  }, []);
  return element;
}

function empty(title, text) {
  return h("div", { class: "empty" }, h("b", {}, title), text);
}

function select(label, values, chosen, change) {
  const options = values.map(([value, text]) => h("option", { value, selected: value === chosen }, text));
  return h("label", {}, label, h("select", { onchange: (event) => change(event.target.value) }, options));
}
