"""`rankrl compare`: what it prints, writes and refuses."""

from __future__ import annotations

import csv
import json
import os
import pty
import subprocess
import sys
from contextlib import suppress

import pytest

from rankrl.cli import main
from rankrl.commands.compare import _p
from rankrl.runs import write_qrels, write_run


@pytest.fixture
def files(tmp_path, monkeypatch):
    """40 topics: `base` has the relevant document second; `better` first on 20 topics; `same` is `base`."""
    monkeypatch.chdir(tmp_path)
    base = {f"q{i}": {"x": 2.0, "r": 1.0} for i in range(40)}
    better = {qid: ({"r": 2.0, "x": 1.0} if i < 20 else scores) for i, (qid, scores) in enumerate(base.items())}
    write_qrels("q.txt", {qid: {"r": 1} for qid in base})
    for name, run in {"base": base, "better": better, "same": base}.items():
        write_run(f"{name}.trec", run, tag=name)
    return tmp_path


def test_a_comparison_shows_interval_p_counts_and_the_verdict_in_words(files, capsys):
    assert main(["compare", "base.trec", "better.trec", "--qrels", "q.txt", "--metric", "RR"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "RR, 40 topics, differences from base"
    assert lines[1].split() == ["run", "mean", "diff", "95%", "interval", "p", "W/T/L"]
    assert lines[2].split() == ["base", "0.5000"]
    assert lines[3].split()[:3] == ["better", "0.7500", "+0.2500"] and lines[3].endswith("<.0001  20/20/0")
    assert lines[4] == "better: significantly better at the 5 % level"


def test_several_runs_show_the_adjusted_p_and_fit_80_columns(files, capsys):
    main(["compare", "base.trec", "better.trec", "same.trec", "--qrels", "q.txt", "--metrics", "RR", "nDCG@10"])
    lines = capsys.readouterr().out.splitlines()
    assert "p Holm" in lines[1]
    assert "same: no difference on any topic" in lines
    assert "nDCG@10, 40 topics, differences from base" in lines
    assert max(map(len, lines)) <= 80


def test_the_same_seed_prints_the_same_numbers(files, capsys):
    printed = []
    for seed in ("5", "5", "6"):
        main(["compare", "base.trec", "better.trec", "--qrels", "q.txt", "--seed", seed, "--format", "json"])
        printed.append(json.loads(capsys.readouterr().out)["differences"])
    assert printed[0] == printed[1] != printed[2]


def test_json_and_csv_hold_what_the_table_shows(files, capsys):
    main(["compare", "base.trec", "better.trec", "--qrels", "q.txt", "--metric", "RR", "--format", "json"])
    whole = json.loads(capsys.readouterr().out)
    (from_json,) = whole.pop("differences")
    assert (whole["qrels"], whole["seed"], whole["topics"]) == ("q.txt", 0, 40)
    assert whole["missing"] == {"base": [], "better": []}
    main(
        ["compare", "base.trec", "better.trec", "--qrels", "q.txt", "--metric", "RR", "--format", "csv", "-o", "c.csv"]
    )
    (from_csv,) = csv.DictReader((files / "c.csv").read_text().splitlines())
    assert from_csv == {key: str(value) for key, value in from_json.items()}
    assert (from_json["wins"], from_json["ties"], from_json["losses"]) == (20, 20, 0)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["base.trec", "nope.trec", "--qrels", "q.txt"], "run not found: nope.trec"),
        (["base.trec", "base.trec", "--qrels", "q.txt"], "base.trec is given twice"),
        (["base.trec", "nope.trec", "--qrels", "q.txt", "--metric", "NumRet"], "NumRet is a sum over topics"),
        (["base.trec", "same.trec", "--qrels", "q.txt", "--metric", "NumRet"], "NumRet is a sum over topics"),
        (["base.trec", "same.trec", "--qrels", "q.txt", "--metric", "MAPP"], "did you mean 'AP'"),
        (["base.trec", "same.trec", "--qrels", "q.txt", "--flips", "0"], "--flips must be at least 1, got 0"),
        (["base.trec", "same.trec", "--qrels", "q.txt", "--flip-threshold", "0.1"], "belongs to --flips"),
        (["base.trec", "same.trec", "--qrels", "q.txt", "--flips", "1", "--flip-threshold", "nan"], "number from 0"),
        (["base.trec", "same.trec", "--qrels", "q.txt", "--flips", "1", "--format", "csv"], "not in csv"),
    ],
)
def test_what_is_wrong_is_said_in_one_line_and_nothing_is_written(files, capsys, arguments, says):
    before = sorted(files.iterdir())
    assert main(["compare", *arguments, "-o", "result.csv"]) == 1
    printed = capsys.readouterr()
    assert printed.out == "" and says in printed.err and printed.err.count("\n") == 1
    assert sorted(files.iterdir()) == before


def test_a_test_that_does_not_exist_is_wrong_usage(files, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["compare", "base.trec", "same.trec", "--qrels", "q.txt", "--test", "fisher"])
    assert "choose from" in (said := capsys.readouterr().err) and "randomisation" in said


def test_one_run_is_wrong_usage(files, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["compare", "base.trec", "--qrels", "q.txt"])


def compared(capsys, *arguments: str) -> str:
    assert main(["compare", *arguments, "--qrels", "q.txt", "--metric", "RR"]) == 0
    return capsys.readouterr().out


def test_effect_other_tests_and_power_are_shown_and_explained(files, capsys):
    lines = compared(capsys, "base.trec", "better.trec").splitlines()
    assert lines[5] == "  40 topics show a true difference of 0.1150 four times in five"
    other_tests = lines.index("") + 1
    assert lines[other_tests].split() == ["run", "effect", "p", "t", "p", "Wilcoxon"]
    assert lines[other_tests + 1].split() == ["better", "+0.987", "<.0001", "<.0001"]
    assert lines[-1] == "p: randomisation test, two-sided; seed 0"
    back = compared(capsys, "better.trec", "base.trec", "--test", "wilcoxon")
    assert "base: significantly worse at the 5 % level\n" in back and "Wilcoxon signed-rank test, two-sided" in back
    assert "p random." in back and "p Wilcoxon" not in back


def test_a_difference_that_does_not_show_says_how_many_topics_would(files, capsys):
    write_run("little.trec", {f"q{i}": {"r": 1.0 + 2 * (i < 1), "x": 2.0} for i in range(40)}, tag="little")
    printed = " ".join(compared(capsys, "base.trec", "little.trec").split())
    assert "little: no significant difference" in printed
    assert "one of 0.0125, as observed, would take 316 topics" in printed


def test_every_pair_is_numbered_and_holm_counts_them(files, capsys):
    printed = compared(capsys, "base.trec", "better.trec", "same.trec", "--all-pairs")
    lines = printed.splitlines()
    assert lines[0] == "RR, 40 topics, every pair of runs"
    assert [line.split() for line in lines[2:5]] == [
        ["base", "0.5000", "1"],
        ["better", "0.7500", "2"],
        ["same", "0.5000", "3"],
    ]
    assert "2 - 1: significantly better at the 5 % level" in lines
    assert "3 - 1: no difference on any topic" in lines
    assert "3 - 2: significantly worse at the 5 % level" in lines
    assert "Holm over 3 comparisons" in lines[-1] and max(map(len, lines)) <= 80


def test_what_every_pair_shows_stands_in_columns_and_not_in_words(files, capsys):
    printed = compared(capsys, "base.trec", "better.trec", "same.trec", "--all-pairs")
    assert "four times in five; one of" not in printed and "  40 topics show" not in printed
    head = next(line for line in printed.splitlines() if line.startswith("pair") and "needs" in line)
    assert head.split() == ["pair", "effect", "p", "t", "Holm", "p", "Wilcoxon", "Holm", "shows", "needs"]


def test_the_scores_decide_not_the_order_of_the_lines(files, capsys):
    lines = (files / "better.trec").read_text().splitlines(keepends=True)
    (files / "turned.trec").write_text("".join(lines[i ^ 1] for i in range(len(lines))))
    (row,) = csv.DictReader(compared(capsys, "better.trec", "turned.trec", "--format", "csv").splitlines())
    assert (row["wins"], row["ties"], row["losses"]) == ("0", "40", "0")


def test_small_p_values_are_rounded_until_nothing_is_left():
    assert [_p(p) for p in (1.0, 0.05004, 0.00006, 0.00005, 0.00004999, 0.0)] == [
        "1.0000", "0.0500", "0.0001", "0.0001", "<.0001", "<.0001",
    ]  # fmt: skip


def test_bold_is_what_is_significant_after_the_adjustment(files, capsys):
    base = {f"q{i}": {"r": 1.0, "x": 2.0} for i in range(40)}
    better = {n: base | {f"q{i}": {"r": 2.0, "x": 1.0} for i in range(n)} for n in (1, 2, 6)}
    for n, run in better.items():
        write_run(f"better{n}.trec", run, tag="b")
    runs = ["base.trec", "better6.trec"]
    assert "**+0.0750**" in compared(capsys, *runs, "--format", "markdown")  # p = 2 / 2**6, alone
    runs += ["better1.trec", "better2.trec"]
    assert "**" not in compared(capsys, *runs, "--format", "markdown")  # 3 times that


def test_the_order_of_the_runs_changes_the_order_of_the_rows_only(files, capsys):
    def rows(*runs: str) -> dict[str, dict[str, object]]:
        found = json.loads(compared(capsys, *runs, "--format", "json"))["differences"]
        return {row["system"]: row for row in found}

    assert rows("base.trec", "better.trec", "same.trec") == rows("base.trec", "same.trec", "better.trec")
    assert compared(capsys, "base.trec", "better.trec") == compared(capsys, "base.trec", "better.trec")


def test_another_process_prints_the_same_bytes(collection):
    arguments = ["base.trec", "better.trec", "worse.trec", "--collection", "c", "--all-pairs", "--flips", "3"]
    command = [sys.executable, "-m", "rankrl", "compare", *arguments]
    printed = [
        subprocess.run(command, capture_output=True, check=True, env={**os.environ, "PYTHONHASHSEED": seed}).stdout
        for seed in ("1", "2")
    ]
    assert printed[0] == printed[1] != b""


def test_markdown_and_latex_hold_one_row_a_run_and_mark_what_is_significant(files, capsys):
    write_run("a_b.trec", {f"q{i}": {"r": 2.0, "x": 1.0} for i in range(40)}, tag="a_b")
    markdown = compared(capsys, "base.trec", "a_b.trec", "same.trec", "--format", "markdown").splitlines()
    assert [cell.strip() for cell in markdown[0].strip("|").split("|")][:5] == [
        "measure", "run", "mean", "diff", "95% interval",
    ]  # fmt: skip
    assert len(markdown) == 2 + 3 and "a\\_b" in markdown[3] and "**+0.5000**" in markdown[3]
    assert "**" not in markdown[4]
    latex = compared(capsys, "base.trec", "a_b.trec", "same.trec", "--all-pairs", "--format", "latex")
    assert r"RR & a\_b & base & 1.0000 & \textbf{+0.5000}" in latex
    assert "% 40 topics; bold: significant at the 5 % level\n% p: randomisation test" in latex


# The queries that got worse


@pytest.fixture
def collection(files):
    """A collection for the judgements of `files`: `worse` loses the relevant document on q7, and puts it third on q3."""
    (files / "c" / "qrels").mkdir(parents=True)
    titles = {"r": "The right answer"}
    texts = {"r": "Its text", "x": "Another\ttext\x1b[31m in red", "y": "A third one " + "and so on " * 40}
    corpus = [{"_id": docid, "title": titles.get(docid, ""), "text": text} for docid, text in texts.items()]
    (files / "c" / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in corpus))
    queries = [{"_id": f"q{i}", "text": f"question {i}"} for i in range(40)]
    (files / "c" / "queries.jsonl").write_text("".join(json.dumps(row) + "\n" for row in queries))
    write_qrels("c/qrels/test.tsv", {f"q{i}": {"r": 1, "x": 0} for i in range(40)})
    worse = {f"q{i}": {"x": 2.0, "r": 1.0} for i in range(40)}
    worse["q7"] = {"y": 3.0, "x": 2.0}
    worse["q3"] = {"x": 3.0, "y": 2.0, "r": 1.0}
    write_run("worse.trec", worse, tag="worse")
    return files


def test_flips_show_queries_documents_and_ranks_within_80_columns(collection, capsys):
    arguments = ["compare", "base.trec", "worse.trec", "--collection", "c", "--metric", "RR@10", "--flips"]
    assert main([*arguments, "5"]) == 0
    lines = capsys.readouterr().out.splitlines()
    start = lines.index("RR@10, base -> worse: 2 of 40 queries got worse")
    assert lines[start + 1 :] == [
        "q7  0.5000 -> 0.0000  question 7",
        "  grade  1      2 -> -      r  The right answer",
        "  grade  0      1 -> 2      x  Another text [31m in red",
        "  without judgement in the first 10: 0 -> 1",
        "q3  0.5000 -> 0.3333  question 3",
        "  grade  1      2 -> 3      r  The right answer",
        "  without judgement in the first 10: 0 -> 1",
    ]
    assert main([*arguments, "1", "--flip-threshold", "0.1"]) == 0
    printed = capsys.readouterr().out
    assert "2 of 40 queries lost more than 0.1; the worst 1\nq7 " in printed and "q3" not in printed
    assert max(map(len, printed.splitlines())) <= 80


def test_flips_in_json_are_all_there_with_texts_where_a_collection_has_them(collection, capsys):
    arguments = ["compare", "base.trec", "worse.trec", "--metric", "RR@10", "--flips", "1", "--format", "json"]
    assert main([*arguments, "--collection", "c"]) == 0
    first, second = json.loads(capsys.readouterr().out)["flips"]
    assert (first["qid"], first["text"], first["drop"], second["qid"]) == ("q7", "question 7", 0.5, "q3")
    assert first["moves"][0] == {"docid": "r", "grade": 1, "before": 2, "after": None, "snippet": "The right answer"}
    assert (first["measure"], first["baseline"], first["system"]) == ("RR@10", "base", "worse")
    assert main([*arguments, "--qrels", "q.txt"]) == 0
    bare = json.loads(capsys.readouterr().out)["flips"]
    assert "text" not in bare[0] and "snippet" not in bare[0]["moves"][0] and len(bare) == 2


def test_without_flips_the_corpus_is_not_read_and_nothing_is_listed(collection, capsys):
    (collection / "c" / "corpus.jsonl").write_text("no JSON\n")
    arguments = ["--collection", "c"]
    assert main(["compare", "base.trec", "worse.trec", *arguments]) == 0
    assert "got worse" not in capsys.readouterr().out
    assert main(["compare", "base.trec", "better.trec", *arguments, "--flips", "3"]) == 0
    assert "nDCG@10, base -> better: 0 of 40 queries got worse" in capsys.readouterr().out


def test_a_terminal_of_80_columns_shows_long_names_by_their_ends(files):
    name = "rerank.splade_p_p_ensemble_distil.rankvicuna.20230913T115832"
    (files / f"{name}.trec").write_bytes((files / "better.trec").read_bytes())
    arguments = ["base.trec", f"{name}.trec", "same.trec", "--qrels", "q.txt"]
    shown, terminal = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "rankrl", "compare", *arguments], stdout=terminal, env={**os.environ, "COLUMNS": "80"}
    ) as process:
        os.close(terminal)
        printed = b""
        with suppress(OSError):  # how the end of a terminal is told
            while block := os.read(shown, 65536):
                printed += block
    os.close(shown)
    lines = printed.decode().splitlines()
    assert process.returncode == 0 and max(map(len, lines)) <= 80
    assert any("13T115832: significantly better at the 5 % level" in line for line in lines)


def test_documents_without_judgement_are_counted_only_where_their_number_changed(files, capsys):
    run = {f"q{i}": {"x": 2.0, "r": 1.0} for i in range(40)}
    write_run("u.trec", run | {"q7": {"r": 2.0, "u": 1.0}}, tag="u")
    write_run("v.trec", run | {"q7": {"v": 2.0, "r": 1.0}}, tag="v")
    assert "  grade  1      1 -> 2      r\n" in (shown := compared(capsys, "u.trec", "v.trec", "--flips", "1"))
    assert "without judgement" not in shown


def test_every_document_that_moved_is_in_json_and_five_are_in_the_table(files, capsys):
    judged = {f"d{i}": i % 2 for i in range(8)}
    write_qrels("q.txt", {"q1": judged, "q2": {"d1": 1}})
    up = {docid: float(i % 2 * 10 + i) for i, docid in enumerate(judged)}
    write_run("up.trec", {"q1": up, "q2": {"d1": 1.0}}, tag="up")
    write_run("down.trec", {"q1": {docid: -score for docid, score in up.items()}, "q2": {"d1": 1.0}}, tag="down")
    arguments = ["compare", "up.trec", "down.trec", "--qrels", "q.txt", "--flips", "1"]
    assert main([*arguments, "--format", "json"]) == 0
    (flip,) = json.loads(capsys.readouterr().out)["flips"]
    assert len(flip["moves"]) == 8
    assert main(arguments) == 0
    assert sum(line.startswith("  grade") for line in capsys.readouterr().out.splitlines()) == 5


def test_runs_may_be_of_any_format_and_what_was_odd_is_said(files, capsys):
    rows = [
        {"qid": f"q{i}", "docid": docid, "score": score} for i in range(30) for docid, score in (("x", 2), ("r", 1))
    ]
    (files / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert main(["compare", "base.trec", "rows.jsonl", "--qrels", "q.txt", "--metric", "RR", "--flips", "1"]) == 0
    printed = capsys.readouterr()
    assert "RR, base -> rows: 10 of 40 queries got worse; the worst 1\nq30  0.5000 -> 0.0000" in printed.out
    assert "rows: 10 of 40 topics are not in the run and count as 0 (q30, q31, q32, q33, q34, …)" in printed.err
    assert main(["compare", "base.trec", "rows.jsonl", "--qrels", "q.txt", "--format", "json"]) == 0
    missing = json.loads(capsys.readouterr().out)["missing"]
    assert missing == {"base": [], "rows": [f"q{i}" for i in range(30, 40)]}


def test_documents_that_the_collection_excludes_are_left_out_of_values_and_flips(collection, capsys):
    corpus = collection / "c" / "corpus.jsonl"
    corpus.write_text(corpus.read_text() + json.dumps({"_id": "q7", "title": "", "text": "question 7"}) + "\n")
    lines = (collection / "worse.trec").read_text()
    (collection / "worse.trec").write_text(lines + "q7 Q0 q7 0 99.0 worse\n")
    arguments = ["compare", "base.trec", "worse.trec", "--collection", "c", "--metric", "RR@10", "--flips", "5"]
    assert main(arguments) == 0
    printed = capsys.readouterr()
    assert "q7  0.5000 -> 0.0000" in printed.out and "first 10: 0 -> 1\nq3" in printed.out
    assert "worse: 1 documents in 1 topics are excluded by the collection and were removed" in printed.err
    assert main([*arguments, "--keep-excluded"]) == 0
    assert "first 10: 0 -> 2\nq3" in capsys.readouterr().out


def test_the_relevance_level_is_trec_evals_option_l(files, capsys):
    write_qrels("graded.txt", {f"q{i}": {"x": 1, "r": 2} for i in range(40)})
    shown = []
    for level in ([], ["-l", "2"]):
        arguments = ["compare", "base.trec", "better.trec", "--qrels", "graded.txt", "--metric", "RR", *level]
        assert main([*arguments, "--format", "csv"]) == 0
        (row,) = csv.DictReader(capsys.readouterr().out.splitlines())
        shown.append((row["measure"], row["wins"]))
    assert shown == [("RR", "0"), ("RR(rel=2)", "20")]


def test_flips_of_a_pipe_are_refused_because_it_can_be_read_once_only(files, capsys):
    os.mkfifo("pipe.trec")
    assert main(["compare", "base.trec", "pipe.trec", "--qrels", "q.txt", "--flips", "1"]) == 1
    assert "pipe.trec is not a file" in capsys.readouterr().err
