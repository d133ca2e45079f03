"""What two splits of a collection share: relevant documents, topics, and texts that are nearly the same.

Two texts are nearly the same when the Jaccard similarity of their shingles is at least the threshold: runs of 3 words for
documents, of 4 characters for topics, which are too short for words. Words are lower-cased (Unicode case folding, NFKC) runs
of letters, digits and underscores; everything else is a space. The join is exact, not sampled: every pair is found, by the
prefix filter (Chaudhuri et al. 2006, Bayardo et al. 2007): of two sets with similarity t or more, the rarest
n - ceil(t n) + 1 shingles of each have one in common.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from rankrl.errors import ConfigError

from ._base import Collection, relevant

_WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class Pair:
    """An id of the left split, one of the right, and how similar their texts are, in [0, 1]."""

    left: str
    right: str
    similarity: float


@dataclass(frozen=True, slots=True)
class Overlap:
    """What two splits share.

    topics: how many each has. same_topics: qids in both. duplicate_topics: pairs of different qids whose normalised texts are
    equal. near_topics: further pairs at the threshold. relevant: how many relevant documents (grade > 0) each has.
    shared_relevant: those of both. touched: topics of the right split that have relevant documents which are relevant on the
    left too: (at least one such, only such). unseen: topics of the right split with none, as in the derived split
    `RIGHT-unseen` where the left one is `train`. near_documents: pairs of different relevant documents at the threshold.
    clean: the unseen topics that also have no equal or near topic, and no near duplicate of a relevant document, on the left.
    outside: relevant documents that the corpus lacks; their texts cannot be compared.
    """

    left: str
    right: str
    threshold: float
    topics: tuple[int, int]
    same_topics: tuple[str, ...]
    duplicate_topics: tuple[Pair, ...]
    near_topics: tuple[Pair, ...]
    relevant: tuple[int, int]
    shared_relevant: tuple[str, ...]
    touched: tuple[int, int]
    unseen: tuple[str, ...]
    near_documents: tuple[Pair, ...]
    clean: tuple[str, ...]
    outside: int


def overlap(collection: Collection, left: str, right: str, *, threshold: float = 0.8) -> Overlap:
    """What the splits `left` (to train on) and `right` (to test on) share.

    Raises:
        ConfigError: an unknown split, or a threshold outside (0, 1].
        DataError: the collection cannot be read.
    """
    qrels = collection.qrels(left), collection.qrels(right)
    found_in = tuple(set().union(*map(relevant, judged.values())) for judged in qrels)
    texts = tuple({query.qid: query.text for query in collection.queries(split)} for split in (left, right))
    pairs = near_duplicates(*texts, threshold=threshold, shingles=character_shingles)
    duplicates = equal_texts(*texts)
    known = {(pair.left, pair.right) for pair in duplicates}
    near_topics = tuple(pair for pair in pairs if (pair.left, pair.right) not in known)
    documents, outside = _texts(collection, found_in)
    near_documents = near_duplicates(*documents, threshold=threshold, shingles=word_shingles)
    shares = {qid: relevant(judged) & found_in[0] for qid, judged in qrels[1].items()}
    unseen = tuple(qid for qid, shared in shares.items() if not shared)
    twins = {pair.right for pair in near_documents}
    asked_before = {pair.right for pair in (*duplicates, *near_topics)} | (texts[0].keys() & texts[1].keys())
    return Overlap(
        left,
        right,
        threshold,
        (len(qrels[0]), len(qrels[1])),
        tuple(qid for qid in texts[1] if qid in texts[0]),
        tuple(duplicates),
        near_topics,
        (len(found_in[0]), len(found_in[1])),
        tuple(sorted(found_in[0] & found_in[1])),
        (
            sum(bool(shared) for shared in shares.values()),
            sum(bool(shared) and shared == relevant(qrels[1][qid]) for qid, shared in shares.items()),
        ),
        unseen,
        tuple(near_documents),
        tuple(q for q in unseen if q not in asked_before and twins.isdisjoint(relevant(qrels[1][q]))),
        outside,
    )


def near_in_corpus(collection: Collection, *, threshold: float = 0.8) -> list[Pair]:
    """The pairs of nearly equal documents in the whole corpus, left docid < right docid, the most similar first.

    All documents are held in memory as shingles, some 10 KB each: meant for corpora of up to a few 100,000 documents.
    """
    texts = {document.docid: document.full_text for document in collection.documents()}
    return [pair for pair in near_duplicates(texts, texts, threshold=threshold) if pair.left < pair.right]


def _texts(collection: Collection, found_in: Sequence[set[str]]) -> tuple[list[dict[str, str]], int]:
    """docid -> text of the relevant documents of each split, and how many documents the corpus lacks."""
    both = found_in[0] | found_in[1]
    known = {docid: collection.corpus[docid].full_text for docid in sorted(both) if docid in collection.corpus}
    texts = [{docid: known[docid] for docid in sorted(docids) if docid in known} for docids in found_in]
    return texts, len(both) - len(known)


def normalised(text: str) -> str:
    """The words of a text, case-folded and joined by single spaces."""
    return " ".join(_WORD.findall(unicodedata.normalize("NFKC", text).casefold()))


def word_shingles(text: str, n: int = 3) -> frozenset[str]:
    """The runs of n words of a text; the whole text when it has fewer; nothing when it has no word."""
    words = normalised(text).split()
    return frozenset(" ".join(words[i : i + n]) for i in range(max(1, len(words) - n + 1))) if words else frozenset()


def character_shingles(text: str, n: int = 4) -> frozenset[str]:
    """The runs of n characters of the normalised text; the whole text when it is shorter; nothing when it has no word."""
    plain = normalised(text)
    return frozenset(plain[i : i + n] for i in range(max(1, len(plain) - n + 1))) if plain else frozenset()


def equal_texts(left: Mapping[str, str], right: Mapping[str, str]) -> list[Pair]:
    """The pairs of different ids whose normalised texts are equal; texts without a word are equal to nothing."""
    by_text: dict[str, list[str]] = {}
    for identifier, text in left.items():
        if plain := normalised(text):
            by_text.setdefault(plain, []).append(identifier)
    found = [
        (twin, identifier)
        for identifier, text in right.items()
        for twin in by_text.get(normalised(text), ())
        if twin != identifier
    ]
    return [Pair(*pair, 1.0) for pair in sorted(found)]


def near_duplicates(
    left: Mapping[str, str],
    right: Mapping[str, str],
    *,
    threshold: float = 0.8,
    shingles: Callable[[str], frozenset[str]] = word_shingles,
) -> list[Pair]:
    """Every pair of different ids whose texts' shingles have a Jaccard similarity of at least the threshold.

    The most similar first, then by ids; the same texts give the same list in any order. A text without shingles is near
    nothing.

    Raises:
        ConfigError: the threshold is not in (0, 1].
    """
    if not 0.0 < threshold <= 1.0:
        raise ConfigError(f"the threshold is {threshold}; it must lie above 0 and not above 1 (usual: 0.8)")
    made: dict[str, frozenset[str]] = {}
    lefts = {identifier: made.setdefault(text, shingles(text)) for identifier, text in left.items()}
    rights = {identifier: made.setdefault(text, shingles(text)) for identifier, text in right.items()}
    counts = Counter(shingle for found in (lefts, rights) for one in found.values() for shingle in one)
    holders: dict[str, list[str]] = {}
    for identifier, one in lefts.items():
        for shingle in _prefix(one, counts, threshold):
            holders.setdefault(shingle, []).append(identifier)
    pairs = []
    for identifier, one in rights.items():
        met = {twin for shingle in _prefix(one, counts, threshold) for twin in holders.get(shingle, ())}
        for twin in met - {identifier}:
            if (similarity := jaccard(lefts[twin], one)) >= threshold:
                pairs.append(Pair(twin, identifier, similarity))
    return sorted(pairs, key=lambda pair: (-pair.similarity, pair.left, pair.right))


def jaccard(left: frozenset[str], right: frozenset[str]) -> float:
    """|intersection| / |union|; 0 when both are empty."""
    shared = len(left & right)
    return shared / (len(left) + len(right) - shared) if shared else 0.0


def _prefix(one: Iterable[str], counts: Mapping[str, int], threshold: float) -> list[str]:
    """The rarest shingles of a set, as many as cannot all be missing from a set that is similar enough."""
    rarest_first = sorted(one, key=lambda shingle: (counts[shingle], shingle))
    needed = math.ceil(threshold * len(rarest_first) - 1e-9)  # rounded in favour of a longer prefix
    return rarest_first[: len(rarest_first) - needed + 1]


def pairs_of(splits: Sequence[str]) -> list[tuple[str, str]]:
    """Each two of the splits, the earlier one on the left."""
    return [(left, right) for i, left in enumerate(splits) for right in splits[i + 1 :]]
