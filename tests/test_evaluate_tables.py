"""Tables as text: what is escaped, aligned and bold."""

from __future__ import annotations

import csv
import io
import json
import re

import pytest

from rankrl.commands._tables import best, csv_text, json_text, latex, markdown, table

NASTY = ["a|b", "*x*", "`c`", "_u_", "100 %", "A&B", "$1", "#7", "{x}", "~^\\", "<i>", "[0.1, 0.2]", "ü", ""]


def test_a_table_is_aligned():
    assert (
        table(["run", "mean"], [["a", "0.5"], ["longer", "10.25"]]) == "run      mean\na         0.5\nlonger  10.25\n"
    )


def test_markdown_cells_stay_cells_whatever_they_hold():
    text = markdown(["run", *NASTY], [["x", *NASTY]], bold={(0, 1), (0, len(NASTY))})
    head, rule, row = text.splitlines()
    unescaped = [re.sub(r"\\.", "", line) for line in (head, rule, row)]
    assert [line.count("|") for line in unescaped] == [len(NASTY) + 2] * 3
    assert len(head) == len(rule) == len(row)
    assert "**a\\|b**" in row and "****" not in row  # an empty cell is not made bold
    assert re.sub(r"[ \-:|]", "", rule) == ""


def test_latex_has_no_bare_special_character():
    text = latex(["run", *NASTY], [["[x", *NASTY]], bold={(0, 6)}, note="two\nlines")
    body = "\n".join(line for line in text.splitlines() if not line.startswith("%"))
    assert re.findall(r"(?<!\\)[%$#_~^]", body) == []
    rows = [line for line in body.splitlines() if line.endswith(r"\\")]
    assert len(rows) == 2 and all(len(re.findall(r"(?<!\\)&", row)) == len(NASTY) for row in rows)
    assert rows[1].startswith("{[x}") and r"\textbf{A\&B}" in rows[1] and r"\textbackslash{}" in rows[1]
    opened = len(re.findall(r"(?<!\\)\{", body))
    assert opened == len(re.findall(r"(?<!\\)\}", body))
    assert text.count("\n% ") == 2


def test_csv_comes_back_as_it_went_in():
    assert list(csv.reader(io.StringIO(csv_text(["run", *NASTY], [['x,"y"', *NASTY]])))) == [
        ["run", *NASTY],
        ['x,"y"', *NASTY],
    ]


def test_json_is_strict():
    assert json.loads(json_text({"é": 1.5})) == {"é": 1.5}
    with pytest.raises(ValueError, match="not JSON compliant"):
        json_text(float("nan"))


def test_the_best_are_those_that_beat_another():
    assert best([0.5, 0.7, 0.7]) == [1, 2]
    assert best([0.5, None, 0.4]) == [0]
    assert best([0.5]) == best([0.5, 0.5]) == best([None, 0.5]) == best([]) == []
