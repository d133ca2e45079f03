"""`rankrl evaluate`: what it prints, writes and refuses."""

from __future__ import annotations

import csv
import json

import pytest

from rankrl.cli import main


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


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
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
