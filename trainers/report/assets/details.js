// Run details: a dialog that lists the runs behind a number, or shows one run with all its record says.

const dialog = document.getElementById("details");

function showDialog(title, text, body, back) {
  const close = h("button", { type: "button", class: "quiet", style: "margin-left:auto", onclick: () => dialog.close() }, "Close");
  const head = h("div", { class: "head" }, back ? h("button", { type: "button", class: "quiet", onclick: back }, "← Back") : null,
    h("h3", { id: "details-title" }, title), close, h("p", {}, text));
  dialog.replaceChildren(head, h("div", { class: "body" }, body));
  if (!dialog.open) dialog.showModal();
  dialog.scrollTop = 0;
  close.focus();
}

dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });

function makeDetails(data) {
  const byId = new Map(data.runs.map((run) => [run.id, run]));

  function many(title, ids) {
    const runs = ids.map((id) => byId.get(id));
    if (runs.length === 1) { one(runs[0], null); return; }
    const again = () => many(title, ids);
    showDialog(title, `${runs.length} runs`, runTable(runs, (run) => one(run, again)));
  }

  function one(run, back) {
    const seed = run.seed === null ? "no seed matters" : `${run.shots} shots, seed ${run.seed}`;
    showDialog(`${run.label} on ${run.dataset}`, `${run.protocol}, ${seed}`, [
      run.scores.map((score) => scoreBlock(score, run.metric, data.classnames)), times(run), facts(run),
      run.notes.length ? [h("h4", {}, "Notes"), h("ul", { style: "margin:0;padding-left:20px" }, run.notes.map((note) => h("li", {}, note)))] : null,
      h("h4", {}, "Settings"), h("pre", { tabindex: "0", "aria-label": "Settings" }, JSON.stringify(run.settings, null, 1)),
    ], back);
  }

  return { many, one };
}

function runTable(runs, open) {
  const metrics = [...new Set(runs.map((run) => run.metric))].join(" or ");
  const columns = [["data set", true], ["method", true], ["shots"], ["seed"], [`${metrics}, %`], ["calibration error, %"], ["seconds"], ["finished", true]]
    .map(([text, words]) => ({ text, words: Boolean(words) }));
  const rows = runs.map((run) => {
    const seed = run.seed === null ? "any" : String(run.seed);
    const accuracies = run.scores.map((score) => fixed(score.metrics[run.metric])).slice(0, 3).join(" / ") + (run.scores.length > 3 ? " …" : "");
    const eces = run.scores.map((score) => fixed(score.metrics.ece, 1)).slice(0, 3).join(" / ") + (run.scores.length > 3 ? " …" : "");
    const seconds = Object.values(run.seconds).reduce((sum, value) => sum + value, 0);
    const texts = [run.dataset, run.label, String(run.shots), seed, accuracies, eces, fixed(seconds, 1), run.finished.slice(0, 16).replace("T", " ")];
    const name = h("button", { type: "button", class: "row", "aria-label": `${run.label} on ${run.dataset}, ${run.shots} shots, seed ${seed}: details`, onclick: () => open(run) }, run.label);
    return { texts, cells: texts.map((text, index) => (index === 1 ? name : text)), kind: null };
  });
  return sortableTable("Runs", columns, rows, { stick: true });
}

function pairs(entries) {
  return h("dl", {}, entries.filter(([, value]) => value !== null && value !== "").map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]));
}

function scoreBlock(score, metric, classnames) {
  const head = h("h4", {}, `Test “${WORD(score.name)}”: ${fixed(score.metrics[metric])} %`);
  const items = ["test items", h("code", {}, score.items_hash)];
  if (score.correct === null) return [head, pairs([...Object.entries(score.metrics).map(([name, value]) => [name, fixed(value)]), items])];
  const names = classnames[score.classnames];
  const classes = names.map((name, index) => [name, score.per_class[index]]).filter(([, value]) => value !== null).sort((a, b) => a[1] - b[1]);
  const rows = (some) => h("div", { class: "bars" }, some.map(([name, value]) => [h("span", {}, name), h("u", {}, h("i", { style: `width:${value}%` })), h("span", {}, `${fixed(value, 0)} %`)]));
  return [
    head,
    pairs([
      ["right", `${score.correct} of ${score.total} images; 95 % interval ${fixed(score.interval[0])} to ${fixed(score.interval[1])} %`],
      ["calibration", `expected error ${fixed(score.metrics.ece)} %, negative log-likelihood ${fixed(score.metrics.nll, 4)}`],
      items,
    ]),
    h("details", { style: "margin-top:6px" }, h("summary", { style: "cursor:pointer;color:var(--soft)" }, `Accuracy of ${classes.length} classes, weakest first`), h("div", { style: "max-height:260px;overflow:auto;margin-top:8px", tabindex: "0" }, rows(classes))),
  ];
}

function times(run) {
  const phases = Object.entries(run.seconds).filter(([, value]) => value > 0);
  const total = phases.reduce((sum, [, value]) => sum + value, 0);
  if (!total) return null;
  const colors = phases.map((_, index) => `var(--c${index % 8})`);
  return [h("h4", {}, `Time: ${duration(total)}`),
    h("div", { class: "phases", "aria-hidden": "true" }, phases.map(([, value], index) => h("i", { style: `width:${(100 * value) / total}%;background:${colors[index]}` }))),
    h("div", { class: "key" }, phases.map(([name, value], index) => h("span", {}, h("i", { style: `background:${colors[index]}` }), `${name} ${fixed(value)} s`)))];
}

function facts(run) {
  const weights = `${run.backbone}, weights ${run.pretrained || "of unknown source"}, ${run.precision}`;
  return [h("h4", {}, "Run"), pairs([
    ["backbone", [weights, " ", h("code", {}, run.weights)]],
    ["training", `${thousands(run.train_items)} images, ${run.epochs} epochs, ${run.steps} steps; ${run.augmentation}`],
    ["learnt", `${thousands(run.parameters)} parameters`],
    ["final loss", run.final_loss === null ? "" : fixed(run.final_loss, 4)],
    ["peak memory", run.peak_memory_mb === null ? "" : `${Math.round(run.peak_memory_mb)} MB`],
    ["hardware", Object.entries(run.hardware).map(([name, value]) => (name === "device" ? value : `${value} ${name}`)).join(", ")],
    ["versions", Object.entries(run.versions).map(([name, version]) => `${name} ${version}`).join(", ")],
    ["finished", run.finished.replace("T", " ")],
    ["id", h("code", {}, run.id)],
  ])];
}
