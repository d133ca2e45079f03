"""Names of the parts on a shelf, with what each is."""

from __future__ import annotations

import argparse

SHELVES = ("rewards", "rerankers", "retrievers", "collections")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shelf", choices=SHELVES, help="which shelf to read")


def run(args: argparse.Namespace) -> int:
    if args.shelf == "collections":
        from rankrl.lookup import shelf

        shelf("retrievers")
        from retrieval.collections import summaries as collection_summaries

        found = collection_summaries()
    else:
        from rankrl.lookup import summaries

        found = summaries(args.shelf)
    width = max((len(name) for name in found), default=0)
    for name, line in found.items():
        print(f"{name:<{width}}  {line}")
    return 0
