"""The `rankrl` command: finds the module of a command in `rankrl.commands` and runs it.

Only the chosen command's module is imported, and commands import heavy libraries inside `run`, so `--help` is quick.
What the library refuses (`RankRLError`) is printed as one line; exit codes: 0 done, 1 refused, 2 wrong usage, 3 stopped
at a limit that the user has set, 130 interrupted.
"""

from __future__ import annotations

import argparse
import ast
import importlib
import os
import pkgutil
import sys
from collections.abc import Sequence
from pathlib import Path

from rankrl import __version__
from rankrl.errors import RankRLError, unknown_name
from rankrl.files import clean_up_on_sigterm

_COMMANDS = Path(__file__).with_name("commands")


def command_summaries() -> dict[str, str]:
    """Command name -> first docstring line of its module, read without importing it."""
    found = {}
    for module in pkgutil.iter_modules([str(_COMMANDS)]):
        if not module.name.startswith("_"):
            source = (_COMMANDS / f"{module.name}.py").read_text(encoding="utf-8")
            found[module.name] = (ast.get_docstring(ast.parse(source)) or "").split("\n", 1)[0]
    return found


def _top_parser() -> argparse.ArgumentParser:
    commands = command_summaries()
    width = max(map(len, commands))
    lines = "\n".join(f"  {name:<{width}}  {line}" for name, line in commands.items())
    parser = argparse.ArgumentParser(
        prog="rankrl",
        description="Train LLM rerankers with reinforcement learning, and prove that it helps.",
        epilog=f"commands:\n{lines}\n\n`rankrl COMMAND --help` explains one command.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"rankrl {__version__}")
    parser.add_argument("command", metavar="COMMAND", nargs="?", help="one of the commands below")
    parser.add_argument("rest", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    parser = _top_parser()
    top = parser.parse_args(argv)
    if top.command is None:
        parser.error("give a COMMAND; `rankrl --help` lists them")
    clean_up_on_sigterm()
    try:
        if top.command not in (known := command_summaries()):
            raise unknown_name("command", top.command, known)
        module = importlib.import_module(f"rankrl.commands.{top.command}")
        parser = argparse.ArgumentParser(
            prog=f"rankrl {top.command}",
            description=module.__doc__,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_arguments(parser)
        if hasattr(module, "add_named_arguments"):  # options that depend on what the command line names
            module.add_named_arguments(parser, top.rest)
        return int(module.run(parser.parse_args(top.rest)))
    except RankRLError as error:
        print(f"rankrl: error: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # the reader of a pipe (head, less) has gone: not an error of ours
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        print(f"rankrl: error: {where}{error.strerror or error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("rankrl: interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
