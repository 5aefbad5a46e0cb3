// The page: tabs of protocols, a theme that is remembered, and the sections of the chosen tab.

const data = JSON.parse(document.getElementById("data").textContent);
const root = document.documentElement;
const details = makeDetails(data);
const content = document.getElementById("content");

// Theme: the system's, until one is chosen. Storage may be closed to pages that are files.
function stored(value) {
  try {
    if (value === undefined) return localStorage.getItem("adaptkit-theme");
    localStorage.setItem("adaptkit-theme", value);
  } catch { /* the choice lasts as long as the page */ }
  return null;
}

const themeButton = document.getElementById("theme");
const dark = () => root.dataset.theme === "dark" || (!root.dataset.theme && matchMedia("(prefers-color-scheme: dark)").matches);

function nameTheme() {
  themeButton.textContent = dark() ? "☀ Light" : "☾ Dark";
  themeButton.setAttribute("aria-label", dark() ? "Use the light theme" : "Use the dark theme");
}

const remembered = stored();
if (remembered === "dark" || remembered === "light") root.dataset.theme = remembered;
nameTheme();
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", nameTheme);
themeButton.addEventListener("click", () => {
  root.dataset.theme = dark() ? "light" : "dark";
  stored(root.dataset.theme);
  nameTheme();
});

const one = (count, word) => `${thousands(count)} ${word}${count === 1 ? "" : "s"}`;
const finished = data.runs.length ? `${one(data.runs.length, "run")}, the last finished ${data.finished.slice(0, 16).replace("T", " ")} UTC` : "";
document.getElementById("facts").textContent = [data.decisions.length ? one(data.decisions.length, "decision") : "", finished].filter(Boolean).join("; ");

function tiles(group) {
  const labels = new Set(group.points.map((point) => point.label));
  const averages = group.points.filter((point) => point.place === "average");
  const measure = group.pair ? "H" : averages[0]?.measure;
  const ranked = averages.filter((point) => point.measure === measure).sort((a, b) => b.mean - a.mean);
  const best = ranked[0];
  const name = `${WORD(measure)} on average`;
  const entries = [
    [one(group.runs, "run"), `of ${one(labels.size, "method")}`],
    [one(group.datasets.length, "data set"), `suite ${group.suite}`],
    [group.backbone, `weights ${group.weights}, ${group.precision}`],
    best ? [fixed(best.mean), `best ${name}: ${best.label}${best.shots > 0 ? `, ${best.shots} shots` : ""}`] : [MISSING, "no average: runs are missing"],
  ];
  return h("div", { class: "tiles" }, entries.map(([number, text]) => h("div", { class: "tile" }, h("b", {}, number), h("span", {}, text))));
}

// a, b, ... z, aa, ab, ...
function letter(number) {
  return (number >= 26 ? letter(Math.floor(number / 26) - 1) : "") + String.fromCharCode(97 + (number % 26));
}

function ledgerSection(group) {
  const head = h("div", { class: "head" }, h("h2", {}, "Beside published numbers"),
    h("p", {}, "Ours less the published value, and whether seeds explain it."));
  if (!group.ledger.length) return h("section", {}, head, h("div", { class: "card" }, empty("Nothing published", "No paper has numbers for these methods in this protocol, as far as adaptkit knows.")));
  const sources = [...new Set(group.ledger.map((row) => row.source))];
  const columns = [["method", true], ["where", true], ["shots"], ["measure", true], ["published"], ["ours"], ["difference"], ["verdict", true], ["why", true]]
    .map(([text, words]) => ({ text, words: Boolean(words) }));
  const reasons = [...new Set(group.ledger.map((row) => row.why.join("; ")).filter(Boolean))];
  const rows = group.ledger.map((row) => {
    const ours = row.ours === null ? MISSING : fixed(row.ours) + (row.std === null ? "" : ` ± ${fixed(row.std)}`);
    const texts = [row.method, PLACE(row.place), String(row.shots), WORD(row.measure), fixed(row.published), ours,
      row.difference === null ? MISSING : signed(row.difference), row.verdict, row.why.length ? letter(reasons.indexOf(row.why.join("; "))) : ""];
    const published = [texts[4], row.verified ? null : h("abbr", { title: "recalled: no source of this number was read" }, " †"), h("sup", {}, ` ${sources.indexOf(row.source) + 1}`)];
    const kind = row.verdict.startsWith("within") ? "within" : row.verdict.startsWith("outside") ? "outside" : row.verdict.replace(" ", "-");
    const verdict = h("span", { class: `verdict ${kind}` }, row.verdict);
    return { texts, cells: texts.map((text, index) => (index === 4 ? published : index === 5 ? numberCell(text) : index === 7 ? verdict : text)), kind: null };
  });
  const counts = new Map();
  for (const row of group.ledger) counts.set(row.verdict, (counts.get(row.verdict) || 0) + 1);
  const tally = h("p", { class: "tally", style: "padding-top:12px" }, [...counts].map(([verdict, count]) => h("span", {}, `${count} ${verdict}`)));
  const notes = [...sources.map((source, index) => `${index + 1}: ${source}`), ...reasons.map((reason, index) => `${letter(index)}: ${reason}`), ...(group.ledger.every((row) => row.verified) ? [] : ["† recalled: no source of this number was read"]),
    "noise: the 95 % interval of a difference of two means over seeds, the paper's seeds taken to spread like ours"];
  return h("section", { class: "long" }, head, h("div", { class: "card" }, tally, sortableTable("Published numbers beside ours", columns, rows, { stick: true, nameOnce: true }),
    h("ul", { class: "notes plain" }, notes.map((note) => h("li", {}, note)))));
}

function datasetsSection(group) {
  if (!group.dataset_tables.length) return null;
  return h("section", { class: "long", "aria-label": "Data set by data set" },
    h("div", { class: "head" }, h("h2", {}, "Data set by data set"), h("p", {}, "The rows behind the averages; the notes of their table hold here, too.")),
    group.dataset_tables.map((table) => recordTable(table, details.many)));
}

function runsSection(group) {
  const ids = new Set(group.points.flatMap((point) => point.run_ids));
  for (const table of [...group.tables, ...group.dataset_tables]) for (const row of table.runs) for (const id of row) ids.add(id);
  const runs = data.runs.filter((run) => ids.has(run.id));
  const place = h("div", {});
  const said = h("p", { "aria-live": "polite" });
  const draw = (words) => {
    const chosen = runs.filter((run) => words.every((word) => `${run.label} ${run.dataset} seed${run.seed} ${run.shots}shots ${run.id}`.includes(word)));
    said.textContent = chosen.length === runs.length ? `${runs.length} in all` : `${chosen.length} of ${runs.length}`;
    place.replaceChildren(...(chosen.length ? runTable(chosen, (run) => details.one(run, null)) : [empty("No run matches", "Fewer words show more.")]));
  };
  const search = h("input", { type: "search", placeholder: "coop seed1 …", "aria-label": "Filter the runs by words", oninput: (event) => draw(event.target.value.toLowerCase().split(/\s+/).filter(Boolean)) });
  draw([]);
  return h("section", { class: "runs long" }, h("div", { class: "head" }, h("h2", {}, "Runs"), said, h("span", { class: "spacer" }), search), h("div", { class: "card", style: "padding-top:10px" }, place));
}

function groupSections(group) {
  return [
    h("section", {}, h("h2", {}, group.title), tiles(group)),
    h("section", { "aria-label": "Averages" }, group.tables.map((table) => recordTable(table, details.many))),
    figures(group, data.baseline, details.many), datasetsSection(group), ledgerSection(group), runsSection(group),
  ].filter(Boolean);
}

// What Python wrote of an adapter or of suggestions.
function decisionSections(decision, index) {
  const written = document.getElementById(`decision-${index}`).content.cloneNode(true);
  return [h("section", {}, h("h2", {}, decision.title), h("p", {}, decision.kind)), h("div", { class: "sheet" }, written)];
}

const shownIn = [
  ...data.decisions.map((decision, index) => ({ title: decision.title, kind: decision.kind, show: () => decisionSections(decision, index) })),
  ...data.groups.map((group) => ({ title: group.title, kind: `${group.suite}, ${group.backbone}`, show: () => groupSections(group) })),
];
const tabs = document.getElementById("tabs");
const buttons = shownIn.map((tab, index) => h("button", {
  type: "button", role: "tab", id: `tab-${index}`, "aria-controls": "content", "aria-selected": "false", tabindex: "-1", onclick: () => choose(index),
  onkeydown: (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    const next = event.key === "Home" ? 0 : event.key === "End" ? shownIn.length - 1 : step ? (index + step + shownIn.length) % shownIn.length : null;
    if (next !== null) { event.preventDefault(); choose(next); buttons[next].focus(); }
  },
}, tab.title, h("small", {}, tab.kind)));
tabs.append(...buttons);

function choose(index) {
  buttons.forEach((button, place) => {
    button.setAttribute("aria-selected", String(place === index));
    button.tabIndex = place === index ? 0 : -1;
  });
  content.setAttribute("role", "tabpanel");
  content.setAttribute("aria-labelledby", `tab-${index}`);
  buttons[index].scrollIntoView({ block: "nearest", inline: "nearest" });
  content.replaceChildren(...shownIn[index].show());
}

choose(0);
