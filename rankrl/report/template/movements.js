// How the documents of one query moved: the slopes between the runs, and the table that says the same in words.

const maxGrade = largest(movements.map((rows) => largest((rows || []).map((row) => row[1] || 0), 1)), 1);
const rankOf = (row, run) => row[2 + run];
const place = (rank) => (rank === null ? "not listed" : String(rank));
const levelOf = (grade) => grade === null ? "unjudged" : grade <= 0 ? "level-0" : `level-${Math.min(3, Math.max(1, Math.ceil((3 * grade) / maxGrade)))}`;
const gradeWord = (grade) => (grade === null ? "not judged" : `grade ${grade}`);
const marker = (grade, x, y) => [
  svg("circle", { class: `marker ${levelOf(grade)}`, cx: x, cy: y, r: 8.5 }),
  svg("text", { class: `grade ${levelOf(grade)}`, x, y: y + 4 }, grade === null ? "?" : String(grade))];
const chip = (grade) => svg("svg", { viewBox: "0 0 20 20", role: "img", "aria-label": gradeWord(grade) },
  svg("title", null, gradeWord(grade)), ...marker(grade, 10, 10));

function movementParts(rows, columns) {
  const visibleRows = rows.filter((row) => columns.some((run) => rankOf(row, run) !== null && rankOf(row, run) <= depth));
  if (!visibleRows.length) return [el("p", { class: "remark" }, "None of these runs lists a document for this query.")];
  const grades = [...new Set(visibleRows.map((row) => row[1]))].sort((x, y) => (x === null) - (y === null) || x - y);
  return [
    el("h4", null, columns.length > 1 ? "How the documents moved" : "Its documents"),
    el("ul", { class: "key", "aria-label": "Grades" },
      ...grades.map((grade) => el("li", null, chip(grade), grade === null ? "not judged" : grade > 0 ? `grade ${grade}` : `grade ${grade}, not relevant`))),
    columns.length > 1 ? el("div", { id: "slope" }) : "",
    documentTable(visibleRows, columns)];
}

// The slopes: a column of ranks for each run, a line for each document. Drawn in pixels of the space there is.
function drawSlope() {
  const box = byId("slope");
  if (!box) return;
  const columns = shownRuns();
  const rows = movements[state.q];
  const width = Math.max(240, box.clientWidth || 640);
  const inDepth = (row, run) => rankOf(row, run) !== null && rankOf(row, run) <= depth;
  const last = Math.max(1, ...rows.flatMap((row) => columns.filter((run) => inDepth(row, run)).map((run) => rankOf(row, run))));
  const longest = Math.max(...rows.map((row) => Math.min(40, [...documents[row[0]][0]].length)));
  const side = Math.min(width * (columns.length > 2 ? 0.29 : 0.33), 52 + longest * 7.2);
  const x = (n) => side + (n * (width - 2 * side)) / (columns.length - 1);
  const top = 44, step = 24, floor = top + last * step + 2, height = floor + 40;
  const y = (row, run) => (inDepth(row, run) ? top + (rankOf(row, run) - 1) * step : floor + 14);
  const fits = Math.floor((side - 44) / 7);
  const headingFits = Math.floor((Math.min(side * 2, (width - 2 * side) / (columns.length - 1) + (columns.length === 2 ? side : 0)) - 30) / 7);
  const picture = svg("svg", { class: "slope", viewBox: `0 0 ${width} ${height}`, height, role: "img",
    "aria-label": "Ranks of the documents in each run, joined by lines; the table below says the same" });
  columns.forEach((run, n) => {
    const anchor = n === 0 ? "start" : n === columns.length - 1 ? "end" : "middle";
    const at = n === 0 ? 0 : n === columns.length - 1 ? width : x(n);
    picture.append(svg("text", { class: "heading", x: at, y: 14, "text-anchor": anchor },
      svg("title", null, visible(runs[run])), `${letter(n)} · ${short(runs[run], Math.max(6, headingFits))}`));
  });
  picture.append(svg("line", { class: "floor", x1: 0, x2: width, y1: floor - 6, y2: floor - 6 }),
    svg("text", { class: "tick", x: 0, y: floor + 34 }, `below ${last}, or not listed`));
  const drawn = [...rows].filter((row) => columns.some((run) => inDepth(row, run)))
    .sort((p, q) => (p[1] ?? -0.5) - (q[1] ?? -0.5)); // relevant documents on top
  for (const row of drawn) {
    const [document_, grade] = row;
    const docid = documents[document_][0];
    const group = svg("g", { class: "document", "data-document": document_,
      onpointerenter: () => pick(document_, true), onpointerleave: () => pick(document_, false),
      onclick: () => reveal(document_) },
      svg("title", null, `${visible(docid)} (${gradeWord(grade)}): ` + columns.map((run, n) => `${letter(n)} ${place(rankOf(row, run))}`).join(", ")));
    columns.forEach((run, n) => {
      const next = columns[n + 1];
      if (next !== undefined && (inDepth(row, run) || inDepth(row, next))) {
        const [x1, x2, y1, y2] = [x(n), x(n + 1), y(row, run), y(row, next)];
        const bend = (x2 - x1) * 0.4;
        const path = `M${x1} ${y1}C${x1 + bend} ${y1} ${x2 - bend} ${y2} ${x2} ${y2}`;
        group.append(svg("path", { class: "hit", d: path }), svg("path", { class: `line ${levelOf(grade)}`, d: path }));
      }
    });
    columns.forEach((run, n) => {
      if (!inDepth(row, run)) return;
      const here = y(row, run);
      group.append(...marker(grade, x(n), here));
      const name = { class: `name${grade > 0 ? " relevant" : ""}`, y: here + 4 };
      if (n === 0) {
        group.append(svg("text", { ...name, x: x(n) - 15, "text-anchor": "end" }, short(docid, fits)));
        group.append(svg("text", { class: "tick", x: 18, y: here + 4, "text-anchor": "end" }, String(rankOf(row, run))));
      } else if (n === columns.length - 1) {
        group.append(svg("text", { ...name, x: x(n) + 15 }, short(docid, fits)));
        group.append(svg("text", { class: "tick", x: width, y: here + 4, "text-anchor": "end" }, String(rankOf(row, run))));
      }
    });
    picture.append(group);
  }
  box.replaceChildren(picture);
  markChosen();
}

function pick(document_, on) {
  const slope = byId("slope");
  if (slope && slope.firstChild) slope.firstChild.classList.toggle("picking", on);
  for (const node of document.querySelectorAll(`[data-document="${document_}"]`)) node.classList.toggle("on", on);
}

function markChosen() {
  for (const node of document.querySelectorAll("[data-document]")) node.classList.toggle("chosen", node.dataset.document === String(state.chosen));
}

function reveal(document_) {
  state.chosen = document_;
  markChosen();
  const row = document.querySelector(`tr[data-document="${document_}"]`);
  const details = row.querySelector("details");
  if (details) details.open = true;
  row.scrollIntoView({ block: "center" });
  (row.querySelector("summary") || row).focus({ preventScroll: true });
}

function documentTable(rows, columns) {
  const [a, b] = [columns[0], columns[1] ?? columns[0]];
  const far = (rank) => rank ?? Infinity;
  const sorted = [...rows].sort((x, y) => far(rankOf(x, b)) - far(rankOf(y, b)) || far(rankOf(x, a)) - far(rankOf(y, a)) || 0);
  const change = (row) => {
    const [from, to] = [rankOf(row, a), rankOf(row, b)];
    if (from === null && to === null) return "";
    if (from === null) return "new";
    if (to === null) return "gone";
    return from === to ? "=" : from > to ? `▲ ${from - to}` : `▼ ${to - from}`;
  };
  return el("table", { class: "documents" },
    el("caption", null, columns.length > 1
      ? `The documents that these runs have in their first ${depth}, as B ranks them; open one to read it`
      : `The first ${depth} documents of the run; open one to read it`),
    el("thead", null, el("tr", null, el("th", { scope: "col", class: "mark" }, el("span", { class: "unseen" }, "Grade")),
      ...columns.map((run, n) => el("th", { scope: "col", class: "rank", title: runs[run] }, columns.length > 1 ? letter(n) : "Rank")),
      columns.length > 1 ? el("th", { scope: "col", class: "change" }, "A to B") : null,
      el("th", { scope: "col" }, "Document"))),
    el("tbody", null, ...sorted.map((row) => {
      const [docid, title, text, cut] = documents[row[0]];
      const beginning = title || (text === undefined ? "" : short(text.slice(0, 400).split("\n")[0], 400).slice(0, 90) + (text.length > 90 ? "…" : ""));
      return el("tr", { "data-document": row[0], tabindex: text === undefined ? "-1" : null,
        onpointerenter: () => pick(row[0], true), onpointerleave: () => pick(row[0], false) },
        el("td", { class: "mark" }, chip(row[1])),
        ...columns.map((run) => el("td", { class: "rank" }, rankOf(row, run) === null ? "–" : String(rankOf(row, run)))),
        columns.length > 1 ? el("td", { class: "change" }, change(row)) : null,
        el("td", { dir: "auto" }, el("span", { class: "docid" }, own(docid)),
          text === undefined ? "" : el("details", null, el("summary", null, own(beginning || "(empty)")),
            el("p", { dir: "auto" }, visible(text), cut ? " […]" : null))));
    })));
}
