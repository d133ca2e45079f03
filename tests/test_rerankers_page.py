"""`docs/rerankers.md`: every reranker, the costs that plans give, commands that the command line takes."""

import argparse
import re
import shlex
import sys
from pathlib import Path

import pytest

from rankrl.cards import parameters, part_of
from rankrl.commands.rerank import add_arguments
from rankrl.errors import ConfigError
from rankrl.lookup import names
from rankrl.reranking import build_reranker, read_options
from rankrl.training.dataset import check_trainable

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "rerankers.md").read_text(encoding="utf-8")
ROWS = {
    cells[1].strip("` "): cells for line in PAGE.splitlines() if (cells := line.split("|")) and line.startswith("| `")
}
COMMANDS = re.findall(r"^    (rankrl .*)$", PAGE, re.MULTILINE)


def paragraph(name):
    """What is said about a reranker, up to the next one."""
    return re.split(r"^\*\*`|^## ", PAGE.partition(f"\n**`{name}`**")[2], flags=re.MULTILINE)[0]


def test_the_table_has_every_reranker_once_with_its_cost():
    assert sorted(ROWS) == names("rerankers") and PAGE.count("\n| `") == len(ROWS)
    for name, cells in ROWS.items():
        plan = part_of(name)().plan(100)
        assert [int(cell) for cell in cells[4:7]] == [round(plan.calls_mean), plan.depth, plan.shown], name


@pytest.mark.parametrize("name", names("rerankers"))
def test_each_has_a_paragraph_with_a_command_and_what_compat_does(name):
    text = paragraph(name)
    assert f"rankrl rerank {name} " in text
    assert ("compat=upstream" in text) == ("compat" in parameters(part_of(name)))
    told = sys.modules[part_of(name).__module__].__doc__
    assert told is not None
    for paper in re.findall(r"abs/([\d.]+)", "".join(ROWS[name])):
        assert f"arXiv:{paper}" in told or paper in told


@pytest.mark.parametrize("command", COMMANDS)
def test_its_commands_are_taken_and_their_options_exist(command):
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    arguments = parser.parse_args(shlex.split(command)[2:])
    build_reranker(arguments.reranker, read_options(arguments.option))


def test_what_it_says_in_numbers_of_other_options_is_what_plans_say():
    def calls(name, **options):
        return part_of(name)(**options).plan(100)

    assert calls("setwise", num_child=19).calls_mean == pytest.approx(23, abs=0.5)
    assert calls("prp", sort="allpair").calls_max == 9900 and calls("prp").calls_max == 1890
    assert calls("prp", sort="heap").calls_mean == pytest.approx(530, abs=5)
    assert calls("rank1").calls_max == calls("erank", score="expectation").calls_max == 200


def test_it_names_those_that_can_be_trained():
    named = PAGE.partition("does not begin the answer:")[2].partition(". The others")[0]
    assert set(re.findall(r"`(\w+)`", named)) == {name for name in names("rerankers") if _trainable(name)}


def _trainable(name):
    try:
        check_trainable(name, part_of(name)())
    except ConfigError:
        return False
    return True
