"""Look at collections: list them, show one, audit what its splits share, verify its files.

  rankrl collections list
  rankrl collections show scifact
  rankrl collections audit scifact --splits train test
  rankrl collections verify scifact

audit says what two splits share: relevant documents, topics with equal or nearly equal texts, nearly equal relevant documents;
and which topics of the second split are free of all that. verify compares SHA-256 and counts with what the collection records
about itself, and exits with 1 where they differ.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rankrl.commands import _runs
from rankrl.errors import ConfigError

if TYPE_CHECKING:
    from retrieval.collections import Collection
    from retrieval.collections.audit import Overlap, Pair

_NAME_HELP = "a name or a way of naming from `rankrl collections list`"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="list|show|audit|verify")
    _action(actions, "list", "names, and ways of naming collections", _list)
    show = _action(actions, "show", "counts and SHA-256s of a collection and its splits", _show)
    show.add_argument("name", metavar="NAME", help=_NAME_HELP)
    _output(show)
    audit = _action(actions, "audit", "what splits share", _audit)
    audit.add_argument("name", metavar="NAME", help=_NAME_HELP)
    audit.add_argument("--splits", nargs="+", metavar="SPLIT", help="two or more; each pair is compared (default: all)")
    audit.add_argument(
        "--threshold", type=float, default=0.8, metavar="J", help="Jaccard similarity of near duplicates (default: 0.8)"
    )
    audit.add_argument("--corpus", action="store_true", help="also near duplicates among all documents of the corpus")
    audit.add_argument("--examples", type=int, default=3, metavar="N", help="how many of each are shown (default: 3)")
    _output(audit)
    verify = _action(actions, "verify", "SHA-256s and counts against what the collection records", _verify)
    verify.add_argument("name", metavar="NAME", help=_NAME_HELP)
    _output(verify)


def _action(actions: Any, name: str, line: str, run_it: Callable[[argparse.Namespace], int]) -> argparse.ArgumentParser:
    made: argparse.ArgumentParser = actions.add_parser(name, help=line, description=line[0].upper() + line[1:] + ".")
    made.set_defaults(run_it=run_it)
    return made


def _output(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--format", choices=("table", "json"), default="table", help="(default: %(default)s)")
    parser.add_argument("-o", "--output", metavar="FILE", help="write there instead of to standard output")


def run(args: argparse.Namespace) -> int:
    from rankrl.lookup import shelf

    shelf("retrievers")
    code: int = args.run_it(args)
    return code


def _list(args: argparse.Namespace) -> int:
    from rankrl.commands.list import print_names

    print_names("collections")
    return 0


def _show(args: argparse.Namespace) -> int:
    from retrieval.collections import load_collection

    collection = load_collection(args.name)
    facts = {split: collection.facts(split) for split in collection.source.splits} or {"": collection.facts(None)}
    if args.format == "json":
        whole = {"name": collection.name, "about": dict(collection.provenance), "splits": facts}
        _runs.deliver(_runs.json_text(whole), args.output)
        return 0
    first = next(iter(facts.values()))
    lines = [f"{collection.name}: {first['documents']:,} documents, {len(collection.queries()):,} queries"]
    lines += [f"{key}: {first[key]}" for key in ("source", "licence") if key in first]
    lines += _remarks(first)
    heads = ["split", "topics", "judgements", "relevant", "grades", "excluded", "judged outside"]
    counts = ("topics", "judgements", "relevant")
    rows = [
        [
            split,
            *(str(one[key]) for key in counts),
            _grades(one["grades"]),
            str(one["excluded"]),
            str(one["judged_outside"]),
        ]
        for split, one in facts.items()
        if split
    ]
    table = "\n" + _runs.table(heads, rows, output=args.output) if rows else "no judgements\n"
    hashes = {name: digest for one in facts.values() for name, digest in one.get("sha256", {}).items()}
    sums = "".join(f"{digest}  {name}\n" for name, digest in sorted(hashes.items()))
    _runs.deliver("\n".join(lines) + "\n" + table + ("\nSHA-256\n" + sums if sums else ""), args.output)
    return 0


def _remarks(facts: dict[str, Any]) -> list[str]:
    said = []
    if same := facts.get("identical_ids"):
        what = "removed, as BEIR does" if same["removed"] else "kept: one is judged relevant to its own topic"
        said.append(f"{same['topics']} documents with a topic's id: {what}")
    if (grade := facts.get("binary_from")) is not None:
        said.append(f"binary measures count grades from {grade}")
    return said


def _grades(grades: Sequence[int]) -> str:
    return ", ".join(map(str, grades)) if len(grades) < 6 else f"{grades[0]} to {grades[-1]}"


def _audit(args: argparse.Namespace) -> int:
    from retrieval.collections import load_collection
    from retrieval.collections.audit import near_in_corpus, overlap, pairs_of

    collection = load_collection(args.name)
    splits = args.splits or list(collection.source.splits)
    if args.splits is None and "train" in splits:
        splits.sort(key=lambda split: split != "train")
    if len(splits) != len(set(splits)):
        raise ConfigError(f"--splits names a split twice: {' '.join(splits)}")
    if len(splits) < 2 and not args.corpus:
        there = ", ".join(collection.splits) or "none"
        raise ConfigError(f"--splits needs two splits or more; {collection.name} has: {there}")
    found = [overlap(collection, *pair, threshold=args.threshold) for pair in pairs_of(splits)]
    within = near_in_corpus(collection, threshold=args.threshold) if args.corpus else None
    if args.format == "json":
        whole = {"collection": collection.name, "threshold": args.threshold, "overlaps": [asdict(one) for one in found]}
        if within is not None:
            whole["near_in_corpus"] = [asdict(pair) for pair in within]
        _runs.deliver(_runs.json_text(whole), args.output)
        return 0
    blocks = [_as_text(collection, one, args.examples) for one in found]
    if within is not None:
        documents = {
            i: collection.corpus[i].full_text for pair in within[: args.examples] for i in (pair.left, pair.right)
        }
        heading = f"{len(within)} pairs of nearly equal documents in the corpus (Jaccard {args.threshold:g} or more)\n"
        blocks.append(heading + _examples(within, documents, documents, args.examples))
    _runs.deliver("\n".join(blocks), args.output)
    return 0


def _as_text(collection: Collection, one: Overlap, examples: int) -> str:
    left, right = one.left, one.right
    rows = [
        ["topics", *map(str, one.topics), str(len(one.same_topics))],
        ["relevant documents", *map(str, one.relevant), str(len(one.shared_relevant))],
    ]
    of, near = one.topics[1], f"Jaccard {one.threshold:g} or more"
    derived = f" ({right}-unseen)" if left == "train" else ""
    lines = [
        f"{len(one.duplicate_topics)} pairs of topics with the same words, {len(one.near_topics)} more nearly so ({near})",
        f"{len(one.near_documents)} pairs of nearly equal relevant documents ({near})",
        f"{one.touched[0]} of {of} {right} topics have a relevant document that is relevant in {left}, {one.touched[1]} no other",
        f"{len(one.unseen)} of {of} have none{derived}, {len(one.clean)} of these no near duplicate either",
    ]
    if one.outside:
        lines.append(f"{one.outside} relevant documents are not in the corpus; their texts were not compared")
    texts = [{query.qid: query.text for query in collection.queries(split)} for split in (left, right)]
    topics = _examples([*one.duplicate_topics, *one.near_topics], texts[0], texts[1], examples)
    shown = {
        i: collection.corpus[i].full_text for pair in one.near_documents[:examples] for i in (pair.left, pair.right)
    }
    return (
        _runs.table(["", left, right, "both"], rows)
        + "\n".join(lines)
        + "\n"
        + topics
        + _examples(one.near_documents, shown, shown, examples)
    )


def _examples(pairs: Sequence[Pair], left: dict[str, str], right: dict[str, str], count: int) -> str:
    lines = []
    for pair in pairs[: max(0, count)]:
        lines.append(f"  {pair.similarity:.3f}  {pair.left}: {_cut(left[pair.left])}")
        lines.append(f"         {pair.right}: {_cut(right[pair.right])}")
    return "".join(line + "\n" for line in lines)


def _cut(text: str) -> str:
    plain = " ".join(text.split())
    return plain if len(plain) <= 100 else plain[:99] + "…"


def _verify(args: argparse.Namespace) -> int:
    from retrieval.collections import checks, load_collection

    collection = load_collection(args.name)
    found = checks(collection)
    failed = sum(check.passed is False for check in found)
    if args.format == "json":
        whole = {"collection": collection.name, "passed": not failed, "checks": [asdict(check) for check in found]}
        _runs.deliver(_runs.json_text(whole), args.output)
    else:
        words = {True: "ok", False: "FAILED", None: "-"}
        rows = [[words[check.passed], check.what, check.detail] for check in found]
        _runs.deliver(_runs.table(["", collection.name, ""], rows, left=3, output=args.output), args.output)
    return 1 if failed else 0
