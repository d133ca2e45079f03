"""Free answers of a padded batch: sampling, stop texts, log-probabilities."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from rankrl.types import Token

ALTERNATIVES = 20
"""How many of the likeliest tokens are told of an answer's last place."""


def gumbel_sampler(temperature: float, seeds: Sequence[int], device: Any) -> Callable[[Any, Any], Any]:
    """A logits processor after which the largest entry is a sample of softmax(logits / temperature), each row by its own seed."""
    import torch

    generators = [torch.Generator(device).manual_seed(seed) for seed in seeds]

    def perturbed(_: Any, logits: Any) -> Any:
        scaled = logits.float() / temperature
        for row, generator in enumerate(generators):  # float64: in float32 one entry in 2**24 would be drawn as 0
            exponential = torch.empty_like(scaled[row], dtype=torch.float64).exponential_(generator=generator)
            scaled[row] -= exponential.log().float()
        return scaled

    return perturbed


@dataclass(slots=True)
class Recorder:
    """A logits processor, to be the first one: changes nothing and keeps what the model itself says of each place.

    After `chosen(sequences)` there is, for each place of an answer, the log-probability (nats, float32, temperature 1) of the
    token that was taken, (rows,), and the likeliest tokens, (rows, 20).
    """

    best: list[tuple[Any, Any]] = field(default_factory=list)
    spread: list[Any] = field(default_factory=list)
    taken: list[Any] = field(default_factory=list)

    def __call__(self, ids: Any, logits: Any) -> Any:
        self._settle(ids[:, -1])
        spread = logits.float().log_softmax(-1)
        values, tokens = spread.topk(min(ALTERNATIVES, spread.shape[-1]))
        self.best.append((values.cpu(), tokens.cpu()))
        self.spread.append(spread)
        return logits

    def _settle(self, last: Any) -> None:
        if self.spread:  # the whole vocabulary is kept for one place only
            self.taken.append(self.spread.pop().gather(-1, last.unsqueeze(-1)).squeeze(-1).cpu())

    def chosen(self, sequences: Any) -> None:
        """Told the finished sequences, whose last tokens are still to be looked up."""
        self._settle(sequences[:, -1])

    def tokens(self, row: int, ids: Sequence[int], piece: Callable[[int], str]) -> tuple[Token, ...]:
        """The first `len(ids)` tokens of a row; `piece` spells one."""
        made = [Token(piece(token), float(self.taken[t][row])) for t, token in enumerate(ids)]
        if made:
            values, tokens = (side[row].tolist() for side in self.best[len(ids) - 1])
            others = tuple((piece(token), value) for token, value in zip(tokens, values, strict=True))
            made[-1] = Token(made[-1].text, made[-1].logprob, others)
        return tuple(made)


class StopTexts:
    """A stopping criterion: a row ends with the token that completes one of its texts; `ends` says after how many tokens.

    Only the end of an answer is spelled at each step: every token but a special one is a byte or more.
    """

    def __init__(self, stops: Sequence[Sequence[str]], start: int, decode: Callable[[Sequence[int]], str]) -> None:
        self.stops, self.start, self.decode = stops, start, decode
        self.ends: list[int | None] = [None] * len(stops)
        self._reach = [max((len(stop.encode()) for stop in own), default=0) + 8 for own in stops]

    def __call__(self, ids: Any, _: Any = None, **more: Any) -> Any:
        import torch

        for row, own in enumerate(self.stops):
            if own and self.ends[row] is None:
                said = ids[row, self.start :].tolist()
                if cut_at(self.decode(said[-self._reach[row] :]), own) is not None:
                    self.ends[row] = len(said)
        return torch.tensor([end is not None for end in self.ends], device=ids.device)


def cut_at(text: str, stops: Sequence[str]) -> int | None:
    """Where the first stop text in `text` ends; None when there is none."""
    ends = [place + len(stop) for stop in stops if stop and (place := text.find(stop)) >= 0]
    return min(ends, default=None)
