"""A name -> the part behind it: `ndcg`, or `package.module:function` for parts that live elsewhere.

There is no registry: the modules of a shelf's folder are its parts, and a part has its module's name (a class has it in
CamelCase). A file whose name starts with an underscore is not a part.
"""

from __future__ import annotations

import ast
import importlib
import pkgutil
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from rankrl.errors import ConfigError, RankRLError, unknown_name

SHELVES = {
    "rewards": "rewards",
    "rerankers": "rankrl.rerankers",
    "retrievers": "retrieval",
}
"""Shelf -> the package whose modules are its parts."""

_NOT_PARTS = {"retrievers": frozenset({"collections", "fusion"})}
_BESIDE = Path(__file__).resolve().parents[1]


@cache
def shelf(name: str) -> ModuleType:
    """The package of a shelf, after making sure that it is ours and not a namesake's.

    `rewards` and `retrieval` are common names: a folder or a PyPI package of that name may stand first on the path. Ours
    carries `__part_of__ = "rankrl"` and lies beside `rankrl`; both are checked.

    Raises:
        ConfigError: another package of that name hides ours.
    """
    package = SHELVES[name]
    found: object
    try:
        module = importlib.import_module(package)
        found = module.__file__ or list(module.__path__)
        if package.startswith("rankrl."):
            return module
        beside = module.__file__ is not None and Path(module.__file__).resolve().parents[1] == _BESIDE
        if beside and getattr(module, "__part_of__", None) == "rankrl":
            return module
    except ImportError as error:  # our shelves import nothing at their top, so a failing import is a namesake's
        found = error
    raise ConfigError(
        f"`import {package}` gives {found}, not the package that came with rankrl ({_BESIDE / package}); "
        f"rename or uninstall the other {package!r}, or name the part in full: `your_package.module:function`"
    )


def names(shelf_name: str) -> list[str]:
    """The names of the parts on a shelf, sorted."""
    if shelf_name not in SHELVES:
        raise unknown_name("shelf", shelf_name, SHELVES)
    modules = pkgutil.iter_modules(shelf(shelf_name).__path__)
    left_out = _NOT_PARTS.get(shelf_name, frozenset())
    return sorted(m.name for m in modules if not m.ispkg and not m.name.startswith("_") and m.name not in left_out)


def lookup(spec: str, shelf_name: str) -> Any:
    """The function or class that `spec` names on a shelf, or anywhere for a `package.module:attribute`.

    Raises:
        ConfigError: nothing has that name (the nearest names are given), or the module cannot be imported.
    """
    if ":" in spec:
        return _imported(spec)
    if spec not in names(shelf_name):
        raise unknown_name(
            shelf_name.removesuffix("s"), spec, names(shelf_name), hint="; or give `package.module:name`"
        )
    module = importlib.import_module(f"{SHELVES[shelf_name]}.{spec}")
    camel = "".join(word.capitalize() for word in spec.split("_"))
    for attribute in (spec, camel):
        if hasattr(module, attribute):
            return getattr(module, attribute)
    by_case = {name.lower(): value for name, value in vars(module).items() if not name.startswith("_")}
    if camel.lower() in by_case:
        return by_case[camel.lower()]
    raise ConfigError(f"{module.__file__}: a part is named like its module: define {spec!r} or {camel!r} there")


def _imported(spec: str) -> Any:
    path, _, attribute = spec.partition(":")
    try:
        module = importlib.import_module(path)
    except RankRLError:
        raise
    except Exception as error:
        raise ConfigError(f"{spec!r}: cannot import {path!r}: {type(error).__name__}: {error}") from error
    value: Any = module
    for part in attribute.split("."):
        if not hasattr(value, part):
            public = [name for name in vars(module) if not name.startswith("_")]
            raise unknown_name(f"name in {path}", attribute, public)
        value = getattr(value, part)
    return value


def summaries(shelf_name: str) -> dict[str, str]:
    """Name -> first docstring line of each part, read from the source without importing it."""
    found = {}
    for name in names(shelf_name):
        path = Path(shelf(shelf_name).__path__[0]) / f"{name}.py"
        docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        found[name] = docstring.split("\n", 1)[0]
    return found
