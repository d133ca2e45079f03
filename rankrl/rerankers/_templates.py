"""Wordings: Jinja2 templates in YAML, packaged under `prompts/` or given by the user as a file.

A YAML file maps variant names to wordings. A wording has `system`, `user`, `plain` or `assistant` texts (in that order of
the conversation; empty ones are left out), or `turns`, a list of {role, content}: turns marked `each: true` that follow one
another are said once per passage. Other keys, such as `thought`, are kept as `extras`. In a text, `query` is a string, and
`passages` are objects that print as the labelled line and have `.label`, `.text` and `.number` (from 1); inside an `each`
turn the passage is `passage`. What the query and the passages say is never read as a template.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from rankrl.errors import ConfigError, unknown_name
from rankrl.files import open_text
from rankrl.types import Messages

_PACKAGED = Path(__file__).with_name("prompts")
_ROLES = ("system", "plain", "user", "assistant")


@dataclass(frozen=True, slots=True)
class Passage:
    """A passage as a template sees it: printed, it is its labelled line."""

    number: int
    label: str
    text: str
    line: str

    def __str__(self) -> str:
        return self.line


@dataclass(frozen=True, slots=True)
class Wording:
    """One variant of a prompt: its turns, and what else the file says about it."""

    turns: tuple[tuple[str, str, bool], ...]
    extras: Mapping[str, Any] = field(default_factory=dict)

    def messages(self, query: str, passages: Sequence[Passage], **more: Any) -> Messages:
        """The prompt. more: further variables of the template. Turns that come out empty are left out."""
        made: Messages = []
        values = {"query": query, "passages": passages, "n": len(passages), **more}
        for each, turns in itertools.groupby(self.turns, key=lambda turn: turn[2]):
            block = list(turns)
            for passage in passages if each else (None,):
                for role, content, _ in block:
                    text = _compiled(content).render(values, passage=passage)
                    if text:
                        made.append({"role": role, "content": text})
        return made


def variants(reranker: str) -> tuple[str, ...]:
    """The names of a reranker's packaged wordings; the first is the default."""
    return tuple(_read(_PACKAGED / f"{reranker}.yaml"))


def wording(reranker: str, variant: str) -> Wording:
    """A packaged wording by its name, or one of a user's file: `path.yaml`, `path.yaml:variant`.

    Raises:
        ConfigError: an unknown variant, or a template that cannot be read. DataError: no such file.
    """
    path, _, chosen = variant.partition(":")
    if not path.endswith((".yaml", ".yml")):
        return _chosen(_PACKAGED / f"{reranker}.yaml", variant, f"template of {reranker}")
    known = _read(Path(path))
    return _chosen(Path(path), chosen or next(iter(known)), f"variant in {path}")


@lru_cache(maxsize=256)
def _chosen(path: Path, variant: str, kind: str) -> Wording:
    known = _read(path)
    if variant not in known:
        raise unknown_name(kind, variant, known)
    return _wording(known[variant], f"{path}, {variant}")


@lru_cache(maxsize=64)
def _read(path: Path) -> dict[str, Any]:
    import yaml

    with open_text(path, what="template") as file:
        try:
            found = yaml.safe_load(file)
        except yaml.YAMLError as error:
            raise ConfigError(f"{path} is no YAML: {' '.join(str(error).split())}") from None
    if not isinstance(found, dict) or not found or not all(isinstance(value, dict) for value in found.values()):
        raise ConfigError(f"{path}: expected variants, each a mapping with system, user or turns")
    return {str(name): value for name, value in found.items()}


def _wording(raw: Mapping[str, Any], where: str) -> Wording:
    if "turns" in raw:
        turns = raw["turns"]
        if not isinstance(turns, list) or not all(
            isinstance(t, dict) and {"role", "content"} <= t.keys() for t in turns
        ):
            raise ConfigError(f"{where}: turns must be a list of mappings with role and content")
        made = tuple((str(t["role"]), str(t["content"]), bool(t.get("each", False))) for t in turns)
    else:
        made = tuple((role, str(raw[role]), False) for role in _ROLES if raw.get(role))
    if not made:
        raise ConfigError(f"{where}: no turn: give system, user, plain or assistant texts, or turns")
    for role, content, _ in made:
        if role not in _ROLES:
            raise ConfigError(f"{where}: role {role!r}; it can be {', '.join(_ROLES)}")
        _check(content, where)
    return Wording(made, {key: value for key, value in raw.items() if key not in (*_ROLES, "turns")})


def _check(content: str, where: str) -> None:
    from jinja2 import TemplateError

    try:
        _compiled(content).render(query="", passages=[], n=0, passage=Passage(1, "1", "", ""))
    except TemplateError as error:
        if "is undefined" not in str(error):
            raise ConfigError(f"{where}: the template cannot be used: {error}") from None


@lru_cache(maxsize=256)
def _compiled(content: str) -> Any:
    from jinja2 import StrictUndefined
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    environment = ImmutableSandboxedEnvironment(
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True, autoescape=False
    )
    return environment.from_string(content)
