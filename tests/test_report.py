"""What a report says and how it is written: ranks, texts, hostile input, the policy, the command."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import os
import re
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rankrl.cli import main
from rankrl.comparison import compare
from rankrl.errors import ConfigError, DataError
from rankrl.provenance import write_provenance
from rankrl.report import Heading, Shown, content, page
from rankrl.report.page import _p, cost_table, payload, shortened, signed, visible
from rankrl.report.plots import axis
from rankrl.runs import ranked, write_qrels, write_run

pytest.importorskip("jinja2")

TEMPLATE = Path(__file__).resolve().parents[1] / "rankrl" / "report" / "template"
HOSTILE = (
    "</script><script>hacked()</script>",
    "<!-- <script> -->",
    "<!--<script </script x <\\/script\t",
    "]]>\"'`&amp;<img src=x onerror=hacked()>",
    "line\u2028and\u2029paragraph",
    "\u202eright to left \u05e9\u05dc\u05d5\u05dd",
    "nul\x00bell\x07escape\x1b[31m\x7f\x85\ufeff\ufffe",
    "{{ 7 * 7 }}{% raw %}",
    "a lone surrogate \ud800",
)


class Elements(HTMLParser):
    """Every element of a page with its attributes, and the texts of its scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.raw: list[str] = []
        self.texts: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        if tag in ("script", "style"):
            self.raw.append("")

    def handle_data(self, data):
        if self.found and self.found[-1][0] in ("script", "style") and self.cdata_elem:
            self.raw[-1] += data
        else:
            self.texts.append(data)


def data_of(text: str) -> dict:
    """The JSON inside a page."""
    blocks = re.findall(r'<script type="application/json" id="report-data">(.*?)</script>', text, re.DOTALL)
    assert len(blocks) == 1
    return json.loads(blocks[0])


@pytest.fixture
def small():
    """(qrels, runs): three topics, graded; `first` misses q3, `second` moves things about."""
    qrels = {"q1": {"a": 2, "b": 0, "z": 1}, "q2": {"c": 1}, "q3": {"a": 1}, "none": {"a": 0}}
    first = {"q1": {"a": 3.0, "b": 2.0, "n": 1.0}, "q2": {"x": 2.0, "c": 1.0}}
    second = {"q1": {"b": 3.0, "n": 2.0, "a": 1.0, "z": 0.5}, "q2": {"c": 2.0, "x": 1.0}, "q3": {"a": 1.0}}
    return qrels, {"first": first, "second": second}


# Content


def test_documents_are_those_near_the_top_of_any_run_and_the_relevant_ones_wherever_they_stand(small):
    qrels, runs = small
    found = content(qrels, runs, ["nDCG@10"], depth=1)
    by_docid = {m.docid: m for m in found.movements["q1"]}
    assert list(by_docid) == ["a", "b", "z"]  # n is in no run's first 1 and not relevant; z is relevant, at rank 4
    assert (by_docid["a"].grade, by_docid["a"].ranks) == (2, (1, 3))
    assert (by_docid["z"].grade, by_docid["z"].ranks) == (1, (None, 4))
    assert [m.grade for m in content(qrels, runs, ["nDCG@10"]).movements["q1"] if m.docid == "n"] == [None]
    assert found.relevant == {"q1": 2, "q2": 1, "q3": 1}


ids = st.text(st.characters(codec="utf-8"), min_size=1, max_size=3)


@given(st.lists(st.dictionaries(ids, st.sampled_from([0.5, 1.0, 2.0]), min_size=1), min_size=1, max_size=3), st.data())
def test_ranks_are_those_of_trec_eval_for_any_runs(scores, data):
    docids = sorted({docid for run in scores for docid in run})
    judged = data.draw(st.dictionaries(st.sampled_from(docids), st.integers(-1, 2))) | {"relevant": 1}
    depth = data.draw(st.integers(1, 4))
    found = content({"q": judged}, {str(i): {"q": run} for i, run in enumerate(scores)}, ["P@1"], depth=depth)
    orders = [ranked(run) for run in scores]
    wanted = {d for order in orders for i, d in enumerate(order) if i < depth or judged.get(d, 0) > 0}
    assert {m.docid for m in found.movements["q"]} == wanted
    for movement in found.movements["q"]:
        for order, rank in zip(orders, movement.ranks, strict=True):
            assert (rank is None) == (movement.docid not in order)
            assert rank is None or order[rank - 1] == movement.docid


def test_texts_are_cut_and_only_those_of_documents_near_the_top(small):
    qrels, runs = small
    asked = []

    def text_of(docid):
        asked.append(docid)
        return None if docid == "x" else (f"title of {docid}", "word " * 100)

    found = content(qrels, runs, ["RR"], depth=2, text_of=text_of, queries={"q1": "one"}, text_characters=12)
    assert sorted(asked) == ["a", "b", "c", "n", "x"]  # z stands at rank 4
    assert found.documents["a"].text == "word word wo" and found.documents["a"].cut
    long_title = content(qrels, runs, ["RR"], depth=2, text_of=lambda docid: ("title " * 9, "text"), text_characters=12)
    assert long_title.documents["a"] == Shown("title title ", "text", cut=True)
    assert "x" not in found.documents and found.without_text == 1
    assert found.queries == {"q1": "one"}


def test_the_topics_that_differ_most_are_detailed_and_all_keep_their_values(small):
    qrels, runs = small
    found = content(qrels, runs, ["RR"], most_moved=1)
    assert list(found.movements) == ["q3"]  # RR 0 -> 1; q1 loses 2/3, q2 gains 1/2
    assert found.topics == ("q1", "q2", "q3")
    assert list(content(qrels, runs, ["RR"], most_moved=2).movements) == ["q1", "q3"]
    assert list(content(qrels, {"first": runs["first"]}, ["RR"], most_moved=1).movements) == ["q3"]


def test_one_run_has_intervals_and_no_differences(small):
    qrels, runs = small
    found = content(qrels, {"only": runs["second"]}, ["RR@10"])
    assert found.differences == () and set(found.intervals["RR@10"]) == {"only"}
    low, high = found.intervals["RR@10"]["only"]
    assert low <= found.evaluations["only"].totals["RR@10"] <= high


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"depth": 0}, ConfigError, "depth is 0"),
        ({"most_moved": 0}, ConfigError, "most_moved is 0"),
        ({"text_characters": -1}, ConfigError, "text_characters is -1"),
        ({"measures": ["NumRet"]}, ConfigError, "NumRet is a sum"),
        ({"measures": ["nDGC@10"]}, ConfigError, "did you mean 'nDCG@10'"),
        ({"runs": {}}, ConfigError, "at least one run"),
        ({"runs": {"broken": {"q1": {"a": math.nan}}}}, DataError, "broken: topic 'q1'"),
    ],
)
def test_what_cannot_be_reported_is_refused(small, options, error, says):
    qrels, runs = small
    given = {"runs": {"first": runs["first"]}, "measures": ["RR"]} | options
    with pytest.raises(error, match=re.escape(says)):
        content(qrels, given.pop("runs"), given.pop("measures"), **given)


# The page


def test_the_same_content_gives_the_same_bytes_and_the_numbers_of_compare(small):
    qrels, runs = small
    heading = Heading("T", "2026-01-02", {"Split": "test"})
    one, two = (page(content(qrels, runs, ["nDCG@10", "RR"], seed=3), heading) for _ in range(2))
    assert one == two
    data = data_of(one)
    comparison = compare(qrels, runs, ["nDCG@10", "RR"], seed=3)
    for written, d in zip(data["differences"], comparison.differences, strict=True):
        assert (written["difference"], written["low"], written["high"]) == (d.difference, d.low, d.high)
        assert written["verdict"] == d.verdict
        for text in (signed(d.difference), f"{signed(d.low)} to {signed(d.high)}", f"{d.wins} / {d.ties} / {d.losses}"):
            assert f">{text}</td>" in one
    assert data["topics"] == ["q1", "q2", "q3"]
    assert data["values"][1][0] == [comparison.evaluations["first"].values["RR"][q] for q in data["topics"]]


def test_the_best_runs_are_marked_as_they_are_shown_and_none_where_all_are_equal(small):
    qrels, runs = small
    three = {**runs, "third": runs["second"]}

    def marked(some_runs):
        text = page(content(qrels, some_runs, ["P@1"]), Heading("T", "2026-01-02"))
        means = text.split("<caption>Mean")[1].split("</table>")[0]
        return [row.count("(best)") for row in means.split('<th scope="row">')[1:]]

    assert marked(three) == [0, 1, 1]  # P@1 is 1/3, 2/3, 2/3
    assert marked({"second": runs["second"], "third": runs["second"]}) == [0, 0]


def test_what_the_numbers_are_is_said_with_their_power(small):
    qrels, runs = small
    found = content(qrels, {**runs, "third": runs["first"]}, ["RR"])
    text = page(found, Heading("T", "2026-01-02"))
    assert "adjusted by Holm for the 2 runs that are compared with <bdi>first</bdi>" in text
    assert f"<small>{found.differences[0].power_in_words}</small>" in text
    assert "Holm" not in page(content(qrels, runs, ["RR"]), Heading("T", "2026-01-02"))


def test_no_text_from_outside_becomes_markup_or_is_lost(small):
    qrels = {f"q{i}{text}": {f"d{text}": 1} for i, text in enumerate(HOSTILE)}
    run = {qid: {f"d{text}": 1.0, "other": 0.5} for qid, text in zip(qrels, HOSTILE, strict=True)}
    runs = {f"run {HOSTILE[0]}": run, HOSTILE[3]: run, HOSTILE[6] + HOSTILE[8]: run}
    found = content(
        qrels,
        runs,
        ["RR@10"],
        queries={qid: text for qid, text in zip(qrels, HOSTILE, strict=True)},
        text_of=lambda docid: (f"title {docid}", " ".join(HOSTILE)),
    )
    provenance = {name: {"command": [HOSTILE[0]], HOSTILE[3]: {"x": HOSTILE[1]}} for name in runs}
    text = page(
        found, Heading(HOSTILE[0], "2026-01-02", {"Collection": HOSTILE[3]}, [HOSTILE[1]], {**provenance, "none": None})
    )
    data = data_of(text)
    block = text.split('<script type="application/json" id="report-data">')[1].split("</script>")[0]
    assert not set(block) & set("<>&\u2028\u2029\x7f\x85\ufeff")  # nothing that a parser of HTML or of lines acts on
    assert data["queries"] == list(HOSTILE)
    assert data["runs"] == list(runs)
    assert [d[0] for d in data["documents"]] == [f"d{HOSTILE[0]}", "other", *(f"d{h}" for h in HOSTILE[1:])]
    assert all(d[2] == " ".join(HOSTILE) for d in data["documents"])
    text.encode("utf-8")
    assert not re.search("[\x00-\x08\x0b\x0c\x0e-\x1f]", text)
    elements = Elements(text)
    tags = [tag for tag, _ in elements.found]
    assert (tags.count("script"), tags.count("style"), tags.count("img")) == (2, 1, 0)
    assert not [a for _, attrs in elements.found for a in attrs if a.startswith("on") or a == "style"]
    shown = "".join(elements.texts)
    for part in (HOSTILE[0], HOSTILE[3], visible(HOSTILE[6])):
        assert part in shown  # readable, as the text that it is


def test_the_policy_allows_this_script_and_this_style_alone(small):
    text = page(content(*small, ["RR"]), Heading("T", "2026-01-02"))
    elements = Elements(text)
    (policy,) = [a["content"] for t, a in elements.found if a.get("http-equiv") == "Content-Security-Policy"]
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    style, _, script = elements.raw
    for name, body in (("style-src", style), ("script-src", script)):
        digest = base64.b64encode(hashlib.sha256(body.encode()).digest()).decode()
        assert rules[name] == f"'sha256-{digest}'"
    assert rules["default-src"] == rules["base-uri"] == rules["form-action"] == "'none'"


def test_the_page_names_no_address_to_load_from(small):
    text = page(content(*small, ["RR"]), Heading("T", "2026-01-02"))
    for tag, attributes in Elements(text).found:
        for name in ("src", "href", "srcset", "data", "action", "poster"):
            assert attributes.get(name, "#").startswith(("#", "data:,")), (tag, attributes)
    assert not re.search(r"url\(|@import|@font-face", text)


def test_the_script_writes_no_markup_and_asks_for_nothing():
    for path in TEMPLATE.glob("*.js"):
        source = path.read_text(encoding="utf-8")
        forbidden = r"innerHTML|outerHTML|insertAdjacent|document\.write|eval\(|new Function|fetch\(|XMLHttp|import\("
        assert not re.search(forbidden, source), path
        assert "</script" not in source and "<!--" not in source


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    r, g, b = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    return 0.2126 * r + 0.7152 * g + 0.0722 * b


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_every_text_stands_out_from_its_ground(theme):
    css = (TEMPLATE / "page.css").read_text(encoding="utf-8")
    blocks = re.findall(r":root \{(.*?)\}", css, re.DOTALL)
    colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", blocks[theme]))
    pairs = [(text, ground) for text in ("ink", "muted", "accent", "better", "worse") for ground in ("ground", "faint")]
    pairs += [("ink", "remark"), ("ink", "raised"), ("on-1", "level-1"), ("on-3", "level-3"), ("on-1", "level-2")]
    for text, ground in pairs:
        high, low = sorted((luminance(colours[text]), luminance(colours[ground])), reverse=True)
        assert (high + 0.05) / (low + 0.05) >= 4.5, (text, ground)


# Axes and numbers


@given(st.lists(st.floats(-100, 100), min_size=1, max_size=5))
def test_an_axis_has_few_round_evenly_spaced_ticks_around_all_values(values):
    made = axis(values)
    assert 2 <= len(made.ticks) <= 6
    assert made.ticks[0] <= min(values) + 1e-6 and made.ticks[-1] >= max(values) - 1e-6
    steps = {round(b - a, 9) for a, b in zip(made.ticks, made.ticks[1:], strict=False)}
    assert len(steps) == 1
    mantissa = float(f"{steps.pop():e}".split("e")[0])
    assert any(math.isclose(mantissa, m) for m in (1.0, 2.0, 5.0))
    assert all(4.9 <= made.percent(v) <= 95.1 for v in values)
    assert all(math.isclose(float(f"{tick:.{made.decimals}f}"), tick, abs_tol=1e-9) for tick in made.ticks)


def test_small_p_values_are_rounded_until_nothing_is_left():
    assert [_p(p) for p in (1.0, 0.0123, 0.00005, 0.00004)] == ["1.0000", "0.0123", "0.0001", "<\u202f.0001"]


def test_signs_are_shown_and_nothing_has_none():
    assert [signed(v) for v in (0.12345, -0.5, 0.0, -0.00001)] == ["+0.1235", "\u22120.5000", "0.0000", "0.0000"]


def test_long_names_keep_both_ends():
    assert shortened("rerank.bm25.vicuna.20230912T210006", 16) == "rerank…12T210006"
    assert [len(shortened("x" * n, 16)) for n in (1, 15, 16, 17, 99)] == [1, 15, 16, 16, 16]


def test_costs_come_from_what_is_recorded_and_unknown_runs_are_left_out():
    recorded = {
        "a": {"cost": {"seconds": 2.5, "calls": 3, "readings": {"clean": 2}, "model": "m", "cached": True}},
        "b": {"ledger": {"calls": 4, "euros": 0.5}},
        "c": "stale",
        "d": None,
        "e": {"cost": "unknown"},
    }
    kinds, rows = cost_table(["a", "b", "c", "d", "e", "f"], recorded)
    assert kinds == ["calls", "seconds", "readings: clean", "euros"]
    assert rows == [("a", [3, 2.5, 2, None]), ("b", [4, None, None, 0.5])]
    assert cost_table(["c"], recorded) == ([], [])


def test_payload_lists_documents_once_and_ranks_by_run(small):
    found = content(*small, ["nDCG@10", "AP(rel=2)"], most_moved=2)
    data = payload(found, Heading("T", "2026-01-02"))
    assert [d[0] for d in data["documents"]] == list(
        dict.fromkeys(m.docid for q in found.movements.values() for m in q)
    )
    assert data["movements"].count(None) == 1
    assert data["reads"] == [{"cutoff": 10, "relevant_from": 1}, {"cutoff": None, "relevant_from": 2}]


# The command


@pytest.fixture
def files(tmp_path, monkeypatch, small):
    """The runs and qrels of `small` as files, and a collection with their texts."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    qrels, runs = small
    write_qrels("q.txt", qrels)
    for name, run in runs.items():
        write_run(f"{name}.trec", run, tag=name)
    folder = tmp_path / "toy"
    (folder / "qrels").mkdir(parents=True)
    (folder / "corpus.jsonl").write_text(
        "".join(json.dumps({"_id": d, "title": f"About {d}", "text": f"body of {d}"}) + "\n" for d in "abcnz")
    )
    (folder / "queries.jsonl").write_text(
        "".join(json.dumps({"_id": q, "text": f"words of {q}"}) + "\n" for q in qrels)
    )
    write_qrels(folder / "qrels" / "test.txt", qrels)
    return tmp_path


def test_a_report_is_written_with_texts_remarks_and_its_size(files, capsys):
    assert main(["report", "first.trec", "second.trec", "--collection", "toy", "-o", "out/r.html"]) == 0
    printed = capsys.readouterr()
    assert printed.out == ""
    text = (files / "out" / "r.html").read_text(encoding="utf-8")
    assert f"{len(text.encode()):,} bytes, 80 of them texts of 5 documents" in printed.err
    assert "1 document has no text in the collection" in printed.err
    assert "first: 1 of 3 topics are not in the run and count as 0 (q3)" in printed.err
    assert "first: 1 of 3 topics are not in the run and count as 0 (q3)" in text
    data = data_of(text)
    assert data["judgements"] == {"Collection": "toy", "Split": "test"}
    assert data["queries"] == ["words of q1", "words of q2", "words of q3"]
    assert ["a", "About a", "body of a", False] in data["documents"] and ["x"] in data["documents"]


def test_qrels_alone_and_no_texts_show_ids(files):
    main(["report", "first.trec", "--qrels", "q.txt", "-o", "ids.html"])
    main(["report", "first.trec", "--collection", "toy", "--no-texts", "-o", "no_texts.html"])
    for name in ("ids.html", "no_texts.html"):
        text = (files / name).read_text(encoding="utf-8")
        assert "body of" not in text and "words of" not in text
        assert all(len(d) == 1 for d in data_of(text)["documents"])


def test_without_texts_the_corpus_is_not_read(files):
    (files / "toy" / "corpus.jsonl").write_text("no JSON\n")
    arguments = ["first.trec", "--collection", "toy", "--keep-excluded", "-o", "r.html"]
    assert main(["report", *arguments, "--no-texts"]) == 0
    assert main(["report", *arguments]) == 1


def test_title_and_seed_are_those_that_were_given(files):
    main(["report", "first.trec", "second.trec", "--qrels", "q.txt", "--title", "Mine & yours", "-o", "1.html"])
    main(["report", "first.trec", "second.trec", "--qrels", "q.txt", "--seed", "7", "-o", "2.html"])
    one, two = (data_of((files / name).read_text(encoding="utf-8")) for name in ("1.html", "2.html"))
    assert (one["title"], one["seed"], two["title"], two["seed"]) == ("Mine & yours", 0, "q.txt: 2 runs", 7)
    assert '<h1 dir="auto">Mine &amp; yours</h1>' in (files / "1.html").read_text(encoding="utf-8")


def test_a_large_page_says_what_makes_it_smaller(files, capsys, monkeypatch):
    main(["report", "first.trec", "--qrels", "q.txt", "-o", "r.html"])
    assert "makes it smaller" not in capsys.readouterr().err
    monkeypatch.setattr("rankrl.commands.report._LARGE", 1000)
    main(["report", "first.trec", "--qrels", "q.txt", "-o", "r.html"])
    assert "--queries N, --depth K or --no-texts makes it smaller" in capsys.readouterr().err


def test_the_date_can_be_pinned_and_then_the_bytes_are_the_same(files, monkeypatch):
    for name in ("1.html", "2.html"):
        main(["report", "first.trec", "second.trec", "--collection", "toy", "--date", "2026-02-03", "-o", name])
    assert (files / "1.html").read_bytes() == (files / "2.html").read_bytes()
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1770076800")
    main(["report", "first.trec", "second.trec", "--collection", "toy", "-o", "3.html"])
    assert (files / "3.html").read_bytes() == (files / "1.html").read_bytes()


def test_the_page_names_what_it_was_made_of(files):
    main(["report", "first.trec", "--collection", "toy", "-o", "c.html"])
    main(["report", "first.trec", "--qrels", "q.txt", "-o", "q.html"])
    for page_, read in (("c.html", ("first.trec", "toy/corpus.jsonl")), ("q.html", ("first.trec", "q.txt"))):
        for path in read:
            digest = hashlib.sha256((files / path).read_bytes()).hexdigest()
            assert digest in (files / page_).read_text(encoding="utf-8"), path


def test_the_relevance_level_is_that_of_evaluate_and_compare(files):
    main(["report", "first.trec", "--qrels", "q.txt", "--metrics", "nDCG@10", "RR", "-l", "2", "-o", "r.html"])
    data = data_of((files / "r.html").read_text(encoding="utf-8"))
    assert data["measures"] == ["nDCG@10", "RR(rel=2)"] and data["reads"][1]["relevant_from"] == 2


def test_bug_the_hash_of_a_run_from_a_pipe_was_that_of_nothing(files):
    reading, writing = os.pipe()
    os.write(writing, (files / "second.trec").read_bytes())
    os.close(writing)
    assert main(["report", "first.trec", f"/dev/fd/{reading}", "--qrels", "q.txt", "-o", "r.html"]) == 0
    os.close(reading)
    page_ = (files / "r.html").read_text(encoding="utf-8")
    hashes = re.findall(r"runs_sha256 \u203a (\w+)</th><td[^>]*>(\w+)</td>", page_)
    digest = hashlib.sha256((files / "first.trec").read_bytes()).hexdigest()
    assert hashes == [("first", digest), (str(reading), "null")]


def test_documents_that_the_collection_excludes_are_removed_and_said(files):
    with open("toy/corpus.jsonl", "a") as file:
        file.write('{"_id": "q1", "text": "the query itself"}\n')
    write_run("self.trec", {"q1": {"q1": 9.0, "a": 1.0}}, tag="self")
    main(["report", "self.trec", "--collection", "toy", "-o", "r.html"])
    text = (files / "r.html").read_text(encoding="utf-8")
    assert [d[0] for d in data_of(text)["documents"]] == ["a"] and "excluded by the collection" in text


def test_provenance_and_cost_are_shown_and_a_stale_description_is_said_not_believed(files):
    for name in ("first", "second"):
        command = ["rankrl", "retrieve", "a name", "--k=1"]
        write_provenance(
            f"{name}.trec",
            {"engine": f"engine of {name}", "command": command, "cost": {"calls": 1234, "seconds": 5.25}},
        )
    main(["report", "first.trec", "second.trec", "--qrels", "q.txt", "-o", "fresh.html"])
    fresh = (files / "fresh.html").read_text(encoding="utf-8")
    assert "rankrl retrieve &#39;a name&#39; --k=1" in fresh  # as it can be typed
    assert "engine of first" in fresh and ">1,234</td>" in fresh and ">5.2</td>" in fresh
    with open("first.trec", "a") as file:
        file.write("q3 Q0 a 1 1.0 first\n")
    main(["report", "first.trec", "second.trec", "--qrels", "q.txt", "-o", "stale.html"])
    stale = (files / "stale.html").read_text(encoding="utf-8")
    assert "describes another version of first.trec" in stale
    assert "engine of first" not in stale and "engine of second" in stale
    (files / "second.trec.json").write_text("{not json")
    main(["report", "first.trec", "second.trec", "--qrels", "q.txt", "-o", "broken.html"])
    assert "second.trec.json: not JSON" in (files / "broken.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nope.trec", "--qrels", "q.txt", "-o", "r.html"], "run not found: nope.trec"),
        (["first.trec", "--qrels", "q.txt", "-o", "first.trec"], "-o first.trec is one of the files to read"),
        (["first.trec", "--qrels", "q.txt", "-o", "q.txt"], "-o q.txt is one of the files to read"),
        (["first.trec", "--qrels", "q.txt", "-o", "toy"], "-o toy is a folder"),
        (["first.trec", "--qrels", "q.txt", "-o", "r.html", "--depth", "0"], "--depth is 0"),
        (["first.trec", "--qrels", "q.txt", "-o", "r.html", "--queries", "0"], "--queries is 0"),
        (["first.trec", "--qrels", "q.txt", "-o", "r.html", "--text-characters", "0"], "--text-characters is 0"),
        (["first.trec", "--qrels", "q.txt", "-o", "r.html", "--date", "20260203"], "--date '20260203' is no date"),
        (["first.trec", "--qrels", "q.txt", "-o", "r.html", "--date", "2026-02-30"], "--date '2026-02-30' is no date"),
        (["first.trec", "--qrels", "q.txt", "-o", "r.html", "--metrics", "nDGC@10"], "did you mean 'nDCG@10'"),
        (["first.trec", "--qrels", "q.txt", "-o", "r.html", "--metrics", "NumRet"], "NumRet is a sum over topics"),
        (["first.trec", "--collection", "toyy", "-o", "r.html"], "no collection 'toyy'"),
    ],
)
def test_what_is_wrong_is_said_in_one_line_and_nothing_is_written(files, capsys, arguments, says):
    before = {path: path.read_bytes() for path in files.iterdir() if path.is_file()}
    assert main(["report", *arguments]) == 1
    printed = capsys.readouterr()
    assert printed.out == "" and says in printed.err and printed.err.count("\n") == 1
    assert {path: path.read_bytes() for path in files.iterdir() if path.is_file()} == before


def test_a_date_of_the_surroundings_that_is_no_number_is_refused(files, capsys, monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "yesterday")
    assert main(["report", "first.trec", "--qrels", "q.txt", "-o", "r.html"]) == 1
    assert "SOURCE_DATE_EPOCH is 'yesterday'" in capsys.readouterr().err


def test_without_jinja_the_extra_is_named(files, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "jinja2", None)
    assert main(["report", "first.trec", "--qrels", "q.txt", "-o", "r.html"]) == 1
    assert 'pip install "rankrl[report]"' in capsys.readouterr().err
