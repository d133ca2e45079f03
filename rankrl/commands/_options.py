"""The options of a part on the command line, read from the function that builds it, so that a new part needs no table here.

A keyword-only parameter becomes a flag: its annotation says what is accepted (int, float, str, Path; bool as --flag and
--no-flag; Literal as choices; a list or tuple of them as several words; `| None` may be left out), its default is shown, and
its line of help comes from `OPTIONS` in the module of the part. Parameters of other types cannot be set from here.
"""

from __future__ import annotations

import argparse
import inspect
import sys
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Union

from rankrl.errors import ConfigError, unknown_name

_PREFIX = "option of the part: "  # no option of a command can have such a name
_PLAIN = (int, float, str, Path)


def add_options(parser: argparse.ArgumentParser, part: str, make: Callable[..., Any]) -> None:
    """Add a flag for each parameter of `make`, the function that builds the part of that name.

    Raises:
        ConfigError: a parameter has the name of an option that the command has.
    """
    group = parser.add_argument_group(f"options of {part}")
    helps = _helps(make)
    for name, parameter in keyword_only(make).items():
        kind = _accepted(make, name, parameter.annotation)
        if kind is None:
            continue
        flag = f"--{name.replace('_', '-')}"
        try:
            group.add_argument(
                flag, dest=_PREFIX + name, default=argparse.SUPPRESS, required=parameter.default is parameter.empty,
                help=_help(helps.get(name, ""), parameter.default), **kind,
            )  # fmt: skip
        except argparse.ArgumentError:
            raise ConfigError(
                f"{part} has an option {name!r}, and so has the command; give the parameter another name"
            ) from None


def given_options(args: argparse.Namespace) -> dict[str, Any]:
    """The options of the part that were given, by the names of its parameters."""
    return {name.removeprefix(_PREFIX): value for name, value in vars(args).items() if name.startswith(_PREFIX)}


def refuse_unknown(parser: argparse.ArgumentParser, argv: Sequence[str], command: str) -> None:
    """Raise a ConfigError with the nearest names when a word of the command line is an option that the parser lacks."""
    _, left = parser.parse_known_args(argv)
    flags = [
        next(flag for flag in a.option_strings[::-1] if not flag.startswith("--no-"))
        for a in parser._actions
        if a.option_strings
    ]
    for word in left:
        if word.startswith("--") and word != "--":
            raise unknown_name(f"option of `{command}`", word.partition("=")[0], flags, hint="; see --help")


def keyword_only(make: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    """The parameters of a function that can only be given by name."""
    parameters = inspect.signature(make).parameters
    return {name: p for name, p in parameters.items() if p.kind is inspect.Parameter.KEYWORD_ONLY}


def _helps(make: Callable[..., Any]) -> Mapping[str, str]:
    module = sys.modules.get(make.__module__)
    return getattr(module, "OPTIONS", {}) if module else {}


def _help(line: str, default: Any) -> str:
    """The line, with the default where it says something and the line does not say it already."""
    if default in (None, inspect.Parameter.empty, "", ()) or "(default" in line:
        return line.replace("%", "%%")
    shown = ("yes" if default else "no") if isinstance(default, bool) else default
    return f"{line} (default: {shown})".strip().replace("%", "%%")


def _accepted(make: Callable[..., Any], name: str, annotation: Any) -> dict[str, Any] | None:
    """What argparse is to accept for a parameter; None where its type cannot be written on a command line."""
    if annotation is inspect.Parameter.empty:
        return {"type": str}
    holder = type("Holder", (), {"__annotations__": {name: annotation}})
    try:  # the annotation alone: those of other parameters may name what only type checkers import
        resolved = typing.get_type_hints(holder, vars(sys.modules[make.__module__]))[name]
    except NameError:
        return None
    return _argument(_without_none(resolved))


def _without_none(annotation: Any) -> Any:
    if typing.get_origin(annotation) in (Union, types.UnionType):
        others = [kind for kind in typing.get_args(annotation) if kind is not type(None)]
        plain = [kind for kind in others if kind is not Path] if str in others else others  # str | Path is a word
        return plain[0] if len(plain) == 1 else annotation
    return annotation


def _argument(kind: Any) -> dict[str, Any] | None:
    if kind is bool:
        return {"action": argparse.BooleanOptionalAction}
    if kind in _PLAIN:
        return {"type": kind, "metavar": {Path: "PATH", str: "TEXT"}.get(kind, "N" if kind is int else "X")}
    origin, inside = typing.get_origin(kind), typing.get_args(kind)
    if origin is Literal and len({type(choice) for choice in inside}) == 1:
        return {"type": type(inside[0]), "choices": list(inside)}
    if origin in (list, tuple, Sequence) and inside:
        one = _argument(inside[0])
        return None if one is None or "action" in one or "nargs" in one else {**one, "nargs": "+"}
    return None
