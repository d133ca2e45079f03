"""Build a run again from recorded answers, without a model: audit an old run, or read it with a better parser.

  rankrl replay calls.jsonl --run runs/bm25.trec -o runs/again.trec               a file of `rankrl rerank --explain`
  rankrl replay journal.sqlite --run runs/bm25.trec --depth 100 -o runs/again.trec --option k=5          a journal
  rankrl replay windows.jsonl --run runs/bm25.trec -o runs/again.trec --report    another tool's sliding windows

What rankrl recorded is replayed by the reranker's own ordering over the first stage's docids; a run comes out byte for byte.
Rows of windows, {"qid", "window", "start", "end", "n", "response"}, are applied in their order and read by --rule: "digits",
the default, takes every number for a label as rank_llm does, so that its runs come out; "brackets" is rankrl's own.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from rankrl.commands._outputs import check_output
from rankrl.errors import ConfigError, DataError

if TYPE_CHECKING:
    from rankrl.contracts import Reranker
    from rankrl.replaying.candidates import Candidates
    from rankrl.replaying.recordings import Recording
    from rankrl.replaying.tally import Replay
    from rankrl.types import Run

RULES = ("digits", "brackets")
MISSING = ("error", "first_stage", "stop")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "log", metavar="LOG", help="calls of --explain or rows of windows (JSONL; .gz, .xz), or a journal"
    )
    parser.add_argument("--run", required=True, help="the first stage that was reranked, a run file (.gz, .xz)")
    parser.add_argument("-o", "--output", metavar="RUN", help="the run file to write; what it was made of, to RUN.json")
    parser.add_argument(
        "--depth", type=int, metavar="N", help="so many documents per topic were reranked (default: as the log shows)"
    )
    parser.add_argument("--limit", type=int, metavar="N", help="only the first N topics of the log (default: all)")
    parser.add_argument("--report", action="store_true", help="print what the answers were like, as a table")
    parser.add_argument("--explain", metavar="FILE", help="every call as a line of JSON, as it was read now")
    reading = parser.add_argument_group("how answers are read")
    reading.add_argument(
        "--rule", choices=RULES, help="for rows of windows: which numbers are labels (default: digits)"
    )
    reading.add_argument("--reranker", help="the reranker whose parser and ordering are used (default: the log's)")
    reading.add_argument(
        "--option", action="append", default=[], metavar="KEY=VALUE", help="a field of it other than as recorded"
    )
    calls = parser.add_argument_group("for what rankrl recorded")
    calls.add_argument("--passes", type=int, metavar="N", help="as for rerank (default: the log's, else 1)")
    calls.add_argument("--shuffles", type=int, metavar="N", help="as for rerank (default: the log's, else 1)")
    calls.add_argument(
        "--collection",
        help="of a journal, which does not tell: what is excluded and the order of topics, as for rerank",
    )
    calls.add_argument("--split", default="test", help="of that collection (default: %(default)s)")
    calls.add_argument("--fingerprint", metavar="HEX", help="of a journal: how the engine's fingerprint begins")
    calls.add_argument("--recording", type=int, metavar="NUMBER", help="of a journal: which of its recordings")
    calls.add_argument(
        "--missing",
        choices=MISSING,
        default="error",
        help="a request that was never recorded: refuse, read it as unreadable, or end the topic there as a spent budget "
        "does (default: %(default)s)",
    )


@dataclass(slots=True)
class _Replayed:
    """What a log gave. read_by: what has read it, in a word. facts: for the record."""

    replay: Replay
    candidates: Candidates
    read_by: str
    facts: dict[str, Any]


def run(args: argparse.Namespace) -> int:
    _check(args)
    from rankrl.replaying.recordings import is_journal
    from rankrl.replaying.windows import is_window
    from rankrl.runs import read_run
    from rankrl.runs.rows import rows

    first_stage = read_run(args.run)
    with _explaining(args.explain) as tell:
        if is_journal(args.log):
            done = _of_journal(args, first_stage, tell)
        else:
            lines = rows(args.log, "log")
            if (first := next(lines, None)) is None:
                raise DataError(f"{args.log} is empty; give a log of answers")
            whole = chain([first], lines)
            replay = _of_windows if is_window(first[1]) else _of_calls
            done = replay(args, first_stage, tell, whole)
    if args.output:
        _write(args, done)
    if args.report:
        print(_table(args.log, done), end="")
    print(_account(args, done, first_stage), file=sys.stderr)
    return 0


def _check(args: argparse.Namespace) -> None:
    """Refuse what could not be done before anything is read."""
    for name in ("depth", "limit", "passes", "shuffles", "recording"):
        if (value := getattr(args, name)) is not None and value < 1:
            raise ConfigError(f"--{name} is {value}; it must be at least 1")
    if not (args.output or args.report or args.explain):
        raise ConfigError("nothing would come of it: give -o RUN, --report or --explain FILE")
    for option, path in (("-o", args.output), ("--explain", args.explain)):
        if path:
            check_output(option, path, reads=[args.log, args.run])
    if args.output and args.explain and Path(args.output).absolute() == Path(args.explain).absolute():
        raise ConfigError(f"-o and --explain are the same file: {args.output}")
    if args.rule and args.reranker:
        raise ConfigError("--rule is for windows that no reranker reads; give it or --reranker")
    if args.option and args.rule:
        raise ConfigError("--option sets fields of a reranker; --rule has none")


_Tell = Callable[[Mapping[str, Any]], None]


@contextmanager
def _explaining(path: str | None) -> Iterator[_Tell | None]:
    """A function that writes a row as a line of the file, which appears when the block ends well; None without a file."""
    from rankrl.files import atomic_writer

    with atomic_writer(path) if path else nullcontext() as file:
        yield (lambda row: _write_row(file, row)) if file is not None else None


def _write_row(file: IO[str], row: Mapping[str, Any]) -> None:
    line = json.dumps(row, ensure_ascii=False)
    file.write((line if line.isprintable() else json.dumps(row)) + "\n")  # no lone surrogates, no other line ends


def _check_for_windows(args: argparse.Namespace) -> None:
    """Refuse flags that rows of windows have no use for."""
    if unused := [
        f"--{n}" for n in ("passes", "shuffles", "fingerprint", "recording", "collection") if getattr(args, n)
    ]:
        raise ConfigError(f"{unused[0]} is for what rankrl recorded; {args.log} has rows of windows")
    if args.missing != "error":
        raise ConfigError(
            f"--missing is for what rankrl recorded; {args.log} has rows of windows, all of them answered"
        )
    if args.option and not args.reranker:
        raise ConfigError(
            f"--option sets fields of a reranker, and {args.log} has rows of windows: give --reranker too"
        )


def _of_windows(
    args: argparse.Namespace, first_stage: Run, tell: _Tell | None, rows: Iterable[tuple[int | str, Any]]
) -> _Replayed:
    from rankrl.parsing.permutation import Rule, parse_permutation
    from rankrl.replaying.candidates import first_places
    from rankrl.replaying.windows import Window, cut_off, read_windows, replay_windows
    from rankrl.types import Reading

    _check_for_windows(args)
    windows = read_windows(args.log, rows)
    if cut := cut_off(windows):
        qid, start = next(iter(cut.items()))
        print(
            f"{args.log} seems cut off: of {len(cut)} topics ({qid!r} first) the windows end at place {start}, of others "
            "further up; their first places are left as they were",
            file=sys.stderr,
        )
    topics = _first(args.limit, dict.fromkeys(window.qid for window in windows))
    windows = [window for window in windows if window.qid in topics]
    depth = args.depth or max(window.end for window in windows)
    rule: Rule = "digits" if args.rule is None else args.rule
    facts: dict[str, Any] = {"kind": "windows", "rule": rule}

    def read(text: str, n: int) -> Reading:
        return parse_permutation(text, n, rule=rule)

    def parse_by_digits(text: str, n: int) -> Reading:
        return parse_permutation(text, n, rule="digits")

    if args.reranker:
        reranker, settings, _ = _reranker(args, args.reranker, {}, "")
        facts = {"kind": "windows", "reranker": {"name": args.reranker, "settings": settings}}
        read = reranker.parse

    now: list[list[str]] = []  # what stands in the place of each window

    def told(window: Window, shown: list[str], reading: Reading) -> None:
        now.append(shown)
        if tell is not None:
            place = {"qid": window.qid, "start": window.start, "end": window.end}
            tell({**place, **_read_row(shown, reading), "text": window.response})

    candidates = first_places(first_stage, topics, depth)
    replay = replay_windows(windows, candidates.reranked, read, on_window=told)
    then: list[list[str]] = []  # what stood there when it was asked
    if "reranker" in facts or rule != RULES[0]:
        replay_windows(windows, candidates.reranked, parse_by_digits, on_window=lambda _, shown, __: then.append(shown))
    moved = sum(a != b for a, b in zip(now, then, strict=False))
    if moved:
        print(
            f"in {moved} of {len(windows)} windows, other passages or another order stand now than by the rule digits, by "
            "which the log was probably made: their answers were about those",
            file=sys.stderr,
        )
    facts |= {"depth": depth, "windows_about_others": moved}
    return _Replayed(replay, candidates, args.reranker or rule, facts)


def _of_journal(args: argparse.Namespace, first_stage: Run, tell: _Tell | None) -> _Replayed:
    from rankrl.replaying.recordings import chosen, read_journal

    recordings = read_journal(args.log)
    names = {recording.asker.reranker for recording in recordings}
    own = args.reranker if args.reranker in names else None
    found = chosen(recordings, args.log, reranker=own, fingerprint=args.fingerprint, number=args.recording)
    return _of_recording(args, first_stage, tell, found, "journal")


def _of_calls(
    args: argparse.Namespace, first_stage: Run, tell: _Tell | None, rows: Iterable[tuple[int | str, Any]]
) -> _Replayed:
    from rankrl.replaying.recordings import read_calls

    if unused := [f"--{n}" for n in ("fingerprint", "recording") if getattr(args, n)]:
        raise ConfigError(f"{unused[0]} is for journals; {args.log} has the calls of one run")
    return _of_recording(args, first_stage, tell, read_calls(args.log, rows), "calls")


def _of_recording(
    args: argparse.Namespace, first_stage: Run, tell: _Tell | None, recording: Recording, kind: str
) -> _Replayed:
    from rankrl import __version__
    from rankrl.replaying.candidates import shown_candidates
    from rankrl.replaying.engine import UNRECORDED, replay_orders, textless
    from rankrl.strategies.repeats import repeated
    from rankrl.types import Answer, Reading, Request

    if args.rule:
        raise ConfigError(f"--rule is for rows of windows; give --reranker or --option for {args.log}")
    asker, header = recording.asker, recording.header
    if not (name := args.reranker or asker.reranker):
        raise DataError(f"{args.log} does not say which reranker asked; give --reranker NAME")
    recorded = asker.settings if name == asker.reranker else {}
    reranker, settings, remark = _reranker(args, name, recorded, asker.prompt_sha256 if recorded else "")
    if remark:
        print(remark, file=sys.stderr)
    repeats = {n: getattr(args, n) or _whole(header, n) or 1 for n in ("passes", "shuffles")}
    depth = args.depth or _whole(header, "depth")
    shown = recording.shown()
    topics, exclusions = _reranked(args, header, first_stage, shown)
    candidates = shown_candidates(
        first_stage, shown, depth=depth, exclusions=exclusions, topics=topics, limit=args.limit
    )
    about = {"depth": depth, **repeats}
    if tell is not None:
        listed: dict[str, Any] = {"topics": list(candidates.reranked)}
        if exclusions is not None:
            listed["excluded"] = {qid: sorted(exclusions[qid]) for qid in candidates.reranked if qid in exclusions}
        tell({"rankrl": __version__, "reranker": name, "settings": settings, "run": args.run, **about, **listed})

    def told(request: Request, answer: Answer, reading: Reading) -> None:
        if tell is not None and request.shown is not None and answer.finish_reason != UNRECORDED:
            asked = {"qid": request.shown.query.qid, **_read_row(request.shown.docids, reading), "text": answer.text}
            said = {"choices": request.choices, "scores": answer.scores, "finish_reason": answer.finish_reason}
            tell({**asked, **said, "sample": request.sample, "begun": request.begun, "tokens": _tokens(answer)})

    replay = replay_orders(
        reranker,
        textless({qid: [(d, first_stage[qid][d]) for d in docids] for qid, docids in candidates.reranked.items()}),
        recording,
        order=None if set(repeats.values()) == {1} else lambda listing: repeated(reranker, listing, **repeats),
        missing=args.missing,
        on_call=told,
    )
    read_by = {"name": name, "settings": settings}
    facts = {"kind": kind, "recorded": asdict(asker), "reranker": read_by, "missing": args.missing, **about}
    return _Replayed(replay, candidates, name, facts)


def _reranker(
    args: argparse.Namespace, name: str, recorded: Mapping[str, Any], prompt_sha256: str
) -> tuple[Reranker, dict[str, Any], str]:
    """(the reranker with its recorded settings and --option, all its settings, a remark on its prompts or "")."""
    from rankrl.reranking import build_reranker, prompt_fingerprint, read_options, settings

    built = build_reranker(name, {**recorded, **read_options(args.option)})
    remark = ""
    if prompt_sha256 and prompt_fingerprint(built) != prompt_sha256:
        remark = f"{name} now asks in other words than those that {args.log} has answers to; the answers are read as they are"
    return built, settings(built), remark


def _whole(header: Mapping[str, Any], name: str) -> int | None:
    value = header.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def _first(limit: int | None, topics: Mapping[str, Any]) -> dict[str, Any]:
    return dict(list(topics.items())[:limit])


def _reranked(
    args: argparse.Namespace, header: Mapping[str, Any], first_stage: Run, shown: Mapping[str, Collection[str]]
) -> tuple[list[str] | None, Mapping[str, Collection[str]] | None]:
    """(the topics in the order of the original run, what was excluded from them); None where nothing tells.

    The log's header tells, and --collection does: the split's topics that the log has or about which nothing was to be asked.
    """
    topics, excluded = header.get("topics"), header.get("excluded")
    known = topics if isinstance(topics, list) and all(isinstance(qid, str) for qid in topics) else None
    if args.collection is None:
        return known, excluded if isinstance(excluded, dict) else None
    from rankrl.lookup import shelf

    shelf("retrievers")
    from retrieval.collections import load_collection

    collection = load_collection(args.collection)
    exclusions = collection.exclusions(args.split)
    if known is None:
        listed = [query.qid for query in collection.queries(args.split) if query.qid in first_stage]
        alone = {qid for qid in listed if len(first_stage[qid].keys() - exclusions.get(qid, ())) < 2}
        known = [qid for qid in listed if qid in shown or qid in alone]
    return known, exclusions


def _read_row(shown: Iterable[str], reading: Any) -> dict[str, Any]:
    """What an answer was about and how it was read, with the keys of `rankrl rerank --explain`."""
    docids, report = list(shown), reading.report
    return {
        "docids": docids,
        "order": [docids[i] for i in reading.ranking.order],
        "status": report.status,
        "report": asdict(report),
        "reasoning": reading.reasoning,
        "passage_scores": reading.scores,
    }


def _tokens(answer: Any) -> list[Any]:
    return [[token.text, token.logprob, token.alternatives] for token in answer.tokens]


def _write(args: argparse.Namespace, done: _Replayed) -> None:
    from rankrl.provenance import source_facts, source_sha256, write_provenance
    from rankrl.runs import write_run

    first_stage, remark = source_facts(args.run)
    log = {"path": args.log, "sha256": source_sha256(args.log)}
    write_run(args.output, done.candidates.with_tails(done.replay.orders), tag=_tag(done))
    if not Path(args.output).is_file():  # a pipe or /dev/null
        return
    facts = {"replay": {**log, **done.facts}, "answers": asdict(done.replay.tally), "topics": len(done.replay.orders)}
    write_provenance(args.output, {**facts, "limit": args.limit, "first_stage": first_stage})
    if remark:
        print(remark, file=sys.stderr)


def _tag(done: _Replayed) -> str:
    """The run's last column: the reranker's name, as rerank writes it."""
    return "replay" if done.facts["kind"] == "windows" else done.read_by


def _table(log: str, done: _Replayed) -> str:
    from rankrl.commands._tables import table

    counts = asdict(done.replay.tally)
    heads = ["log", "read by", "topics", *(name.replace("_", " ") for name in counts)]
    line = [Path(log).name, done.read_by, str(len(done.replay.orders)), *map(str, counts.values())]
    return table(heads, [line], left=2)


def _account(args: argparse.Namespace, done: _Replayed, first_stage: Run) -> str:
    """What was done, in one line."""
    tally, topics = done.replay.tally, len(done.replay.orders)
    text = (
        f"{args.log} read by {done.read_by}: {topics} topics, {tally.answers} answers, {tally.ok} ok, "
        f"{tally.repaired} repaired, {tally.failed} failed"
    )
    if tally.unrecorded:
        text += f", {tally.unrecorded} requests never recorded"
    if left := len(first_stage) - topics:
        text += f"; {left} of {len(first_stage)} topics of {args.run} are not in it and left out"
    return text + (f"; written to {args.output}" if args.output else "")
