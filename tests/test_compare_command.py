"""`rankrl compare`: what it prints, writes and refuses."""

from __future__ import annotations

import csv
import json

import pytest

from rankrl.cli import main
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
    (from_json,) = json.loads(capsys.readouterr().out)["differences"]
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
        (["base.trec", "same.trec", "--qrels", "q.txt", "--metric", "NumRet"], "NumRet is a sum over topics"),
        (["base.trec", "same.trec", "--qrels", "q.txt", "--metric", "MAPP"], "did you mean 'AP'"),
    ],
)
def test_what_is_wrong_is_said_in_one_line_and_nothing_is_written(files, capsys, arguments, says):
    before = sorted(files.iterdir())
    assert main(["compare", *arguments, "-o", "result.csv"]) == 1
    printed = capsys.readouterr()
    assert printed.out == "" and says in printed.err and printed.err.count("\n") == 1
    assert sorted(files.iterdir()) == before


def test_one_run_is_wrong_usage(files, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["compare", "base.trec", "--qrels", "q.txt"])
