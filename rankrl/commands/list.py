"""Names of the parts on a shelf, with what each is."""

from __future__ import annotations

import argparse

SHELVES = ("rewards", "rerankers", "retrievers", "collections")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shelf", choices=SHELVES, help="which shelf to read")


def run(args: argparse.Namespace) -> int:
    print_names(args.shelf)
    return 0


def print_names(shelf_name: str) -> None:
    """Print each name of a shelf with its line; for collections also the ways of naming what has no name of its own."""
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
    for name, line in found.items():
        print(f"{name:<{width}}  {line}")
