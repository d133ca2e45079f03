"""Fuse runs into one: reciprocal ranks, sums of min-max or z-scores, weighted sums, CombMNZ.

  rankrl fuse runs/bm25.trec runs/dense.trec -o runs/rrf.trec
  rankrl fuse runs/bm25.trec runs/dense.trec --method minmax --weights 0.3 0.7 --k 100 -o runs/hybrid.trec

A document that a run does not list for a topic gets 0 from it; with zscore, the run's lowest z-score there. Ties are broken by
docid, descending. Beside the run, RUN.json says which runs (SHA-256) were fused and how.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rankrl.commands._runs import deliver_run
from rankrl.errors import ConfigError
from rankrl.types import Run

METHODS = ("rrf", "minmax", "zscore", "weighted", "combmnz")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("runs", nargs="+", metavar="RUN", help="two run files or more")
    parser.add_argument("--method", choices=METHODS, default="rrf", help="(default: %(default)s)")
    parser.add_argument(
        "--weights", nargs="+", type=float, metavar="W", help="one for each run, in the same order (default: 1 each)"
    )
    parser.add_argument("--rrf-k", type=float, metavar="K", help="the constant of rrf: 1 / (K + rank) (default: 60)")
    parser.add_argument("--depth", type=int, metavar="N", help="only the best N of each list count (default: all)")
    parser.add_argument("--k", type=int, metavar="N", help="documents per topic, at most (default: all)")
    parser.add_argument("--tag", default="fused", help="the run's name in its last column (default: %(default)s)")
    parser.add_argument("-o", "--output", required=True, metavar="RUN", help="the run file to write (-: stdout)")


def run(args: argparse.Namespace) -> int:
    from rankrl.lookup import shelf
    from rankrl.provenance import source_facts, write_provenance
    from rankrl.runs import read_run

    shelf("retrievers")
    from retrieval.fusion import RRF_CONSTANT, fuse, reciprocal_rank_fusion

    if len(args.runs) < 2:
        raise ConfigError(f"one run ({args.runs[0]}) cannot be fused; give two or more")
    if twice := [path for path, count in Counter(args.runs).items() if count > 1]:
        raise ConfigError(f"the run {twice[0]} is given twice; --weights makes a run count more")
    if args.rrf_k is not None and args.method != "rrf":
        raise ConfigError(f"--rrf-k belongs to --method rrf; {args.method} has no such constant")
    constant = RRF_CONSTANT if args.rrf_k is None else args.rrf_k
    inputs = [source_facts(path) for path in args.runs]
    runs: list[Run] = [read_run(path) for path in args.runs]
    options: dict[str, Any] = {"weights": args.weights, "depth": args.depth, "k": args.k}
    if args.method == "rrf":
        fused = reciprocal_rank_fusion(runs, constant=constant, **options)
        options["rrf_k"] = constant
    else:
        fused = fuse(runs, args.method, **options)
    deliver_run(args.output, fused, tag=args.tag)
    if args.output != "-" and Path(args.output).is_file():  # not a pipe or /dev/null
        write_provenance(
            args.output, {"fusion": {"method": args.method, **options}, "runs": [facts for facts, _ in inputs]}
        )
        for _, remark in inputs:
            if remark:
                print(remark, file=sys.stderr)
    _report(args, runs, fused)
    return 0


def _report(args: argparse.Namespace, runs: Sequence[Run], fused: Run) -> None:
    documents = sum(map(len, fused.values()))
    where = "stdout" if args.output == "-" else args.output
    print(
        f"{args.method} of {len(runs)} runs: {len(fused)} topics, {documents} documents listed, written to {where}",
        file=sys.stderr,
    )
    for path, one in zip(args.runs, runs, strict=True):
        if lacking := len(fused.keys() - one.keys()):
            print(f"{path} lacks {lacking} of {len(fused)} topics; they are fused from the other runs", file=sys.stderr)
