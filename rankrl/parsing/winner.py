"""Setwise answers: reasoning, then one label, `<think>…</think> <answer>[2]</answer>`."""

from __future__ import annotations

import re

from rankrl.types import ParseReport, Ranking, Reading

_TAGGED = re.compile(
    r"\s*<think>(?P<think>.*?)</think>\s*<answer>(?P<answer>[^<]*)</answer>\s*", re.DOTALL | re.IGNORECASE
)
_ANSWER = re.compile(r"</think>\s*<answer>(?P<answer>.*?)</answer>", re.DOTALL | re.IGNORECASE)


def parse_winner(text: str, n: int, *, compat: str = "rankrl") -> Reading:
    """The single label of a setwise answer in `<think>…</think> <answer>[i]</answer>`, put first; the rest as presented.

    Strict as Rank-R1's reward (arXiv:2503.06034): the answer tag must hold exactly one label in 1..n, after a closed
    thinking block; anything else leaves the presented order and is reported as `unreadable` (and `out_of_range` when
    a lone label beyond n was given). Deviations: 1. text outside the two blocks is read but reported as `malformed`, so a
    reward can charge for it where the original's `re.search` could not. 2. the same goes for a thought without its opening
    tag, which many chat templates say themselves; compat="upstream" cannot read it.
    """
    found = _last_answer(text, opened=compat == "upstream")
    if found is None:
        return Reading(Ranking(tuple(range(n))), ParseReport(unreadable=True))
    reasoning, answer = found
    label = re.fullmatch(r"\[(0|[1-9]\d{0,8})\]", answer, re.ASCII)
    position = int(label.group(1)) - 1 if label else -1
    if not 0 <= position < n:
        report = ParseReport(unreadable=True, out_of_range=int(label is not None))
        return Reading(Ranking(tuple(range(n))), report, reasoning=reasoning)
    order = (position, *(i for i in range(n) if i != position))
    malformed = _TAGGED.fullmatch(text) is None
    return Reading(Ranking(order), ParseReport(malformed=malformed), reasoning=reasoning)


def _last_answer(text: str, *, opened: bool) -> tuple[str, str] | None:
    """(thought, answer) of the last answer block that follows the end of a thought; in time linear in the text.

    opened: the thought needs its opening tag.
    """
    lowered = text.lower() if text.isascii() else re.sub(r"[A-Z]+", lambda m: m[0].lower(), text)
    start, closed = lowered.find("<think>"), lowered.rfind("</answer>")
    begin = start + len("<think>")
    if start < 0 and not opened:
        start = begin = 0
    end = lowered.rfind("</think>", 0, max(closed, 0))
    while 0 <= start <= end:
        if found := _ANSWER.match(text, end):
            return text[begin:end].strip(), found["answer"].strip()
        end = lowered.rfind("</think>", 0, end)
    return None
