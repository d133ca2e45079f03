"""Wordings: Jinja2 templates in YAML, packaged under `prompts/` or given by the user as a file.

A YAML file maps variant names to wordings. A wording has `system`, `user`, `plain` or `assistant` texts (in that order of
the conversation; empty ones are left out), or `turns`, a list of {role, content}: turns marked `each: true` that follow one
another are said once per passage. Other keys, such as `thought`, are kept as `extras`. In a text, `query` is a string, and
`passages` are objects that print as the labelled line and have `.label`, `.text` and `.number` (from 1); inside an `each`
turn the passage is `passage`. `n` is the number of passages; a reranker's packaged wordings may use further variables, and
then a user's may. What the query and the passages say is never read as a template. A wording is tried when it is chosen, so
that a mistake in it ends no run in its middle; templates are sandboxed (they reach nothing of Python), but one that
somebody else wrote can still waste time and memory.
"""

from __future__ import annotations

import itertools
import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from rankrl.errors import ConfigError, unknown_name
from rankrl.files import open_text
from rankrl.types import Messages

_PACKAGED = Path(__file__).with_name("prompts")
_ROLES = ("system", "plain", "user", "assistant")
_COMMON = ("query", "passages", "n", "passage")


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

    @property
    def begun(self) -> str:
        """The beginning of the answer that the wording gives, as its template; "" when it gives none."""
        role, content, each = self.turns[-1]
        return content if role == "assistant" and not each else ""

    def messages(self, query: str, passages: Sequence[Passage], **more: Any) -> Messages:
        """The prompt. more: further variables of the template. Turns that come out empty are left out."""
        made: Messages = []
        values: dict[str, Any] = {"query": query, "passages": passages, "n": len(passages), **more}
        for each, turns in itertools.groupby(self.turns, key=lambda turn: turn[2]):
            block = list(turns)
            for passage in passages if each else (None,):
                for role, content, _ in block:
                    text = _rendered(content, values if passage is None else {**values, "passage": passage})
                    if text:
                        made.append({"role": role, "content": text})
        return made


def variants(reranker: str) -> tuple[str, ...]:
    """The names of a reranker's packaged wordings; the first is the default."""
    packaged = _PACKAGED / f"{reranker}.yaml"
    return tuple(_read(packaged, _state(packaged)))


def wording(reranker: str, variant: str) -> Wording:
    """A packaged wording by its name, or one of a user's file: `path.yaml`, `path.yaml:variant`.

    Raises:
        ConfigError: an unknown variant, or a template that cannot be read. DataError: no such file.
    """
    if not isinstance(variant, str):
        raise ConfigError(f"{reranker}: template must be a name or a YAML file, got {variant!r}")
    packaged = _PACKAGED / f"{reranker}.yaml"
    path, chosen = _split(variant)
    if path is None:
        return _chosen(packaged, _state(packaged), chosen, f"template of {reranker}", packaged)
    known = _read(path, _state(path))
    return _chosen(path, _state(path), chosen or next(iter(known)), f"variant in {path}", packaged)


def _split(variant: str) -> tuple[Path | None, str]:
    """(file, variant in it) of a user's file, "" for its first; (None, name) of a packaged wording."""
    path, colon, chosen = variant.rpartition(":")
    for file, name in ((variant, ""), (path, chosen)) if colon else ((variant, ""),):
        if file.endswith((".yaml", ".yml")):
            return Path(file).expanduser(), name
    return None, variant


def _state(path: Path) -> tuple[int, int]:
    """What changes when a file does, so that an edited one is read again; (0, 0) when there is none."""
    try:
        found = path.stat()
    except OSError:
        return 0, 0
    return found.st_mtime_ns, found.st_size


@lru_cache(maxsize=256)
def _chosen(path: Path, state: tuple[int, int], variant: str, kind: str, packaged: Path) -> Wording:
    known = _read(path, state)
    if variant not in known:
        raise unknown_name(kind, variant, known)
    return _wording(known[variant], f"{path}, {variant}", _variables(packaged))


@lru_cache(maxsize=64)
def _read(path: Path, state: tuple[int, int]) -> dict[str, Any]:
    import yaml

    with open_text(path, what="template") as file:
        try:
            found = yaml.safe_load(file)
        except (yaml.YAMLError, RecursionError, ValueError) as error:
            raise ConfigError(f"{path} is no YAML: {' '.join(str(error).split())}") from None
    if not isinstance(found, dict) or not found or not all(isinstance(value, dict) for value in found.values()):
        raise ConfigError(f"{path}: expected variants, each a mapping with system, user or turns")
    return {str(name): value for name, value in found.items()}


@lru_cache(maxsize=64)
def _variables(packaged: Path) -> frozenset[str]:
    """The variables that the packaged wordings of a reranker use, beside those of all rerankers."""
    if not packaged.is_file():
        return frozenset()
    turns = [turn for raw in _read(packaged, _state(packaged)).values() for turn in _turns(raw, str(packaged))]
    return frozenset(name for _, content, _ in turns for name in _undeclared(content)) - set(_COMMON)


def _wording(raw: Mapping[str, Any], where: str, more: frozenset[str]) -> Wording:
    turns = _turns(raw, where)
    for role, content, each in turns:
        if role not in _ROLES:
            raise ConfigError(f"{where}: role {role!r}; it can be {', '.join(_ROLES)}")
        _check(content, each, where, more)
    roles = [role for role, _, _ in turns]
    if set(roles) == {"assistant"} or ("plain" in roles and roles not in (["plain"], ["plain", "assistant"])):
        raise ConfigError(
            f"{where}: turns of {', '.join(roles)}; a chat asks something, and plain text is alone or has an answer begun"
        )
    return Wording(turns, {key: value for key, value in raw.items() if key not in (*_ROLES, "turns")})


def _turns(raw: Mapping[str, Any], where: str) -> tuple[tuple[str, str, bool], ...]:
    """(role, template, said once per passage) of each turn."""
    if "turns" in raw:
        turns = raw["turns"]
        if not isinstance(turns, list) or not all(
            isinstance(t, dict) and {"role", "content"} <= t.keys() for t in turns
        ):
            raise ConfigError(f"{where}: turns must be a list of mappings with role and content")
        if also := [role for role in _ROLES if raw.get(role)]:
            raise ConfigError(f"{where}: turns say it all; move {', '.join(also)} into them")
        made = tuple((t["role"], t["content"], bool(t.get("each", False))) for t in turns)
    else:
        made = tuple((role, raw[role], False) for role in _ROLES if raw.get(role) is not None and raw[role] != "")
    if odd := [content for _, content, _ in made if not isinstance(content, str)]:
        raise ConfigError(f"{where}: a turn must be a text, got {reprlib.repr(odd[0])}; put it in quotes")
    if not made:
        raise ConfigError(f"{where}: no turn: give system, user, plain or assistant texts, or turns")
    return made


def _check(content: str, each: bool, where: str, more: frozenset[str]) -> None:
    """Refuse a template that cannot be read, names what there is not, or fails for 1, 3 or 20 passages."""
    from jinja2 import TemplateError

    try:
        used = _undeclared(content)
    except TemplateError as error:
        raise ConfigError(f"{where}: the template cannot be used: {error}") from None
    known = {"query", "passages", "n", *more, *(("passage",) if each else ())}
    if unknown := sorted(used - known):
        hint = "; `passage` is for turns marked `each: true`" if "passage" in unknown else ""
        raise ConfigError(
            f"{where}: the template uses {', '.join(unknown)}; there are {', '.join(sorted(known))}{hint}"
        )
    for n in (1, 3, 20):
        passages = [Passage(i, str(i), f"text {i}", f"[{i}] text {i}") for i in range(1, n + 1)]
        values = {"query": "a query", "passages": passages, "n": n, "passage": passages[0], **dict.fromkeys(more, 1)}
        try:
            _rendered(content, values)
        except ConfigError as error:
            short = "has no element" in str(error) and n < 20  # `passages[1]`, of a protocol that shows two
            guessed = used & more and "has no attribute" not in str(error)  # what more variables hold, we do not know
            if not (short or guessed):
                raise ConfigError(f"{where}: {error}") from None


def _rendered(content: str, values: Mapping[str, Any]) -> str:
    """Raises ConfigError, whatever a template does wrong: it is the user's text."""
    if "{" not in content and "\r" not in content:
        return content  # nothing that Jinja would change
    try:
        return str(_compiled(content).render(values))
    except Exception as error:
        raise ConfigError(f"the template cannot be used: {type(error).__name__}: {error}") from None


def _undeclared(content: str) -> set[str]:
    from jinja2 import meta

    return set(meta.find_undeclared_variables(_environment().parse(content))) - set(_environment().globals)


@lru_cache(maxsize=256)
def _compiled(content: str) -> Any:
    return _environment().from_string(content)


@cache
def _environment() -> Any:
    from jinja2 import StrictUndefined
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    return ImmutableSandboxedEnvironment(
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True, autoescape=False
    )
