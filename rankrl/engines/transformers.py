"""Generation with 🤗 transformers: any causal LM with a chat template, or a PEFT adapter over one, on CPU or GPU."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rankrl.contracts import OnAnswer
from rankrl.engines._loading import TokenClip, check_template, context_length, load_model, load_tokenizer
from rankrl.errors import ConfigError, DataError
from rankrl.pretrained import usable_device
from rankrl.types import Answer, Request

__all__ = ["TokenClip", "TransformersEngine", "context_length", "load_model", "load_tokenizer"]


class TransformersEngine:
    """Answers prompts with a causal LM; the answer to a prompt does not depend on which others are in the batch.

    model: a folder with config.json, a folder with adapter_config.json (PEFT), or a name on the Hugging Face hub.
    max_new_tokens: where an answer is cut (finish_reason "length"). temperature: 0 takes the likeliest token; above 0 each
    prompt samples with noise of its own, seeded by (seed, request), its `sample` number included.
    chat_template_kwargs: what the chat template is told besides the messages, such as {"enable_thinking": False}.
    batch_size, batch_tokens: at most so many prompts, and so many prompt tokens with padding, at once. device: "auto" is
    CUDA when there is one. dtype: "auto" is float32 on CPU and the checkpoint's own elsewhere.

    Sampling settings that a checkpoint brings in its generation_config (temperature, top_k, penalties) are dropped; its
    end-of-sequence tokens are kept.

    Raises:
        DataError: no model there, an adapter without its base, a prompt that does not fit into the model's context.
        ConfigError: an option out of range, a tokenizer without chat template.
    """

    def __init__(
        self,
        model: str | Path,
        *,
        max_new_tokens: int = 2048,
        temperature: float = 0.0,
        seed: int = 0,
        batch_size: int = 16,
        batch_tokens: int = 131_072,
        chat_template_kwargs: dict[str, Any] | None = None,
        device: str = "auto",
        dtype: str = "auto",
    ) -> None:
        sizes = {"max_new_tokens": max_new_tokens, "batch_size": batch_size, "batch_tokens": batch_tokens}
        for name, value in sizes.items():
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ConfigError(f"{name} must be a whole number of 1 or more, got {value!r}")
        if not isinstance(temperature, (int, float)) or not 0 <= temperature < float("inf"):
            raise ConfigError(f"temperature must be 0 or more, got {temperature!r}")
        self.max_new_tokens, self.temperature, self.seed = max_new_tokens, float(temperature), seed
        self.batch_size, self.batch_tokens = batch_size, batch_tokens
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
        engine.batch_size, engine.batch_tokens = batch_size, batch_tokens
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
        check_template(tokenizer, self.name)
        self.clip = TokenClip(self.tokenizer)
        self.context = int(getattr(self.model.config.get_text_config(), "max_position_embeddings", 0) or sys.maxsize)
        ends = {self.tokenizer.eos_token_id, *_as_ids(self.model.generation_config.eos_token_id)} - {None}
        self.end_ids: tuple[int, ...] = tuple(sorted(ends))
        pad = self.tokenizer.pad_token_id
        self.pad_id = int(pad if pad is not None else next(iter(self.end_ids), 0))
        self._drop_sampling_settings()

    def _drop_sampling_settings(self) -> None:
        from transformers import GenerationConfig

        # generate() fills what a call leaves open from the model's own config, so the leftovers have to go there
        self.model.generation_config = GenerationConfig(
            do_sample=False, eos_token_id=list(self.end_ids) or None, pad_token_id=self.pad_id
        )

    @property
    def fingerprint(self) -> str:
        """A hash of what decides the answers: the weights (a sample of every tensor), tokenizer, template, dtype, sampling."""
        digest = hashlib.sha256()
        for name, weights in sorted(self.model.state_dict().items()):
            flat = weights.detach().reshape(-1)
            sample = flat[:: max(1, flat.numel() // 64)].float().cpu()
            digest.update(f"{name} {tuple(weights.shape)} {weights.dtype}".encode() + sample.numpy().tobytes())
        backend = getattr(self.tokenizer, "backend_tokenizer", None)
        spelling = backend.to_str() if backend is not None else repr(sorted(self.tokenizer.get_vocab().items()))
        sampling = (self.max_new_tokens, self.temperature, self.seed if self.temperature else None, self.end_ids)
        told = sorted(self.chat_template_kwargs.items())
        digest.update(f"{spelling}{self.tokenizer.chat_template}{told}{sampling}".encode())
        return digest.hexdigest()

    def generate(self, requests: Sequence[Request], on_answer: OnAnswer | None = None) -> list[Answer]:
        """One answer per request, in their order. completion_tokens counts the end-of-sequence token."""
        texts = [
            self.tokenizer.apply_chat_template(
                request.prompt, tokenize=False, add_generation_prompt=True, **self.chat_template_kwargs
            )
            for request in requests
        ]
        prompts = self.tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"] if texts else []
        self._check_lengths([len(prompt) for prompt in prompts])
        seeds = [_seed(self.seed, request) if self.temperature else 0 for request in requests]
        answers: list[Answer | None] = [None] * len(prompts)
        for batch in self._batches([len(prompt) for prompt in prompts]):
            generated = self._generate([prompts[i] for i in batch], [seeds[i] for i in batch])
            for i, token_ids in zip(batch, generated, strict=True):
                answers[i] = answer = self._answer(len(prompts[i]), token_ids)
                if on_answer is not None:
                    on_answer(i, answer)
        return [answer for answer in answers if answer is not None]

    def _check_lengths(self, lengths: Sequence[int]) -> None:
        room = self.context - self.max_new_tokens
        if long := [length for length in lengths if length > room]:
            raise DataError(
                f"{len(long)} of {len(lengths)} prompts do not fit: the longest has {max(long)} tokens, max_new_tokens is "
                f"{self.max_new_tokens}, and the context of {self.name} is {self.context}; "
                "lower max_new_tokens, or show fewer or shorter passages (such as num_child=4, passage_tokens=64)"
            )

    def _batches(self, lengths: Sequence[int]) -> Iterator[list[int]]:
        """Indices of the requests, longest first so that what does not fit into memory fails at once."""
        batch: list[int] = []
        for i in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
            full = len(batch) == self.batch_size or (batch and (len(batch) + 1) * lengths[batch[0]] > self.batch_tokens)
            if full:
                yield batch
                batch = []
            batch.append(i)
        if batch:
            yield batch

    def _generate(self, prompts: Sequence[Sequence[int]], seeds: Sequence[int]) -> list[list[int]]:
        import torch

        width = max(map(len, prompts))
        padded = torch.full((len(prompts), width), self.pad_id)
        mask = torch.zeros_like(padded)
        for row, prompt in enumerate(prompts):
            padded[row, width - len(prompt) :] = torch.tensor(prompt)
            mask[row, width - len(prompt) :] = 1
        device = self.model.device
        noise = [_gumbel_sampler(self.temperature, seeds, device)] if self.temperature else []
        with torch.no_grad():  # inference_mode would leave buffers behind that a borrowed model cannot train with
            sequences = self.model.generate(
                input_ids=padded.to(device),
                attention_mask=mask.to(device),
                max_new_tokens=self.max_new_tokens,
                do_sample=False,
                logits_processor=noise,
            )
        tokens: list[list[int]] = sequences[:, width:].tolist()
        return tokens

    def _answer(self, prompt_tokens: int, token_ids: list[int]) -> Answer:
        """The answer up to its first end-of-sequence token; what follows in the row is padding."""
        end = next((t for t, token in enumerate(token_ids) if token in self.end_ids), None)
        kept = token_ids if end is None else token_ids[: end + 1]
        text = self.tokenizer.decode(kept, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return Answer(text, prompt_tokens, len(kept), finish_reason="length" if end is None else "stop")


def _gumbel_sampler(temperature: float, seeds: Sequence[int], device: Any) -> Callable[[Any, Any], Any]:
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


def _seed(seed: int, request: Request) -> int:
    """The seed of a request's own noise, from the request alone."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{request.key}".encode()).digest()[:7], "big")


def _as_ids(ids: int | Sequence[int] | None) -> list[int]:
    return [] if ids is None else [ids] if isinstance(ids, int) else list(ids)
