"""The exceptions of the library.

    RankRLError
    ├── ConfigError(ValueError)                  an option, name or combination that cannot be used
    ├── DataError(ValueError)                    a file, collection, run or qrels that cannot be read as what it claims to be
    ├── OutOfBudget                              a limit of calls, tokens or cost is reached
    └── MissingDependencyError(ImportError)      an extra that is not installed

A message is one sentence: what was given (with file:line, qid, docid), what would have been accepted, what to do.
Model text is never an exception (it is a `ParseReport`); a reward that raises stops the run and is never a zero.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class RankRLError(Exception):
    """Anything rankrl refuses; the command line prints it as one line and exits with 1."""


class ConfigError(RankRLError, ValueError):
    """An option, a name or a combination of them that cannot be used."""


class DataError(RankRLError, ValueError):
    """Input data that is missing, malformed or contradicts itself."""


class OutOfBudget(RankRLError):
    """A limit of calls, tokens or cost is reached, and nothing more may be asked."""


class MissingDependencyError(RankRLError, ImportError):
    """A library that an optional part needs is not installed."""

    def __init__(self, what: str, *, extra: str, found: str = "") -> None:
        because = f" ({found})" if found else ""
        super().__init__(f'{what} is not installed{because}: pip install "rankrl[{extra}]"')


def unknown_name(kind: str, given: str, known: Iterable[str], *, hint: str = "") -> ConfigError:
    """A `ConfigError` that names the nearest accepted names first, then the others (cut at twelve)."""
    names = sorted(known)
    near = difflib.get_close_matches(given, names, n=3, cutoff=0.5)
    guess = f", did you mean {' or '.join(map(repr, near))}?" if near else ";"
    shown = ", ".join(names[:12]) + (", …" if len(names) > 12 else "")
    return ConfigError(f"no {kind} {given!r}{guess} there are: {shown or 'none'}{hint}")
