"""`--reward ndcg=1.0 well_formed=0.1 unlikeliness` -> reward functions with weights, and their shape for TRL."""

from __future__ import annotations

import ast
import inspect
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal

from rankrl.contracts import Reranker, is_over_group, is_shaper
from rankrl.errors import ConfigError, unknown_name
from rankrl.lookup import lookup
from rankrl.types import (
    Candidate,
    CandidateList,
    Judgments,
    Query,
    Ranking,
    Reading,
    Rollout,
    RolloutGroup,
    repeated,
)

_SPEC = re.compile(r"(?P<name>[\w.]+(?::[\w.]+)?)(?:\((?P<options>.*)\))?(?:=(?P<weight>[^=()]+))?", re.DOTALL)

Kind = Literal["rollout", "group", "shaper"]


@dataclass(frozen=True, slots=True)
class WeightedReward:
    """One reward of a training run: a function, its options, and the weight of its values in the sum (0 = only logged).

    name: under which it is logged. spec: the text that gives this reward again, "" for one made in Python.
    """

    name: str
    function: Callable[..., Any]
    weight: float = 1.0
    options: Mapping[str, Any] = field(default_factory=dict)
    spec: str = ""

    @property
    def kind(self) -> Kind:
        """ "rollout" scores one answer, "group" compares the answers of one prompt, "shaper" changes their summed rewards."""
        if is_shaper(self.function):
            return "shaper"
        return "group" if is_over_group(self.function) else "rollout"

    def bound(self) -> Callable[..., Any]:
        """The function with its options filled in."""
        return partial(self.function, **self.options) if self.options else self.function


def parse_reward(spec: str) -> WeightedReward:
    """The reward that `NAME[(option=value, …)][=WEIGHT]` describes; NAME is a shelf name or `package.module:function`.

    Raises:
        ConfigError: the text has another shape, the name or an option is unknown, or the weight is no finite number.
    """
    found = _SPEC.fullmatch(spec.strip())
    if found is None:
        raise ConfigError(f"cannot read reward {spec!r}: write NAME, NAME=WEIGHT or 'NAME(option=value)=WEIGHT'")
    function = lookup(found["name"], "rewards")
    if not callable(function):
        raise ConfigError(f"reward {found['name']!r} is a {type(function).__name__}, not a function")
    name = found["name"].rpartition(":")[2].rpartition(".")[2]
    weight, options = _weight(spec, found["weight"]), _options(spec, found["options"])
    reward = WeightedReward(name, function, weight, options, spec.strip())
    accepted = _option_names(function)
    for option in reward.options:
        if accepted is not None and option not in accepted:
            raise unknown_name(f"option of reward {name!r}", option, accepted)
    if reward.kind == "shaper" and found["weight"] is not None:
        raise ConfigError(
            f"{spec!r}: {name} scales the sum of the other rewards, so it takes no weight; write {name!r}"
        )
    if ":" not in found["name"]:  # a reward of ours must work on any query; somebody else's may know only its own
        _try_out(reward)
    return reward


def _try_out(reward: WeightedReward) -> None:
    """Call a reward of the shelf once, so that an option's bad value is refused now and not hours into a run."""
    candidates = tuple(Candidate(f"d{i}", "text") for i in range(3))
    listing = CandidateList(Query("tried out", "text"), candidates)
    rollout = Rollout(listing, "text", Reading(Ranking((0, 1, 2))), logprob=-1.0, completion_tokens=1)
    group = RolloutGroup((rollout, replace(rollout, logprob=-2.0)), {"d0": 1})
    arguments: dict[str, tuple[Any, ...]] = {
        "rollout": (rollout, group.judgments),
        "group": (group,),
        "shaper": (group, [1.0, 0.0]),
    }
    try:
        reward.bound()(*arguments[reward.kind])
    except Exception as error:
        raise ConfigError(f"reward {reward.spec!r} cannot be used: {error}") from error


def _without_weight(spec: str) -> str:
    found = _SPEC.fullmatch(spec)
    return spec if found is None or found["weight"] is None else spec[: found.start("weight") - 1]


def _weight(spec: str, text: str | None) -> float:
    try:
        weight = 1.0 if text is None else float(text)
    except ValueError:
        weight = math.nan
    if not math.isfinite(weight):
        raise ConfigError(f"reward {spec!r}: the weight must be a finite number, got {text!r}")
    return weight


def _options(spec: str, text: str | None) -> dict[str, Any]:
    if not (text or "").strip():
        return {}
    try:
        call = ast.parse(f"f({text})", mode="eval").body
        assert isinstance(call, ast.Call) and not call.args
        return {str(k.arg): ast.literal_eval(k.value) for k in call.keywords}
    except (SyntaxError, ValueError, AssertionError):
        raise ConfigError(f"reward {spec!r}: options are written (name=value, …) with plain values") from None


def _option_names(function: Callable[..., Any]) -> set[str] | None:
    parameters = inspect.signature(function).parameters.values()
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return None
    return {p.name for p in parameters if p.kind is p.KEYWORD_ONLY}


def parse_rewards(specs: Sequence[str], *, default: Sequence[str] = ("ndcg",)) -> list[WeightedReward]:
    """The rewards of a run. Shapers alone have nothing to shape, so `default` joins them.

    Two of one name and different options are logged under their whole specification.

    Raises:
        ConfigError: as `parse_reward`; or a reward is named twice; or every weight is 0.
    """
    rewards = [parse_reward(spec) for spec in specs]
    if all(reward.kind == "shaper" for reward in rewards):
        rewards = [*(parse_reward(spec) for spec in default), *rewards]
    alike = set(repeated(reward.name for reward in rewards))
    rewards = [replace(r, name=_without_weight(r.spec)) if r.name in alike else r for r in rewards]
    if twice := repeated(reward.name for reward in rewards):
        raise ConfigError(f"rewards named twice: {', '.join(map(str, twice))}; give each once")
    if not any(reward.weight for reward in rewards if reward.kind != "shaper"):
        raise ConfigError(
            f"every reward has weight 0 ({', '.join(specs)}): nothing would be trained; give one a weight"
        )
    return rewards


def listing_of(row: Mapping[str, Any]) -> CandidateList:
    """The candidate list that a dataset row of `rankrl.training.dataset` was prompted with, in the order shown."""
    columns = zip(row["docids"], row["texts"], row["titles"], strict=True)
    candidates = tuple(Candidate(docid, text, title) for docid, text, title in columns)
    return CandidateList(Query(row["qid"], row["query"]), candidates)


def judgments_of(row: Mapping[str, Any]) -> Judgments:
    """The judgments of a dataset row's query."""
    return dict(zip(row["judged_docids"], row["judged_grades"], strict=True))


def rollouts_of(
    rows: Sequence[Mapping[str, Any]],
    completions: Sequence[Any],
    completion_ids: Sequence[Sequence[int]],
    reranker: Reranker,
    *,
    end_ids: frozenset[int] = frozenset(),
) -> list[Rollout]:
    """One Rollout per row, its answer read by the reranker's own parser. `end_ids` tell a finished answer from a cut one."""
    rollouts = []
    for row, completion, ids in zip(rows, completions, completion_ids, strict=True):
        text = completion if isinstance(completion, str) else "".join(str(m["content"] or "") for m in completion)
        listing = listing_of(row)
        cut = bool(end_ids) and (not ids or ids[-1] not in end_ids)
        rollouts.append(
            Rollout(listing, text, reranker.parse(text, len(listing)), completion_tokens=len(ids), truncated=cut)
        )
    return rollouts


ROW_COLUMNS = ("qid", "query", "docids", "titles", "texts", "judged_docids", "judged_grades")


class TrlReward:
    """A per-rollout reward as a TRL reward function; a class, so that it can be pickled, with TRL's logged name.

    Group rewards need the whole group, which may lie on several processes: TRL gets zeros for them (None would make it warn
    at every step), and `RankPolicyTrainer` puts the values in their place after gathering.
    """

    def __init__(self, reward: WeightedReward, reranker: Reranker, end_ids: frozenset[int] = frozenset()) -> None:
        self.__name__ = reward.name
        self._reward = reward
        self._reranker = reranker
        self._end_ids = end_ids

    def __call__(
        self, prompts: list[Any], completions: list[Any], completion_ids: list[list[int]], **columns: Any
    ) -> list[float | None]:
        if self._reward.kind != "rollout":
            return [0.0] * len(prompts)
        if missing := [name for name in ROW_COLUMNS if name not in columns]:
            raise ConfigError(
                f"the dataset lacks the columns {', '.join(missing)}; build it with rankrl.training.dataset"
            )
        rows = [{name: columns[name][i] for name in ROW_COLUMNS} for i in range(len(prompts))]
        rollouts = rollouts_of(rows, completions, completion_ids, self._reranker, end_ids=self._end_ids)
        score = self._reward.bound()
        values: list[float | None] = []
        for row, rollout in zip(rows, rollouts, strict=True):
            try:
                values.append(checked(self.__name__, score(rollout, judgments_of(row))))
            except Exception as error:
                error.add_note(f"in reward {self.__name__!r}, query {row['qid']!r}, answer {rollout.text[:200]!r}")
                raise
        return values


def checked(name: str, value: float | None) -> float | None:
    """`value`, after making sure that it is None or a finite number.

    Raises:
        ConfigError: it is NaN, infinite or no number: a failed reward is never a number.
    """
    if value is None:
        return None
    if isinstance(value, (int, float)) and math.isfinite(value):
        return float(value)
    raise ConfigError(
        f"reward {name!r} returned {value!r}; it must return a finite number, or None for 'does not apply'"
    )


def as_trl_reward(
    function: Callable[..., Any], *, reranker: Reranker | None = None, **options: Any
) -> Callable[..., list[float | None]]:
    """A stock TRL reward function made of one of our per-rollout rewards, for trainers that are not ours.

    It reads answers with `reranker` (Rank-R1 by default) and needs the dataset columns of `rankrl.training.dataset`.

    Raises:
        ConfigError: the reward compares the answers of a group, which stock TRL cannot offer.
    """
    if is_over_group(function):
        name = getattr(function, "__name__", repr(function))
        raise ConfigError(
            f"{name} compares the answers of a prompt, which stock TRL rewards cannot do; use RankPolicyTrainer"
        )
    if reranker is None:
        from rankrl.rerankers.rank_r1 import RankR1

        reranker = RankR1()
    return TrlReward(WeightedReward(getattr(function, "__name__", "reward"), function, 1.0, options), reranker)
