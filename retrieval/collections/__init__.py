"""Collections: documents, queries and judgements behind one name, and what must not be returned for a topic.

Nothing is read before it is asked for: the judgements of a split cost no look at the corpus.
"""

from ._base import Collection, Document, content_digest, relevant
from ._checks import Check, checks
from ._loading import PATTERNS, load_collection, summaries
from ._search import candidate_lists, search_without

__all__ = [
    "PATTERNS",
    "Check",
    "Collection",
    "Document",
    "candidate_lists",
    "checks",
    "content_digest",
    "load_collection",
    "relevant",
    "search_without",
    "summaries",
]
