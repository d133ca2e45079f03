"""load_reranker and LoadedReranker with an engine that really compares, and the card of a trained model."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace

import pytest

from rankrl import load_reranker
from rankrl.cards import prompt_fingerprint, token_fingerprint, write_reranker_card
from rankrl.engines.journal import recorded
from rankrl.engines.ledger import Limits
from rankrl.engines.transformers import TransformersEngine
from rankrl.errors import ConfigError, DataError
from rankrl.rerankers.rank_r1 import RankR1
from rankrl.reranking import LoadedReranker, engine_names
from rankrl.strategies.plans import Plan
from rankrl.strategies.pointwise import pointwise
from rankrl.types import Answer, Candidate, CandidateList, ParseReport, Query, Ranking, Reading


class Overlap:
    """Names the passage that shares most words with the query, in Rank-R1's layout; `says` replaces every answer."""

    def __init__(self, says=None):
        self.says, self.prompts = says, []

    def generate(self, requests, on_answer=None):
        return [Answer(self.says or self._answer(r.prompt[-1]["content"]), 10, 5) for r in requests]

    def _answer(self, prompt):
        self.prompts.append(prompt)
        query = set(re.search(r'Query: "?([^"\n]*)', prompt)[1].lower().split())
        passages = re.findall(r"^\[(\d+)\] ?(.*)$", prompt, re.MULTILINE)
        best = max(passages, key=lambda p: len(query & set(p[1].lower().split())))
        return RankR1().answer(int(best[0]))


@dataclass(frozen=True)
class Backwards(RankR1):
    """A reranker of the same fields with another prompt."""

    def prompt(self, listing):
        return super().prompt(CandidateList(Query("", listing.query.text[::-1]), listing.candidates))


def test_strings_go_in_and_scored_candidates_come_out():
    reranker = load_reranker("rank_r1", engine=Overlap())
    found = reranker.rerank("who wrote faust", ["rivers run", "goethe wrote faust", "kafka wrote the trial"])
    assert [(f.docid, f.rank, f.first_stage_rank, f.score) for f in found] == [
        ("1", 1, 2, 3.0),
        ("2", 2, 3, 2.0),
        ("0", 3, 1, 1.0),
    ]
    assert found[0].text == "goethe wrote faust"


def test_candidates_keep_their_ids_and_their_titles_are_read():
    candidates = [Candidate("a", "a play", score=7.5), Candidate("b", "a play", title="Faust")]
    found = load_reranker("rank_r1", engine=Overlap()).rerank(Query("q", "faust"), candidates)
    assert [(f.docid, f.title) for f in found] == [("b", "Faust"), ("a", "")]


def test_equal_texts_are_different_candidates():
    found = load_reranker("rank_r1", engine=Overlap()).rerank("x", ["same", "x", "same", "x", "same"])
    assert sorted(f.docid for f in found) == list("01234")
    assert {f.docid for f in found[:2]} == {"1", "3"}


@pytest.mark.parametrize("candidates", [[], ["only one"]])
def test_a_list_without_a_choice_costs_nothing(candidates):
    reranker = load_reranker("rank_r1", engine=Overlap())
    assert len(reranker.rerank("x", candidates)) == len(candidates)
    assert reranker.cost.calls == 0


@pytest.mark.parametrize(
    ("query", "candidates", "message"),
    [
        (" ", ["a"], "the query is empty"),
        ("x", "abc", "candidates is one str; give a list"),
        ("x", ["a", 3], "candidate 1 is int"),
        ("x", [Candidate("a", "1"), Candidate("a", "2")], "docids appear twice"),
    ],
)
def test_what_cannot_be_ranked_is_refused(query, candidates, message):
    with pytest.raises(DataError, match=message):
        load_reranker("rank_r1", engine=Overlap()).rerank(query, candidates)


def listings_of(n, size):
    words = [f"w{i}" for i in range(size)]
    texts = [" ".join(words[: 1 + (7 * i) % size]) for i in range(size)]
    return [
        CandidateList(
            Query(f"q{j}", " ".join([*words, str(j)])), tuple(Candidate(f"{j}-{i}", t) for i, t in enumerate(texts))
        )
        for j in range(n)
    ]


def test_many_lists_share_rounds_and_the_account_is_kept():
    reranker, calls, rounds = load_reranker("rank_r1", engine=Overlap(), num_child=3, k=2), [], []
    rankings = reranker.rerank_lists(listings_of(5, 11), on_call=calls.append, on_round=lambda *r: rounds.append(r))
    assert [r.order[0] for r in rankings] == [3] * 5  # 7 * 3 % 11 = 10: the longest text
    assert reranker.cost.calls == len(calls) == sum(sent for _, sent in rounds) == reranker.readings["ok"]
    assert reranker.cost.rounds == len(rounds) < reranker.cost.calls / 4
    assert (reranker.cost.prompt_tokens, reranker.cost.completion_tokens) == (10 * len(calls), 5 * len(calls))
    assert {call.listing.query.qid for call in calls} == {f"q{j}" for j in range(5)}


def test_each_list_gets_the_ranking_it_gets_alone():
    reranker, listings = load_reranker("rank_r1", engine=Overlap(), num_child=3), listings_of(6, 9)
    together = reranker.rerank_lists(listings)
    assert together == [reranker.rerank_lists([listing])[0] for listing in listings]
    assert together == reranker.rerank_lists(listings, max_live=2)


def test_answers_that_cannot_be_read_leave_the_first_stage_order_and_are_counted():
    reranker = load_reranker("rank_r1", engine=Overlap(says="I cannot"))
    assert [f.docid for f in reranker.rerank("x", list("abcde"))] == list("01234")
    assert set(reranker.readings) == {"failed"}


def test_a_tiny_model_reranks_without_a_mistake_in_the_bookkeeping(tiny_model_dir):
    reranker = load_reranker("rank_r1", tiny_model_dir, max_new_tokens=4, batch_size=3, passage_tokens=8, k=2)
    assert isinstance(reranker.engine, TransformersEngine)
    assert reranker.reranker.clip is reranker.engine.clip
    (ranking,) = reranker.rerank_lists(listings_of(1, 25))
    assert ranking.order == tuple(range(25))  # a random model says nothing that can be read
    assert reranker.cost.truncated == reranker.cost.calls > 0


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("rank_r2", {}, "no reranker 'rank_r2', did you mean 'rank_r1'"),
        ("rank_r1", {"num_childs": 3}, "no option of rank_r1 'num_childs', did you mean 'num_child'"),
        ("rank_r1", {"max_new_token": 3, "model": "x"}, "did you mean 'max_new_tokens'"),
        ("rank_r1", {"engine": "transfomers"}, "no engine 'transfomers', did you mean 'transformers'"),
        ("rank_r1", {"engine": "transformers"}, "needs a model"),
        ("rank_r1", {"num_child": 40}, "num_child must be at most 19"),
        ("rank_r1", {"clip": None}, "no option of rank_r1 'clip'"),
    ],
)
def test_names_and_options_that_do_not_exist_are_refused_with_the_nearest(name, options, message):
    with pytest.raises(ConfigError, match=message):
        load_reranker(name, **{"engine": "transformers" if "max_new_token" in options else Overlap(), **options})


def test_the_engines_are_the_modules_that_define_one():
    assert "transformers" in engine_names()
    assert not {"drive", "ledger"} & set(engine_names())


def test_a_card_brings_the_options_of_training_and_explicit_ones_win(tmp_path):
    write_reranker_card(tmp_path, "rank_r1", RankR1(num_child=3, template="brief"), max_new_tokens=9)
    loaded = load_reranker("rank_r1", model=tmp_path, engine=Overlap(), num_child=4)
    assert loaded.reranker == RankR1(num_child=4, template="brief")
    assert load_reranker("rank_r1", tmp_path, engine=Overlap(), card=False).reranker == RankR1()


def test_a_card_brings_the_engine_options_too(tmp_path, tiny_model_builder):
    folder = tiny_model_builder(tmp_path / "m")
    write_reranker_card(folder, "rank_r1", RankR1(k=3), max_new_tokens=9)
    assert load_reranker("rank_r1", folder).engine.max_new_tokens == 9
    assert load_reranker("rank_r1", folder, max_new_tokens=5).engine.max_new_tokens == 5


def test_a_card_of_another_reranker_is_refused(tmp_path):
    write_reranker_card(tmp_path, "prorank", RankR1())
    with pytest.raises(ConfigError, match="was trained as 'prorank', not as 'rank_r1'"):
        load_reranker("rank_r1", tmp_path, engine=Overlap())
    write_reranker_card(tmp_path, "rankrl.rerankers.rank_r1:RankR1", RankR1())
    assert load_reranker("rank_r1", tmp_path, engine=Overlap()).reranker == RankR1()


def test_a_model_trained_on_other_prompts_is_refused(tmp_path):
    write_reranker_card(tmp_path, "rank_r1", Backwards())
    with pytest.raises(ConfigError, match="now builds other prompts than those the model"):
        load_reranker("rank_r1", tmp_path, engine=Overlap())


def test_an_option_that_has_gone_is_named_with_the_card(tmp_path):
    path = write_reranker_card(tmp_path, "rank_r1", RankR1())
    card = json.loads(path.read_text())
    path.write_text(json.dumps({**card, "options": {"children": 3}}))
    with pytest.raises(ConfigError, match=r"no option of rank_r1 'children'.*read from .*rankrl\.json"):
        load_reranker("rank_r1", tmp_path, engine=Overlap())


class _Asking:
    """An engine that always chooses the first label."""

    def generate(self, requests, on_answer=None):
        return [Answer("<think>r</think><answer>[1]</answer>") for _ in requests]


@dataclass(frozen=True, slots=True)
class Shy(RankR1):
    """A user's reranker whose order builds another of its kind and calls its parent's."""

    def order(self, listing):
        return super(Shy, replace(self, k=1)).order(listing)


def test_a_reranker_that_copies_itself_works_in_inference_as_in_training():
    loaded = LoadedReranker("shy", Shy(num_child=2), _Asking())
    (ranking,) = loaded.rerank_lists(
        [CandidateList(Query("q", "x"), tuple(Candidate(str(i), f"t{i}") for i in range(5)))]
    )
    assert sorted(ranking.order) == list(range(5))
    assert loaded.readings["ok"] == loaded.cost.calls > 0


@pytest.mark.parametrize("name", ["os:path", "os:getcwd"])
def test_what_is_no_reranker_is_refused_by_what_it_lacks(name):
    with pytest.raises(ConfigError, match="is no reranker: it has no prompt, parse, order"):
        load_reranker(name, engine=_Asking())


class Marked(Overlap):
    """The same with a fingerprint, so that a journal can keep its answers; counts them."""

    fingerprint = "overlap"

    def __init__(self, says=None, concurrent=1):
        super().__init__(says)
        self.concurrent, self.asked = concurrent, 0

    def generate(self, requests, on_answer=None):
        self.asked += len(requests)
        return super().generate(requests)


@dataclass(frozen=True, slots=True)
class Lengths:
    """Scores a passage by the number of its words; asks one prompt each."""

    shown: int = 1

    def prompt(self, listing):
        return [{"role": "user", "content": listing.query.text + ": " + " ".join(c.text for c in listing.candidates)}]

    def parse(self, text, n):
        score = float(text) if text.isdigit() else None
        return Reading(Ranking(tuple(range(n))), ParseReport(unreadable=score is None), scores=(score,) * n)

    def order(self, listing):
        return pointwise(self, listing)

    def plan(self, n):
        return Plan(n, float(n), n, min(n, 1), 1)


class Counts:
    """Says how many words the prompt has."""

    fingerprint, asked = "counts", 0

    def generate(self, requests, on_answer=None):
        self.asked += len(requests)
        return [Answer(str(len(r.prompt[0]["content"].split())), 10, 1) for r in requests]


def test_a_protocol_s_own_scores_come_with_the_candidates():
    found = LoadedReranker("lengths", Lengths(), Counts()).rerank("x", ["a", "a b c", "a b"])
    assert [(f.docid, f.score, f.raw_score) for f in found] == [("1", 3.0, 4.0), ("2", 2.0, 3.0), ("0", 1.0, 2.0)]
    assert {f.raw_score for f in load_reranker("rank_r1", engine=Overlap()).rerank("x", ["a", "b"])} == {None}


@pytest.mark.parametrize("concurrent", [1, 4])
def test_a_journal_answers_what_was_asked_before_and_the_orders_are_the_same(tmp_path, concurrent):
    listings = listings_of(5, 11)
    plain = load_reranker("rank_r1", engine=Overlap(), num_child=3).rerank_lists(listings)
    first, second = Marked(concurrent=concurrent), Marked(concurrent=concurrent)
    for engine in (first, second):
        loaded = load_reranker("rank_r1", engine=engine, num_child=3, journal=tmp_path / "j")
        assert loaded.rerank_lists(listings) == plain
        loaded.close()
    assert (first.asked, second.asked) == (loaded.cost.calls, 0) and loaded.cost.cached == first.asked
    found = list(recorded(tmp_path / "j"))
    assert len(found) == first.asked and {one.reranker for one in found} == {"rank_r1"}
    assert found[0].settings["num_child"] == 3 and found[0].prompt_sha256 == prompt_fingerprint(RankR1())
    assert {one.qid for one in found} == {f"q{j}" for j in range(5)}


def test_a_journal_needs_a_fingerprint_and_a_place_and_says_so_before_a_model_is_loaded(tmp_path):
    with pytest.raises(ConfigError, match="Overlap has no fingerprint"):
        load_reranker("rank_r1", engine=Overlap(), journal=tmp_path / "j")
    (tmp_path / "run").write_text("q1 Q0 d1 1 2.0 x\n")
    with pytest.raises(DataError, match="is no journal of rankrl"):
        load_reranker("rank_r1", "no/such/model", engine="transformers", journal=tmp_path / "run")


@pytest.mark.parametrize("concurrent", [1, 3])
def test_a_limit_stops_with_the_first_lists_finished_and_goes_on_with_a_journal(tmp_path, concurrent):
    listings = listings_of(12, 11)
    whole = load_reranker("rank_r1", engine=Overlap(), num_child=3)
    rankings = whole.rerank_lists(listings)
    engine, limits = Marked(concurrent=concurrent), Limits(max_calls=whole.cost.calls // 2)
    loaded = load_reranker("rank_r1", engine=engine, num_child=3, journal=tmp_path / "j", limits=limits)
    got = loaded.rerank_lists(listings)
    assert engine.asked <= limits.max_calls
    assert loaded.stopped.startswith(f"max_calls {limits.max_calls} (")
    finished = [i for i, listing in enumerate(listings) if listing.query.qid not in loaded.unfinished]
    assert 4 <= len(finished) <= 6 and finished == list(range(len(finished)))
    assert [got[i] for i in finished] == rankings[: len(finished)]
    assert all(sorted(ranking.order) == list(range(11)) for ranking in got)
    again = load_reranker("rank_r1", engine=engine, num_child=3, journal=tmp_path / "j")
    assert again.rerank_lists(listings) == rankings
    assert (again.stopped, again.unfinished, engine.asked) == ("", frozenset(), whole.cost.calls)


def test_a_limit_in_the_middle_of_a_list_leaves_it_as_the_first_stage_has_it_where_there_is_nothing_yet():
    engine = Counts()
    loaded = LoadedReranker("lengths", Lengths(), engine, limits=Limits(max_calls=25))
    listings = [
        CandidateList(Query(f"q{i}", "x"), tuple(Candidate(f"{i}-{j}", "w " * j + str(i)) for j in range(10)))
        for i in range(4)
    ]
    rankings = loaded.rerank_lists([*listings, CandidateList(Query("short", "x"), ())])
    assert engine.asked == 20 and loaded.unfinished == {"q2", "q3"}
    assert [ranking.order[0] for ranking in rankings[:4]] == [9, 9, 0, 0]
    assert rankings[2].order == tuple(range(10)) and rankings[4].order == ()
    assert loaded.rerank_lists(listings[:1])[0].order == tuple(range(10)), "the limit is for all that is reranked"
    assert loaded.unfinished == {"q0"}


def test_few_lists_run_together_when_a_limit_will_end_them():
    def batches(limits, **more):
        seen = []
        loaded = LoadedReranker("lengths", Lengths(), Counts(), limits=limits)
        loaded.rerank_lists(listings_of(40, 10), on_round=lambda _, answered: seen.append(answered), **more)
        return max(seen)

    assert batches(None) == batches(Limits(max_calls=400)) == 400
    assert batches(Limits(max_calls=320)) == 40  # enough for 32 lists: four at a time
    assert batches(Limits(max_calls=30)) == 10
    assert batches(Limits(max_calls=320), shuffles=2) == 40  # equal prompts are asked once, and planned so
    assert batches(Limits(max_calls=320), max_live=2) == 20
    assert batches(Limits(max_cost=1.0, price_in=1, price_out=1)) == 390, "all, after those of the first list"


def test_passes_and_shuffles_go_through_the_same_engine():
    listings, counts = listings_of(2, 8), {}
    for options in ({}, {"passes": 2}, {"shuffles": 3}):
        loaded = load_reranker("rank_r1", engine=Overlap(), num_child=3, k=2)
        rankings = loaded.rerank_lists(listings, **options)
        assert all(ranking.order[0] == 1 for ranking in rankings)  # 7 % 8: the longest text
        counts[tuple(options)] = loaded.cost.calls
    assert counts[()] < counts["passes",] < counts["shuffles",]
    with pytest.raises(ConfigError, match="passes"):
        load_reranker("rank_r1", engine=Overlap()).rerank_lists(listings, passes=0)


def test_calls_bring_their_request_and_answers_are_told_as_they_come():
    calls, told = [], []
    loaded = load_reranker("rank_r1", engine=Overlap(), num_child=3)
    loaded.rerank_lists(
        listings_of(2, 6), on_call=calls.append, on_answer=lambda request, answer: told.append(request.key)
    )
    assert all(call.request.shown is call.listing and call.request.prompt for call in calls)
    assert {call.request.key for call in calls} == set(told) and len(told) == loaded.cost.calls


def test_the_fingerprints_of_a_run_are_those_of_prompt_tokens_and_engine(tiny_model_dir):
    assert load_reranker("rank_r1", engine=Overlap()).fingerprints == {"prompt": prompt_fingerprint(RankR1())}
    loaded = load_reranker("rank_r1", tiny_model_dir, max_new_tokens=4)
    assert loaded.fingerprints == {
        "prompt": prompt_fingerprint(RankR1()),
        "tokens": token_fingerprint(RankR1(), loaded.engine.tokenizer),
        "engine": loaded.engine.fingerprint,
    }


def test_a_model_whose_tokenizer_or_template_has_changed_since_training_is_refused(tmp_path, tiny_model_builder):
    folder = tiny_model_builder(tmp_path / "m")
    trained = load_reranker("rank_r1", folder)
    write_reranker_card(folder, "rank_r1", RankR1(k=3), tokenizer=trained.engine.tokenizer)
    assert load_reranker("rank_r1", folder).reranker.k == 3
    template = trained.engine.tokenizer.chat_template
    trained.engine.tokenizer.chat_template = template + "{{ '!' }}"
    trained.engine.tokenizer.save_pretrained(folder)
    with pytest.raises(ConfigError, match=r"the tokenizer or the chat template .* spells prompts in other tokens"):
        load_reranker("rank_r1", folder)
    assert load_reranker("rank_r1", folder, card=False).reranker.k == 10
