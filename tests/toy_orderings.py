"""A reranker whose passages are their grades, listings of it, and a game against whoever answers."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field

from rankrl.errors import OutOfBudget
from rankrl.types import Answer, Candidate, CandidateList, ParseReport, Query, Ranking, Reading


class Toy:
    """Shows the passages' texts. Reads "3" (the winner), "2,0,1" (an order), "s 1.5 - 0" (scores); else nothing."""

    def prompt(self, listing):
        return [{"role": "user", "content": " ".join(c.text for c in listing.candidates)}]

    def parse(self, text, n):
        if text.startswith("s "):
            scores = tuple(None if word == "-" else float(word) for word in text.split()[1:])
            order = sorted(range(n), key=lambda i: -(scores[i] if scores[i] is not None else -1e9))
            return Reading(Ranking(tuple(order)), scores=scores)
        if "," in text:
            return Reading(Ranking(tuple(map(int, text.split(",")))))
        if not text.isdigit():
            return Reading(Ranking(tuple(range(n))), ParseReport(unreadable=True))
        return Reading(Ranking((int(text), *(i for i in range(n) if i != int(text)))))


def listing_of(grades, qid="q"):
    return CandidateList(Query(qid, "?"), tuple(Candidate(f"d{i}", str(g)) for i, g in enumerate(grades)))


def grades_of(messages):
    return [int(grade) for grade in messages[0]["content"].split()]


def best(messages):
    """Always right about the best one."""
    grades = grades_of(messages)
    return str(grades.index(max(grades)))


def in_order(messages):
    """Always right about the whole order."""
    grades = grades_of(messages)
    return ",".join(map(str, sorted(range(len(grades)), key=lambda i: -grades[i])))


def in_scores(messages):
    return " ".join(["s", *map(str, grades_of(messages))])


def nothing(messages):
    return "I am sorry"


def arbitrary(seed, kind, unreadable=0.3):
    """An answerer without sense that answers the same prompt in the same way; some answers cannot be read."""

    def answer(messages):
        shown = messages[0]["content"]
        rng, n = random.Random(f"{seed}:{shown}"), len(shown.split())
        if rng.random() < unreadable:
            return "??"
        if kind == "order" and n > 1:
            return ",".join(map(str, rng.sample(range(n), n)))
        if kind == "scores":
            return " ".join(["s", *(rng.choice(["-", "0", "1", "2", "nan"]) for _ in range(n))])
        return str(rng.randrange(n))

    return answer


@dataclass
class Played:
    """What came of a game: the ranking, what was shown in each batch, and the keys of all requests."""

    ranking: Ranking | None = None
    batches: list = field(default_factory=list)
    keys: list = field(default_factory=list)

    @property
    def order(self):
        return list(self.ranking.order)

    @property
    def shown(self):
        return [text for batch in self.batches for text in batch]

    @property
    def calls(self):
        return len(self.shown)

    @property
    def distinct(self):
        return len(set(self.keys))

    @property
    def counted(self):
        return Counter(self.shown)


def play(steps, answer, budget=None):
    """Plays to the end; after `budget` batches the money is gone, which an ordering must take as its end."""
    game, replies = Played(), None
    try:
        while True:
            if budget is not None and len(game.batches) == budget and game.batches:
                steps.throw(OutOfBudget("no more"))
                raise AssertionError("it asks on after the budget was spent")
            batch = steps.send(replies)
            assert batch, "an empty batch"
            game.batches.append([request.prompt[0]["content"] for request in batch])
            game.keys += [request.key for request in batch]
            for request in batch:
                assert request.shown is not None
            replies = [Answer(answer(request.prompt)) for request in batch]
    except StopIteration as stop:
        game.ranking = stop.value
    return game
