"""How likely given texts are to come next: summed log-probabilities of choices, batched."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from rankrl.engines._forward import Filled, Traits, fill, forward, padded, rows_of

Choices = Sequence[Sequence[int]]
"""The tokens of each choice of one prompt."""


def score_choices(
    model: Any,
    traits: Traits,
    prompts: Sequence[Sequence[int]],
    choices: Sequence[Choices],
    *,
    shared: int,
    pad_id: int,
    tokens: int,
) -> list[tuple[float, ...]]:
    """For each prompt, the summed log-probability (nats, float32) of each of its choices as what comes next.

    The prompts go through the model once; first tokens are read off the logits of their last places. Choices of several tokens
    continue from the prompts' keys and values, right-padded, at most `tokens` tokens with the prompts' at a time; where a
    model keeps no such cache they are computed whole, behind their prompts. shared: see `rankrl.engines._batching.Batch`.
    """
    longer = [(i, c) for i, own in enumerate(choices) for c, choice in enumerate(own) if len(choice) > 1]
    filled = fill(model, traits, prompts, shared, pad_id, keep=bool(longer))
    first = filled.logits.log_softmax(-1).cpu()
    scores = [[float(first[i, choice[0]]) for choice in own] for i, own in enumerate(choices)]
    width = filled.mask.shape[1] + max((len(choices[i][c]) for i, c in longer), default=0)
    for chunk in _chunks(longer, max(1, tokens // width) if traits.paddable else 1):
        tails = [choices[i][c] for i, c in chunk]
        made = _continued(model, traits, filled, [i for i, _ in chunk], tails, pad_id)
        if made is None:
            made = _whole(model, traits, [prompts[i] for i, _ in chunk], tails, pad_id)
        for (i, c), rest in zip(chunk, made, strict=True):
            scores[i][c] += rest
    return [tuple(own) for own in scores]


def _chunks(items: Sequence[tuple[int, int]], size: int) -> Iterator[Sequence[tuple[int, int]]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


def _continued(
    model: Any, traits: Traits, filled: Filled, rows: Sequence[int], tails: Choices, pad_id: int
) -> list[float] | None:
    """The log-probability of each tail after its first token, behind its row; None where the cache cannot be used."""
    import torch

    cache = rows_of(filled.cache, rows)
    if cache is None:
        return None
    ids, own = padded([tail[:-1] for tail in tails], pad_id, model.device, left=False)
    mask = torch.cat([filled.mask[torch.tensor(rows, device=model.device)], own], 1)
    logits = forward(model, traits, ids, mask, cache, keep=0).logits
    return sums(logits, [tail[1:] for tail in tails])


def _whole(model: Any, traits: Traits, prompts: Choices, tails: Choices, pad_id: int) -> list[float]:
    """The same with prompt and tail in one row; each row ends with its tail."""
    ids, mask = padded([[*prompt, *tail] for prompt, tail in zip(prompts, tails, strict=True)], pad_id, model.device)
    longest = max(map(len, tails))
    logits = forward(model, traits, ids, mask, None, keep=longest).logits[:, -longest:]
    return [
        sums(logits[i : i + 1, longest - len(tail) : -1], [tail[1:]])[0] for i, tail in enumerate(tails)
    ]  # one by one, since the rows end alike and begin at different places


def sums(logits: Any, targets: Choices) -> list[float]:
    """The summed log-probability of each row's targets, of which the t-th is foretold by the logits (rows, places, vocabulary)
    of place t."""
    import torch

    ids, mask = padded(targets, 0, logits.device, left=False)
    logits = logits[:, : ids.shape[1]].float()
    chosen = logits.gather(-1, ids.unsqueeze(-1)).squeeze(-1) - torch.logsumexp(logits, -1)
    return [float(total) for total in (chosen * mask).sum(-1).cpu()]


def score_decoder(
    model: Any,
    sources: Sequence[Sequence[int]],
    begun: Sequence[Sequence[int]],
    choices: Sequence[Choices],
    pad_id: int,
    tokens: int,
) -> list[tuple[float, ...]]:
    """The same for encoder-decoder models: each source is encoded once, its choices are told by the decoder after `begun`.

    begun: what the decoder has said before, its start token first.
    """
    import torch
    from transformers.modeling_outputs import BaseModelOutput

    ids, mask = padded(sources, pad_id, model.device, left=False)
    states = model.get_encoder()(input_ids=ids, attention_mask=mask).last_hidden_state
    wanted = [(i, c) for i, own in enumerate(choices) for c in range(len(own))]
    scores = [[0.0] * len(own) for own in choices]
    one_step = all(len(choice) == 1 for own in choices for choice in own)
    if one_step:  # all choices of a prompt are read off one place
        wanted = [(i, 0) for i in range(len(sources)) if choices[i]]
    width = ids.shape[1] + max(len(b) for b in begun) + max((len(c) for own in choices for c in own), default=0)
    for chunk in _chunks(wanted, max(1, tokens // width)):
        rows = torch.tensor([i for i, _ in chunk], device=model.device)
        told = [[*begun[i], *choices[i][c][:-1]] for i, c in chunk]
        decoder_ids, decoder_mask = padded(told, pad_id, model.device, left=False)
        logits = model(
            encoder_outputs=BaseModelOutput(last_hidden_state=states[rows]),
            attention_mask=mask[rows],
            decoder_input_ids=decoder_ids,
            decoder_attention_mask=decoder_mask,
            use_cache=False,
        ).logits.float()
        for row, (i, c) in enumerate(chunk):
            last = len(begun[i]) - 1
            if one_step:
                spread = logits[row, last].log_softmax(-1).cpu()
                scores[i] = [float(spread[choice[0]]) for choice in choices[i]]
            else:
                scores[i][c] = sums(logits[row : row + 1, last:], [choices[i][c]])[0]
    return [tuple(own) for own in scores]
