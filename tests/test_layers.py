"""Imports point down, make no circle, and do nothing heavy: the rooms of the house and who may enter which."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("rankrl", "rewards", "retrieval", "scripts", "benchmarks")

ROOMS = [
    {"rankrl", "rankrl.errors", "rankrl.types", "rankrl.contracts", "rankrl.files", "rankrl.pretrained"},
    {"rankrl.parsing", "rankrl.metrics", "rankrl.statistics", "rankrl.runs", "rankrl.strategies", "rankrl.rl"},
    {"rankrl.rerankers", "rankrl.allocators", "rewards", "retrieval"},
    {
        "rankrl.cards", "rankrl.comparison", "rankrl.doctor", "rankrl.engines", "rankrl.evaluation", "rankrl.lookup",
        "rankrl.measures", "rankrl.provenance", "rankrl.replaying", "rankrl.report", "rankrl.reranking",
        "rankrl.serving", "rankrl.testing", "rankrl.training",
    },
    {"rankrl.cli", "rankrl.__main__", "rankrl.train", "rankrl.commands", "scripts", "benchmarks"},
]  # fmt: skip
"""Room 0 is the vocabulary, 1 the pure room, 2 the shelves, 3 the shell, 4 where everything meets."""

APART = [
    {"rankrl.rl"},
    {"rankrl.parsing"},
    {"rankrl.metrics"},
    {"rankrl.statistics"},
    {"rankrl.runs"},
    {"rankrl.strategies"},
]
"""Parts of the pure room that never import each other."""

SHELVES = ("rankrl.rerankers", "rankrl.allocators", "rewards", "retrieval")


def room(module: str) -> tuple[int, str] | None:
    """(floor, room) of the longest room name that holds the module."""
    best: tuple[int, str] | None = None
    for floor, names in enumerate(ROOMS):
        for name in names:
            inside = module == name or (module.startswith(name + ".") and name != "rankrl")
            if inside and (best is None or len(name) > len(best[1])):
                best = (floor, name)
    return best


def modules():
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            yield ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"), path


def imports(module: str, path: Path, *, top_level_only: bool = False):
    """Names of imported modules, relative ones made absolute; with `TYPE_CHECKING` blocks left out."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    typing_only = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        for inner in ast.walk(node)
    }
    for node in tree.body if top_level_only else ast.walk(tree):
        if node in typing_only:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package.split(".")[: len(package.split(".")) - node.level + 1]) if node.level else ""
            name = ".".join(part for part in (base, node.module or "") if part)
            yield name
            yield from (f"{name}.{alias.name}" for alias in node.names)


def test_every_module_has_a_room():
    homeless = [module for module, _ in modules() if room(module) is None]
    assert not homeless, f"give them a room in this file and in the design: {homeless}"


def test_imports_point_down():
    wrong = []
    for module, path in modules():
        here = room(module)
        for target in imports(module, path):
            there = room(target)
            if here and there and there[0] > here[0] and target != "rankrl":
                wrong.append(f"{module} (floor {here[0]}) imports {target} (floor {there[0]})")
    assert not wrong, "\n".join(wrong)


def test_shelves_and_the_parts_of_the_pure_room_do_not_import_each_other():
    wrong = []
    for module, path in modules():
        here = room(module)
        if here is None or here[0] not in (1, 2):
            continue
        for target in imports(module, path):
            there = room(target)
            if there and there[0] == here[0] and there[1] != here[1]:
                wrong.append(f"{module} imports {target}")
    assert not wrong, "\n".join(wrong)


def test_core_reaches_the_shelves_by_name_only():
    allowed = {"rankrl.commands", "rankrl.train", "scripts", "benchmarks"}
    wrong = [
        f"{module} imports {target}"
        for module, path in modules()
        for target in imports(module, path, top_level_only=True)
        if target.split(".")[0] in ("rewards", "retrieval") and module.split(".")[0] != target.split(".")[0]
        if room(module)[1] not in allowed
    ]
    assert not wrong, "\n".join(wrong)


def test_there_is_no_circle_of_top_level_imports():
    known = {module for module, _ in modules()}
    graph = {m: {t for t in imports(m, p, top_level_only=True) if t in known and t != m} for m, p in modules()}
    done: set[str] = set()

    def visit(module, trail):
        assert module not in trail, " -> ".join([*trail[trail.index(module) :], module])
        if module not in done:
            for target in sorted(graph[module]):
                visit(target, [*trail, module])
            done.add(module)

    for module in sorted(graph):
        visit(module, [])


def test_private_names_of_trl_appear_in_one_module_and_the_overrides():
    private = {"_metrics", "_logs", "_buffered_inputs", "_step", "_prepare_inputs"}
    for module, path in modules():
        if module != "rankrl.training._trl_compat":
            found = {n.attr for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Attribute)} & private
            assert not found, f"{module} uses {found}; go through rankrl.training._trl_compat"


HEAVY = (
    "torch", "numpy", "transformers", "trl", "peft", "datasets", "bm25s", "ir_measures", "rich", "scipy",
    "pandas", "pyarrow", "faiss", "pyserini", "jnius", "sentence_transformers", "ir_datasets", "jinja2", "matplotlib",
    "yaml", "openai", "vllm", "httpx",
)  # fmt: skip


EVERY = """
import importlib, pkgutil
import {0} as package
for module in pkgutil.iter_modules(package.__path__): importlib.import_module("{0}." + module.name)
"""


@pytest.mark.parametrize(
    "statement",
    [
        "import rankrl",
        "import rankrl.types, rankrl.contracts, rankrl.lookup, rankrl.parsing, rankrl.metrics, rankrl.runs",
        "import rewards, retrieval, rewards.ndcg, rewards.unlikeliness, retrieval.collections",
        "from rankrl.cli import main\ntry: main(['--help'])\nexcept SystemExit: pass",
        "import rankrl.rerankers.rank_r1, rankrl.strategies.heap, rankrl.reranking",
        EVERY.format("rankrl.rerankers"),
        EVERY.format("rankrl.engines"),
        EVERY.format("rankrl.strategies"),
        EVERY.format("rankrl.commands"),
    ],
)
def test_import_does_nothing_heavy(statement):
    check = f"{statement}\nimport sys\nprint([m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
