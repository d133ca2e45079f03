"""`rankrl rerank --dry-run`: calls, tokens and cost before they are spent, against what is spent then."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

from rankrl.cli import main
from rankrl.lookup import lookup, names
from rankrl.provenance import read_provenance

SILENT = '''
from rankrl.types import Answer

class SilentEngine:
    """Says nothing that can be read, and each request costs 11 + 2 tokens."""

    def __init__(self, model, *, max_new_tokens=9, temperature=0.0):
        self.max_new_tokens = max_new_tokens

    def generate(self, requests, on_answer=None):
        return [Answer("zzz", 11, 2, scores=(None,) * len(request.choices)) for request in requests]

class LoudEngine:
    """Cannot be made: a dry run does not."""

    def __init__(self, model, *, max_new_tokens=9):
        raise SystemExit("an engine was made")
'''
PLANLESS = '''
from dataclasses import dataclass
from rankrl.contracts import request_of
from rankrl.types import Ranking
from rankrl.rerankers.rank_r1 import RankR1

@dataclass(frozen=True, slots=True)
class Planless:
    """Asks three times about the whole list: twice the same, then another question, and does not say so before."""

    shown: int = 20
    template: str = "brief"

    def prompt(self, listing):
        return [{"role": "user", "content": " ".join([listing.query.text, *(c.text for c in listing.candidates)])}]

    def parse(self, text, n):
        return RankR1().parse(text, n)

    def order(self, listing):
        if len(listing):
            yield [request_of(self, listing), request_of(self, listing)]
            yield [request_of(self, listing)]
            yield [request_of(self, listing.pick(range(len(listing) - 1))), request_of(self, listing)]
        return Ranking(tuple(range(len(listing))))
'''
SIZES = {"q1": 12, "q2": 30, "q3": 1, "q4": 12}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A collection `c` of 30 documents, a first stage `first.trec` with lists of several lengths, engines and a reranker."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "silent_engine.py").write_text(SILENT)
    (tmp_path / "planless_reranker.py").write_text(PLANLESS)
    (tmp_path / "c" / "qrels").mkdir(parents=True)
    documents = [
        {"_id": f"d{i}", "title": f"title {i}", "text": f"passage {i} " + "with words " * i} for i in range(30)
    ]
    (tmp_path / "c" / "corpus.jsonl").write_text("\n".join(map(json.dumps, documents)))
    queries = [{"_id": qid, "text": f"what does {qid} ask?"} for qid in SIZES]
    (tmp_path / "c" / "queries.jsonl").write_text("\n".join(map(json.dumps, queries)))
    (tmp_path / "c" / "qrels" / "test.tsv").write_text("".join(f"{qid}\td1\t1\n" for qid in SIZES))
    rows = [f"{qid} Q0 d{i} {i + 1} {99 - i} bm25" for qid, n in SIZES.items() for i in range(n)]
    (tmp_path / "first.trec").write_text("\n".join(rows) + "\n")
    return tmp_path


def rerank(reranker, *more):
    return main(["rerank", reranker, "--run", "first.trec", "--collection", "./c", *more])


def planned(capsys, reranker, *more):
    """What a dry run prints as JSON."""
    capsys.readouterr()
    assert rerank(reranker, "--dry-run", "--json", *more) == 0
    return json.loads(capsys.readouterr().out)


def spent(reranker, *more):
    """The cost of a real run."""
    assert rerank(reranker, "-o", "new.trec", *more) == 0
    return read_provenance("new.trec")["cost"]


def beside(name):
    """A module that lies beside this one."""
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


SILENTLY = ("--engine", "silent_engine:SilentEngine", "--model", "x")


@pytest.mark.parametrize("name", names("rerankers"))
@pytest.mark.parametrize("repeats", [(), ("--passes", "2"), ("--shuffles", "2")], ids=["once", "passes", "shuffles"])
def test_the_calls_are_those_that_a_run_makes(folder, capsys, name, repeats):
    found = planned(capsys, name, *SILENTLY, "--depth", "25", *repeats)
    cost = spent(name, *SILENTLY, "--depth", "25", *repeats)
    calls = found["calls"]
    assert calls["fewest"] <= cost["calls"] <= calls["most"]
    assert calls["fewest"] <= calls["expected"] <= calls["most"]
    assert cost["depth"] <= calls["depth"]
    if found["exact"]:
        assert calls["fewest"] == calls["expected"] == cost["calls"] == calls["most"]
    assert found["topics"] == 4 and found["documents"] == 12 + 25 + 1 + 12
    assert not calls["measured"] or not hasattr(lookup(name, "rerankers"), "plan")


def test_prompt_tokens_are_those_of_a_real_run(folder, capsys, tiny_model_dir):
    more = ("--model", str(tiny_model_dir), "--depth", "5", "--max-new-tokens", "2", "--device", "cpu")
    for name, options in (("rank_r1", ("--option", "num_child=9", "--option", "k=1")), ("yes_no", ())):
        if name not in names("rerankers"):
            continue
        found, cost = planned(capsys, name, *more, *options), spent(name, *more, *options)
        assert found["calls"]["fewest"] == cost["calls"] == found["prompts_counted"]
        assert found["prompt_tokens"] == [cost["prompt_tokens"]] * 3
        assert cost["completion_tokens"] <= found["completion_tokens"][1] == (name == "rank_r1") * 2 * cost["calls"]
        assert found["counted_by"] == f"the tokenizer of {tiny_model_dir}" and found["context"] == 4096


def test_shuffles_of_two_ask_no_more_than_two_orders(folder, capsys):
    more = (*SILENTLY, "--depth", "2", "--shuffles", "5")
    calls = planned(capsys, "listwise", *more)["calls"]
    assert (calls["fewest"], calls["expected"], calls["most"]) == (3, 6.0, 6)  # three lists of two, and one of one
    assert 3 <= spent("listwise", *more)["calls"] <= 6


def test_prompts_of_an_encoder_are_counted_as_it_reads_them(folder, capsys, tmp_path):
    model = beside("tiny_t5").build(tmp_path / "t5")
    options = ("--model", str(model), "--option", "template=monot5", "--option", "max_length=60", "--depth", "6")
    found, cost = planned(capsys, "yes_no", *options), spent("yes_no", *options)
    assert found["prompt_tokens"] == [cost["prompt_tokens"]] * 3


def test_scored_choices_cost_a_token_each_at_a_server(folder, capsys):
    more = ("--engine", "openai", "--model", "gpt", "--price-in", "0", "--price-out", "1000000")
    found = planned(capsys, "yes_no", *more)
    assert found["completion_tokens"] == [55] * 3 and found["cost"] == [55.0] * 3


def test_texts_are_cut_by_the_tokenizer_as_in_a_run(folder, capsys, tiny_model_dir):
    options = ("--model", str(tiny_model_dir), "--option", "num_child=19", "--option", "k=1")
    long = planned(capsys, "rank_r1", *options)["prompt_tokens"][1]
    short = planned(capsys, "rank_r1", *options, "--option", "passage_tokens=4")["prompt_tokens"][1]
    assert short < long / 2
    more = (*options, "--option", "passage_tokens=4", "--depth", "12", "--max-new-tokens", "1")
    assert planned(capsys, "rank_r1", *more)["prompt_tokens"] == [spent("rank_r1", *more)["prompt_tokens"]] * 3


def test_prompts_of_a_few_topics_stand_for_all(folder, capsys, tiny_model_dir):
    (folder / "first.trec").write_text("".join(f"q{q} Q0 d{i} 1 {9 - i} x\n" for q in range(40) for i in range(4)))
    queries = [json.dumps({"_id": f"q{q}", "text": f"what does q{q} ask?"}) for q in range(40)]
    (folder / "c" / "queries.jsonl").write_text("\n".join(queries))
    (folder / "c" / "qrels" / "test.tsv").write_text("".join(f"q{q}\td1\t1\n" for q in range(40)))
    options = ("--model", str(tiny_model_dir), "--option", "k=1", "--max-new-tokens", "1")
    found, cost = planned(capsys, "rank_r1", *options), spent("rank_r1", *options)
    assert found["topics_sampled"] == found["prompts_counted"] == 8
    assert found["prompt_tokens"][1] == pytest.approx(cost["prompt_tokens"], rel=0.02)


def test_a_reranker_without_a_plan_is_measured_and_that_is_said(folder, capsys):
    assert rerank("planless_reranker:Planless", "--dry-run", "--json", *SILENTLY) == 0
    said = capsys.readouterr()
    calls = json.loads(said.out)["calls"]
    assert calls == {"fewest": 8, "expected": 8.0, "most": 8, "depth": 2, "shown": 30, "measured": True}
    assert "has no plan of its calls: they were measured on unreadable answers" in said.err
    assert spent("planless_reranker:Planless", *SILENTLY)["calls"] == 8
    more = (*SILENTLY, "--shuffles", "3", "--passes", "2")
    calls = planned(capsys, "planless_reranker:Planless", *more)["calls"]
    assert (calls["fewest"], calls["expected"], calls["most"], calls["depth"]) == (8, 48.0, 48, 4)
    assert (
        spent("planless_reranker:Planless", *more)["calls"] == 3 * 3 * 2 + 2
    )  # a second pass moves nothing; q3 has one order


def test_nothing_is_loaded_or_written_and_no_place_is_needed(folder, capsys):
    def present():
        return sorted(path.name for path in folder.iterdir() if path.name != "__pycache__")

    before = present()
    loud = ("--engine", "silent_engine:LoudEngine", "--model", "x")
    assert rerank("rank_r1", "--dry-run", *loud, "-o", "new.trec", "--journal", "j", "--explain", "e") == 0
    assert present() == before
    with pytest.raises(SystemExit, match="an engine was made"):
        rerank("rank_r1", *loud, "-o", "new.trec")


def test_without_a_tokenizer_words_are_counted_and_that_is_said(folder, capsys):
    for more, why in (
        ((), "words x 1.3 (no --model)"),
        (("--engine", "openai", "--model", "gpt"), "words x 1.3 (no --engine-option tokenizer=NAME)"),
        (SILENTLY, "words x 1.3 (no model 'x'"),
    ):
        found = planned(capsys, "planless_reranker:Planless", *more, "--limit", "1")
        assert found["counted_by"].startswith(why)
        # "what does q1 ask?", then "title i passage i" and "with words" i times for 12 documents, and for 11
        words = [4 + 4 * n + 2 * sum(range(n)) - 2 * n for n in (12, 11)]
        assert found["prompt_tokens"][0] == pytest.approx(1.3 * sum(words), abs=1)


def test_a_model_that_is_not_there_is_no_reason_to_refuse_an_engine_of_ones_own(folder, capsys):
    found = planned(capsys, "rank_r1", "--engine", "silent_engine:SilentEngine", "--model", "./gone")
    assert found["counted_by"] == "words x 1.3 (no model at ./gone)"


def test_empty_lists_cost_nothing(folder, capsys):
    with (folder / "c" / "corpus.jsonl").open("a") as corpus:
        corpus.write('\n{"_id": "q3", "text": "the query itself"}')
    with (folder / "first.trec").open() as file:
        rows = [row for row in file if not row.startswith("q3 ")]
    (folder / "first.trec").write_text("".join(["q3 Q0 q3 1 1 x\n", *rows]))
    found = planned(capsys, "yes_no", *SILENTLY)
    assert found["topics"] == 4 and found["documents"] == found["calls"]["fewest"] == 54
    assert found["topics_sampled"] == 3
    assert spent("yes_no", *SILENTLY)["calls"] == 54


def test_enough_prompts_are_enough(folder, capsys, monkeypatch):
    monkeypatch.setattr("rankrl.commands._rerank_plan._PROMPTS", 20)
    assert planned(capsys, "yes_no", *SILENTLY)["topics_sampled"] == 2  # 12 and 30 prompts
    monkeypatch.setattr("rankrl.commands._rerank_plan._COUNTED", 5)
    assert planned(capsys, "yes_no", *SILENTLY)["prompts_counted"] == 4 + 5


def test_a_server_is_counted_with_the_tokenizer_that_is_named(folder, capsys, tiny_model_dir):
    own = planned(capsys, "rank_r1", "--model", str(tiny_model_dir))
    server = ("--engine", "openai", "--model", "gpt", "--engine-option", f"tokenizer={tiny_model_dir}")
    assert planned(capsys, "rank_r1", *server)["prompt_tokens"] == own["prompt_tokens"]


def test_money_is_prompt_and_completion_at_their_prices(folder, capsys):
    found = planned(capsys, "rank_r1", *SILENTLY, "--price-in", "2", "--price-out", "5", "--max-new-tokens", "40")
    for n, (prompt, completion, cost) in enumerate(
        zip(found["prompt_tokens"], found["completion_tokens"], found["cost"], strict=True)
    ):
        calls = [found["calls"]["fewest"], found["calls"]["expected"], found["calls"]["most"]][n]
        assert completion == round(calls * 40)
        assert prompt == round(calls * found["tokens_per_prompt"])
        assert cost == pytest.approx((2 * prompt + 5 * completion) / 1e6)
    assert planned(capsys, "rank_r1", *SILENTLY)["cost"] is None


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--max-calls", "1"], "--max-calls 1 will stop it: "),
        (["--max-calls", "{some}"], "--max-calls {some} may stop it: "),
        (["--max-calls", "100000"], None),
        (["--max-tokens", "10"], "--max-tokens 10 will stop it: up to "),
        (["--max-tokens", "50000"], "--max-tokens 50000 may stop it: up to "),
        (["--max-tokens", "100000000"], None),
        (["--max-cost", "0.0001", "--price-in", "1", "--price-out", "1"], "--max-cost 0.0001 may stop it: up to "),
        (["--max-cost", "99", "--price-in", "1", "--price-out", "1"], None),
    ],
)
def test_a_limit_that_would_stop_the_run_is_said(folder, capsys, more, said):
    some = planned(capsys, "rank_r1", *SILENTLY, "--option", "num_child=3")["calls"]["fewest"]
    more = [word.format(some=some) for word in more]
    assert rerank("rank_r1", "--dry-run", *SILENTLY, "--option", "num_child=3", *more) == 0
    remarks = [line for line in capsys.readouterr().err.splitlines() if line.startswith("--max")]
    assert (remarks == []) if said is None else (len(remarks) == 1 and remarks[0].startswith(said.format(some=some)))


def test_prompts_that_do_not_fit_are_said_before_the_model_is_there_to_refuse_them(folder, capsys, tiny_model_dir):
    more = ("--model", str(tiny_model_dir), "--max-new-tokens")
    assert rerank("rank_r1", "--dry-run", *more, "4000") == 0
    said = capsys.readouterr().err
    assert "prompts do not fit: one has" in said and "the model takes 4,096, and 4,000 are kept for the answer" in said
    assert rerank("rank_r1", "--dry-run", *more, "10") == 0
    assert capsys.readouterr().err == ""


def test_the_table_says_it_all(folder, capsys):
    assert rerank("rank_r1", "--dry-run", *SILENTLY, "--price-in", "1", "--price-out", "2", "--passes", "2") == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    found = planned(capsys, "rank_r1", *SILENTLY, "--price-in", "1", "--price-out", "2", "--passes", "2")
    assert lines[0] == "rank_r1 over c (test): 4 topics, 55 documents to a depth of 100, 2 passes"
    assert "fewest expected most" in lines
    calls = found["calls"]
    assert f"calls {calls['fewest']:,} {calls['expected']:,.0f} {calls['most']:,}" in lines
    assert "prompt tokens " + " ".join(f"{n:,}" for n in found["prompt_tokens"]) in lines
    assert "completion tokens, at most " + " ".join(f"{n:,}" for n in found["completion_tokens"]) in lines
    assert "cost, at most " + " ".join(f"{n:,.4f}" for n in found["cost"]) in lines
    assert f"dependent calls {calls['depth']} in the longest chain of a topic" in lines
    assert "passages per prompt 20 at most" in lines
    assert "tokens per answer 2,048 at most (max_new_tokens)" in lines
    assert max(map(len, lines)) < 160


def test_options_of_the_card_count_too(folder, capsys, tiny_model_builder, tmp_path):
    write = importlib.import_module("rankrl.reranking").write_reranker_card
    model = tiny_model_builder(tmp_path / "model")
    reranker = importlib.import_module("rankrl.rerankers.rank_r1").RankR1(num_child=2, k=1)
    write(model, "rank_r1", reranker, max_new_tokens=17)
    found = planned(capsys, "rank_r1", "--model", str(model))
    assert (found["calls"]["shown"], found["max_new_tokens"]) == (3, 17)
    assert planned(capsys, "rank_r1", "--model", str(model), "--max-new-tokens", "5")["max_new_tokens"] == 5
    found = planned(capsys, "rank_r1", "--model", str(model), "--ignore-card")
    assert (found["calls"]["shown"], found["max_new_tokens"]) == (20, 2048)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--model", "./gone"], "no model at ./gone"),
        (["--option", "num_chld=3"], "did you mean 'num_child'"),
        (["--engine", "opnai"], "no engine 'opnai', did you mean 'openai'"),
        (["--max-cost", "3"], "--max-cost needs --price-in"),
        (["--run", "gone.trec"], "run not found: gone.trec"),
    ],
)
def test_mistakes_are_refused_by_a_dry_run_as_by_a_real_one(folder, capsys, more, message):
    assert rerank("rank_r1", "--dry-run", *more) == 1
    assert message in capsys.readouterr().err


def test_the_list_of_rerankers_says_what_each_costs(capsys):
    assert main(["list", "rerankers"]) == 0
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.split() == ["for", "100", "candidates:", "calls", "depth", "shown"]
    found = {line.split()[0]: line.split()[1:4] for line in lines}
    assert sorted(found) == names("rerankers")
    assert found["rank_r1"] == ["23", str(lookup("rank_r1", "rerankers")().plan(100).depth), "20"]
    assert all(len(line.split(maxsplit=4)) == 5 and line.split()[1].replace(",", "").isdigit() for line in lines)


def test_pairs_of_a_classifier_are_counted_as_it_takes_them(folder, capsys, tmp_path):
    pytest.importorskip("rankrl.rerankers.cross_encoder")
    for kind, more in (("bert", ()), ("bert", ("--engine-option", "max_length=20")), ("qwen2", ())):
        model = beside("tiny_classifier").build(tmp_path / kind, kind=kind, positions=512)
        options = ("--model", str(model), *more)
        found, cost = planned(capsys, "cross_encoder", *options), spent("cross_encoder", *options)
        assert found["prompt_tokens"] == [cost["prompt_tokens"]] * 3
        assert found["completion_tokens"] == [0, 0, 0] and found["max_new_tokens"] is None
