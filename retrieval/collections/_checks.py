"""Whether a collection is what its record says, and hangs together."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from rankrl.errors import DataError

from ._base import Collection, relevant


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at; passed is None for a remark that is neither good nor bad."""

    what: str
    passed: bool | None
    detail: str


def checks(collection: Collection) -> list[Check]:
    """SHA-256 and counts against what the collection records about itself, and every split against queries and corpus.

    A file that cannot be read is a check that failed, not an exception.
    """
    found: list[Check] = []
    for part in (_recorded, _counted, _joined):
        try:
            found.extend(part(collection))
        except DataError as error:
            found.append(Check("reading", False, str(error)))
    return found


def _recorded(collection: Collection) -> Iterator[Check]:
    record = collection.provenance.get("sha256")
    if not isinstance(record, dict) or not record:
        yield Check("SHA-256", None, "nothing is recorded to compare with (collection.json, `sha256`)")
        return
    now = collection.source.facts(collection.source.splits).get("sha256", {})
    for name in sorted({*record, *now}):
        if name not in record:
            yield Check(f"SHA-256 of {name}", None, f"not recorded; it is {now[name]}")
        elif record[name] == now.get(name):
            yield Check(f"SHA-256 of {name}", True, str(record[name]))
        else:
            yield Check(f"SHA-256 of {name}", False, f"recorded {record[name]}, found {now.get(name, 'no such file')}")


def _counted(collection: Collection) -> Iterator[Check]:
    record = collection.provenance
    found: dict[str, Any] = {"documents": len(collection.corpus), "queries": len(collection.queries())}
    for split in collection.source.splits:
        qrels = collection.qrels(split)
        found[f"topics of {split}"] = len(qrels)
        found[f"judgements of {split}"] = sum(map(len, qrels.values()))
    for what, count in found.items():
        key, _, split = what.partition(" of ")
        said = record.get(key)
        if split:
            said = said.get(split) if isinstance(said, dict) else None
        detail = f"{count}" if said in (None, count) else f"recorded {said}, found {count}"
        yield Check(what, None if said is None else said == count, detail)


def _joined(collection: Collection) -> Iterator[Check]:
    for split in collection.source.splits:
        try:
            asked = collection.queries(split)
        except DataError as error:
            yield Check(f"queries of {split}", False, str(error))
            continue
        yield Check(f"queries of {split}", True, f"each of the {len(asked)} judged topics has a text")
        judged = {docid for grades in collection.qrels(split).values() for docid in grades}
        good = set().union(*map(relevant, collection.qrels(split).values()))
        outside = {docid for docid in judged if docid not in collection.corpus}
        detail = f"all {len(judged)} are in the corpus"
        if outside:
            detail = f"{len(outside)} of {len(judged)} are not in the corpus, {len(outside & good)} of them relevant"
        yield Check(f"judged documents of {split}", True if not outside else None, detail)
