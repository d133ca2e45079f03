"use strict";
// Everything below writes text with textContent (or as text nodes), never as markup.
(() => {
  const report = JSON.parse(document.getElementById("report-data").textContent);
  const { runs, topics, measures, values, queries, movements, documents, relevant, depth } = report;
  const SAME = 1e-9; // values closer than this are one value, as in the tables
  const paired = runs.length > 1;
  const state = { m: 0, a: 0, b: paired ? 1 : 0, q: null, also: [], allFlips: false, at: 0 };
  const byId = (id) => document.getElementById(id);
  const largest = (list, otherwise) => list.reduce((most, one) => Math.max(most, one), otherwise);
  const maxGrade = largest(movements.map((rows) => largest((rows || []).map((row) => row[1] || 0), 1)), 1);

  // --- small parts -----------------------------------------------------------------------------------------------

  const filled = (node, attributes, children) => {
    for (const [name, value] of Object.entries(attributes || {})) {
      if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
      else if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value === true ? "" : value);
    }
    node.append(...children.flat().filter((child) => child !== null && child !== undefined));
    return node;
  };
  const el = (tag, attributes, ...children) => filled(document.createElement(tag), attributes, children);
  const svg = (tag, attributes, ...children) =>
    filled(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);

  const CONTROL = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f]/g;
  const visible = (text) => text.replace(CONTROL, (c) => (c === "\u007f" ? "␡" : String.fromCharCode(0x2400 + c.charCodeAt(0))));
  const own = (text) => el("bdi", null, visible(text)); // text from outside, kept from turning its surroundings round
  const short = (text, most) => {
    const points = [...visible(text)];
    if (points.length <= most) return points.join("");
    const head = Math.max(1, Math.ceil((most - 1) / 2));
    return points.slice(0, head).join("") + "…" + points.slice(points.length - Math.max(0, most - 1 - head)).join("");
  };
  const fixed = (value) => value.toFixed(4);
  const signed = (value) => {
    const rounded = Math.abs(value).toFixed(4);
    return Number(rounded) === 0 ? rounded : (value > 0 ? "+" : "−") + rounded;
  };
  const value = (run, topic) => values[state.m][run][topic];
  const delta = (topic) => {
    const d = value(state.b, topic) - value(state.a, topic);
    return Math.abs(d) < SAME ? 0 : d;
  };
  const tone = (d) => (d > 0 ? "better" : d < 0 ? "worse" : "same");
  const arrow = (d) => (d > 0 ? "▲ " : d < 0 ? "▼ " : "");
  const same = () => state.a === state.b;
  const letter = (n) => (n < 26 ? String.fromCharCode(65 + n) : String(n + 1));
  const plural = (n, one, many) => `${n.toLocaleString("en")} ${n === 1 ? one : many}`;

  // --- the state, and its place in the address ---------------------------------------------------------------------

  const indexOf = (list, name, otherwise) => (name !== null && list.includes(name) ? list.indexOf(name) : otherwise);

  function readAddress() {
    const hash = location.hash.slice(1);
    if (!hash.includes("=")) return false;
    const given = new URLSearchParams(hash);
    state.m = indexOf(measures, given.get("m"), state.m);
    state.a = indexOf(runs, given.get("a"), state.a);
    state.b = indexOf(runs, given.get("b"), state.b);
    state.also = given.getAll("also").map((name) => indexOf(runs, name, -1)).filter((run) => run >= 0);
    state.q = indexOf(topics, given.get("q"), state.q);
    return given.has("q");
  }

  function writeAddress() {
    const said = new URLSearchParams();
    said.set("m", measures[state.m]);
    said.set("a", runs[state.a]);
    if (paired) said.set("b", runs[state.b]);
    for (const run of state.also) said.append("also", runs[run]);
    if (state.q !== null) said.set("q", topics[state.q]);
    try {
      history.replaceState(null, "", "#" + said);
    } catch { /* a viewer that forbids it: the page works, its address just does not say where we are */ }
  }

  // --- query by query ------------------------------------------------------------------------------------------------

  let order = []; // topics as the plot shows them: what gained most first; without a second run, the best value first

  function reorder() {
    const size = same() ? (topic) => value(state.a, topic) : delta;
    order = topics.map((_, topic) => topic).sort((x, y) => size(y) - size(x) || x - y);
    state.at = Math.max(0, state.q === null ? 0 : order.indexOf(state.q));
  }

  function niceTop(largest) {
    for (const top of [0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1]) if (largest <= top + SAME) return top;
    return 10 ** Math.ceil(Math.log10(largest));
  }

  function drawPlot() {
    const sizes = order.map((topic) => (same() ? value(state.a, topic) : delta(topic)));
    const top = niceTop(largest(sizes.map(Math.abs), SAME));
    const low = sizes.some((size) => size < 0) || !same() ? -top : 0;
    const y = (v) => 10 + (200 * (top - v)) / (top - low); // pixels of a plot 220 high
    const ticks = [...new Set(low < 0 ? [top, top / 2, 0, -top / 2, -top] : [top, top / 2, 0])];
    const decimals = top === 0.01 || top === 0.05 ? 3 : 2;
    byId("per-query-axis").replaceChildren(
      ...ticks.map((tick) =>
        svg("text", { class: "tick", x: 44, y: y(tick) + 4, "text-anchor": "end" },
          tick === 0 ? "0" : (low < 0 ? (tick > 0 ? "+" : "−") : "") + Math.abs(tick).toFixed(decimals))));
    const gap = order.length <= 150 ? 0.12 : 0;
    const bars = { up: "", down: "", same: "" };
    sizes.forEach((size, i) => {
      const kind = size > 0 ? "up" : size < 0 ? "down" : "same";
      const end = size === 0 ? y(0) - 1.5 : y(size);
      const from = size === 0 ? y(0) + 1.5 : y(0);
      bars[kind] += `M${i + gap} ${from}V${end}H${i + 1 - gap}V${from}Z`;
    });
    const opened = state.q === null ? -1 : order.indexOf(state.q);
    byId("per-query").replaceChildren(
      svg("svg", { "aria-hidden": "true" },
        ...ticks.map((tick) => svg("line", { class: tick === 0 ? "zero" : "grid", x1: 0, x2: "100%", y1: y(tick), y2: y(tick) }))),
      svg("svg", { "aria-hidden": "true", viewBox: `0 0 ${order.length} 220`, preserveAspectRatio: "none" },
        svg("path", { class: "bars-up", d: bars.up }), svg("path", { class: "bars-down", d: bars.down }),
        svg("path", { class: "bars-same", d: bars.same }),
        opened >= 0 ? svg("rect", { class: "opened", x: opened, y: 2, width: 1, height: 216 }) : null,
        svg("rect", { class: "cursor", id: "cursor", x: 0, y: 4, width: 1, height: 212, visibility: "hidden" })));
    const count = (wanted) => sizes.filter((size) => tone(size) === wanted).length;
    byId("per-query-caption").replaceChildren(
      ...(same()
        ? [`${measures[state.m]} of each query, `, own(runs[state.a]), ": highest first"]
        : [`${measures[state.m]} of each query: `, own(runs[state.b]), " (B) minus ", own(runs[state.a]),
          ` (A). ${count("better")} better, ${count("same")} equal, ${count("worse")} worse`]));
    const plot = byId("per-query");
    plot.setAttribute("aria-valuemin", "1");
    plot.setAttribute("aria-valuemax", String(order.length));
    point(state.at, false);
  }

  function valuesLine(topic) {
    if (same()) return [el("span", null, `${measures[state.m]} ${fixed(value(state.a, topic))}`)];
    const d = delta(topic);
    return [
      el("span", null, `A ${fixed(value(state.a, topic))}`), el("span", null, `B ${fixed(value(state.b, topic))}`),
      el("span", { class: `delta ${tone(d)}` }, d === 0 ? "equal" : arrow(d) + signed(d))];
  }

  function point(place, shown = true) {
    state.at = Math.min(order.length - 1, Math.max(0, place));
    const topic = order[state.at];
    const cursor = byId("cursor");
    cursor.setAttribute("x", state.at);
    if (shown) cursor.setAttribute("visibility", "visible");
    byId("readout").replaceChildren(
      el("p", { dir: "auto" }, el("button", { type: "button", class: "plain", onclick: () => open(topic, true) }, own(topics[topic])),
        queries[topic] ? ": " : null, queries[topic] ? own(queries[topic]) : null),
      el("div", { class: "values" }, ...valuesLine(topic)));
    const plot = byId("per-query");
    plot.setAttribute("aria-valuenow", String(state.at + 1));
    plot.setAttribute("aria-valuetext", byId("readout").innerText.replace(/\s+/g, " "));
  }

  function listenToPlot() {
    const plot = byId("per-query");
    const placeOf = (event) => {
      const box = plot.getBoundingClientRect();
      return Math.floor(((event.clientX - box.left) / box.width) * order.length);
    };
    plot.addEventListener("pointermove", (event) => { if (event.pointerType === "mouse") point(placeOf(event)); });
    let pointer = "mouse"; // what touched the plot last: not every browser says it of a click
    plot.addEventListener("pointerdown", (event) => { pointer = event.pointerType; });
    plot.addEventListener("click", (event) => {
      const place = placeOf(event);
      const chosen = pointer !== "touch" || place === state.at;
      point(place); // a finger reads first, and opens with a second tap or the id below
      if (chosen) open(order[state.at], true);
    });
    plot.addEventListener("focus", () => point(state.at));
    plot.addEventListener("keydown", (event) => {
      const page = Math.max(1, Math.round(order.length / 10));
      const to = { ArrowLeft: state.at - 1, ArrowDown: state.at - 1, ArrowRight: state.at + 1, ArrowUp: state.at + 1,
        PageUp: state.at - page, PageDown: state.at + page, Home: 0, End: order.length - 1 }[event.key];
      if (to !== undefined) point(to);
      else if (event.key === "Enter" || event.key === " ") open(order[state.at], true);
      else return;
      event.preventDefault();
    });
  }

  // --- queries that got worse ------------------------------------------------------------------------------------------

  const rankOf = (row, run) => row[2 + run];
  const place = (rank) => (rank === null ? "not listed" : String(rank));

  // The relevant documents that fell, as the measure counts both, what cost most first: a rank weighs 1 / log2(rank + 1).
  function fallen(topic) {
    const { cutoff, relevant_from } = report.reads[state.m];
    const weight = (rank) => (rank === null || (cutoff !== null && rank > cutoff) ? 0 : 1 / Math.log2(rank + 1));
    const loss = (row) => weight(rankOf(row, state.a)) - weight(rankOf(row, state.b));
    const name = (row) => documents[row[0]][0];
    return (movements[topic] || [])
      .filter((row) => row[1] !== null && row[1] >= relevant_from && loss(row) > 0)
      .sort((x, y) => loss(y) - loss(x) || (name(x) < name(y) ? -1 : 1));
  }

  function drawFlips() {
    if (!paired) return;
    const flips = order.filter((topic) => delta(topic) < 0)
      .sort((x, y) => delta(x) - delta(y) || (topics[x] < topics[y] ? -1 : 1));
    const shown = state.allFlips ? flips : flips.slice(0, 10);
    const heading = el("h3", null, `Queries that got worse (${flips.length})`);
    if (same() || !flips.length) {
      byId("flips").replaceChildren(heading, el("p", null, same() ? "A and B are the same run." : "None in this measure."));
      return;
    }
    const body = shown.map((topic) => {
      const moved = fallen(topic);
      return el("tr", null,
        el("th", { scope: "row", dir: "auto" },
          el("button", { type: "button", class: "plain", onclick: () => open(topic, true) }, own(topics[topic])),
          queries[topic] ? ": " : null, queries[topic] ? own(queries[topic]) : null),
        el("td", { class: "number", "data-label": "A" }, fixed(value(state.a, topic))),
        el("td", { class: "number", "data-label": "B" }, fixed(value(state.b, topic))),
        el("td", { class: "number worse", "data-label": "Difference" }, signed(delta(topic))),
        el("td", { class: "wide", "data-label": "Relevant documents that fell" },
          movements[topic] === null ? el("span", { class: "moved" }, "not in this report") : null,
          movements[topic] && !moved.length ? el("span", { class: "moved" }, "none") : null,
          ...moved.slice(0, 3).map((row) => el("span", { class: "moved" }, own(short(documents[row[0]][0], 28)),
            ` (grade ${row[1]}): ${place(rankOf(row, state.a))} → ${place(rankOf(row, state.b))}`)),
          moved.length > 3 ? el("span", { class: "moved" }, `and ${moved.length - 3} more`) : null));
    });
    byId("flips").replaceChildren(heading,
      el("table", { class: "cards three" },
        el("caption", null, `By how much ${measures[state.m]} fell from `, own(runs[state.a]), " (A) to ", own(runs[state.b]), " (B), largest first"),
        el("thead", null, el("tr", null, el("th", { scope: "col" }, "Query"),
          ...["A", "B", "Difference"].map((name) => el("th", { scope: "col", class: "number" }, name)),
          el("th", { scope: "col" }, "Relevant documents that fell, by rank"))),
        el("tbody", null, ...body)),
      flips.length > 10
        ? el("p", { class: "more" }, el("button", { type: "button", id: "all-flips", onclick: () => {
          state.allFlips = !state.allFlips; drawFlips(); byId("all-flips").focus();
        } }, state.allFlips ? "Show the first 10" : `Show all ${flips.length}`))
        : "");
  }

  // --- one query ---------------------------------------------------------------------------------------------------------

  function search(text) {
    const wanted = text.toLowerCase().split(/\s+/).filter(Boolean);
    const exact = topics.indexOf(text.trim());
    const matches = order.filter((topic) => {
      const where = `${topics[topic]} ${queries[topic]}`.toLowerCase();
      return topic !== exact && wanted.every((word) => where.includes(word));
    });
    if (exact >= 0) matches.unshift(exact);
    const rest = matches.length - 8;
    byId("found").replaceChildren(...(!wanted.length ? [] : [
      ...matches.slice(0, 8).map((topic) => el("li", null,
        el("button", { type: "button", class: "plain", dir: "auto", onclick: () => { byId("search").value = ""; search(""); open(topic); } },
          own(topics[topic]), queries[topic] ? ": " : null, queries[topic] ? own(queries[topic]) : null))),
      el("li", null, el("p", { role: "status" }, rest > 0 ? `and ${plural(rest, "other", "others")}: add a word` : matches.length ? "" : "No query has these words."))]));
  }

  function open(topic, move = false) {
    state.q = topic;
    state.at = order.indexOf(topic);
    writeAddress();
    drawPlot();
    drawDetail();
    if (move) {
      byId("query").scrollIntoView();
      byId("detail-heading").focus({ preventScroll: true });
    }
  }

  const shownRuns = () => [...new Set([state.a, state.b, ...state.also])];
  const levelOf = (grade) => grade === null ? "unjudged" : grade <= 0 ? "level-0" : `level-${Math.min(3, Math.max(1, Math.ceil((3 * grade) / maxGrade)))}`;
  const gradeWord = (grade) => (grade === null ? "not judged" : `grade ${grade}`);
  const marker = (grade, x, y) => [
    svg("circle", { class: `marker ${levelOf(grade)}`, cx: x, cy: y, r: 8.5 }),
    svg("text", { class: `grade ${levelOf(grade)}`, x, y: y + 4 }, grade === null ? "?" : String(grade))];
  const chip = (grade) => svg("svg", { viewBox: "0 0 20 20", role: "img", "aria-label": gradeWord(grade) },
    svg("title", null, gradeWord(grade)), ...marker(grade, 10, 10));

  function drawDetail() {
    const detail = byId("detail");
    const chosen = state.q !== null;
    for (const id of ["previous", "next"]) byId(id).disabled = !chosen || (id === "previous" ? state.at === 0 : state.at === order.length - 1);
    if (!chosen) {
      detail.replaceChildren(el("p", null, "Choose a query: search above, or click a bar of the plot."));
      return;
    }
    const topic = state.q;
    const rows = movements[topic];
    const columns = shownRuns();
    const others = runs.map((_, run) => run).filter((run) => run !== state.a && run !== state.b);
    const within = (run) => rows.filter((row) => row[1] > 0 && rankOf(row, run) !== null && rankOf(row, run) <= depth).length;
    detail.replaceChildren(
      el("h3", { id: "detail-heading", tabindex: "-1", dir: "auto" }, own(queries[topic] || topics[topic])),
      el("p", { class: "docid" }, "query ", own(topics[topic])),
      el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Values of this query" }, el("table", { class: "cards three" },
        el("caption", { class: "unseen" }, "Values of this query"),
        el("thead", null, el("tr", null, el("th", { scope: "col" }, "Run"),
          ...measures.map((name) => el("th", { scope: "col", class: "number" }, name)),
          rows ? el("th", { scope: "col", class: "number" }, `Relevant in the first ${depth}`) : null)),
        el("tbody", null, ...columns.map((run, n) => el("tr", null,
          el("th", { scope: "row" }, columns.length > 1 ? el("span", { class: "letter" }, letter(n)) : null, " ", own(runs[run])),
          ...measures.map((name, m) => el("td", { class: "number", "data-label": name }, fixed(values[m][run][topic]))),
          rows ? el("td", { class: "number", "data-label": `Relevant in the first ${depth}` }, `${within(run)} of ${relevant[topic]}`) : null))))),
      others.length
        ? el("fieldset", { class: "also" }, el("legend", null, "Also show"),
          ...others.map((run) => el("label", null,
            el("input", { type: "checkbox", checked: state.also.includes(run), "data-run": run, onchange: (event) => {
              state.also = event.target.checked ? [...state.also, run] : state.also.filter((one) => one !== run);
              writeAddress(); drawDetail();
              byId("detail").querySelector(`input[data-run="${run}"]`).focus();
            } }), own(short(runs[run], 40)))))
        : "",
      ...(rows === null
        ? [el("p", { class: "remark" }, "The documents of this query are not in this report; it was made with --queries.")]
        : movementParts(rows, columns)));
    drawSlope();
  }

  function movementParts(rows, columns) {
    const visibleRows = rows.filter((row) => columns.some((run) => rankOf(row, run) !== null && rankOf(row, run) <= depth));
    if (!visibleRows.length) return [el("p", { class: "remark" }, "None of these runs lists a document for this query.")];
    const grades = [...new Set(visibleRows.map((row) => row[1]))].sort((x, y) => (x === null) - (y === null) || x - y);
    return [
      el("h4", null, columns.length > 1 ? "How the documents moved" : "Its documents"),
      el("ul", { class: "key", "aria-label": "Grades" },
        ...grades.map((grade) => el("li", null, chip(grade), grade === null ? "not judged" : grade > 0 ? `grade ${grade}` : `grade ${grade}, not relevant`))),
      columns.length > 1 ? el("div", { id: "slope" }) : null,
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
    const side = Math.min(width * 0.29, 52 + longest * 7.2);
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
  }

  function pick(document_, on) {
    const slope = byId("slope");
    if (slope && slope.firstChild) slope.firstChild.classList.toggle("picking", on);
    for (const node of document.querySelectorAll(`[data-document="${document_}"]`)) node.classList.toggle("on", on);
  }

  function reveal(document_) {
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
      el("caption", null, `The documents that these runs have in their first ${depth}, as ${columns.length > 1 ? "B" : "the run"} ranks them; open one to read it`),
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

  // --- start -----------------------------------------------------------------------------------------------------------

  function drawAll() {
    document.querySelectorAll(".measure").forEach((section) => { section.hidden = Number(section.dataset.measure) !== state.m; });
    for (const [id, key] of [["choose-measure", "m"], ["choose-a", "a"], ["choose-b", "b"]]) if (byId(id)) byId(id).value = String(state[key]);
    reorder();
    drawPlot();
    drawFlips();
    drawDetail();
  }

  function choices(id, names, key) {
    const select = byId(id);
    if (!select) return;
    select.replaceChildren(...names.map((name, i) => el("option", { value: i }, visible(name))));
    select.addEventListener("change", () => { state[key] = Number(select.value); state.allFlips = false; writeAddress(); drawAll(); });
  }

  document.documentElement.classList.add("js");
  choices("choose-measure", measures, "m");
  choices("choose-a", runs, "a");
  choices("choose-b", runs, "b");
  byId("controls").addEventListener("submit", (event) => event.preventDefault());
  byId("swap")?.addEventListener("click", () => { [state.a, state.b] = [state.b, state.a]; writeAddress(); drawAll(); });
  byId("search").addEventListener("input", (event) => search(event.target.value));
  byId("previous").addEventListener("click", () => open(order[state.at - 1]));
  byId("next").addEventListener("click", () => open(order[state.at + 1]));
  listenToPlot();
  const asked = readAddress();
  reorder();
  if (state.q === null) state.q = order[order.length - 1]; // what fell most is what one wants to see first
  drawAll();
  if (asked) byId("query").scrollIntoView();
  window.addEventListener("hashchange", () => { if (location.hash.includes("=")) { readAddress(); drawAll(); } });
  new ResizeObserver(() => drawSlope()).observe(byId("detail"));
})();
