"""Generation and scoring with vLLM in this process: continuous batches, cached prefixes, LoRA adapters, on GPU or CPU."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rankrl.contracts import OnAnswer
from rankrl.engines._clip import TokenClip
from rankrl.engines._generation import ALTERNATIVES, cut_at
from rankrl.engines._options import check_fits, check_temperature, check_whole, is_number, seed_of
from rankrl.engines._prompts import Prompt, Renderer
from rankrl.engines._spelling import Speller, vocabulary
from rankrl.engines._steps import Tokens, steps_of, summed
from rankrl.engines._vllm_loading import Parts, cache_bytes, held, parts_of, prepared, served
from rankrl.engines._weights import files_fingerprint
from rankrl.errors import ConfigError, RankRLError
from rankrl.types import Answer, Request, Token

MOST_IDS = 128
"""How many given tokens vLLM tells the log-probabilities of at once."""

NO_DECISION = frozenset(
    {
        *("kv_cache_memory_bytes", "num_gpu_blocks_override", "block_size", "cpu_offload_gb", "swap_space"),
        *("max_num_seqs", "max_num_batched_tokens", "pipeline_parallel_size", "data_parallel_size", "use_tqdm_on_load"),
        *("distributed_executor_backend", "disable_log_stats", "download_dir", "max_logprobs", "compilation_config"),
    }
)
"""Options that decide how fast an answer comes, not what it says."""

Job = tuple[Tokens, dict[str, Any]]
"""A prompt's tokens and the sampling parameters."""


class VllmEngine:
    """Answers prompts and scores choices with vLLM, asked and read as the transformers engine does it.

    model: a folder with config.json, a folder with adapter_config.json (LoRA by PEFT; its base is served with the adapter
    over it), or a name on the Hugging Face hub; causal models. max_new_tokens, temperature, seed, chat_template_kwargs: as of
    that engine, but vLLM takes temperatures up to 2 and draws other samples from the same seeds. dtype: "auto" is float32 on
    CPU and the checkpoint's own elsewhere. max_model_len: the context to make room for, at most the model's own, which is
    the default. gpu_memory_utilization: the part of the device's memory to take (None: vLLM's own default); on CPU a part of
    the machine's, where None is 2 GiB for keys and values, or VLLM_CPU_KVCACHE_SPACE. tensor_parallel_size: over how many
    devices the model is spread. enforce_eager: None is True on CPU, where compiling takes longer than it saves.
    enable_prefix_caching: what prompts begin with alike is computed once, in whole blocks (of 16 tokens, on CPU of 128).
    engine_options: further arguments of `vllm.LLM`, such as {"quantization": "fp8"}.

    Greedy answers and scores are those of transformers up to rounding. A choice of several tokens is scored token by token,
    each behind the prompt's cached blocks. `on_answer` is told of an answer in the step in which it ends.

    Raises:
        DataError: no model there, an adapter without its base, a prompt that does not fit into the context.
        ConfigError: an option out of range; a model, adapter or argument that vLLM refuses; a chat for a tokenizer without
            chat template; a pair to be scored. MissingDependencyError: vLLM is not installed.
    """

    def __init__(
        self,
        model: str | Path,
        *,
        max_new_tokens: int = 2048,
        temperature: float = 0.0,
        seed: int = 0,
        chat_template_kwargs: Mapping[str, Any] | None = None,
        dtype: str = "auto",
        max_model_len: int | None = None,
        gpu_memory_utilization: float | None = None,
        tensor_parallel_size: int = 1,
        enforce_eager: bool | None = None,
        enable_prefix_caching: bool = True,
        engine_options: Mapping[str, Any] | None = None,
    ) -> None:
        check_whole(max_new_tokens=max_new_tokens, tensor_parallel_size=tensor_parallel_size)
        if max_model_len is not None:
            check_whole(max_model_len=max_model_len)
        check_temperature(temperature, most=2)
        if gpu_memory_utilization is not None and not (
            is_number(gpu_memory_utilization) and 0 < gpu_memory_utilization <= 1
        ):
            raise ConfigError(f"gpu_memory_utilization must be above 0 and at most 1, got {gpu_memory_utilization!r}")
        self.max_new_tokens, self.temperature, self.seed = max_new_tokens, float(temperature), seed
        self.max_model_len, self.gpu_memory_utilization = max_model_len, gpu_memory_utilization
        self.tensor_parallel_size, self.enable_prefix_caching = tensor_parallel_size, enable_prefix_caching
        self.chat_template_kwargs = _object("chat_template_kwargs", chat_template_kwargs)
        self.engine_options = _object("engine_options", engine_options)
        self.model = self.name = str(Path(model).expanduser() if str(model).startswith("~") else model)
        cpu = prepared()
        self._cache_bytes = cache_bytes(cpu, gpu_memory_utilization)
        self.dtype = "float32" if cpu and dtype == "auto" else dtype
        self.enforce_eager = cpu if enforce_eager is None else enforce_eager
        self._numbers = itertools.count()
        self._use(parts_of(self.name))

    def _use(self, parts: Parts) -> None:
        """Load model and adapter, and read off them what answering has to know."""
        self.tokenizer, self.end_ids, self._folders = parts.tokenizer, parts.ends, parts.folders
        self.clip, self.spell = TokenClip(self.tokenizer), Speller(self.tokenizer)
        self.render = Renderer(self.tokenizer, self.name, self.chat_template_kwargs, encoder=False)
        own = {
            "max_model_len": self.max_model_len,
            "gpu_memory_utilization": self.gpu_memory_utilization,
            "kv_cache_memory_bytes": self._cache_bytes,
            "dtype": self.dtype,
            "tensor_parallel_size": self.tensor_parallel_size,
            "enforce_eager": self.enforce_eager,
            "enable_prefix_caching": self.enable_prefix_caching,
            "tokenizer": str(self.tokenizer.name_or_path),
            "generation_config": "vllm",  # no sampling settings of the checkpoint's
        }
        given = {option: value for option, value in own.items() if value is not None}
        self.llm, self._adapter = served(parts.base, parts.adapter, **{**given, **self.engine_options})
        self._release = held(self, self.llm)
        self.context = int(self.llm.llm_engine.model_config.max_model_len)

    @property
    def fingerprint(self) -> str:
        """A hash of what decides the answers: weights (a sample of every tensor), tokenizer, template, dtype, sampling."""
        sampling = [self.max_new_tokens, self.temperature, self.seed if self.temperature else None, self.end_ids]
        options = {name: value for name, value in self.engine_options.items() if name not in NO_DECISION}
        told = [self.chat_template_kwargs, self.dtype, options]
        weights = [files_fingerprint(folder) for folder in self._folders]
        facts = ["vllm", weights, vocabulary(self.tokenizer), self.tokenizer.chat_template, sampling, told]
        return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()

    def generate(self, requests: Sequence[Request], on_answer: OnAnswer | None = None) -> list[Answer]:
        """One answer per request, in their order. completion_tokens counts the end-of-sequence token, and nothing for choices."""
        prompts = self.render(requests) if requests else []
        choices = [[self.render.choice(text, request.begun) for text in request.choices] for request in requests]
        self._check_lengths(prompts, choices)
        jobs: list[tuple[int, Tokens, Job]] = []
        for i, (request, prompt) in enumerate(zip(requests, prompts, strict=True)):
            jobs += [(i, beginning, job) for beginning, job in self._jobs(request, prompt, choices[i])]
        open_jobs = [0] * len(requests)
        for i, _, _ in jobs:
            open_jobs[i] += 1
        found: list[list[tuple[Tokens, Any]]] = [[] for _ in requests]
        answers: list[Answer | None] = [None] * len(requests)

        def done(number: int, output: Any) -> None:
            i, beginning, _ = jobs[number]
            found[i].append((beginning, output))
            open_jobs[i] -= 1
            if not open_jobs[i]:
                if choices[i]:
                    answers[i] = answer = self._scored(prompts[i], choices[i], found[i])
                else:
                    answers[i] = answer = self._answered(prompts[i], requests[i], output)
                found[i].clear()
                if on_answer is not None:
                    on_answer(i, answer)

        self._run([job for _, _, job in jobs], done)
        return [answer for answer in answers if answer is not None]

    def close(self) -> None:
        """Give the memory back; the engine answers nothing any more."""
        self.llm = None
        self._release()

    def _check_lengths(self, prompts: Sequence[Prompt], choices: Sequence[Sequence[Tokens]]) -> None:
        rooms = [max(map(len, own)) if own else self.max_new_tokens for own in choices]
        sizes = [len(prompt) for prompt in prompts]
        taken = [size + room for size, room in zip(sizes, rooms, strict=True)]
        check_fits(sizes, taken, context=self.context, max_new_tokens=self.max_new_tokens, name=self.name)

    def _jobs(self, request: Request, prompt: Prompt, choices: Sequence[Tokens]) -> list[tuple[Tokens, Job]]:
        """What to ask vLLM for a request, each with the beginning of the choices that it stands behind."""
        if not choices:
            return [((), (prompt.ids, self._sampling(request)))]
        asked = []
        for beginning, following in steps_of(choices).items():
            for start in range(0, len(following), MOST_IDS):
                wanted = list(following[start : start + MOST_IDS])
                params = {"max_tokens": 1, "temperature": 0.0, "detokenize": False, "logprob_token_ids": wanted}
                asked.append((beginning, ((*prompt.ids, *beginning), params)))
        return asked

    def _sampling(self, request: Request) -> dict[str, Any]:
        return {
            "max_tokens": self.max_new_tokens,
            "temperature": self.temperature,
            "seed": int.from_bytes(seed_of(self.seed, request)[:7], "big") if self.temperature else None,
            "stop": list(request.stop) or None,
            "stop_token_ids": list(self.end_ids),
            "logprobs": ALTERNATIVES if request.logprobs else None,
        }

    def _run(self, jobs: Sequence[Job], done: Callable[[int, Any], None]) -> None:
        """Ask vLLM all at once; `done` is told (index of the job, its output) as they end. What is open is given up on errors."""
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        if self.llm is None:
            raise RankRLError("the vllm engine is closed; load it again")
        engine, waiting = self.llm.llm_engine, {}
        try:
            for number, (ids, params) in enumerate(jobs):
                try:
                    sampling = SamplingParams(**params, output_kind=RequestOutputKind.FINAL_ONLY)
                except TypeError as error:  # such as logprob_token_ids, which came late
                    raise ConfigError(f"this vLLM is too old for what is asked of it ({error}); install 0.31") from None
                prompt = {"type": "token", "prompt_token_ids": list(ids)}
                waiting[name := f"rankrl-{next(self._numbers)}"] = number
                engine.add_request(name, prompt, sampling, lora_request=self._adapter)
            while waiting:
                for output in engine.step():
                    if output.finished and output.request_id in waiting:
                        done(waiting.pop(output.request_id), output)
        finally:
            if waiting:
                engine.abort_request(list(waiting))

    def _scored(self, prompt: Prompt, choices: Sequence[Tokens], outputs: Sequence[tuple[Tokens, Any]]) -> Answer:
        logprobs: dict[Tokens, dict[int, float]] = {}
        for beginning, output in outputs:
            told = output.outputs[0].logprobs[0]
            logprobs.setdefault(beginning, {}).update({token: float(entry.logprob) for token, entry in told.items()})
        scores = tuple(summed(choice, logprobs) for choice in choices)
        return Answer("", len(prompt), scores=scores, cached_tokens=min(_cached(output) for _, output in outputs))

    def _answered(self, prompt: Prompt, request: Request, output: Any) -> Answer:
        said = output.outputs[0]
        ids = list(said.token_ids)
        content = ids[:-1] if ids and ids[-1] in self.end_ids else ids
        text = self.spell(content)
        cut = cut_at(text, request.stop)
        tokens = self._tokens(content, said.logprobs) if request.logprobs else ()
        return Answer(
            text if cut is None else text[:cut],
            len(prompt),
            len(ids),
            finish_reason=str(said.finish_reason),
            tokens=tokens,
            cached_tokens=_cached(output),
        )

    def _tokens(self, ids: Sequence[int], told: Sequence[Mapping[int, Any]]) -> tuple[Token, ...]:
        made = [Token(self.spell.token(t), float(told[n][t].logprob)) for n, t in enumerate(ids)]
        if made:
            likeliest = sorted(told[len(ids) - 1].items(), key=lambda entry: -entry[1].logprob)[:ALTERNATIVES]
            others = tuple((self.spell.token(t), float(entry.logprob)) for t, entry in likeliest)
            made[-1] = Token(made[-1].text, made[-1].logprob, others)
        return tuple(made)


def _cached(output: Any) -> int:
    return int(getattr(output, "num_cached_tokens", 0) or 0)


def _object(name: str, given: Mapping[str, Any] | None) -> dict[str, Any]:
    if given is not None and not isinstance(given, Mapping):
        raise ConfigError(f'{name} must map names to values, such as {{"quantization": "fp8"}}, got {given!r}')
    return dict(given or {})
