"""The report in a real browser: what it shows, that it asks for nothing, and that texts stay texts."""

from __future__ import annotations

import importlib.util
import itertools
import json
import random
import shutil
from pathlib import Path

import pytest

from rankrl.cli import main
from rankrl.comparison import compare, flips
from rankrl.report import Heading, content, page
from rankrl.runs import ranked, read_qrels, read_run

pytest.importorskip("jinja2")

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine")
DL19 = Path(__file__).resolve().parents[3] / "shared" / "data" / "dl19"
HOSTILE = (
    "</script><script>window.hacked = 1</script>",
    "<img src=x onerror=window.hacked=1>",
    "<!--",
    "line\u2028end \u202eright to left",
    "nul\x00 bell\x07",
    "__proto__",
    "quote\" ' ` &amp; {{ 7 * 7 }}",
)
LONG = "a_run_with_a_name_so_long_that_no_phone_could_show_it_on_one_line_" * 2


@pytest.fixture(scope="module")
def browser():
    spec = importlib.util.spec_from_file_location("chromium", Path(__file__).with_name("chromium.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with module.Browser(CHROMIUM) as opened:
        yield opened


@pytest.fixture(scope="module")
def hostile():
    """(qrels, runs, queries): 40 topics in four runs, with ids and texts that would like to be markup."""
    rng = random.Random(0)
    docids = [f"d{i}" for i in range(40)] + list(HOSTILE)
    qrels, runs = {}, {name: {} for name in ("plain", HOSTILE[0], LONG, HOSTILE[4])}
    for i in range(40):
        qid = HOSTILE[i] if i < len(HOSTILE) else f"q{i}"
        judged = rng.sample(docids, 20)
        qrels[qid] = {docid: rng.choice((0, 0, 1, 2, 3)) for docid in judged} | {judged[0]: 1}
        for run in runs.values():
            run[qid] = {docid: rng.random() for docid in rng.sample(docids, 30)}
    queries = {qid: f"{HOSTILE[i % 7]} words of number{i}" for i, qid in enumerate(qrels)}
    return qrels, runs, queries


@pytest.fixture(scope="module")
def pages(hostile, tmp_path_factory):
    """name -> file: all four runs with texts; one run alone; documents of three topics only."""
    qrels, runs, queries = hostile
    folder = tmp_path_factory.mktemp("pages")
    heading = Heading(HOSTILE[1], "2026-01-02", {"Collection": HOSTILE[0]}, [HOSTILE[2]], {"plain": {"x": HOSTILE[0]}})

    def written(name, some_runs, **options):
        found = content(qrels, some_runs, ["nDCG@10", "RR@10"], queries=queries, **options)
        (folder / name).write_text(page(found, heading), encoding="utf-8")
        return folder / name

    def text_of(docid):
        return (f"title {docid}", f"text of {docid} {' '.join(HOSTILE)} " + "unbreakable" * 30)

    return {
        "all": written("all.html", runs, text_of=text_of, depth=10),
        "one": written("one.html", {"plain": runs["plain"]}),
        "few": written("few.html", dict(list(runs.items())[:2]), most_moved=3),
    }


def texts(browser, selector: str) -> list[str]:
    return browser.evaluate(f"[...document.querySelectorAll({json.dumps(selector)})].map(e => e.textContent)")


def plain(text: str) -> str:
    """A text as the page shows it: control characters as their pictures."""
    return text.replace("\0", "␀").replace("\x07", "␇")


@pytest.mark.parametrize("name", ["all", "one", "few"])
@pytest.mark.parametrize(("width", "dark"), [(320, False), (375, True), (768, False), (1280, True)])
def test_it_opens_without_complaint_asks_for_nothing_and_never_scrolls_sideways(browser, pages, name, width, dark):
    browser.open(pages[name], width=width, dark=dark)
    assert browser.complaints() == []
    assert browser.requests() == [pages[name].as_uri()]
    assert browser.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    ground = browser.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    assert (sum(map(int, ground[4:-1].split(","))) < 384) == dark
    assert not browser.evaluate("document.body.innerText.match(/\\b(null|undefined|NaN|Infinity|object Object)\\b/)")


def test_texts_from_outside_stay_texts(browser, pages, hostile):
    browser.open(pages["all"])
    for i in range(len(HOSTILE)):
        browser.evaluate(f"openQuery({i})")
        browser.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
        assert texts(browser, "#detail-heading") == [plain(hostile[2][HOSTILE[i]])]
    assert browser.evaluate("window.hacked") is None
    assert browser.evaluate("document.querySelectorAll('script').length") == 2
    assert browser.evaluate("document.querySelectorAll('img').length") == 0
    assert browser.evaluate("document.title") == HOSTILE[1]
    assert browser.complaints() == []


def test_the_browser_refuses_other_scripts_and_every_request(browser, pages):
    browser.open(pages["all"])
    browser.evaluate(
        "document.body.append(Object.assign(document.createElement('script'), {textContent: 'hacked = 1'}))"
    )
    assert browser.evaluate("window.hacked") is None
    refused = browser.evaluate("fetch('http://127.0.0.1:9/').then(() => 'sent', error => 'refused')")
    assert refused == "refused"
    said = " ".join(browser.complaints())
    assert "script-src" in said and "127.0.0.1" in said


def test_without_javascript_the_tables_are_all_there(browser, pages, hostile):
    browser.open(pages["all"], scripts=False)
    assert browser.evaluate("[...document.querySelectorAll('.measure')].map(e => e.offsetHeight > 100)") == [True, True]
    assert len(texts(browser, "#results > .scroll tbody tr")) == 4
    assert len(texts(browser, ".differences tbody tr")) == 2 * 3
    assert browser.evaluate("document.querySelector('noscript').innerText.includes('JavaScript')")
    assert browser.evaluate("document.querySelector('#query').offsetHeight") == 0


def test_the_keyboard_reads_and_opens_queries(browser, pages, hostile):
    qrels, runs, _ = hostile
    comparison = compare(qrels, runs, ["nDCG@10"])
    a, b = (comparison.evaluations[name].values["nDCG@10"] for name in list(runs)[:2])
    order = sorted(qrels, key=lambda qid: a[qid] - b[qid])
    browser.open(pages["all"])
    assert texts(browser, "#detail .docid")[0] == f"query {plain(order[-1])}"  # what fell most is shown first
    browser.evaluate("document.getElementById('per-query').focus()")
    browser.press("Home", 36)
    browser.press("ArrowRight", 39)
    read = browser.evaluate("document.getElementById('per-query').getAttribute('aria-valuetext')")
    assert f"A {a[order[1]]:.4f} B {b[order[1]]:.4f}" in read and plain(order[1]) in read
    browser.press("Enter", 13)
    assert texts(browser, "#detail .docid")[0] == f"query {plain(order[1])}"
    assert browser.evaluate("document.activeElement.id") == "detail-heading"
    browser.evaluate("document.getElementById('per-query').focus()")
    browser.press("End", 35)
    assert plain(order[-1]) == texts(browser, "#readout button")[0]


def test_where_most_queries_are_equal_the_plot_draws_the_others_and_says_so(browser, tmp_path):
    qrels = {f"q{i}": {"r": 1} for i in range(100)}
    base = {qid: {"x": 2.0, "r": 1.0} for qid in qrels}
    other = base | {"q7": {"r": 1.0}, "q8": {"x": 3.0, "y": 2.0, "r": 1.0}}
    found = content(qrels, {"base": base, "other": other}, ["RR"])
    (tmp_path / "equal.html").write_text(page(found, Heading("T", "2026-01-02")), encoding="utf-8")
    browser.open(tmp_path / "equal.html", fragment="#q=q50")
    assert "1 better, 98 equal, 1 worse; the equal ones are not drawn" in texts(browser, "#per-query-caption")[0]
    assert browser.evaluate("plotted.map(topic => topics[topic])") == ["q7", "q8"]
    assert texts(browser, "#detail .docid")[0] == "query q50"
    browser.click("#next")
    assert texts(browser, "#detail .docid")[0] == "query q51"
    browser.evaluate("state.b = 0; drawAll()")
    assert browser.evaluate("plotted.length") == 100 and browser.complaints() == []


def test_the_mouse_points_and_opens_and_a_finger_reads_before_it_opens(browser, pages):
    browser.open(pages["all"])
    browser.click("#per-query", x=0.5 / 40)
    assert browser.evaluate("state.q === order[0]")
    browser.open(pages["all"], width=375)
    tap = (
        "(() => { const p = document.getElementById('per-query'); p.scrollIntoView({block: 'center'});"
        " const b = p.getBoundingClientRect(); return [b.left + b.width * 4.5 / 40, b.top + b.height / 2] })()"
    )
    x, y = browser.evaluate(tap)
    for opened in (False, True):
        browser.call("Input.dispatchTouchEvent", type="touchStart", touchPoints=[{"x": x, "y": y}])
        browser.call("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])
        assert browser.evaluate("state.at === 4")
        assert browser.evaluate("state.q === order[4]") == opened


def test_the_address_says_what_is_shown_and_is_honoured(browser, pages, hostile):
    names = list(hostile[1])
    wanted = browser.evaluate(
        f"'#' + new URLSearchParams({json.dumps({'m': 'RR@10', 'a': names[3], 'b': names[1], 'q': HOSTILE[5]})})"
    )
    browser.open(pages["all"], fragment=wanted)
    assert browser.evaluate("[state.m, state.a, state.b, topics[state.q]]") == [1, 3, 1, HOSTILE[5]]
    browser.evaluate("document.getElementById('swap').click()")
    assert browser.evaluate("[...new URLSearchParams(location.hash.slice(1)).getAll('a')]") == [names[1]]
    browser.open(pages["all"], fragment="#m=none&a=nobody&q=nothing&also=nobody")
    assert browser.evaluate("[state.m, state.a, state.b]") == [0, 0, 1] and browser.complaints() == []


def test_queries_are_found_by_id_and_by_words(browser, pages):
    browser.open(pages["all"])

    def found(text):
        browser.evaluate(
            f"(s => {{ s.value = {json.dumps(text)}; s.dispatchEvent(new Event('input')) }})"
            "(document.getElementById('search'))"
        )
        return texts(browser, "#found button")

    assert found("q9")[0].startswith("q9: ")
    assert found("NUMBER17  words") == [t for t in found("number17") if "number17" in t] != []
    assert found("nothing like this") == [] and "No query" in texts(browser, "#found p")[0]
    assert found("__proto__")[0].startswith("__proto__: ")
    browser.click("#found button")
    assert browser.evaluate("topics[state.q]") == "__proto__" and texts(browser, "#found button") == []


def test_the_movements_are_the_ranks_of_the_runs(browser, pages, hostile):
    qrels, runs, _ = hostile
    names = list(runs)
    browser.open(pages["all"], fragment="#q=q20")
    orders = [ranked(runs[name]["q20"]) for name in names[:2]]
    wanted = [d for d in orders[1] if d in orders[1][:10] or d in orders[0][:10]]
    wanted += [d for d in orders[0][:10] if d not in orders[1]]
    assert texts(browser, ".documents .docid") == [plain(d) for d in wanted]
    ranks = [[str(o.index(d) + 1) if d in o else "–" for o in orders] for d in wanted]
    cells = texts(browser, ".documents tbody .rank")
    assert [cells[i : i + 2] for i in range(0, len(cells), 2)] == ranks
    places = [[o.index(d) + 1 if d in o else None for o in orders] for d in wanted]
    moved = [
        "gone" if b is None else "new" if a is None else "=" if a == b else f"▲ {a - b}" if a > b else f"▼ {b - a}"
        for a, b in places
    ]
    assert texts(browser, ".documents tbody .change") == moved and {"new", "gone"} <= set(moved)
    relevant = [d for d, grade in qrels["q20"].items() if grade > 0]
    within = [f"{sum(d in o[:10] for d in relevant)} of {len(relevant)}" for o in orders]
    assert texts(browser, "#detail .cards tbody td:last-child") == within
    marks = [str(qrels["q20"].get(d, "?")) for d in wanted]
    assert texts(browser, ".documents .mark text") == marks
    assert browser.evaluate("document.querySelectorAll('.slope .document').length") == len(wanted)
    browser.evaluate("document.querySelector('#detail input[data-run=\"3\"]').click()")
    assert texts(browser, ".documents thead .rank") == ["A", "B", "C"]


def test_pointing_at_a_document_lights_it_and_a_click_shows_its_text(browser, pages):
    browser.open(pages["all"], fragment="#q=q20")
    browser.click(".slope .document .marker", clicks=0)
    lit = browser.evaluate("[...document.querySelectorAll('.on')].map(e => [e.tagName, e.dataset.document])")
    assert sorted(tag for tag, _ in lit) == ["TR", "g"] and len({number for _, number in lit}) == 1
    browser.click(".slope .document .marker")
    assert browser.evaluate("document.querySelectorAll('.slope .document.chosen').length") == 1
    assert "text of" in browser.evaluate("document.querySelector('tr.chosen details[open] p').innerText")
    assert browser.evaluate("document.activeElement === document.querySelector('tr.chosen summary')")
    browser.call("Emulation.setDeviceMetricsOverride", width=900, height=900, deviceScaleFactor=1, mobile=False)
    drawn = "document.querySelector('.slope').viewBox.baseVal.width === document.getElementById('slope').clientWidth"
    browser.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    assert browser.evaluate(drawn) and browser.evaluate("document.querySelectorAll('.document.chosen').length") == 1


def test_documents_that_were_left_out_are_said_to_be(browser, pages):
    browser.open(pages["few"])
    left_out = browser.evaluate("movements.findIndex(rows => rows === null)")
    browser.evaluate(f"openQuery({left_out})")
    assert "not in this report" in texts(browser, "#detail .remark")[0]


def test_every_control_has_a_name(browser, pages):
    browser.open(pages["all"])
    browser.evaluate("document.getElementById('search').dispatchEvent(new Event('input'))")
    nodes = browser.call("Accessibility.getFullAXTree")["nodes"]
    controls = ("button", "combobox", "searchbox", "slider", "checkbox", "link", "table", "region", "heading", "image")
    met = set()
    for node in nodes:
        role = node.get("role", {}).get("value")
        if role in controls and not node.get("ignored"):
            met.add(role)
            assert node.get("name", {}).get("value", "").strip(), node
    assert met >= {"button", "combobox", "searchbox", "slider", "checkbox", "table", "heading"}
    levels = browser.evaluate("[...document.querySelectorAll('h1,h2,h3,h4')].map(h => Number(h.tagName[1]))")
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))


def test_print_is_dark_on_white_shows_every_measure_and_no_controls(browser, pages):
    browser.open(pages["all"], dark=True)
    dark = [{"name": "prefers-color-scheme", "value": "dark"}]
    browser.call("Emulation.setEmulatedMedia", media="print", features=dark)
    colours = "(s => [s.color, s.backgroundColor])(getComputedStyle(document.documentElement))"
    assert browser.evaluate(colours) == ["rgb(28, 30, 34)", "rgb(255, 255, 255)"]
    assert browser.evaluate("[...document.querySelectorAll('.measure')].map(e => e.offsetHeight > 100)") == [True, True]
    assert browser.evaluate("document.getElementById('controls').offsetHeight") == 0
    assert len(browser.call("Page.printToPDF")["data"]) > 20_000


@pytest.mark.skipif(not DL19.is_dir(), reason=f"no real runs at {DL19.parent}")
def test_on_real_runs_the_queries_that_got_worse_are_those_of_flips(browser, tmp_path):
    paths = [DL19 / "runs" / f"{name}.trec" for name in ("bm25", "bm25_rm3", "splade_p_p_ensemble_distil")]
    out = tmp_path / "report.html"
    options = ["--metrics", "nDCG@10", "AP(rel=2)@100", "--date", "2026-01-02", "-o", str(out)]
    assert main(["report", *map(str, paths), "--collection", str(DL19), *options]) == 0
    qrels = read_qrels(DL19 / "qrels" / "test.tsv")
    runs = {path.stem: read_run(path) for path in paths}
    comparison = compare(qrels, runs, ["nDCG@10", "AP(rel=2)@100"])
    browser.open(out)
    for d in comparison.differences:
        browser.evaluate(
            f"state.m = measures.indexOf({json.dumps(d.measure)}); state.b = runs.indexOf({json.dumps(d.system)});"
            " state.allFlips = true; drawAll()"
        )
        found = flips(comparison, d, qrels, runs, moves=None)
        caption = f"{d.wins} better, {d.ties} equal, {d.losses} worse"
        assert caption in texts(browser, "#per-query-caption")[0]
        assert texts(browser, "#flips tbody th button") == [flip.qid for flip in found]
        assert texts(browser, "#flips tbody td:nth-child(2)") == [f"{flip.before:.4f}" for flip in found]
        shown = browser.evaluate(
            "[...document.querySelectorAll('#flips tbody tr')]"
            ".map(row => [...row.querySelectorAll('.moved bdi')].map(e => e.textContent))"
        )
        relevant_from = 2 if "rel=2" in d.measure else 1
        for flip, docids in zip(found, shown, strict=True):
            fell = [
                m.docid
                for m in flip.moves
                if m.grade >= relevant_from and m.before is not None and (m.after is None or m.after > m.before)
            ]
            assert docids == fell[:3]
