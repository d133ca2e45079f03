"""What the answers of a log were like."""

from __future__ import annotations

from dataclasses import dataclass, field

from rankrl.types import ParseReport


@dataclass(slots=True)
class Tally:
    """Counts over answers. ok, repaired, failed: answers by the status of their reading.

    repeated, out_of_range, missing: labels, summed. malformed: answers with another layout than the one asked for; truncated:
    those that were cut at the token limit, where the log tells. unrecorded: requests to which the log has no answer; they
    are not among the answers.
    """

    answers: int = 0
    ok: int = 0
    repaired: int = 0
    failed: int = 0
    repeated: int = 0
    out_of_range: int = 0
    missing: int = 0
    malformed: int = 0
    truncated: int = 0
    unrecorded: int = 0

    def add(self, report: ParseReport, *, truncated: bool = False) -> None:
        """Count one answer."""
        self.answers += 1
        self.ok += report.status == "ok"
        self.repaired += report.status == "repaired"
        self.failed += report.status == "failed"
        self.repeated += report.repeated
        self.out_of_range += report.out_of_range
        self.missing += report.missing
        self.malformed += report.malformed
        self.truncated += truncated


@dataclass(slots=True)
class Replay:
    """Orders that were built again: qid -> docids, best first; and what the answers were like."""

    orders: dict[str, list[str]] = field(default_factory=dict)
    tally: Tally = field(default_factory=Tally)
