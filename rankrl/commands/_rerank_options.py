"""The options of `rankrl rerank`: what they are, what is refused before anything is read, and what they ask for."""

from __future__ import annotations

import argparse
import inspect
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rankrl.commands._outputs import STDOUT, check_output
from rankrl.commands._rerank_files import SCORES
from rankrl.errors import ConfigError, unknown_name
from rankrl.provenance import check_provenance, provenance_path

if TYPE_CHECKING:
    from rankrl.engines.ledger import Limits

ENGINE_FLAGS = ("batch_size", "max_new_tokens", "temperature", "device", "dtype", "base_url")
"""Options of an engine that have a flag of their own; an engine that lacks one refuses it."""

_OURS = {
    "name": "it is the first word of the command",
    "model": "give --model",
    "engine": "give --engine",
    "card": "give --ignore-card",
    "journal": "give --journal",
    "limits": "give --max-calls, --max-tokens or --max-cost",
}
"""What `load_reranker` takes by name and no --option can set."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """All options of the command."""
    parser.add_argument("reranker", help="a name from `rankrl list rerankers`, or package.module:Class")
    parser.add_argument("--run", required=True, help="the first stage, a TREC run file (.gz, .xz)")
    parser.add_argument(
        "--collection", required=True, help="a name from `rankrl list collections`, or a folder in BEIR layout"
    )
    asked = parser.add_mutually_exclusive_group()
    asked.add_argument("--split", help="whose topics; 'all' takes every query, judged or not (default: test)")
    asked.add_argument(
        "--queries", metavar="FILE", help="queries of your own: lines of qid, tab, text, or of JSON (.gz, .xz)"
    )
    parser.add_argument(
        "--model", help="a folder with a model or a PEFT adapter, a name on the Hugging Face hub, or a server's model"
    )
    _add_what_is_reranked(parser)
    _add_outputs(parser.add_argument_group("what is written"))
    _add_spending(parser.add_argument_group("spending"))
    _add_engine(
        parser.add_argument_group("engine (defaults: the model's card, else the protocol's, else the engine's)")
    )


def _add_what_is_reranked(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--depth", type=int, default=100, metavar="N", help="rerank so many documents per topic (default: %(default)s)"
    )
    parser.add_argument("--limit", type=int, metavar="N", help="only the first N topics (default: all)")
    parser.add_argument(
        "--passes", type=int, default=1, metavar="N", help="rerank the result again, N times in all (default: 1)"
    )
    parser.add_argument(
        "--shuffles",
        type=int,
        default=1,
        metavar="N",
        help="rerank N shuffles of each list and order by the mean rank (default: 1, the list as it is)",
    )
    parser.add_argument(
        "--option", action="append", default=[], metavar="KEY=VALUE", help="a field of the reranker; may be repeated"
    )
    parser.add_argument(
        "--prompt-template", metavar="FILE[:VARIANT]", help="a wording of your own, in YAML (the field `template`)"
    )
    parser.add_argument(
        "--ignore-card",
        action="store_true",
        help="use the model even if it was trained with another reranker or other prompts",
    )


def _add_outputs(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "-o",
        "--output",
        metavar="RUN",
        help="the run file, with strictly decreasing scores; what it was made of goes beside it, to RUN.json",
    )
    group.add_argument(
        "--scores",
        metavar="FILE",
        help="the protocol's own scores: qid, docid, rank, score, first-stage rank and score, as JSON lines, or TSV where "
        "the name ends so (default: RUN.scores.jsonl when the protocol gives scores, else no file)",
    )
    group.add_argument("--no-scores", action="store_true", help="no file of scores")
    group.add_argument(
        "--explain", metavar="FILE", help="every call as a line of JSON: what was shown, said and read from it, and why"
    )
    group.add_argument("--explain-prompts", action="store_true", help="with the prompts in --explain")


def _add_spending(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--dry-run",
        action="store_true",
        help="print calls, tokens and depth, and ask nothing; no weights are loaded, nothing is written, and what a "
        "--journal holds is not taken off",
    )
    group.add_argument("--json", action="store_true", help="print what --dry-run found as JSON")
    group.add_argument(
        "--journal",
        metavar="FILE",
        help="keep every answer in this file; what it holds is not asked again, nor counted",
    )
    group.add_argument("--max-calls", type=int, metavar="N", help="stop after so many calls")
    group.add_argument("--max-tokens", type=int, metavar="N", help="stop after about so many tokens, both ways")
    group.add_argument(
        "--max-cost", type=float, metavar="X", help="stop when about so much was spent; needs the prices"
    )
    group.add_argument("--price-in", type=float, metavar="X", help="of a million prompt tokens, in any currency")
    group.add_argument("--price-out", type=float, metavar="X", help="of a million completion tokens")


def _add_engine(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--engine",
        help="what answers the prompts: transformers, vllm, openai (any compatible server), classifier, or "
        "package.module:Class (default: the reranker's own, transformers for most)",
    )
    group.add_argument("--batch-size", type=int, metavar="N", help="prompts at once, at most")
    group.add_argument("--max-new-tokens", type=int, metavar="N", help="where an answer is cut")
    group.add_argument("--temperature", type=float, metavar="T", help="0 takes the likeliest token (the default)")
    group.add_argument("--device", help="cpu, cuda, cuda:1, … (default: cuda when there is one)")
    group.add_argument("--dtype", help="float32, bfloat16 or float16 (default: float32 on CPU, else the checkpoint's)")
    group.add_argument("--base-url", metavar="URL", help="the server of --engine openai")
    group.add_argument(
        "--engine-option",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="any other option of the engine, such as tensor_parallel_size=2; may be repeated",
    )
    group.add_argument(
        "--max-live",
        type=int,
        default=512,
        metavar="N",
        help="topics in flight at once, at most; fewer while they ask for very much (default: %(default)s)",
    )


def add_named_arguments(parser: argparse.ArgumentParser, argv: Sequence[str]) -> None:
    """Let --help end with what can be set of the reranker and the engine that the command line names."""
    if not {"-h", "--help"} & set(argv) or argv[0].startswith("-"):
        return
    from rankrl.cards import part_of
    from rankrl.reranking import engine_class

    part = part_of(argv[0])
    engine = str(getattr(part, "engine", "transformers"))
    for word, after in pairwise([*argv, ""]):  # the last one counts
        if word == "--engine" or word.startswith("--engine="):
            engine = after if word == "--engine" else word.partition("=")[2]
    parser.epilog = (
        f"{inspect.getdoc(part)}\n\nfields of {argv[0]} (--option):\n  {_defaults(part)}\n\n"
        f"options of the engine {engine} (--engine-option, or a flag above):\n  {_defaults(engine_class(engine))}"
    )


def _defaults(make: Any) -> str:
    """What a class is made with and what it is by default, on lines of a terminal's width."""
    kept = [p for name, p in inspect.signature(make).parameters.items() if name not in ("clip", "model")]
    words = [p.name if p.default is p.empty else f"{p.name}={_spelled(p.default)}" for p in kept]
    lines = [""]
    for word in words:
        if len(lines[-1]) + len(word) > 100:
            lines.append("")
        lines[-1] += f"{word}  "
    return "\n  ".join(line.rstrip() for line in lines)


def _spelled(value: Any) -> str:
    """A value as it is written on the command line."""
    return value if isinstance(value, str) else "null" if value is None else str(value).lower()


def check_arguments(args: argparse.Namespace) -> None:
    """Refuse what cannot be meant or could not be written, before anything is read.

    Raises:
        ConfigError: naming the option.
    """
    for name in ("depth", "limit", "passes", "shuffles", "max_live", "max_calls", "max_tokens"):
        if (value := getattr(args, name)) is not None and value < 1:
            raise ConfigError(f"{_flag(name)} is {value}; it must be at least 1")
    for name, least in (("max_cost", "more than 0"), ("price_in", "0 or more"), ("price_out", "0 or more")):
        value = getattr(args, name)
        if value is not None and not (math.isfinite(value) and (value > 0 if name == "max_cost" else value >= 0)):
            raise ConfigError(f"{_flag(name)} is {value}; it must be a number, {least}")
    if args.max_cost is not None and args.price_in is None and args.price_out is None:
        raise ConfigError("--max-cost needs --price-in and --price-out, the prices of a million tokens")
    if (args.price_in is None) != (args.price_out is None):
        missing = "price_in" if args.price_in is None else "price_out"
        raise ConfigError(f"a cost needs both prices: give {_flag(missing)} too (0 is a price)")
    if args.json and not args.dry_run:
        raise ConfigError("--json belongs to --dry-run")
    if args.explain_prompts and args.explain is None:
        raise ConfigError("--explain-prompts belongs to --explain FILE")
    if args.scores is not None and args.no_scores:
        raise ConfigError("--scores and --no-scores exclude each other")
    if not args.dry_run:
        for name, what in (("model", "--model, what is to answer"), ("output", "-o RUN, the run file to write")):
            if getattr(args, name) is None:
                raise ConfigError(f"give {what}; only --dry-run does without")
    _check_files(args)


def _check_files(args: argparse.Namespace) -> None:
    """Refuse outputs that could not be written, and files that two options name."""
    reads = [path for path in (args.run, args.queries) if path is not None]
    named: dict[Path, str] = {}
    if args.output not in (None, STDOUT) and _is_kept(args.output):
        check_provenance(args.output)
        named = {
            provenance_path(args.output).resolve(): "the description of -o",
            Path(f"{args.output}{SCORES}").resolve(): "the default of --scores",
        }
    for option, path in _written(args):
        if path == STDOUT:
            if option != "-o":
                raise ConfigError(f"{option} cannot go to standard output; give the name of a file")
            continue
        check_output(option, path, reads=reads)
        place = Path(path).resolve()
        if (other := named.get(place)) is not None and _is_kept(path) and (option, other) != _SCORES_AS_EVER:
            raise ConfigError(f"{other} and {option} are the same file: {path}")
        named[place] = option


_SCORES_AS_EVER = ("--scores", "the default of --scores")


def _is_kept(path: str) -> bool:
    """True for a file or one to be, False for a device or a pipe."""
    return Path(path).is_file() or not Path(path).exists()


def _written(args: argparse.Namespace) -> Iterator[tuple[str, str]]:
    if args.output is not None:
        yield "-o", args.output
    for name in ("explain", "scores", "journal"):
        if (path := getattr(args, name)) is not None:
            yield _flag(name), path


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def chosen_options(args: argparse.Namespace, part: Any, make: Callable[..., Any]) -> dict[str, Any]:
    """What the command line sets, of the reranker and of the engine, by name.

    part: the reranker's class. make: the engine's.

    Raises:
        ConfigError: an option that neither has, one given twice, a template file that is none.
    """
    from rankrl.cards import parameters
    from rankrl.reranking import read_options

    fields, of_engine = parameters(part) - {"clip"}, parameters(make) - {"model"}
    flags = {name: value for name in ENGINE_FLAGS if (value := getattr(args, name)) is not None}
    sources = {
        "--option": (read_options(args.option), fields | of_engine, f"option of {args.reranker}", fields),
        "--prompt-template": (_template(args), fields, "", fields),
        "a flag": (flags, of_engine, f"option of the engine {engine_name(args, part)}", of_engine),
        "--engine-option": (
            read_options(args.engine_option),
            of_engine,
            f"option of the engine {engine_name(args, part)}",
            of_engine,
        ),
    }
    given: dict[str, str] = {}
    chosen: dict[str, Any] = {}
    for source, (options, accepted, kind, known) in sources.items():
        for option, value in options.items():
            if option in _OURS:
                raise ConfigError(f"{source} {option} is not an option of a part: {_OURS[option]}")
            if option not in accepted and source == "--prompt-template":
                raise ConfigError(
                    f"--prompt-template: {args.reranker} has no field `template`; its prompts are its own"
                )
            if option not in accepted:
                raise unknown_name(kind, option, known)
            if option in given:
                raise ConfigError(f"option {option!r} is given twice: by {given[option]} and by {source}")
            given[option], chosen[option] = source, value
    return chosen


def _template(args: argparse.Namespace) -> dict[str, str]:
    """The field that --prompt-template sets."""
    if args.prompt_template is None:
        return {}
    path = args.prompt_template.partition(":")[0]
    if not path.endswith((".yaml", ".yml")):
        raise ConfigError(f"--prompt-template {path}: give a file whose name ends in .yaml or .yml")
    if not Path(path).is_file():
        raise ConfigError(f"--prompt-template: there is no file {path}")
    return {"template": args.prompt_template}


def engine_name(args: argparse.Namespace, part: Any) -> str:
    """The engine that the command line names, else the reranker's own."""
    return str(args.engine or getattr(part, "engine", "transformers"))


def engine_settings(
    args: argparse.Namespace, part: Any, make: Callable[..., Any], options: Mapping[str, Any]
) -> dict[str, Any]:
    """Option -> value as the engine will be made: its own defaults, the protocol's, the model's card, the command line's."""
    from rankrl.cards import read_reranker_card

    defaults = {name: p.default for name, p in inspect.signature(make).parameters.items() if p.default is not p.empty}
    card = None if args.ignore_card or args.model is None else read_reranker_card(args.model)
    return {**defaults, **getattr(part, "decoding", {}), **({} if card is None else card.engine_options), **options}


def limits(args: argparse.Namespace) -> Limits | None:
    """What may be spent, with the prices; None when the command line says nothing about it."""
    from rankrl.engines.ledger import Limits

    names = ("max_calls", "max_tokens", "max_cost", "price_in", "price_out")
    given = {name: value for name in names if (value := getattr(args, name)) is not None}
    return Limits(**given) if given else None
