"""The command itself: finding commands, exit codes, one line for what is refused."""

import subprocess
import sys

import pytest

from rankrl import __version__
from rankrl.cli import command_summaries, main

RANKRL = [sys.executable, "-m", "rankrl"]


def test_every_command_has_a_summary_and_help(capsys):
    summaries = command_summaries()
    assert {"retrieve", "rerank", "evaluate", "compare", "doctor", "list"} <= set(summaries)
    for name, line in summaries.items():
        assert line.endswith("."), name
        with pytest.raises(SystemExit) as stopped:
            main([name, "--help"])
        assert stopped.value.code == 0 and f"usage: rankrl {name}" in capsys.readouterr().out


def test_help_lists_the_commands_and_version_is_the_packages(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    shown = capsys.readouterr().out
    assert all(f"  {name} " in shown for name in command_summaries())
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out.strip() == f"rankrl {__version__}"


def test_a_typo_is_met_with_the_nearest_command(capsys):
    assert main(["evalaute"]) == 1
    assert "no command 'evalaute', did you mean 'evaluate'?" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["evaluate"], ["list", "nonsense"], ["evaluate", "--nonsense"]])
def test_wrong_usage_exits_with_2(arguments):
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2


@pytest.mark.parametrize("shelf", ["rewards", "rerankers", "retrievers", "collections"])
def test_list_names_the_parts_with_a_line_each(shelf, capsys):
    assert main(["list", shelf]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines and all(len(line.split(maxsplit=1)) == 2 for line in lines)


def test_a_closed_pipe_is_no_error():
    done = subprocess.run(f"{sys.executable} -m rankrl list rewards | true", shell=True, capture_output=True, text=True)
    assert "Traceback" not in done.stderr and "BrokenPipe" not in done.stderr


def test_what_is_refused_is_one_line_without_a_traceback(tmp_path):
    done = subprocess.run([*RANKRL, "evaluate", "gone.trec", "--collection", "scifact"], capture_output=True, text=True)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr == "rankrl: error: run not found: gone.trec\n"
