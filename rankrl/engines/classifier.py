"""Scores of (query, document) pairs from sequence classifiers: cross-encoders, LLMs with a score head, adapters over them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rankrl.contracts import OnAnswer
from rankrl.engines._batching import plan
from rankrl.engines._clip import TokenClip
from rankrl.engines._forward import padded
from rankrl.engines._loading import fingerprint, load_classifier
from rankrl.engines._options import check_whole
from rankrl.errors import ConfigError, DataError
from rankrl.pretrained import usable_device
from rankrl.types import PAIR, Answer, Request

_OFFSET_POSITIONS = ("roberta", "xlm-roberta", "xlm-roberta-xl", "camembert", "longformer", "mpnet")
"""Model types that count positions from behind the padding token's id, so that so many fewer tokens fit."""


class ClassifierEngine:
    """Answers a request about a pair with the model's score of it; the score does not depend on what else is in the batch.

    A request is a query and a document (two messages of the role "pair") and one choice, whose score is: the logit of a model
    with one label; the logit of label 1 less that of label 0 with two; with more, or where `label` (a name or number of the
    model's own) is given, the log-odds of that label. model: a folder with config.json, a folder with adapter_config.json
    (PEFT), or a name on the Hugging Face hub. A chat template that has room for the roles "query" and "document" writes the
    pair, as sentence-transformers has it; without one the tokenizer puts the two together.
    max_length: tokens of a pair, at most what the model takes (the default); of a longer one the end of the document is cut.
    batch_size, batch_tokens: at most so many pairs, and so many tokens with padding, at once. device: "auto" is CUDA when there
    is one. dtype: "auto" is float32 on CPU and the checkpoint's own elsewhere.

    Raises:
        DataError: no model there, one without a classification head, a query that fills max_length by itself.
        ConfigError: an option out of range, a model of several labels without `label`, a request for something else.
    """

    def __init__(
        self,
        model: str | Path,
        *,
        label: str | int | None = None,
        max_length: int | None = None,
        batch_size: int = 32,
        batch_tokens: int = 131_072,
        device: str = "auto",
        dtype: str = "auto",
    ) -> None:
        check_whole(batch_size=batch_size, batch_tokens=batch_tokens)
        if max_length is not None:
            check_whole(max_length=max_length)
        self.batch_size, self.batch_tokens = batch_size, batch_tokens
        self.name = str(Path(model).expanduser() if str(model).startswith("~") else model)
        self.model, self.tokenizer = load_classifier(self.name, usable_device(device), dtype)
        self.clip = TokenClip(self.tokenizer)
        self._in_chat = carries_pairs(self.tokenizer)
        self.label = _label(label, self.model.config, self.name)
        self.pad_id = _pad(self.tokenizer, self.model)
        longest = _longest(self.tokenizer, self.model.config)
        if max_length is not None and max_length > longest:
            raise ConfigError(f"max_length is {max_length}, and {self.name} takes {longest} tokens at most")
        self.max_length = longest if max_length is None else max_length

    @property
    def fingerprint(self) -> str:
        """A hash of what decides the scores: the weights (a sample of every tensor), tokenizer, dtype, label, length."""
        return fingerprint(self.model, self.tokenizer, "pairs", self.label, self.max_length)

    def generate(self, requests: Sequence[Request], on_answer: OnAnswer | None = None) -> list[Answer]:
        """One answer per request, in their order, with one score each."""
        import torch

        pairs = self._pairs(requests)
        answers: list[Answer | None] = [None] * len(requests)
        ids = [tuple(pair["input_ids"]) for pair in pairs]
        for batch in plan(ids, size=self.batch_size, tokens=self.batch_tokens, sharing=False):
            with torch.no_grad():
                scores = self._scores([pairs[i] for i in batch.rows])
            for i, score in zip(batch.rows, scores, strict=True):
                answers[i] = answer = Answer("", len(ids[i]), scores=(score,))
                if on_answer is not None:
                    on_answer(i, answer)
        return [answer for answer in answers if answer is not None]

    def _pairs(self, requests: Sequence[Request]) -> list[dict[str, list[int]]]:
        """The tokens of each pair, cut behind."""
        for request in requests:
            roles = [message["role"] for message in request.prompt]
            if roles != [PAIR, PAIR] or len(request.choices) != 1:
                raise ConfigError(
                    f"{self.name} scores pairs: a query and a document (role {PAIR!r}) and one choice; got the roles {roles} "
                    f"and {len(request.choices)} choices; for chats use the engine 'transformers'"
                )
        if not requests:
            return []
        queries, documents = ([request.prompt[i]["content"] for request in requests] for i in (0, 1))
        self._check_queries(queries)
        if self._in_chat:
            return [{"input_ids": self._chat(q, d)} for q, d in zip(queries, documents, strict=True)]
        encoded = self.tokenizer(
            queries, documents, truncation="only_second", max_length=self.max_length, verbose=False
        )
        return [{name: encoded[name][i] for name in encoded} for i in range(len(requests))]

    def _chat(self, query: str, document: str) -> list[int]:
        """The tokens of a pair in the model's own template; of one that is too long, as much of the document as fits."""
        ids = self._chat_ids(query, document)
        room = len(self.tokenizer(document, add_special_tokens=False, verbose=False)["input_ids"])
        while len(ids) > self.max_length and room:
            room = max(0, room - (len(ids) - self.max_length))
            ids = self._chat_ids(query, self.clip(document, room) if room else "")
        return ids

    def _chat_ids(self, query: str, document: str) -> list[int]:
        text = self.tokenizer.apply_chat_template(pair_chat(query, document), tokenize=False)
        ids: list[int] = self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
        return ids

    def _check_queries(self, queries: Sequence[str]) -> None:
        distinct = list(dict.fromkeys(queries))
        if self._in_chat:
            lengths = [len(self._chat_ids(query, "")) for query in distinct]
        else:
            lengths = [len(ids) for ids in self.tokenizer(distinct, [""] * len(distinct), verbose=False)["input_ids"]]
        if long := [length for length in lengths if length >= self.max_length]:
            raise DataError(
                f"{len(long)} of {len(distinct)} queries leave no room for a document: the longest has {max(long)} tokens of the "
                f"{self.max_length} that {self.name} takes; cut queries (such as query_tokens=128) or raise max_length"
            )

    def _scores(self, pairs: Sequence[dict[str, list[int]]]) -> list[float]:
        """The scores of one batch, float32."""
        device = self.model.device
        ids, mask = padded([pair["input_ids"] for pair in pairs], self.pad_id, device, left=False)
        asked = {"input_ids": ids, "attention_mask": mask}
        if "token_type_ids" in pairs[0]:
            asked["token_type_ids"] = padded([pair["token_type_ids"] for pair in pairs], 0, device, left=False)[0]
        logits = self.model(**asked).logits.float()
        if logits.shape[-1] == 1:
            return [float(score) for score in logits[:, 0].cpu()]
        others = [i for i in range(logits.shape[-1]) if i != self.label]
        return [float(s) for s in (logits[:, self.label] - logits[:, others].logsumexp(-1)).cpu()]


def pair_chat(query: str, document: str) -> list[dict[str, str]]:
    return [{"role": "query", "content": query}, {"role": "document", "content": document}]


def carries_pairs(tokenizer: Any) -> bool:
    """True when the chat template writes out both a query and a document."""
    from jinja2 import TemplateError

    if not tokenizer.chat_template:
        return False
    try:
        text = tokenizer.apply_chat_template(pair_chat("one probe", "another sample"), tokenize=False)
    except (TemplateError, ValueError):
        return False
    return "one probe" in text and "another sample" in text


def _label(label: str | int | None, config: Any, name: str) -> int:
    """The number of the label that a score stands for.

    Raises:
        ConfigError: no such label, or several and none chosen.
    """
    names = {int(i): str(text) for i, text in config.id2label.items()}
    if label is None:
        if len(names) > 2:
            raise ConfigError(f"{name} knows {len(names)} labels ({', '.join(names.values())}); say which: label=NAME")
        return len(names) - 1
    found = [i for i, text in names.items() if label in (i, text) and not isinstance(label, bool)]
    if not found:
        known = ", ".join(f"{i} ({text})" for i, text in names.items())
        raise ConfigError(f"{name} has no label {label!r}; it can be {known}")
    return found[0]


def _pad(tokenizer: Any, model: Any) -> int:
    """The id to pad with, which decoder models also look for to find the last token of a row."""
    config = model.config.get_text_config()
    known = (config.pad_token_id, tokenizer.pad_token_id, tokenizer.eos_token_id, 0)
    pad: int = next(found for found in known if found is not None)
    config.pad_token_id = pad
    return pad


def _longest(tokenizer: Any, config: Any) -> int:
    """How many tokens a pair may have."""
    positions = int(getattr(config.get_text_config(), "max_position_embeddings", 0) or 0)
    if positions > 0 and config.model_type in _OFFSET_POSITIONS:
        positions -= (config.pad_token_id or 0) + 1
    return min(positions if positions > 0 else sys.maxsize, int(tokenizer.model_max_length))
