"""Names to parts, and the guard against other packages called `rewards` or `retrieval`."""

import subprocess
import sys

import pytest

from rankrl.errors import ConfigError
from rankrl.lookup import lookup, names, shelf, summaries


def test_a_part_is_found_by_its_modules_name():
    assert lookup("ndcg", "rewards").__name__ == "ndcg"
    assert lookup("rank_r1", "rerankers").__name__ == "RankR1"
    assert lookup("bm25", "retrievers").__name__ == "BM25"


def test_a_full_path_is_found_anywhere():
    assert lookup("rankrl.metrics:ndcg", "rewards").__module__ == "rankrl.metrics"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("ndgc", "did you mean 'ndcg'"),
        ("xyz", "there are: "),
        ("no_such_package.x:y", "cannot import 'no_such_package.x'"),
        ("rankrl.metrics:ndgc", "did you mean 'ndcg'"),
        ("_shown", "no reward '_shown'"),
    ],
)
def test_an_unknown_name_says_what_there_is(spec, message):
    with pytest.raises(ConfigError, match=message.replace("(", r"\(")):
        lookup(spec, "rewards")


def test_what_a_users_module_raises_on_import_is_told(tmp_path, monkeypatch):
    (tmp_path / "broken_rewards.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError, match="ZeroDivisionError"):
        lookup("broken_rewards:score", "rewards")


def test_summaries_are_first_docstring_lines_of_every_part():
    for shelf_name in ("rewards", "rerankers", "retrievers"):
        found = summaries(shelf_name)
        assert list(found) == names(shelf_name) and all(found.values())
    assert "_shown" not in summaries("rewards") and "collections" not in summaries("retrievers")


def test_shelf_of_another_name_is_refused():
    with pytest.raises(ConfigError, match="did you mean 'rewards'"):
        names("reward")
    assert shelf("rewards").__name__ == "rewards"


@pytest.mark.parametrize("kind", ["package", "module"])
def test_a_namesake_first_on_the_path_is_named_and_not_used(tmp_path, kind):
    if kind == "package":
        (tmp_path / "rewards").mkdir()
        (tmp_path / "rewards" / "__init__.py").write_text("")
    else:
        (tmp_path / "rewards.py").write_text("def ndcg(): ...\n")
    code = "from rankrl.lookup import lookup; lookup('ndcg', 'rewards')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode != 0
    assert str(tmp_path) in done.stderr and "rename or uninstall" in done.stderr
