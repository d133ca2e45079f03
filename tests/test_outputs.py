"""Where results go: nothing that is read is replaced, nothing is cut in a file, and LaTeX takes what is written for it."""

from __future__ import annotations

import os
import pty
import shutil
import subprocess
import sys
from contextlib import suppress

import pytest

from rankrl.cli import main
from rankrl.commands._outputs import check_output
from rankrl.commands._tables import latex
from rankrl.errors import ConfigError
from rankrl.runs import write_qrels, write_run

LONG = "rerank.splade_p_p_ensemble_distil.rankvicuna.20230913T115832"
HOSTILE = ("[p]", "p--q", 'we{i}rd_$%&#~^\\x "q" <a>|b', "caf\u00e9 2023-09-13")


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_qrels("q.txt", {"q1": {"r": 1}, "q2": {"r": 1}})
    write_run("a.trec", {"q1": {"r": 2.0, "x": 1.0}, "q2": {"x": 2.0, "r": 1.0}}, tag="a")
    write_run(f"{LONG}.trec", {"q1": {"r": 1.0}, "q2": {"r": 1.0}}, tag="b")
    return tmp_path


COMMANDS = {
    "compare": ["compare", "a.trec", f"{LONG}.trec", "--qrels", "q.txt"],
    "evaluate": ["evaluate", "a.trec", f"{LONG}.trec", "--qrels", "q.txt"],
    "report": ["report", "a.trec", f"{LONG}.trec", "--qrels", "q.txt"],
}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("target", ["a.trec", "link.trec", "q.txt"])
def test_bug_a_run_or_the_qrels_could_be_replaced_by_the_table_about_them(files, capsys, command, target):
    (files / "link.trec").symlink_to("a.trec")
    before = {path: path.read_bytes() for path in files.iterdir()}
    assert main([*COMMANDS[command], "-o", target]) == 1
    printed = capsys.readouterr()
    assert printed.err == f"rankrl: error: -o {target} is one of the files to read; give another name\n"
    assert printed.out == "" and {path: path.read_bytes() for path in files.iterdir()} == before


@pytest.mark.parametrize("command", COMMANDS)
def test_a_dash_is_standard_output(files, capsys, command):
    assert main([*COMMANDS[command], "-o", "-"]) == 0
    assert LONG in capsys.readouterr().out and not (files / "-").exists()


def test_where_nothing_can_be_written_is_said_before_anything_is_read(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"--x .*file/new cannot be written: .*file is not a folder that you may"):
        check_output("--x", str(tmp_path / "file" / "new"))
    with pytest.raises(ConfigError, match=r"--x .* is a folder; give the name of a file"):
        check_output("--x", str(tmp_path))
    check_output("--x", os.devnull, reads=[os.devnull])  # devices are not replaced
    check_output("--x", str(tmp_path / "to" / "be" / "made"), reads=[str(tmp_path / "not there")])


def in_a_terminal(*arguments: str) -> str:
    """What the command shows on a terminal of 80 columns."""
    shown, terminal = pty.openpty()
    command = [sys.executable, "-m", "rankrl", *arguments]
    with subprocess.Popen(command, stdout=terminal, env={**os.environ, "COLUMNS": "80"}) as process:
        os.close(terminal)
        printed = b""
        with suppress(OSError):  # how the end of a terminal is told
            while block := os.read(shown, 65536):
                printed += block
    os.close(shown)
    assert process.returncode == 0
    return printed.decode()


@pytest.mark.parametrize("command", ["compare", "evaluate"])
def test_bug_names_were_cut_in_a_file_when_the_command_was_given_in_a_terminal(files, command):
    assert LONG not in in_a_terminal(*COMMANDS[command])
    assert in_a_terminal(*COMMANDS[command], "-o", "table.txt") == ""
    written = (files / "table.txt").read_text()
    assert LONG in written and "\u2026" not in written


def test_signs_of_numbers_are_minus_signs_in_latex_and_hyphens_stay_hyphens():
    rows = [["a--b", "-0.5", "[-0.1, +0.2]"], ["2023-09-13", "0.5", "3-4"]]
    lines = latex(["run", "x", "y"], rows, bold={(0, 1)}).splitlines()
    assert r"a-{}-b & \textbf{$-$0.5} & {[$-$0.1, +0.2]} \\" in lines
    assert r"2023-09-13 & 0.5 & 3-4 \\" in lines


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="there is no pdflatex on this machine")
@pytest.mark.parametrize("command", [["evaluate", "--intervals", "--ties"], ["compare", "--all-pairs"]])
def test_latex_sets_the_tables_whatever_the_runs_are_called(files, capsys, command):
    names = [f"{name}.trec" for name in HOSTILE]
    for name in names:
        shutil.copy("a.trec", name)
    assert main([*command, *names, "--qrels", "q.txt", "--format", "latex", "--metrics", "P(rel=1)@5", "RR"]) == 0
    table = capsys.readouterr().out
    packages = r"\usepackage{booktabs}\usepackage[paperwidth=60cm]{geometry}"
    (files / "t.tex").write_text(f"\\documentclass{{article}}{packages}\\begin{{document}}\n{table}\\end{{document}}\n")
    done = subprocess.run(["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "t.tex"], capture_output=True)
    assert done.returncode == 0, done.stdout.decode(errors="replace")[-800:]
