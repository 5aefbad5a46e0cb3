// Tables that sort: a click or Enter on a column's name, a third one brings the first order back; what is missing stays
// last. In the first order a name that is the same as above is written once.

function leading(text) {
  const match = /^[+−-]?\d[\d,]*(\.\d+)?/.exec(text);
  return match ? parseFloat(match[0].replaceAll(",", "").replace("−", "-")) : null;
}

function compare(left, right, down) {
  const [a, b] = [leading(left), leading(right)];
  const missing = (left === MISSING || left === "") - (right === MISSING || right === "");
  if (missing) return missing;
  const order = a !== null && b !== null ? a - b : left.localeCompare(right, "en", { numeric: true });
  return down ? -order : order;
}

// columns: [{text, words, wrap}]; rows: [{texts, cells: nodes or texts, kind}]; kinds mark rows, such as "total".
function sortableTable(caption, columns, rows, options = {}) {
  const body = h("tbody", {});
  let sorted = { column: null, down: true };
  const heads = columns.map((column, index) =>
    h("th", { scope: "col", class: column.words ? "words" : null, "aria-sort": "none" },
      h("button", { type: "button", onclick: () => sort(index) }, column.text)));
  const said = h("p", { class: "hidden", "aria-live": "polite" });

  function draw(order) {
    let above = null;
    body.replaceChildren(...order.map((row) => {
      const again = options.nameOnce && sorted.column === null && row.texts[0] === above;
      above = row.texts[0];
      const cells = row.cells.map((cell, index) => {
        const column = columns[index];
        const kinds = [column.words ? "words" : "", column.wrap ? "wrap" : "", row.best?.has(index) ? "best" : "",
          row.texts[index] === MISSING ? "missing" : "", again && index === 0 ? "again" : ""].filter(Boolean).join(" ");
        return h("td", { class: kinds || null }, cell);
      });
      return h("tr", { class: row.kind || null }, cells);
    }));
  }

  function sort(index) {
    const first = !columns[index].words;
    const ends = sorted.column === index && sorted.down !== first;
    const down = sorted.column === index ? !first : first;
    sorted = { column: ends ? null : index, down };
    heads.forEach((head, place) =>
      head.setAttribute("aria-sort", ends || place !== index ? "none" : down ? "descending" : "ascending"));
    const order = (left, right) => compare(left.texts[index], right.texts[index], down);
    draw(ends ? rows : [...rows].sort(order).map(plain));
    said.textContent = ends ? "in the first order" : `sorted by ${columns[index].text}, ${down ? "descending" : "ascending"}`;
  }

  const plain = (row) => ({ ...row, kind: row.kind?.replace("end", "").trim() });
  draw(rows);
  const table = h("table", { class: options.stick ? "stick" : null },
    h("caption", { class: "hidden" }, caption), h("thead", {}, h("tr", {}, heads)), body);
  return [h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption }, table), said];
}

function numberCell(text) {
  const [mean, std] = text.split(" ± ");
  return std === undefined ? text : [mean, h("span", { class: "std" }, ` ± ${std}`)];
}

// A table as Python made it; a row opens the runs behind it.
function recordTable(table, open) {
  const words = table.headers.map((_, index) => table.rows.every((row) => leading(row[index]) === null || index < 1));
  const columns = table.headers.map((text, index) => ({ text, words: words[index] }));
  const edges = new Set(table.sections.map((number) => number - 1));
  const rows = table.rows.map((texts, number) => {
    const best = new Set(table.best.filter(([row]) => row === number).map(([, column]) => column));
    const label = table.headers.indexOf("method");
    const cells = texts.map((text, index) => {
      if (index === label && table.runs[number].length) {
        const name = texts[0] === text ? text : `${text} on ${texts[0]}`;
        const runs = table.runs[number];
        return h("button", { type: "button", class: "row", "aria-label": `${name}: show ${runs.length} runs`, onclick: () => open(name, runs) }, text);
      }
      return numberCell(text);
    });
    const kind = [texts[0].startsWith("average") ? "total" : "", edges.has(number) ? "end" : ""].filter(Boolean).join(" ");
    return { texts, cells, best, kind };
  });
  const notes = h("ul", { class: "notes" }, table.notes.map((note) => h("li", {}, note)));
  return h("div", { class: "card" },
    h("div", { class: "head" }, h("h3", {}, table.title.split(", suite")[0])),
    rows.length ? sortableTable(table.title, columns, rows, { stick: true, nameOnce: true }) : empty("No rows", "No run of this table is finished."),
    table.notes.length > 2
      ? h("details", { class: "more" }, h("summary", {}, `${table.notes.length} notes: settings, views, missing runs`), notes)
      : table.notes.length ? notes : null);
}
