"""`rankrl fuse`, as a user runs it."""

from __future__ import annotations

import hashlib
import os
import subprocess

import pytest

from rankrl.cli import main
from rankrl.commands.fuse import METHODS as OFFERED
from rankrl.provenance import read_provenance, write_provenance
from rankrl.runs import parse_run, read_run, write_run
from retrieval.fusion import METHODS, fuse, reciprocal_rank_fusion

LEFT = {"q1": {"a": 3.0, "b": 2.0, "c": 1.0}, "q2": {"a": 1.0}}
RIGHT = {"q1": {"a": 0.1, "d": 0.2}}


@pytest.fixture
def runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_run("left.trec", LEFT, tag="l")
    write_run("right.trec", RIGHT, tag="r")
    return ["left.trec", "right.trec"]


def test_every_method_of_the_library_is_offered():
    assert set(OFFERED) == set(METHODS)


@pytest.mark.parametrize("method", OFFERED)
def test_the_file_holds_what_the_library_fuses(runs, method, capsys):
    options = ["--method", method, "--weights", "0.3", "0.7", "--k", "3", "--depth", "2"]
    assert main(["fuse", *runs, *options, "-o", "out/fused.trec"]) == 0
    assert read_run("out/fused.trec") == fuse([LEFT, RIGHT], method, weights=[0.3, 0.7], k=3, depth=2)
    said = capsys.readouterr().err
    assert f"{method} of 2 runs: 2 topics" in said and "written to out/fused.trec" in said
    assert "right.trec lacks 1 of 2 topics" in said and "left.trec lacks" not in said


def test_rrf_with_another_constant_and_a_record_of_everything(runs):
    write_provenance("left.trec", {"retriever": {"engine": "x"}})
    assert main(["fuse", *runs, "--rrf-k", "10", "--tag", "both", "-o", "fused.trec"]) == 0
    assert read_run("fused.trec") == reciprocal_rank_fusion([LEFT, RIGHT], constant=10)
    found = read_provenance("fused.trec")
    assert found["fusion"] == {"method": "rrf", "weights": None, "depth": None, "k": None, "rrf_k": 10.0}
    assert [one["path"] for one in found["runs"]] == runs
    with open("left.trec", "rb") as file:
        assert found["runs"][0]["sha256"] == hashlib.sha256(file.read()).hexdigest()
    assert found["runs"][0]["described_as"]["retriever"] == {"engine": "x"}
    assert found["runs"][1]["described_as"] is None
    with open("fused.trec") as file:
        assert all(line.endswith(" both\n") for line in file)


def test_the_order_of_the_runs_changes_no_byte_of_a_topic(runs):
    for order, name in ((runs, "a"), (runs[::-1], "b")):
        assert main(["fuse", *order, "--method", "zscore", "-o", name]) == 0
    with open("a") as one, open("b") as other:
        assert sorted(one) == sorted(other)


def test_a_dash_is_standard_output_and_leaves_no_file(runs, tmp_path, capsys):
    before = set(tmp_path.iterdir())
    assert main(["fuse", *runs, "-o", "-"]) == 0
    printed = capsys.readouterr()
    expected = reciprocal_rank_fusion([LEFT, RIGHT])
    assert parse_run(printed.out.splitlines(), "stdout") == expected and "written to stdout" in printed.err
    (tmp_path / "-").write_text("somebody's file\n")
    assert main(["fuse", *runs, "-o", "-"]) == 0
    assert set(tmp_path.iterdir()) == {*before, tmp_path / "-"}


def test_a_run_from_a_pipe_is_fused_and_has_no_hash(runs):
    os.mkfifo("pipe")
    with subprocess.Popen(["cp", "right.trec", "pipe"]) as writer:
        assert main(["fuse", "left.trec", "pipe", "-o", "fused.trec"]) == 0
        assert writer.wait(10) == 0
    assert read_run("fused.trec") == reciprocal_rank_fusion([LEFT, RIGHT])
    assert read_provenance("fused.trec")["runs"][1] == {"path": "pipe", "sha256": None, "described_as": None}


@pytest.mark.parametrize(
    "arguments, complaint",
    [
        (
            ["left.trec", "right.trec", "left.trec"],
            "the run left.trec is given twice; --weights makes a run count more",
        ),
        (["left.trec"], "one run (left.trec) cannot be fused"),
        (["left.trec", "nowhere.trec"], "nowhere.trec"),
        (["left.trec", "right.trec", "--weights", "1"], "1 weights for 2 runs"),
        (["left.trec", "right.trec", "--weights", "0", "0"], "not all 0"),
        (["left.trec", "right.trec", "--k", "0"], "k is 0"),
        (["left.trec", "right.trec", "--rrf-k", "-1"], "constant of reciprocal rank fusion is -1"),
        (["left.trec", "right.trec", "--rrf-k", "5", "--method", "minmax"], "--rrf-k belongs to --method rrf"),
        (["left.trec", "broken.trec"], "broken.trec:1: "),
    ],
)
def test_what_cannot_be_done_is_one_line_and_leaves_no_file(runs, tmp_path, capsys, arguments, complaint):
    (tmp_path / "broken.trec").write_text("q1 Q0 d1 1\n")
    assert main(["fuse", *arguments, "-o", "out.trec"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("rankrl: error: ") and said.count("\n") == 1 and complaint in said
    assert not (tmp_path / "out.trec").exists() and not (tmp_path / "out.trec.json").exists()


def test_a_description_of_another_version_of_an_input_is_said_and_left_out(runs, capsys):
    write_provenance("left.trec", {"retriever": "old"})
    write_run("left.trec", RIGHT, tag="l")
    assert main(["fuse", *runs, "-o", "out.trec"]) == 0
    assert "left out of the new description: left.trec.json describes another version" in capsys.readouterr().err
    with open("left.trec", "rb") as file:
        digest = hashlib.sha256(file.read()).hexdigest()
    assert read_provenance("out.trec")["runs"][0] == {"path": "left.trec", "sha256": digest, "described_as": None}
