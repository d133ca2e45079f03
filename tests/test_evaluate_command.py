"""`rankrl evaluate`: what it prints, writes and refuses."""

from __future__ import annotations

import csv
import json

import pytest

from rankrl.cli import main
from rankrl.commands._runs import RunFile


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Two runs and qrels of four topics in the current folder: 1 and 2 are found, 4 is missing, 3 has nothing relevant."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "q.txt").write_text("1 0 a 1\n2 0 b 1\n3 0 c 0\n4 0 d 1\n")
    (tmp_path / "one.trec").write_text(
        "1 Q0 a 1 2.0 t\n1 Q0 z 2 1.0 t\n2 Q0 z 1 2.0 t\n2 Q0 b 2 1.0 t\n9 Q0 a 1 1.0 t\n"
    )
    (tmp_path / "two.trec").write_text("1 Q0 z 1 2.0 t\n1 Q0 a 2 1.0 t\n4 Q0 d 1 1.0 t\n2 Q0 z 2 1.0 t\n")
    return tmp_path


def test_the_table_shows_means_intervals_topics_and_how_many_are_missing(files, capsys):
    assert main(["evaluate", "one.trec", "two.trec", "--qrels", "q.txt", "--metrics", "RR", "NumRet"]) == 0
    printed = capsys.readouterr()
    assert [line.split() for line in printed.out.splitlines()] == [
        ["run", "measure", "mean", "95%", "interval", "topics", "missing"],
        ["one", "RR", "0.5000", "[0.0000,", "1.0000]", "3", "1"],
        ["one", "NumRet", "4", "(sum)", "3", "1"],
        ["two", "RR", "0.5000", "[0.0000,", "1.0000]", "3", "0"],
        ["two", "NumRet", "4", "(sum)", "3", "0"],
    ]
    assert "one: 1 of 3 topics are not in the run and count as 0 (4)" in printed.err
    assert "one: 1 topics of the run have no judgements and are left out (9)" in printed.err
    assert "\x1b" not in printed.out + printed.err


def test_the_table_is_aligned_and_fits_80_columns(files, capsys):
    main(["evaluate", "one.trec", "two.trec", "--qrels", "q.txt", "--per-query"])
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    summary = lines[lines.index("") + 1 :]
    assert len({len(line) for line in summary}) == 1


def test_the_default_measures_are_ndcg_rr_and_recall(files, capsys):
    main(["evaluate", "one.trec", "--qrels", "q.txt"])
    assert [line.split()[1] for line in capsys.readouterr().out.splitlines()[1:]] == ["nDCG@10", "RR@10", "R@100"]


def test_json_holds_every_topic_when_asked(files, capsys):
    main(["evaluate", "one.trec", "--qrels", "q.txt", "--metrics", "RR", "--per-query", "--format", "json"])
    found = json.loads(capsys.readouterr().out)
    assert found["runs"]["one"]["measures"]["RR"]["per_query"] == {"1": 1.0, "2": 0.5, "4": 0.0}
    assert found["runs"]["one"]["missing"] == ["4"]
    assert found["average_over"] == "judged"


def test_csv_rows_per_run_or_per_topic(files, capsys):
    main(["evaluate", "one.trec", "--qrels", "q.txt", "--metrics", "RR", "--format", "csv"])
    (row,) = csv.DictReader(capsys.readouterr().out.splitlines())
    assert (row["run"], row["measure"], row["value"], row["missing"]) == ("one", "RR", "0.5", "1")
    main(["evaluate", "one.trec", "--qrels", "q.txt", "--metrics", "RR", "--format", "csv", "--per-query"])
    rows = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    assert [(row["topic"], row["value"]) for row in rows] == [("1", "1.0"), ("2", "0.5"), ("4", "0.0")]


def test_the_result_goes_to_a_file_instead(files, capsys):
    assert main(["evaluate", "one.trec", "--qrels", "q.txt", "--format", "json", "-o", "out/r.json"]) == 0
    assert capsys.readouterr().out == ""
    assert "nDCG@10" in json.loads((files / "out" / "r.json").read_text())["runs"]["one"]["measures"]


def test_retrieved_topics_only_when_asked(files, capsys):
    main(["evaluate", "one.trec", "--qrels", "q.txt", "--metrics", "RR", "--topics", "retrieved"])
    assert capsys.readouterr().out.splitlines()[1].split()[2] == "0.7500"


def test_runs_of_one_name_in_two_folders_keep_their_paths(files, capsys):
    (files / "b").mkdir()
    (files / "b" / "one.trec").write_text((files / "two.trec").read_text())
    main(["evaluate", "one.trec", "b/one.trec", "--qrels", "q.txt", "--metrics", "AP"])
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()[1:]] == ["one.trec", "b/one.trec"]


def test_a_bundled_collection_gives_the_judgements(files, capsys):
    assert main(["evaluate", "one.trec", "--collection", "scifact", "--split", "tset"]) == 1
    assert "did you mean 'test'" in capsys.readouterr().err


def test_topics_without_a_relevant_document_that_count_are_not_said_to_be_left_out(files, capsys):
    (files / "three.trec").write_text("1 Q0 a 1 2 t\n3 Q0 c 1 1 t\n3 Q0 x 2 1 t\n")
    arguments = ["evaluate", "three.trec", "--qrels", "q.txt", "--metrics", "RR", "--ties"]
    main(arguments)
    printed = capsys.readouterr()
    assert "three: 1 judged topics have no relevant document and are left out (3)" in printed.err
    assert "no two documents of a topic have the same score" in printed.out  # of the topics that count
    main([*arguments, "--topics", "retrieved"])
    printed = capsys.readouterr()
    assert "left out" not in printed.err and "in 1 of 2 topics documents have equal scores" in printed.out


def test_values_that_read_the_same_are_both_the_best(files, capsys):
    for name, rank in (("one", 200), ("two", 201), ("three", 300)):
        lines = [f"1 Q0 {'a' if place == rank else f'x{place}'} {place} {-place} t\n" for place in range(1, 301)]
        (files / f"{name}.trec").write_text("".join(lines))
    main(["evaluate", *(f"{n}.trec" for n in ("one", "two", "three")), "--qrels", "q.txt", "--metrics", "RR",
          "--topics", "retrieved", "--format", "markdown"])  # fmt: skip
    values = [line.split("|")[2].strip() for line in capsys.readouterr().out.splitlines()[2:]]
    assert values == ["**0.0050**", "**0.0050**", "0.0033"]


def rows_of(text):
    return [line.split() for line in text.splitlines()]


def test_one_row_per_run_and_the_best_value_bold_in_markdown(files, capsys):
    arguments = ["evaluate", "one.trec", "two.trec", "--qrels", "q.txt", "--metrics", "RR", "P@1", "NumRet"]
    assert main([*arguments, "--format", "markdown"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "| run |     RR |    P@1 | NumRet |",
        "| --- | -----: | -----: | -----: |",
        "| one | 0.5000 | 0.3333 |      4 |",
        "| two | 0.5000 | 0.3333 |      4 |",  # equal values: none is best
    ]
    (files / "two.trec").write_text("1 Q0 a 1 2.0 t\n4 Q0 d 1 1.0 t\n")
    assert main([*arguments, "--format", "markdown", "--intervals"]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == "| two | **0.6667 [0.0000, 1.0000]** | **0.6667 [0.0000, 1.0000]** |      2 |"


def test_latex_is_a_tabular_whose_special_characters_are_escaped(files, capsys):
    (files / "a_b&c%.trec").write_text("1 Q0 a 1 2.0 t\n4 Q0 d 1 1.0 t\n2 Q0 b 1 1 t\n")
    main(["evaluate", "one.trec", "a_b&c%.trec", "--qrels", "q.txt", "--metrics", "RR", "R@100", "--format", "latex"])
    text = capsys.readouterr().out
    body = [line for line in text.splitlines() if not line.startswith("%")]
    assert body == [
        r"\begin{tabular}{lrr}",
        r"\toprule",
        r"run & RR & R@100 \\",
        r"\midrule",
        r"one & 0.5000 & 0.6667 \\",
        r"a\_b\&c\% & \textbf{1.0000} & \textbf{1.0000} \\",
        r"\bottomrule",
        r"\end{tabular}",
    ]
    assert "3 topics" in text and "booktabs" in text


def test_the_ceiling_is_what_a_perfect_order_of_the_candidates_gives(files, capsys):
    arguments = ["evaluate", "one.trec", "--qrels", "q.txt", "--metrics", "RR", "R@100"]
    assert main([*arguments, "--ceiling"]) == 0
    rows = rows_of(capsys.readouterr().out)
    assert rows[0] == ["run", "measure", "mean", "95%", "interval", "ceiling", "topics", "missing"]
    assert [(row[1], row[2], row[5]) for row in rows[1:]] == [("RR", "0.5000", "0.6667"), ("R@100", "0.6667", "0.6667")]
    main([*arguments, "--ceiling", "1", "--format", "json"])
    assert json.loads(capsys.readouterr().out)["runs"]["one"]["measures"]["RR"]["ceiling_1"] == 0.5
    main([*arguments, "--ceiling", "--format", "markdown"])
    assert "| one, ceiling | 0.6667 |" in capsys.readouterr().out


def test_ties_are_counted_bounded_and_explained(files, capsys):
    (files / "tied.trec").write_text(
        "1 Q0 a 1 1 t\n1 Q0 z 2 1 t\n2 Q0 b 1 1.0000000001 t\n2 Q0 c 2 1 t\n4 Q0 x 1 1 t\n4 Q0 y 1 1 t\n"
    )
    arguments = ["evaluate", "tied.trec", "--qrels", "q.txt", "--metrics", "RR", "--ties"]
    assert main(arguments) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "RR 0.5000 [0.0000, 1.0000] 0.5000 0.6667 3 0" in text
    assert "tied: in 2 of 3 topics documents have equal scores (4 documents, 2 pairs); in 1 of them" in text
    assert (
        "differ in grade (1 pairs)" in text and "in 1 topics some scores differ by less than single precision" in text
    )
    main([*arguments, "--format", "json"])
    found = json.loads(capsys.readouterr().out)["runs"]["tied"]
    assert found["ties"]["deciding_pairs"] == 1
    assert found["measures"]["RR"]["ties_best"] == pytest.approx(2 / 3)
    main([*arguments, "--format", "csv"])
    (row,) = csv.DictReader(capsys.readouterr().out.splitlines())
    assert (row["value"], row["ties_worst"]) == ("0.5", "0.5")
    main(["evaluate", "one.trec", "--qrels", "q.txt", "--ties"])
    assert "one: no two documents of a topic have the same score" in capsys.readouterr().out


def test_bug_the_values_of_topics_were_given_without_the_ceiling_and_the_ties_that_were_asked_for(files, capsys):
    (files / "tied.trec").write_text("1 Q0 a 1 1 t\n1 Q0 z 2 1 t\n2 Q0 c 1 2 t\n2 Q0 b 1 1 t\n")
    asked = ["--metrics", "RR", "--per-query", "--ceiling", "--ties"]
    main(["evaluate", "tied.trec", "--qrels", "q.txt", *asked, "--format", "csv"])
    assert [row.split(",")[2:] for row in capsys.readouterr().out.splitlines()] == [
        ["topic", "value", "ceiling", "ties_worst", "ties_best"],
        ["1", "0.5", "1.0", "0.5", "1.0"],
        ["2", "0.5", "1.0", "0.5", "0.5"],
        ["4", "0.0", "0.0", "0.0", "0.0"],
    ]
    main(["evaluate", "tied.trec", "--qrels", "q.txt", *asked, "--format", "json"])
    found = json.loads(capsys.readouterr().out)["runs"]["tied"]["measures"]["RR"]
    assert found["per_query_ceiling"] == {"1": 1.0, "2": 1.0, "4": 0.0}
    assert found["per_query_ties_best"] == {"1": 1.0, "2": 0.5, "4": 0.0}


def test_a_relevance_level_changes_the_measures_that_take_one(files, capsys):
    (files / "graded.txt").write_text("1 0 a 2\n1 0 z 1\n2 0 z 1\n")
    main(["evaluate", "one.trec", "--qrels", "graded.txt", "-l", "2", "--metrics", "RR", "nDCG@10", "P(rel=1)@1"])
    printed = capsys.readouterr()
    assert [(row[1], row[2]) for row in rows_of(printed.out)[1:]] == [
        ("RR(rel=2)", "0.5000"), ("nDCG@10", "1.0000"), ("P@1", "1.0000"),
    ]  # fmt: skip
    assert "-l 2: 1 topics have no document of that grade" in printed.err


def test_runs_of_other_formats_are_read_and_what_was_guessed_is_said(files, capsys):
    (files / "rows.jsonl").write_text('{"qid": 1, "docids": ["a", "z"]}\n{"qid": "2", "docids": ["b"]}\n')
    (files / "ms.tsv").write_text("1\tz\t1\n1\ta\t2\n")
    assert main(["evaluate", "rows.jsonl", "ms.tsv", "--qrels", "q.txt", "--metrics", "RR"]) == 0
    printed = capsys.readouterr()
    assert [(row[0], row[2]) for row in rows_of(printed.out)[1:]] == [("rows", "0.6667"), ("ms", "0.1667")]
    assert "ms: read as msmarco (qid, docid, rank, 1 is best); --run-format says otherwise" in printed.err
    assert "rows: read as" not in printed.err
    main(["evaluate", "ms.tsv", "--qrels", "q.txt", "--metrics", "RR", "--run-format", "tsv"])
    printed = capsys.readouterr()
    assert rows_of(printed.out)[1][2] == "0.3333" and "read as" not in printed.err
    (files / "qrels.jsonl").write_text('{"qid": "1", "docid": "a", "grade": 1}\n')
    assert main(["evaluate", "one.trec", "--qrels", "qrels.jsonl", "--metrics", "RR"]) == 0


def test_odd_files_are_read_and_what_is_odd_is_counted(files, capsys):
    (files / "odd.trec").write_text("1 Q0 a 2 2 t\n1 Q0 z 1 1 t\n2 Q0 b 1 1 t\n1 Q0 y 3 0 t\n")
    main(["evaluate", "odd.trec", "--qrels", "q.txt", "--metrics", "RR", "--format", "json"])
    printed = capsys.readouterr()
    assert "odd: in 1 of 2 topics the rank column contradicts the scores; the scores decide" in printed.err
    assert "(first: odd.trec:1: 'a' has rank 2 and score 2, but 'z' has rank 1 and score 1)" in printed.err
    assert "odd: 1 topics come back after others; their results were joined" in printed.err
    read = json.loads(printed.out)["runs"]["odd"]["read"]
    assert (read["format"], read["contradicting"], read["returning"], read["topics"]) == ("trec", 1, 1, 2)


def test_documents_that_the_collection_excludes_are_removed_before_scoring(files, capsys):
    folder = files / "beir"
    (folder / "qrels").mkdir(parents=True)
    (folder / "corpus.jsonl").write_text(
        "".join(f'{{"_id": "{d}", "title": "", "text": "x"}}\n' for d in ("q1", "a", "b"))
    )
    (folder / "queries.jsonl").write_text('{"_id": "q1", "text": "x"}\n')
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq1\ta\t1\n")
    (files / "self.trec").write_text("q1 Q0 q1 1 3 t\nq1 Q0 a 2 2 t\nq1 Q0 b 3 1 t\n")
    arguments = ["evaluate", "self.trec", "--collection", str(folder), "--metrics", "RR", "NumRet"]
    assert main(arguments) == 0
    printed = capsys.readouterr()
    assert [row[2] for row in rows_of(printed.out)[1:]] == ["1.0000", "2"]
    assert "self: 1 documents in 1 topics are excluded by the collection and were removed" in printed.err
    assert main([*arguments, "--keep-excluded"]) == 0
    printed = capsys.readouterr()
    assert [row[2] for row in rows_of(printed.out)[1:]] == ["0.5000", "3"] and "excluded" not in printed.err


def test_every_excluded_document_is_counted_once_also_where_its_topic_comes_back(files):
    (files / "back.trec").write_text("1 Q0 a 1 3 t\n1 Q0 b 2 2 t\n2 Q0 a 1 1 t\n1 Q0 c 3 1 t\n1 Q0 d 4 0 t\n")
    file = RunFile("back", "back.trec", "auto", {"1": frozenset("acz"), "9": frozenset("a")})
    assert dict(file.results()) == {"1": {"b": 2.0, "d": 0.0}, "2": {"a": 1.0}}
    assert file.excluded == {"1": 2} and "back: 2 documents in 1 topics are excluded" in file.remarks()[-1]


def test_what_a_collection_excludes_is_removed_without_a_look_at_its_corpus_or_queries(files, capsys):
    folder = files / "beir"
    (folder / "qrels").mkdir(parents=True)
    for name in ("corpus.jsonl", "queries.jsonl"):
        (folder / name).write_text("whoever reads this refuses it\n")
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq1\ta\t1\n")
    (files / "self.trec").write_text("q1 Q0 q1 1 3 t\nq1 Q0 a 2 2 t\n")
    assert main(["evaluate", "self.trec", "--collection", str(folder), "--metrics", "RR"]) == 0
    printed = capsys.readouterr()
    assert [row[2] for row in rows_of(printed.out)[1:]] == ["1.0000"]
    assert "self: 1 documents in 1 topics are excluded by the collection and were removed" in printed.err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (
            ["one.trec", "--qrels", "q.txt", "--per-query", "--format", "markdown"],
            "--per-query is written in the formats",
        ),
        (["one.trec", "--qrels", "q.txt", "--ceiling", "-3"], "--ceiling takes a number of documents from 1, got -3"),
        (["one.trec", "--qrels", "q.txt", "-l", "0"], "a relevance level must be a whole number from 1, got 0"),
        (["one.trec", "--qrels", "q.txt", "--run-format", "jsonl"], "one.trec:1: not JSON"),
        (["one.trec", "--collection", "scifact", "--qrels-format", "trec"], "--qrels-format belongs to --qrels"),
        (["nope.trec", "--qrels", "q.txt"], "run not found: nope.trec"),
        (["one.trec", "--qrels", "nope"], "qrels not found: nope"),
        (["nan.trec", "--qrels", "q.txt"], "nan.trec:1: the score of document 'a' is nan"),
        (["twice.trec", "--qrels", "q.txt"], "twice.trec:2: document 'a' is listed twice for topic '1'"),
        (["short.trec", "--qrels", "q.txt"], "short.trec:1: expected 6 fields"),
        (["empty", "--qrels", "q.txt"], "no results in empty"),
        (["one.trec", "--qrels", "empty"], "no judgements in empty"),
        (["one.trec", "--qrels", "q.txt", "--metrics", "ndgc@10"], "did you mean 'nDCG@10'"),
        (["one.trec", "--qrels", "q.txt", "--split", "test"], "--split belongs to --collection"),
        (["one.trec", "one.trec", "--qrels", "q.txt"], "one.trec is given twice"),
        (["other.trec", "--qrels", "q.txt"], "other: the run and the qrels share no topic"),
        (["one.trec", "--qrels", "q.txt", "--seed", "-1"], "--seed must not be negative"),
    ],
)
def test_what_is_wrong_is_said_in_one_line_and_nothing_is_written(files, capsys, arguments, says):
    (files / "nan.trec").write_text("1 Q0 a 1 nan t\n")
    (files / "twice.trec").write_text("1 Q0 a 1 2 t\n1 Q0 a 2 1 t\n")
    (files / "short.trec").write_text("1 Q0 a\n")
    (files / "empty").write_text("")
    (files / "other.trec").write_text("77 Q0 a 1 2 t\n")
    before = sorted(files.iterdir())
    assert main(["evaluate", *arguments, "-o", "result.json"]) == 1
    printed = capsys.readouterr()
    assert printed.out == "" and says in printed.err and printed.err.count("\n") == 1
    assert sorted(files.iterdir()) == before
