// The figures of one protocol, with what is chosen: methods, data set, measure, shots. They are drawn to the width that
// there is, so that letters keep their size, and again when it changes.

let redraw = () => {};
window.addEventListener("resize", () => redraw());

// The average if it has every method, else the place that has most of them.
function fullest(points, places) {
  const count = (place) => new Set(points.filter((point) => point.place === place).map((point) => point.label)).size;
  return [...places].sort((a, b) => count(b) - count(a))[0];
}

function figures(group, baseline, open) {
  const labels = [...new Set(group.points.map((point) => point.label))];
  const look = styles(labels, baseline);
  const measures = [...new Set(group.points.map((point) => point.measure))];
  const places = [...new Set(group.points.map((point) => point.place))];
  const shots = [...new Set(group.points.map((point) => point.shots))].filter((count) => count > 0).sort((a, b) => a - b);
  const byShots = group.points.some((point) => point.shots !== null);
  const chosen = {
    hidden: new Set(),
    measure: measures.includes("H") ? "H" : measures[0],
    place: fullest(group.points, places),
    shots: shots.at(-1),
    quantity: "seconds",
  };
  const grid = h("div", { class: "figures" });

  const shown = (point) => !chosen.hidden.has(point.label);
  const atShots = (point) => !byShots || point.shots === 0 || point.label === baseline || point.shots === chosen.shots;
  const openPoint = (point) => open(`${point.label} on ${PLACE(point.place)}`, point.run_ids);

  function card(title, text, drawing, controls = null, wide = false) {
    const body = h("figure", {}, drawing);
    return h("div", { class: wide ? "card wide" : "card" }, h("div", { class: "head" }, h("h3", {}, title), h("p", {}, text), controls), body);
  }

  function draw() {
    const visible = group.points.filter(shown);
    const here = visible.filter((point) => point.place === chosen.place);
    const measured = here.filter((point) => point.measure === chosen.measure);
    const at = byShots ? `, ${chosen.shots} shots` : "";
    const where = PLACE(chosen.place);
    const name = WORD(chosen.measure);
    const plain = chosen.measure === "H" ? here.filter((point) => point.measure === group.pair[0]) : measured;
    const wide = Math.max(280, content.clientWidth - 2 * parseFloat(getComputedStyle(content).paddingLeft) - 26);
    const half = window.innerWidth > 860 ? (wide + 26 - 16) / 2 - 26 : wide;
    const cards = [];
    cards.push(card(`Against ${baseline}`, `${name}, every ${group.places}${at}${chosen.measure === "H" ? "" : "; whiskers are one standard deviation over seeds"}`,
      differenceBars(visible.filter((point) => point.measure === chosen.measure && atShots(point)), look, baseline, wide, openPoint), null, true));
    if (group.pair) cards.push(card("Base and novel", `${where}; dashed curves have equal H`, baseNovel(here, group.pair, look, half, openPoint)));
    if (byShots) cards.push(card("Few-shot curves", where, curves(measured, look, baseline, half, openPoint)));
    cards.push(card("Accuracy against cost", `${where}, ${name}${at}`, cost(measured.filter(atShots), look, chosen.quantity, half, openPoint),
      select("cost", [["seconds", "seconds"], ["parameters", "parameters"]], chosen.quantity, (value) => { chosen.quantity = value; draw(); })));
    cards.push(card("Reliability", `${where}, ${WORD(plain[0]?.measure || chosen.measure)}${at}: how often a confidence is right; paler bars hold fewer images`,
      reliability(plain.filter(atShots), look, openPoint), null, cards.length === 3));
    grid.replaceChildren(...cards);
  }

  const toggles = labels.map((label) => h("button", {
    type: "button", "aria-pressed": "true", onclick: (event) => {
      const off = !chosen.hidden.delete(label);
      if (off) chosen.hidden.add(label);
      event.currentTarget.setAttribute("aria-pressed", String(!off));
      draw();
    },
  }, swatch(look.get(label)), label));
  const choose = (key, convert = String) => (value) => { chosen[key] = convert(value); draw(); };
  const controls = [
    select("data set", places.map((place) => [place, PLACE(place)]), chosen.place, choose("place")),
    measures.length > 1 ? select("measure", measures.map((measure) => [measure, WORD(measure)]), chosen.measure, choose("measure")) : null,
    shots.length > 1 ? select("shots", shots.map((count) => [String(count), String(count)]), String(chosen.shots), choose("shots", Number)) : null,
  ];
  draw();
  redraw = draw;
  return h("section", { "aria-label": "Figures" },
    h("div", { class: "head" }, h("h2", {}, "Figures"), h("p", {}, "A method can be switched off; a mark opens the runs behind it.")),
    h("div", { class: "chips", role: "group", "aria-label": "What the figures show" }, toggles, h("span", { class: "spacer" }), controls), grid);
}
