"""The content of a report -> HTML. No request leaves the page: styles, script and data are inside, and its policy says so.

The policy (Content-Security-Policy) allows the one script and the one style sheet by their hashes and nothing else, so a
text that got past the escaping still could not run. Texts from outside reach the page in two ways: through Jinja's
autoescape, and as JSON in a data block whose `<`, `>` and `&` are escaped; the script writes them with textContent only.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rankrl import __version__
from rankrl.comparison import Difference
from rankrl.errors import MissingDependencyError
from rankrl.measures import parse_measures
from rankrl.report.content import Content
from rankrl.report.plots import axis

if TYPE_CHECKING:
    from jinja2 import Environment

_TEMPLATE = Path(__file__).with_name("template")
_SCRIPTS = ("parts.js", "movements.js", "page.js")  # one after the other they are the page's one script
_COST_KEYS = ("cost", "ledger")
_COST_ORDER = ("calls", "rounds", "prompt_tokens", "completion_tokens", "cached", "truncated", "malformed", "seconds")
_CONTROLS = {code: chr(0x2400 + code) for code in range(0x20) if chr(code) not in "\t\n\r"} | {0x7F: "\u2421"}
_MINUS = "\u2212"
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
_UNSAFE_IN_SCRIPT = re.compile("[<>&\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Heading:
    """What stands above the numbers: title, date, where the judgements come from, and remarks on topics that are missing.

    facts: label -> text, such as {"Collection": "scifact", "Split": "test"}. made_of: what the report was made of, JSON
    types. provenance: run -> what stands beside it, None when nothing does, or a sentence that says why it cannot be
    believed.
    """

    title: str
    date: str
    facts: Mapping[str, str] = field(default_factory=dict)
    remarks: Sequence[str] = ()
    made_of: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Mapping[str, Any] | str | None] = field(default_factory=dict)


def page(content: Content, heading: Heading) -> str:
    """A whole HTML document; the same content and heading give the same bytes.

    Raises:
        MissingDependencyError: Jinja2 is not installed.
    """
    environment = jinja()
    from markupsafe import Markup

    style = (_TEMPLATE / "page.css").read_text(encoding="utf-8")
    script = "".join((_TEMPLATE / name).read_text(encoding="utf-8") for name in _SCRIPTS)
    text = environment.get_template("page.html.j2").render(
        heading=heading,
        content=content,
        version=__version__,
        style=Markup(style),
        script=Markup(script),
        style_hash=_hash(style),
        script_hash=_hash(script),
        data=Markup(_for_a_data_block(payload(content, heading))),
        measures=[_measure(content, measure) for measure in content.measures],
        best={measure: _best(content, measure) for measure in content.measures},
        made_of=list(_flattened(heading.made_of)),
        cost=cost_table(content.runs, heading.provenance),
        provenance={
            name: found if found is None or isinstance(found, str) else list(_flattened(found))
            for name, found in heading.provenance.items()
        },
        shown_characters=sum(len(shown.title) + len(shown.text) for shown in content.documents.values()),
    )
    return _LONE_SURROGATE.sub("\ufffd", text)


def jinja() -> Environment:
    """The template environment; asked for before the work starts, it says at once that Jinja2 is missing.

    Raises:
        MissingDependencyError: it is.
    """
    try:
        import jinja2
    except ImportError:
        raise MissingDependencyError("Jinja2, which makes the page,", extra="report") from None
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"signed": signed, "p": _p, "visible": visible, "count": _count, "shortened": shortened}
    return environment


def payload(content: Content, heading: Heading) -> dict[str, Any]:
    """The report as JSON types. Runs and topics are lists, and what belongs to them is listed in the same order.

    reads: measure -> its cutoff (null for the whole list) and the grade from which it calls a document relevant.
    values: measure -> run -> topic. documents: [docid, title, text, cut], the last three only where there is a text.
    movements: topic -> [document, grade or null, rank or null in each run], null for a topic whose documents are not shown.
    """
    number: dict[str, int] = {}
    for moved in content.movements.values():
        for movement in moved:
            number.setdefault(movement.docid, len(number))
    documents: list[list[Any]] = []
    for docid in number:
        shown = content.documents.get(docid)
        documents.append([docid, shown.title, shown.text, shown.cut] if shown else [docid])
    return {
        "format": "rankrl report 1",
        "rankrl": __version__,
        "title": heading.title,
        "date": heading.date,
        **({"judgements": dict(heading.facts)} if heading.facts else {}),
        "seed": content.seed,
        "depth": content.depth,
        "measures": list(content.measures),
        "reads": [_reads(measure) for measure in content.measures],
        "runs": list(content.runs),
        "means": [
            [
                {"mean": content.evaluations[name].totals[measure], "low": low, "high": high}
                for name, (low, high) in content.intervals[measure].items()
            ]
            for measure in content.measures
        ],
        "differences": [{**asdict(d), "verdict": d.verdict} for d in content.differences],
        "topics": list(content.topics),
        "queries": [content.queries.get(qid, "") for qid in content.topics],
        "relevant": [content.relevant[qid] for qid in content.topics],
        "values": [
            [[one.values[measure][qid] for qid in content.topics] for one in content.evaluations.values()]
            for measure in content.measures
        ],
        "documents": documents,
        "movements": [
            [[number[m.docid], m.grade, *m.ranks] for m in content.movements[qid]] if qid in content.movements else None
            for qid in content.topics
        ],
    }


def _reads(measure: str) -> dict[str, int | None]:
    parameters = parse_measures([measure])[0].params
    return {"cutoff": parameters.get("cutoff"), "relevant_from": parameters.get("rel", 1)}


def cost_table(
    runs: Sequence[str], provenance: Mapping[str, Mapping[str, Any] | str | None]
) -> tuple[list[str], list[tuple[str, list[Any]]]]:
    """(kinds of cost, [(run, its amounts, None where unknown)]) from the numbers under "cost" or "ledger" of each run."""
    costs: dict[str, dict[str, int | float]] = {}
    for name in runs:
        facts = provenance.get(name)
        if isinstance(facts, Mapping):
            found = [facts[key] for key in _COST_KEYS if isinstance(facts.get(key), Mapping)]
            if numbers := dict(_numbers(found[0])) if found else {}:
                costs[name] = numbers
    met = dict.fromkeys(kind for cost in costs.values() for kind in cost)
    kinds = [kind for kind in _COST_ORDER if kind in met] + [kind for kind in met if kind not in _COST_ORDER]
    return kinds, [(name, [cost.get(kind) for kind in kinds]) for name, cost in costs.items()]


def _numbers(amounts: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, int | float]]:
    for kind, amount in amounts.items():
        if isinstance(amount, Mapping):
            yield from _numbers(amount, f"{before}{kind}: ")
        elif isinstance(amount, int | float) and not isinstance(amount, bool):
            yield f"{before}{kind}", amount


def visible(text: object) -> str:
    """The text with control characters as their pictures, which HTML cannot carry and nobody could see."""
    return str(text).translate(_CONTROLS)


def shortened(text: str, most: int = 22) -> str:
    """The text, or its beginning and its end with an ellipsis between: names of runs differ at their ends."""
    if len(text) <= most:
        return text
    tail = most * 3 // 5
    return f"{text[: most - 1 - tail]}\u2026{text[-tail:]}"


def signed(value: float, decimals: int = 4) -> str:
    """A number with its sign; one that rounds to nothing has none."""
    rounded = f"{abs(value):.{decimals}f}"
    return rounded if float(rounded) == 0 else ("+" if value > 0 else _MINUS) + rounded


def _p(p: float) -> str:
    return f"{p:.4f}" if p >= 0.00005 else "<\u202f.0001"


def _count(amount: float | None) -> str:
    if amount is None:
        return "\u2013"
    return f"{amount:,}" if isinstance(amount, int) else f"{amount:,.1f}"


def _measure(content: Content, measure: str) -> dict[str, Any]:
    """What the template draws for one measure: both axes, and a row for each run."""
    intervals = content.intervals[measure]
    differences: dict[str, Difference] = {d.system: d for d in content.differences if d.measure == measure}
    means = axis(bound for interval in intervals.values() for bound in interval)
    gains = axis([0.0, *(bound for d in differences.values() for bound in (d.low, d.high))])
    rows = [
        {
            "run": name,
            "mean": one.totals[measure],
            "low": intervals[name][0],
            "high": intervals[name][1],
            "difference": differences.get(name),
        }
        for name, one in content.evaluations.items()
    ]
    return {"name": measure, "means": means, "gains": gains, "rows": rows}


def _best(content: Content, measure: str) -> frozenset[str]:
    """The runs with the highest mean, as shown; none where all are equal."""
    shown = {name: f"{one.totals[measure]:.4f}" for name, one in content.evaluations.items()}
    top = max(shown.values(), key=float)
    best = frozenset(name for name, value in shown.items() if value == top)
    return best if len(best) < len(shown) else frozenset()


def _flattened(facts: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, str]]:
    """(path of keys, text) of everything in a description, in its order."""
    for key, value in facts.items():
        path = f"{before}{key}"
        if isinstance(value, Mapping) and value:
            yield from _flattened(value, f"{path} \u203a ")
        elif key == "command" and isinstance(value, list) and all(isinstance(word, str) for word in value):
            yield path, shlex.join(value)
        else:
            yield path, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _for_a_data_block(value: Any) -> str:
    """JSON that may stand inside <script type="application/json">: no character in it can end the block or be lost."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return _UNSAFE_IN_SCRIPT.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
