"""What well-known encoders were trained to see before a query and before a document, by model name.

Each row names the model card (on the Hugging Face hub) whose "usage" part says so. A folder counts by its own last name, so
`models/e5-base-v2` is an e5. What a model's own sentence-transformers configuration says goes before this table, and what the
caller says goes before both.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_ASK = "Instruct: Given a web search query, retrieve relevant passages that answer the query\nQuery:"
_BGE = "Represent this sentence for searching relevant passages: "
_BGE_ZH = "为这个句子生成表示以用于检索相关文章："
_GEMMA = ("task: search result | query: ", "title: none | text: ")


@dataclass(frozen=True, slots=True)
class Family:
    """One family: the model card, the pattern of its names (their last part, lower case), pooling and prefixes.

    pooling: how a plain encoder of the family is pooled; "" where pooling alone does not make its vectors.
    """

    card: str
    pattern: str
    pooling: str
    query_prefix: str = ""
    document_prefix: str = ""
    similarity: str = "cosine"


FAMILIES = (
    Family("intfloat/multilingual-e5-large-instruct", r"multilingual-e5-large-instruct", "mean", _ASK + " "),
    Family("intfloat/e5-mistral-7b-instruct", r"e5-mistral-7b-instruct", "", _ASK + " "),
    Family("intfloat/e5-base-v2", r"(multilingual-)?e5-(small|base|large)(-.*)?", "mean", "query: ", "passage: "),
    Family("BAAI/bge-base-en-v1.5", r"bge-(small|base|large)-en(-v1\.5)?", "cls", _BGE),
    Family("BAAI/bge-base-zh-v1.5", r"bge-(small|base|large)-zh(-v1\.5)?", "cls", _BGE_ZH),
    Family("BAAI/bge-m3", r"bge-m3", "cls"),
    Family("mixedbread-ai/mxbai-embed-large-v1", r"mxbai-embed-large-v1", "cls", _BGE),
    Family("Snowflake/snowflake-arctic-embed-m-v2.0", r"snowflake-arctic-embed-[a-z]+-v2\.0", "cls", "query: "),
    Family("Snowflake/snowflake-arctic-embed-m", r"snowflake-arctic-embed-[a-z-]+(-v1\.5)?", "cls", _BGE),
    Family(
        "nomic-ai/nomic-embed-text-v1.5", r"nomic-embed-text-v1(\.5)?", "mean", "search_query: ", "search_document: "
    ),
    Family("Qwen/Qwen3-Embedding-0.6B", r"qwen3-embedding-.*", "last", _ASK),
    Family("google/embeddinggemma-300m", r"embeddinggemma-.*", "", *_GEMMA),
    Family("thenlper/gte-base", r"gte-(small|base|large)", "mean"),
    Family("facebook/contriever-msmarco", r"contriever(-msmarco)?", "mean", similarity="dot"),
)
"""Looked through from the top; the first pattern that fits wins."""


def family_of(model: str) -> Family | None:
    """The family that a model's name or folder belongs to; None for an unknown one."""
    last = re.split(r"[/\\]", model.rstrip("/\\"))[-1].lower()
    return next((family for family in FAMILIES if re.fullmatch(family.pattern, last)), None)
