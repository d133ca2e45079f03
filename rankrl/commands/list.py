"""Names of the parts on a shelf, with what each is."""

from __future__ import annotations

import argparse
from collections.abc import Iterable

_CANDIDATES = 100
_HEAD = f"for {_CANDIDATES} candidates:"

SHELVES = ("rewards", "rerankers", "retrievers", "collections")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shelf", choices=SHELVES, help="which shelf to read")


def run(args: argparse.Namespace) -> int:
    print_names(args.shelf)
    return 0


def print_names(shelf_name: str) -> None:
    """Print each name of a shelf with its line; for rerankers also what they cost, for collections the other ways to name one."""
    if shelf_name == "collections":
        from rankrl.lookup import shelf

        shelf("retrievers")
        from retrieval.collections import PATTERNS
        from retrieval.collections import summaries as collection_summaries

        found = collection_summaries() | PATTERNS
    else:
        from rankrl.lookup import summaries

        found = summaries(shelf_name)
    width = max((len(name) for name in found), default=0)
    plans = _plans(found) if shelf_name == "rerankers" else {}
    if plans:
        width = max(width, len(_HEAD))
        print(f"{_HEAD:<{width}}  {'calls':>5}  depth  shown")
    for name, line in found.items():
        print(f"{name:<{width}}  {plans.get(name, '')}{line}")


def _plans(names: Iterable[str]) -> dict[str, str]:
    """Name -> what a reranker as it comes costs, in columns; blank for one that has no plan.

    Calls are those expected, depth is the longest chain of calls that wait for one another, shown the passages of a prompt.
    """
    from rankrl.cards import part_of

    columns = {}
    for name in names:
        make = getattr(part_of(name)(), "plan", None)
        plan = None if make is None else make(_CANDIDATES)
        cells = ("", "", "") if plan is None else (f"{plan.calls_mean:,.0f}", plan.depth, plan.shown)
        columns[name] = "".join(f"{cell:>5}  " for cell in cells)
    return columns
