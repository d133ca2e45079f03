"""Names of measures -> ir_measures objects, with a clear word for what is no measure or cannot be computed here."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING, Any

from rankrl.errors import ConfigError, unknown_name

if TYPE_CHECKING:
    from ir_measures import Measure

DEFAULT_MEASURES = ("nDCG@10", "RR@10", "R@100")
LEAST_OF_GEOMETRIC = 1e-5


TREC_ONLY = re.compile(
    r"(?P<name>11pt_avg|G|binG|Rndcg|ndcg_rel|utility|num_nonrel_judged_ret|gm_map|gm_bpref|relative_P_[1-9][0-9]{0,8}|"
    r"Rprec_mult_[0-9]\.[0-9]{2})(?:\(rel=(?P<rel>[0-9]{1,9})\))?"
)
"""trec_eval's measures that ir_measures has no name for keep trec_eval's; `(rel=2)` is its option -l 2."""


def is_mean(measure: str) -> bool:
    """True for a measure that is averaged over topics; False for one that is summed (NumRet, …) or a geometric mean (gm_map)."""
    return total_of(measure) == "mean"


def total_of(measure: str) -> str:
    """What makes one number of the values of the topics: "mean", "sum" or "geometric mean"."""
    import ir_measures

    aggregator = parse_measures([measure])[0].aggregator()
    if isinstance(aggregator, ir_measures.MeanAgg):
        return "mean"
    return "sum" if isinstance(aggregator, ir_measures.SumAgg) else "geometric mean"


def at_level(measures: Sequence[str], level: int) -> list[str]:
    """The measures with `rel=level` where they take a relevance level and none is written: trec_eval's option -l.

    A document is relevant for them from this grade on. Measures of grades (nDCG, ERR, Judged, …) stay as they are.

    Raises:
        ConfigError: level < 1, or as `parse_measures`.
    """
    if not 1 <= level < 2**31:
        raise ConfigError(f"a relevance level must be a whole number from 1, got {level}")
    return list(dict.fromkeys(str(_at_level(name, parse_measures([name])[0], level)) for name in measures))


def _at_level(name: str, measure: Measure, level: int) -> Measure:
    written = re.search(r"[(,]\s*rel\s*=", name)
    # NumRet counts all documents; NumRelRet is its name for those that are relevant
    takes = "rel" in measure.SUPPORTED_PARAMS and (measure.NAME != "NumRet" or "rel" in measure.params)
    return measure(rel=level) if takes and not written and level != 1 else measure


def parse_measures(names: Sequence[str]) -> list[Measure]:
    """The ir_measures objects of the names, each once.

    Raises:
        ConfigError: none given, a name that is no measure (with the nearest ones), a wrong or missing parameter, or a
            measure whose library is not installed.
    """
    if not names:
        raise ConfigError("no measure given; try " + " ".join(DEFAULT_MEASURES))
    return list(dict.fromkeys(_parsed(name) for name in names))


def _parsed(name: str) -> Measure:
    import ir_measures

    if found := TREC_ONLY.fullmatch(name.strip()):
        measure = _trec_class(found["name"])(**({"rel": int(found["rel"])} if found["rel"] else {}))
        _check_ranges(name, measure)
        return measure
    try:
        measure = ir_measures.parse_measure(name.strip())
        measure.validate_params()
    except NameError:
        raise _no_such_measure(name) from None
    except (ValueError, AssertionError, TypeError, AttributeError):
        raise ConfigError(_badly_written(name)) from None
    _check_ranges(name, measure)
    if measure.NAME == "NumRel":  # counted here at any level: see rankrl.evaluation
        return measure
    if not ir_measures.DefaultPipeline.supports(measure):
        able = [p.NAME for p in ir_measures.DefaultPipeline.providers if p.supports(measure)]
        cure = (
            f': pip install "ir-measures[{able[0]}]"' if able else "; no provider of ir_measures takes these parameters"
        )
        raise ConfigError(f"measure {name!r} cannot be computed here{cure}")
    return measure


@cache
def _trec_class(name: str) -> Any:
    """The ir_measures class of one of `TREC_ONLY`."""
    import ir_measures
    from ir_measures.measures.base import ParamInfo

    geometric, summed = name.startswith("gm_"), name.startswith("num_")
    total = _GeometricMean if geometric else ir_measures.SumAgg if summed else ir_measures.MeanAgg
    kept = {
        "NAME": name,
        "__name__": name,
        "SUPPORTED_PARAMS": {"rel": ParamInfo(dtype=int, default=1, desc="least grade of a relevant document")},
        "DEFAULT": LEAST_OF_GEOMETRIC if geometric else 0.0,
        "aggregator": lambda self: total(),
    }
    return type(name, (ir_measures.Measure,), kept)


class _GeometricMean:
    """trec_eval's geometric mean of values that it does not let fall below 0.00001; nan of none."""

    def __init__(self) -> None:
        self.logs: list[float] = []

    def add(self, value: float) -> None:
        self.logs.append(math.log(max(value, LEAST_OF_GEOMETRIC)))

    def result(self) -> float:
        return math.exp(math.fsum(self.logs) / len(self.logs)) if self.logs else math.nan


def _check_ranges(name: str, measure: Measure) -> None:
    """Refuse what would end the process: trec_eval aborts at a cutoff of 0."""
    for parameter, least in (("cutoff", 1), ("rel", 1)):
        value = measure.params.get(parameter, least)
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value < 2**31:
            raise ConfigError(f"measure {name!r}: {parameter} must be a whole number from {least}, got {value!r}")
    if not 0.0 <= (level := measure.params.get("recall", 0.0)) <= 1.0:
        raise ConfigError(f"measure {name!r}: recall must lie in [0, 1], got {level!r}")


def _no_such_measure(name: str) -> ConfigError:
    """The error for a name ir_measures does not know: trec_eval's names and other cases are translated."""
    import ir_measures

    registry = ir_measures.measures.registry
    name = name.strip()
    head, at, tail = name.partition("@")
    base = head.split("(")[0]
    if "_" in base:
        with suppress(ValueError, IndexError):  # not one of trec_eval's names either
            return ConfigError(f"no measure {name!r}, did you mean {str(ir_measures.parse_trec_measure(name)[0])!r}?")
    by_lower = {known.lower(): known for known in registry}
    if near := difflib.get_close_matches(base.lower(), by_lower, n=1, cutoff=0.7):
        known = by_lower[near[0]]
        try:
            meant = str(ir_measures.parse_measure(known + head[len(base) :] + at + tail))
        except ValueError:
            meant = registry[known].NAME
        return ConfigError(f"no measure {name!r}, did you mean {meant!r}?")
    return unknown_name(
        "measure", base, {m.NAME for m in registry.values()}, hint="; write nDCG@10, RR@10, R@100, AP, P(rel=2)@5"
    )


def _badly_written(name: str) -> str:
    import ir_measures

    known: Mapping[str, Any] = ir_measures.measures.registry
    base = name.strip().partition("@")[0].split("(")[0]
    if base not in known:
        return f"not a measure: {name!r}; write nDCG@10, RR@10, R@100, AP, P(rel=2)@5"
    parameters = known[base].SUPPORTED_PARAMS.items()
    wants = ", ".join(
        f"{p}={info.dtype.__name__ if info.dtype else '…'}" + " (required)" * info.required for p, info in parameters
    )
    return f"measure {name!r} has a wrong or missing parameter; {base} takes {wants}, as in P(rel=2)@5"
