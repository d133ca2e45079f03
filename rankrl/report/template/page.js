// The page: its state, the plot of all queries, the queries that got worse, the search, and one query in detail.

const value = (run, topic) => values[state.m][run][topic];
const delta = (topic) => {
  const d = value(state.b, topic) - value(state.a, topic);
  return Math.abs(d) < SAME ? 0 : d;
};
const same = () => state.a === state.b;
const shownRuns = () => [...new Set([state.a, state.b, ...state.also])];

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

let order = []; // all topics: what gained most first; without a second run, the best value first
let plotted = []; // those of them that the plot draws: all, or where most are equal, those that differ
const MANY_EQUAL = 40; // so many equal ones leave no room for the others, if they are also the larger part

function reorder() {
  const size = same() ? (topic) => value(state.a, topic) : delta;
  order = topics.map((_, topic) => topic).sort((x, y) => size(y) - size(x) || x - y);
  const differ = same() ? order : order.filter((topic) => delta(topic) !== 0);
  const equal = order.length - differ.length;
  plotted = differ.length && equal > MANY_EQUAL && equal > differ.length ? differ : order;
  state.at = Math.max(0, plotted.indexOf(state.q));
}

function niceTop(largest) {
  for (const top of [0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1]) if (largest <= top + SAME) return top;
  return 10 ** Math.ceil(Math.log10(largest));
}

function drawPlot() {
  const sizes = plotted.map((topic) => (same() ? value(state.a, topic) : delta(topic)));
  const top = niceTop(largest(sizes.map(Math.abs), SAME));
  const low = sizes.some((size) => size < 0) || !same() ? -top : 0;
  const y = (v) => 10 + (200 * (top - v)) / (top - low); // pixels of a plot 220 high
  const ticks = [...new Set(low < 0 ? [top, top / 2, 0, -top / 2, -top] : [top, top / 2, 0])];
  const decimals = top === 0.01 || top === 0.05 ? 3 : 2;
  byId("per-query-axis").replaceChildren(
    ...ticks.map((tick) =>
      svg("text", { class: "tick", x: 44, y: y(tick) + 4, "text-anchor": "end" },
        tick === 0 ? "0" : (low < 0 ? (tick > 0 ? "+" : "−") : "") + Math.abs(tick).toFixed(decimals))));
  const gap = plotted.length <= 150 ? 0.12 : 0;
  const bars = { up: "", down: "", same: "" };
  sizes.forEach((size, i) => {
    const kind = size > 0 ? "up" : size < 0 ? "down" : "same";
    const end = size === 0 ? y(0) - 1.5 : y(size);
    const from = size === 0 ? y(0) + 1.5 : y(0);
    bars[kind] += `M${i + gap} ${from}V${end}H${i + 1 - gap}V${from}Z`;
  });
  const opened = plotted.indexOf(state.q);
  byId("per-query").replaceChildren(
    svg("svg", { "aria-hidden": "true" },
      ...ticks.map((tick) => svg("line", { class: tick === 0 ? "zero" : "grid", x1: 0, x2: "100%", y1: y(tick), y2: y(tick) }))),
    svg("svg", { "aria-hidden": "true", viewBox: `0 0 ${plotted.length} 220`, preserveAspectRatio: "none" },
      svg("path", { class: "bars-up", d: bars.up }), svg("path", { class: "bars-down", d: bars.down }),
      svg("path", { class: "bars-same", d: bars.same }),
      opened >= 0 ? svg("rect", { class: "opened", x: opened, y: 2, width: 1, height: 216 }) : null,
      svg("rect", { class: "cursor", id: "cursor", x: 0, y: 4, width: 1, height: 212, visibility: "hidden" })));
  const count = (wanted) => sizes.filter((size) => tone(size) === wanted).length;
  const leftOut = order.length - plotted.length;
  byId("per-query-caption").replaceChildren(
    ...(same()
      ? [`${measures[state.m]} of each query, `, own(runs[state.a]), ": highest first"]
      : [`${measures[state.m]} of each query: `, own(runs[state.b]), " (B) minus ", own(runs[state.a]),
        ` (A). ${count("better")} better, ${count("same") + leftOut} equal, ${count("worse")} worse`,
        leftOut ? "; the equal ones are not drawn" : ""]));
  const plot = byId("per-query");
  plot.setAttribute("aria-valuemin", "1");
  plot.setAttribute("aria-valuemax", String(plotted.length));
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
  state.at = Math.min(plotted.length - 1, Math.max(0, place));
  const topic = plotted[state.at];
  const cursor = byId("cursor");
  cursor.setAttribute("x", state.at);
  if (shown) cursor.setAttribute("visibility", "visible");
  byId("readout").replaceChildren(
    el("p", { dir: "auto" }, el("button", { type: "button", class: "plain", onclick: () => openQuery(topic, true) }, own(topics[topic])),
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
    return Math.floor(((event.clientX - box.left) / box.width) * plotted.length);
  };
  plot.addEventListener("pointermove", (event) => { if (event.pointerType === "mouse") point(placeOf(event)); });
  let pointer = "mouse"; // what touched the plot last: not every browser says it of a click
  plot.addEventListener("pointerdown", (event) => { pointer = event.pointerType; });
  plot.addEventListener("click", (event) => {
    const place = placeOf(event);
    const chosen = pointer !== "touch" || place === state.at;
    point(place); // a finger reads first, and opens with a second tap or the id below
    if (chosen) openQuery(plotted[state.at], true);
  });
  plot.addEventListener("focus", () => point(state.at));
  plot.addEventListener("keydown", (event) => {
    const page = Math.max(1, Math.round(plotted.length / 10));
    const to = { ArrowLeft: state.at - 1, ArrowDown: state.at - 1, ArrowRight: state.at + 1, ArrowUp: state.at + 1,
      PageUp: state.at - page, PageDown: state.at + page, Home: 0, End: plotted.length - 1 }[event.key];
    if (to !== undefined) point(to);
    else if (event.key === "Enter" || event.key === " ") openQuery(plotted[state.at], true);
    else return;
    event.preventDefault();
  });
}

// --- queries that got worse ------------------------------------------------------------------------------------------

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
        el("button", { type: "button", class: "plain", onclick: () => openQuery(topic, true) }, own(topics[topic])),
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

function showMatches(text) {
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
      el("button", { type: "button", class: "plain", dir: "auto", onclick: () => { byId("search").value = ""; showMatches(""); openQuery(topic); } },
        own(topics[topic]), queries[topic] ? ": " : null, queries[topic] ? own(queries[topic]) : null))),
    el("li", null, el("p", { role: "status" }, rest > 0 ? `and ${plural(rest, "other", "others")}: add a word` : matches.length ? "" : "No query has these words."))]));
}

function openQuery(topic, move = false) {
  state.q = topic;
  state.chosen = null;
  state.at = Math.max(0, plotted.indexOf(topic));
  writeAddress();
  drawPlot();
  drawDetail();
  if (move) {
    byId("query").scrollIntoView();
    byId("detail-heading").focus({ preventScroll: true });
  }
}

function drawDetail() {
  const detail = byId("detail");
  const chosen = state.q !== null;
  byId("previous").disabled = !chosen || state.q === order[0];
  byId("next").disabled = !chosen || state.q === order[order.length - 1];
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
byId("search").addEventListener("input", (event) => showMatches(event.target.value));
byId("previous").addEventListener("click", () => openQuery(order[order.indexOf(state.q) - 1]));
byId("next").addEventListener("click", () => openQuery(order[order.indexOf(state.q) + 1]));
listenToPlot();
const asked = readAddress();
reorder();
if (state.q === null) state.q = order[order.length - 1]; // what fell most is what one wants to see first
drawAll();
if (asked) byId("query").scrollIntoView();
window.addEventListener("hashchange", () => { if (location.hash.includes("=")) { readAddress(); drawAll(); } });
let widthDrawn = 0;
new ResizeObserver(([entry]) => { // opening a document changes the height alone, and must not redraw under the pointer
  if (entry.contentRect.width === widthDrawn) return;
  widthDrawn = entry.contentRect.width;
  drawSlope();
}).observe(byId("detail"));
