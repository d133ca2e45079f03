"""Tables as text: aligned, Markdown, LaTeX and CSV, and JSON; every cell is a string that is already rounded."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from rankrl.commands._outputs import columns

FORMATS = ("table", "markdown", "latex", "json", "csv")
Cell = tuple[int, int]
"""(row, column) of a cell, both from 0; the heads are not counted."""

_MARKDOWN = str.maketrans({c: f"\\{c}" for c in "\\|*_`<>"} | {"\n": " "})
_LATEX = str.maketrans(
    {c: f"\\{c}" for c in "&%$#_{}"}
    | {"~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "\\": r"\textbackslash{}", "\n": " "}
    | {"<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}"}
)

_MINUS = re.compile(r"(?<![\w.-])-(?=\d)")  # the sign of a number, which LaTeX would set as a hyphen


def table(heads: Sequence[str], rows: Iterable[Sequence[str]], *, left: int = 1, output: str | None = None) -> str:
    """Aligned columns, the first `left` to the left and the others to the right.

    output: the file that it is for, None for standard output; only on a terminal the first column may be cut.
    """
    lines = [list(heads), *map(list, rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(heads))]
    if (room := columns(output)) is not None:
        too_wide = sum(widths) + 2 * (len(widths) - 1) - room
        widths[0] = max(8, widths[0] - max(0, too_wide))
    printed = []
    for line in lines:
        line[0] = line[0] if len(line[0]) <= widths[0] else "…" + line[0][1 - widths[0] :]
        cells = [c.ljust(w) if i < left else c.rjust(w) for i, (c, w) in enumerate(zip(line, widths, strict=True))]
        printed.append("  ".join(cells).rstrip())
    return "\n".join(printed) + "\n"


def markdown(heads: Sequence[str], rows: Iterable[Sequence[str]], *, left: int = 1, bold: Collection[Cell] = ()) -> str:
    """A GitHub-flavoured Markdown table, its source aligned; the cells in `bold` are bold, special characters escaped."""
    lines = [[cell.translate(_MARKDOWN) for cell in heads]]
    for number, row in enumerate(rows):
        escaped = [cell.translate(_MARKDOWN) for cell in row]
        lines.append([f"**{c}**" if c and (number, column) in bold else c for column, c in enumerate(escaped)])
    widths = [max(3, *(len(line[column]) for line in lines)) for column in range(len(heads))]
    rule = ["-" * w if i < left else "-" * (w - 1) + ":" for i, w in enumerate(widths)]
    aligned = [
        [c.ljust(w) if i < left else c.rjust(w) for i, (c, w) in enumerate(zip(line, widths, strict=True))]
        for line in lines
    ]
    return "".join("| " + " | ".join(line) + " |\n" for line in [aligned[0], rule, *aligned[1:]])


def latex(
    heads: Sequence[str], rows: Iterable[Sequence[str]], *, left: int = 1, bold: Collection[Cell] = (), note: str = ""
) -> str:
    """A LaTeX tabular for the package booktabs; the cells in `bold` are bold, special characters escaped.

    note: what the reader of the source should know, as comment lines at the top.
    """
    written = [f"% {line}" for line in ["needs \\usepackage{booktabs}", *note.splitlines()]]
    written.append(f"\\begin{{tabular}}{{{'l' * left}{'r' * (len(heads) - left)}}}")
    written += ["\\toprule", " & ".join(map(_in_latex, heads)) + r" \\", "\\midrule"]
    for number, row in enumerate(rows):
        cells = [_in_latex(cell) for cell in row]
        cells = [f"\\textbf{{{c}}}" if c and (number, column) in bold else c for column, c in enumerate(cells)]
        # \\ takes an optional argument, so a row that starts with [ would be eaten without the braces
        written.append(" & ".join(f"{{{c}}}" if c.startswith("[") else c for c in cells) + r" \\")
    return "\n".join([*written, "\\bottomrule", "\\end{tabular}"]) + "\n"


def _in_latex(text: str) -> str:
    signed = _MINUS.sub("$-$", text.translate(_LATEX))
    return signed.replace("--", "-{}-")  # else two of them would become one dash


def csv_text(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Comma-separated values, one line a row, quoted where they must be."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(heads)
    writer.writerows(rows)
    return text.getvalue()


def json_text(value: Any) -> str:
    """Indented JSON, one final line end, characters as they are.

    Raises:
        ValueError: a number that is not finite, which JSON cannot hold.
    """
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def best(values: Sequence[float | None]) -> list[int]:
    """The positions of the largest value, all of them where several share it; none where all have it or one stands alone."""
    known = [value for value in values if value is not None]
    if len(known) < 2 or max(known) == min(known):
        return []
    return [position for position, value in enumerate(values) if value == max(known)]
