"""Generation and scoring with 🤗 transformers: causal and encoder-decoder models, or a PEFT adapter over one, on CPU or GPU."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rankrl.contracts import OnAnswer
from rankrl.engines._batching import Batch, plan
from rankrl.engines._clip import TokenClip
from rankrl.engines._forward import padded, shared_cache, traits_of, with_shared
from rankrl.engines._generation import Recorder, StopTexts, cut_at, gumbel_sampler
from rankrl.engines._loading import context_length, fingerprint, load_model, load_tokenizer
from rankrl.engines._options import check_fits, check_temperature, check_whole, seed_of
from rankrl.engines._prompts import Prompt, Renderer
from rankrl.engines._scoring import score_choices, score_decoder
from rankrl.engines._spelling import Speller
from rankrl.pretrained import usable_device
from rankrl.types import Answer, Request

__all__ = ["TokenClip", "TransformersEngine", "context_length", "load_model", "load_tokenizer"]

_SPELLING = 3
"""Raised whenever the same request comes to be put to a model in other tokens than before: journals must not mix the two."""


class TransformersEngine:
    """Answers prompts and scores choices; the answer to a request does not depend on which others are in the batch.

    model: a folder with config.json, a folder with adapter_config.json (PEFT), or a name on the Hugging Face hub; a causal
    model, or an encoder-decoder such as T5, whose decoder then goes on from the beginning of an answer.
    max_new_tokens: where a free answer is cut (finish_reason "length"). temperature: 0 takes the likeliest token; above 0 each
    request samples with noise of its own, seeded by (seed, request), its `sample` number included.
    chat_template_kwargs: what the chat template is told besides the messages, such as {"enable_thinking": False}.
    batch_size, batch_tokens: at most so many prompts at once, and so many tokens, padding and max_new_tokens included.
    share_prefixes: what the prompts of a batch begin with alike is computed once, where that saves a quarter of its tokens or
    so. device: "auto" is CUDA when there is one. dtype: "auto" is float32 on CPU and the checkpoint's own elsewhere.

    Choices are scored from the model's own distribution (temperature 1), as are log-probabilities. Sampling settings that a
    checkpoint brings in its generation_config (temperature, top_k, penalties) are dropped; its end-of-sequence tokens are kept.

    Raises:
        DataError: no model there, an adapter without its base, a prompt that does not fit into the model's context.
        ConfigError: an option out of range, a chat for a tokenizer without chat template, a pair to be scored.
    """

    def __init__(
        self,
        model: str | Path,
        *,
        max_new_tokens: int = 2048,
        temperature: float = 0.0,
        seed: int = 0,
        batch_size: int = 64,
        batch_tokens: int = 131_072,
        share_prefixes: bool = True,
        chat_template_kwargs: dict[str, Any] | None = None,
        device: str = "auto",
        dtype: str = "auto",
    ) -> None:
        check_whole(max_new_tokens=max_new_tokens, batch_size=batch_size, batch_tokens=batch_tokens)
        check_temperature(temperature)
        self.max_new_tokens, self.temperature, self.seed = max_new_tokens, float(temperature), seed
        self.batch_size, self.batch_tokens, self.share_prefixes = batch_size, batch_tokens, share_prefixes
        self.chat_template_kwargs = dict(chat_template_kwargs or {})
        self.name = str(Path(model).expanduser() if str(model).startswith("~") else model)
        self._use(*load_model(self.name, usable_device(device), dtype))

    @classmethod
    @contextmanager
    def borrowed(
        cls,
        model: Any,
        tokenizer: Any,
        *,
        max_new_tokens: int,
        batch_size: int = 16,
        batch_tokens: int = 131_072,
        chat_template_kwargs: dict[str, Any] | None = None,
    ) -> Iterator[TransformersEngine]:
        """A greedy engine around a model that somebody else is using, such as a policy in training, left as it was found."""
        engine = cls.__new__(cls)
        engine.max_new_tokens, engine.temperature, engine.seed = max_new_tokens, 0.0, 0
        engine.batch_size, engine.batch_tokens, engine.share_prefixes = batch_size, batch_tokens, True
        engine.chat_template_kwargs = dict(chat_template_kwargs or {})
        engine.name = str(getattr(model.config, "name_or_path", "")) or type(model).__name__
        parts = [model, model.get_base_model()] if hasattr(model, "get_base_model") else [model]
        settings = [part.generation_config for part in parts]
        training, side = [module for module in model.modules() if module.training], tokenizer.padding_side
        try:
            engine._use(model.eval(), tokenizer)
            yield engine
        finally:
            for part, setting in zip(parts, settings, strict=True):
                part.generation_config = setting
            for module in training:
                module.training = True
            tokenizer.padding_side = side

    def _use(self, model: Any, tokenizer: Any) -> None:
        """Answer with this model, and read off it what generation has to know."""
        self.model, self.tokenizer = model, tokenizer
        self.encoder = bool(model.config.is_encoder_decoder)
        self.clip = TokenClip(tokenizer)
        self.render = Renderer(tokenizer, self.name, self.chat_template_kwargs, encoder=self.encoder)
        self.context = int(getattr(model.config.get_text_config(), "max_position_embeddings", 0) or sys.maxsize)
        ends = {tokenizer.eos_token_id, *_as_ids(model.generation_config.eos_token_id)} - {None}
        self.end_ids: tuple[int, ...] = tuple(sorted(ends))
        pad = tokenizer.pad_token_id
        self.pad_id = int(pad if pad is not None else next(iter(self.end_ids), 0))
        start = model.generation_config.decoder_start_token_id
        start = getattr(model.config, "decoder_start_token_id", None) if start is None else start
        self.start_id = self.pad_id if start is None else int(start)
        self._traits = traits_of(model)
        self.spell = Speller(tokenizer)
        self._drop_sampling_settings()

    def _drop_sampling_settings(self) -> None:
        from transformers import GenerationConfig

        # generate() fills what a call leaves open from the model's own config, so the leftovers have to go there
        self.model.generation_config = GenerationConfig(
            do_sample=False,
            eos_token_id=list(self.end_ids) or None,
            pad_token_id=self.pad_id,
            decoder_start_token_id=self.start_id if self.encoder else None,
        )

    @property
    def fingerprint(self) -> str:
        """A hash of what decides the answers: the weights (a sample of every tensor), tokenizer, template, dtype, sampling."""
        sampling = (self.max_new_tokens, self.temperature, self.seed if self.temperature else None, self.end_ids)
        start = self.start_id if self.encoder else None
        told = sorted(self.chat_template_kwargs.items())
        return fingerprint(self.model, self.tokenizer, told, sampling, start, _SPELLING)

    def generate(self, requests: Sequence[Request], on_answer: OnAnswer | None = None) -> list[Answer]:
        """One answer per request, in their order. completion_tokens counts the end-of-sequence token, and nothing for choices."""
        import torch

        if not requests:
            return []
        prompts = self.render(requests)
        choices = [[self.render.choice(text, request.begun) for text in request.choices] for request in requests]
        self._check_lengths(prompts, choices)
        answers: list[Answer | None] = [None] * len(requests)
        with torch.no_grad():  # inference_mode would leave buffers behind that a borrowed model cannot train with
            for batch in self._batches(prompts, choices):
                if choices[batch.rows[0]]:
                    answered = self._score(batch, prompts, choices)
                else:
                    answered = self._generate(batch, prompts, requests)
                for i, answer in zip(batch.rows, answered, strict=True):
                    answers[i] = answer
                    if on_answer is not None:
                        on_answer(i, answer)
        return [answer for answer in answers if answer is not None]

    def _check_lengths(self, prompts: Sequence[Prompt], choices: Sequence[Sequence[Sequence[int]]]) -> None:
        rooms = [max(map(len, own)) if own else self.max_new_tokens for own in choices]
        sizes = [max(len(p.ids), len(p.begun) + 1) if self.encoder else len(p) for p in prompts]
        taken = [
            max(len(p.ids), len(p.begun) + 1 + room) if self.encoder else len(p) + room
            for p, room in zip(prompts, rooms, strict=True)
        ]
        check_fits(sizes, taken, context=self.context, max_new_tokens=self.max_new_tokens, name=self.name)

    def _batches(self, prompts: Sequence[Prompt], choices: Sequence[object]) -> Iterator[Batch]:
        """Requests that are answered together: those with choices, and free ones.

        A decoder begins all of a batch alike long, and what cannot be padded goes with its like.
        """
        kinds: dict[tuple[bool, int, int], list[int]] = {}
        for i, prompt in enumerate(prompts):
            begun, size = 0 if choices[i] else len(prompt.begun), 0 if self._traits.paddable else len(prompt)
            kinds.setdefault((bool(choices[i]), begun, size), []).append(i)
        sharing = self.share_prefixes and self._traits.shareable
        for rows in kinds.values():
            ids, room = [prompts[i].ids for i in rows], 0 if choices[rows[0]] else self.max_new_tokens
            for batch in plan(ids, size=self.batch_size, tokens=self.batch_tokens, sharing=sharing, room=room):
                yield Batch(tuple(rows[i] for i in batch.rows), batch.shared)

    def _score(
        self, batch: Batch, prompts: Sequence[Prompt], choices: Sequence[Sequence[Sequence[int]]]
    ) -> list[Answer]:
        asked, own = [prompts[i] for i in batch.rows], [choices[i] for i in batch.rows]
        ids = [prompt.ids for prompt in asked]
        if self.encoder:
            begun = [(self.start_id, *prompt.begun) for prompt in asked]
            scores = score_decoder(self.model, ids, begun, own, self.pad_id, self.batch_tokens)
        else:
            scores = score_choices(
                self.model, self._traits, ids, own, shared=batch.shared, pad_id=self.pad_id, tokens=self.batch_tokens
            )
        return [
            Answer("", len(prompt), scores=found, cached_tokens=batch.shared if row else 0)
            for row, (prompt, found) in enumerate(zip(asked, scores, strict=True))
        ]

    def _generate(self, batch: Batch, prompts: Sequence[Prompt], requests: Sequence[Request]) -> list[Answer]:
        asked, own = [prompts[i] for i in batch.rows], [requests[i] for i in batch.rows]
        inputs = self._inputs(asked, batch.shared)
        start = inputs["decoder_input_ids" if self.encoder else "input_ids"].shape[1]
        recorder = Recorder() if any(request.logprobs for request in own) else None
        stops = StopTexts([request.stop for request in own], start, self.spell)
        processors: list[Any] = [] if recorder is None else [recorder]
        if self.temperature:
            seeds = [int.from_bytes(seed_of(self.seed, request)[:7], "big") for request in own]
            processors.append(gumbel_sampler(self.temperature, seeds, self.model.device))
        sequences = self.model.generate(
            **inputs,
            max_new_tokens=self.max_new_tokens,
            do_sample=False,
            logits_processor=processors,
            stopping_criteria=[stops] if any(request.stop for request in own) else None,
        )
        if recorder is not None:
            recorder.chosen(sequences)
        return [
            self._answer(row, asked[row], own[row], said, stops.ends[row], recorder, batch.shared if row else 0)
            for row, said in enumerate(sequences[:, start:].tolist())
        ]

    def _inputs(self, prompts: Sequence[Prompt], shared: int) -> dict[str, Any]:
        """What `generate` of the model is given."""
        import torch

        device, ids = self.model.device, [prompt.ids for prompt in prompts]
        if self.encoder:
            sources, mask = padded(ids, self.pad_id, device, left=False)
            begun = torch.tensor([(self.start_id, *prompt.begun) for prompt in prompts], device=device)
            return {"input_ids": sources, "attention_mask": mask, "decoder_input_ids": begun}
        whole, mask = with_shared(ids, shared, self.pad_id, device)
        told = {"input_ids": whole, "attention_mask": mask}
        cache = shared_cache(self.model, self._traits, ids[0][:shared], len(ids)) if shared else None
        return told if cache is None else {**told, self._traits.cache: cache}

    def _answer(
        self,
        row: int,
        prompt: Prompt,
        request: Request,
        said: list[int],
        stopped: int | None,
        recorder: Recorder | None,
        cached: int,
    ) -> Answer:
        """The answer up to its first end-of-sequence token or stop text; what follows in the row is padding."""
        end = next((t for t, token in enumerate(said[:stopped]) if token in self.end_ids), None)
        content = said[:stopped] if end is None else said[:end]
        text = self.spell(content)
        cut = cut_at(text, request.stop)
        ended = end is not None or stopped is not None or cut is not None
        tokens = recorder.tokens(row, content, self.spell.token) if recorder is not None and request.logprobs else ()
        return Answer(
            text if cut is None else text[:cut],
            len(prompt),
            len(content) + (end is not None),
            finish_reason="stop" if ended else "length",
            tokens=tokens,
            cached_tokens=cached,
        )


def _as_ids(ids: int | Sequence[int] | None) -> list[int]:
    return [] if ids is None else [ids] if isinstance(ids, int) else list(ids)
