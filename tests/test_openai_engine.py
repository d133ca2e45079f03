"""The OpenAI engine against a real HTTP server on this machine, scripted; and against a real model behind HTTP."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rankrl.engines._openai_wire import scores_of, tokens_of
from rankrl.engines.openai import OpenaiEngine
from rankrl.errors import ConfigError, DataError, MissingDependencyError, RankRLError
from rankrl.reranking import engine_names, load_reranker
from rankrl.reranking import settings as settings_of
from rankrl.types import PAIR, PLAIN, Request, Token

sys.path.insert(0, str(Path(__file__).parent))
from openai_server import OpenaiServer, Reply, chat_logprobs, failed, said

pytest.importorskip("openai", reason="the OpenAI client is not installed")

KEY = "sk-very-secret-key"


@pytest.fixture(autouse=True)
def surroundings(monkeypatch):
    """No proxy and no settings of whoever runs the tests."""
    for name in [name for name in os.environ if name.startswith("OPENAI_") or name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)


@pytest.fixture
def serving():
    """script -> (server, engine of its options), both gone after the test."""
    made = []

    def start(script, **options):
        server = OpenaiServer(script).__enter__()
        made.append(server)
        engine = OpenaiEngine("m", **{"base_url": server.url, "max_new_tokens": 50, **options})
        made.append(engine)
        return server, engine

    yield start
    for thing in reversed(made):
        thing.close() if isinstance(thing, OpenaiEngine) else thing.__exit__()


def user(text, **options):
    return Request([{"role": "user", "content": text}], **options)


def begun(text, start, **options):
    return Request([{"role": "user", "content": text}, {"role": "assistant", "content": start}], **options)


def echo(path, body):
    return said(body["messages"][-1]["content"][::-1])


def test_answers_keep_the_order_of_their_requests_and_are_told_as_they_come(serving):
    def script(path, body):
        number = int(body["messages"][-1]["content"])
        return Reply(
            said(f"answer {number}", usage={"prompt_tokens": number, "completion_tokens": 2}),
            wait_s=0.2 * (number == 0),
        )

    server, engine = serving(script, concurrency=4)
    told = []
    requests = [user(str(i)) for i in range(12)]
    answers = engine.generate(requests, lambda i, answer: told.append((i, answer, threading.current_thread())))
    assert [answer.text for answer in answers] == [f"answer {i}" for i in range(12)]
    assert [answer.prompt_tokens for answer in answers] == list(range(12))
    assert {answer.completion_tokens for answer in answers} == {2}
    assert {i: answer for i, answer, _ in told} == dict(enumerate(answers)) and len(told) == 12
    assert [i for i, _, _ in told][-1] == 0, "the slow one was not told last"
    assert {thread for _, _, thread in told} == {threading.current_thread()}
    assert len(server.asked) == 12
    assert engine.generate([]) == []


def test_what_is_sent(serving):
    server, engine = serving(echo)
    engine.generate([user("hello")])
    ((path, body, headers),) = server.asked
    assert path == "/v1/chat/completions"
    assert body == {
        "model": "m",
        "max_tokens": 50,
        "temperature": 0.0,
        "messages": [{"role": "user", "content": "hello"}],
    }
    assert "none" in headers["authorization" if "authorization" in headers else "Authorization"]

    server, engine = serving(
        echo,
        temperature=None,
        token_param="max_completion_tokens",
        extra_body={"top_p": 0.5, "reasoning_effort": "low"},
        chat_template_kwargs={"enable_thinking": False},
    )
    engine.generate([user("hello", stop=("a", "b"))])
    assert server.bodies == [
        {
            "model": "m",
            "max_completion_tokens": 50,
            "stop": ["a", "b"],
            "messages": [{"role": "user", "content": "hello"}],
            "top_p": 0.5,
            "reasoning_effort": "low",
            "chat_template_kwargs": {"enable_thinking": False},
            "seed": server.bodies[0]["seed"],
        }
    ]


def test_a_plain_prompt_goes_to_completions_with_the_beginning_of_its_answer(serving):
    server, engine = serving(lambda path, body: said(" dog", chat=False), token_param="max_completion_tokens")
    plain = Request([{"role": PLAIN, "content": "The quick"}, {"role": "assistant", "content": " brown"}], stop=("\n",))
    (answer,) = engine.generate([plain])
    assert answer.text == " dog"
    ((path, body, _),) = server.asked
    assert path == "/v1/completions"
    assert body == {"model": "m", "max_tokens": 50, "temperature": 0.0, "stop": ["\n"], "prompt": "The quick brown"}


@pytest.mark.parametrize("style", ["vllm", "prefix", "none"])
def test_a_begun_answer_is_continued_in_the_way_of_the_server(serving, style):
    server, engine = serving(lambda path, body: said("the rest"), continue_style=style)
    request = begun("q", "It is ")
    (answer,) = engine.generate([request])
    assert request.prompt == begun("q", "It is ").prompt, "the request was changed"
    (body,) = server.bodies
    last = {"role": "assistant", "content": "It is "}
    assert answer.text == "the rest"
    assert body["messages"][-1] == ({**last, "prefix": True} if style == "prefix" else last)
    marks = {name: body.get(name) for name in ("add_generation_prompt", "continue_final_message")}
    assert (
        marks == dict.fromkeys(marks)
        if style != "vllm"
        else marks == {"add_generation_prompt": False, "continue_final_message": True}
    )
    assert engine.generate([user("q")])[0].text == "the rest"
    assert "continue_final_message" not in server.bodies[-1]


def test_a_beginning_that_a_server_repeats_is_no_part_of_the_answer(serving):
    _, engine = serving(lambda path, body: said("It is the rest"), continue_style="prefix")
    assert engine.generate([begun("q", "It is ")])[0].text == "the rest"


def test_samples_of_one_prompt_have_seeds_of_their_own_and_greedy_ones_none(serving):
    server, engine = serving(echo, temperature=0.7, seed=5)
    requests = [user("q", sample=i) for i in range(3)]
    engine.generate(requests)
    engine.generate(requests)
    seeds = Counter(body["seed"] for body in server.bodies)
    assert len(seeds) == 3 and set(seeds.values()) == {2}
    assert all(0 <= seed < 2**31 for seed in seeds)
    server, other = serving(echo, temperature=0.7, seed=6)
    other.generate(requests)
    assert not seeds.keys() & {body["seed"] for body in server.bodies}
    server, silent = serving(echo, temperature=0.7, seed=None)
    silent.generate(requests)
    assert all("seed" not in body for body in server.bodies)


def test_usage_reasons_and_reasoning_are_read(serving):
    usage = {"prompt_tokens": 90, "completion_tokens": 8, "prompt_tokens_details": {"cached_tokens": 64}}
    replies = {
        "usage": said("x", usage=usage),
        "cut": said("x", reason="length"),
        "tgi": said("x", reason="eos_token"),
        "filter": said(None, reason="content_filter"),
        "odd": said("x", reason="weird"),
        "none": {"choices": [], "usage": None},
        "refused": said(None, message={"refusal": "I will not"}),
        "parts": said([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]),
        "thought": said("[1]", message={"reasoning_content": "hm"}),
        "thought too": said("[1]", message={"reasoning": "hm"}),
        "thought, cut": said("", reason="length", message={"reasoning_content": "hm"}),
        "thought, cut later": said("[", reason="length", message={"reasoning_content": "hm"}),
    }
    _, engine = serving(lambda path, body: replies[body["messages"][0]["content"]])
    found = dict(zip(replies, engine.generate([user(name) for name in replies]), strict=True))
    assert (found["usage"].prompt_tokens, found["usage"].completion_tokens, found["usage"].cached_tokens) == (90, 8, 64)
    assert not found["usage"].cached, "that is for journals: this one was paid for"
    reasons = {name: answer.finish_reason for name, answer in found.items()}
    assert reasons == dict.fromkeys(replies, "stop") | {
        "cut": "length", "filter": "content_filter", "odd": "weird", "none": "no_choice",
        "thought, cut": "length", "thought, cut later": "length"
    }  # fmt: skip
    texts = {name: answer.text for name, answer in found.items()}
    assert texts["filter"] == texts["none"] == "" and texts["refused"] == "I will not" and texts["parts"] == "ab"
    assert texts["thought"] == texts["thought too"] == "<think>hm</think>[1]"
    assert texts["thought, cut"] == "<think>hm" and texts["thought, cut later"] == "<think>hm</think>["
    assert (
        engine.generate(
            [Request([{"role": "user", "content": "thought"}, {"role": "assistant", "content": "<think>"}])]
        )[0].text
        == "hm</think>[1]"
    )


def test_a_request_that_a_filter_refuses_is_an_empty_answer(serving):
    refusal = failed(400, "The response was filtered by the content management policy", code="content_filter")
    _, engine = serving(lambda path, body: refusal if "bad" in body["messages"][0]["content"] else echo(path, body))
    answers = engine.generate([user("bad"), user("good")])
    assert [(answer.text, answer.finish_reason) for answer in answers] == [("", "content_filter"), ("doog", "stop")]


# -- stop texts and log-probabilities


def stopping(*replies):
    """said() of each, in turn."""
    waiting = list(replies)
    return lambda path, body: waiting.pop(0)


TRUE_TOKENS = chat_logprobs(
    ("so", -0.5, {"so": -0.5}), ("</think>", -0.1, {}), (" true", -0.2, {" true": -0.2, " false": -1.8})
)
ENDED_TOKENS = chat_logprobs(("so", -0.5, {"so": -0.5, "no": -1.0}), ("<|im_end|>", -0.1, {"<|im_end|>": -0.1}))


@pytest.mark.parametrize(
    "reply, text, tokens",
    [
        (said("so", stop_reason="</think> true", logprobs=TRUE_TOKENS), "so</think> true", ["so", "</think>", " true"]),
        (said("so", matched_stop="</think> true"), "so</think> true", []),
        (said("so", logprobs=TRUE_TOKENS), "so</think> true", ["so", "</think>", " true"]),
        (said("so</think> true", stop_reason="</think> true"), "so</think> true", []),
        (said("so", stop_reason=None, logprobs=ENDED_TOKENS), "so", ["so"]),
        (said("so", stop_reason=151645, logprobs=ENDED_TOKENS), "so", ["so"]),
        (said("so", reason="length", logprobs=ENDED_TOKENS), "so", ["so", "<|im_end|>"]),
        (said("so", stop_reason="another"), "so", []),
        (said("so"), "so", []),
        (said("so</think> true", reason="length", logprobs=TRUE_TOKENS), "so</think> true", ["so", "</think>", " true"]),
    ],
)  # fmt: skip
def test_a_stop_text_is_put_back_where_it_is_known(serving, reply, text, tokens):
    server, engine = serving(lambda path, body: reply)
    (answer,) = engine.generate([user("q", stop=("</think> true", "</think> false"), logprobs=True)])
    assert answer.text == text
    assert [token.text for token in answer.tokens] == tokens
    assert server.bodies[0]["logprobs"] is True and server.bodies[0]["top_logprobs"] == 20
    if tokens:
        assert [token.alternatives for token in answer.tokens[:-1]] == [()] * (len(tokens) - 1)
        assert answer.tokens[-1].alternatives


def test_tokens_of_completions_are_read_and_the_last_has_its_alternatives(serving):
    logprobs = {
        "tokens": ["a", " b"],
        "token_logprobs": [-0.1, -0.2],
        "top_logprobs": [{"a": -0.1}, {" c": -1.0, " b": -0.2}],
    }
    server, engine = serving(
        lambda path, body: said("a b", chat=False, reason="length", logprobs=logprobs), top_logprobs=5
    )
    plain = [{"role": PLAIN, "content": "x"}]
    with_tokens, without = engine.generate([Request(plain, logprobs=True), Request(plain)])
    assert with_tokens.tokens == (Token("a", -0.1), Token(" b", -0.2, ((" b", -0.2), (" c", -1.0))))
    assert without.tokens == ()
    assert sorted(str(body.get("logprobs")) for body in server.bodies) == ["5", "None"]


def test_tokens_that_are_half_a_character_are_put_together_by_their_bytes(serving):
    halves = chat_logprobs(("x", -0.1, {}), ("y", -0.2, {"y": -0.2}))
    for entry, raw in zip(halves["content"], ["é".encode()[:1], "é".encode()[1:] + b"!"], strict=True):
        entry["token"], entry["bytes"] = "\ufffd", list(raw)
    _, engine = serving(lambda path, body: said("", logprobs=halves))
    (answer,) = engine.generate([user("q", stop=("é!",), logprobs=True)])
    assert answer.text == "é!"


def test_choices_are_scored_by_the_first_token(serving):
    top = {"Yes": -0.3, " yes": -2.0, "No": -1.5, "P": -0.2, "Pass": -4.0}
    server, engine = serving(
        lambda path, body: said("Maybe", reason="length", logprobs=chat_logprobs(("Maybe", -9.0, top)))
    )
    (answer,) = engine.generate([user("q", choices=("Yes", "No", "Passage A", "Unheard"))])
    assert answer.scores == (-0.3, -1.5, -4.0, None)
    assert answer.text == "" and answer.finish_reason == "stop" and answer.tokens == ()
    assert server.bodies == [
        {
            "model": "m",
            "max_tokens": 1,
            "temperature": 1.0,
            "messages": [{"role": "user", "content": "q"}],
            "logprobs": True,
            "top_logprobs": 20,
        }
    ]


def test_choices_of_a_plain_prompt_are_scored_in_either_layout(serving):
    old = {"tokens": ["A"], "token_logprobs": [-0.1], "top_logprobs": [{"A": -0.1, "B": -2.5}]}
    new = chat_logprobs(("A", -0.1, {"A": -0.1, "B": -2.5}))
    _, engine = serving(stopping(said("A", chat=False, logprobs=old), said("A", chat=False, logprobs=new)))
    for _ in range(2):
        (answer,) = engine.generate([Request([{"role": PLAIN, "content": "x"}], choices=("A", "B", "C"))])
        assert answer.scores == (-0.1, -2.5, None)


def test_a_choice_that_shares_its_first_token_is_not_scored_by_it():
    token = Token("1", -0.1, (("1", -0.1), ("2", -3.0), ("", -5.0), ("10", -6.0)))
    assert scores_of(("1", "2", "10", "3"), token, {}) == (-0.1, -3.0, -6.0, None)
    assert scores_of(("1", "12", "13", "25"), token, {}) == (-0.1, None, None, -3.0)
    assert scores_of(("21", "22"), token, {}) == (None, None)
    assert scores_of(("1",), Token("1", -0.1, (("1", -0.1), ("1", -7.0))), {}) == (-0.1,)
    assert scores_of((" 2", "2"), token, {" 2": " ", "2": "2"}) == (None, -3.0)


texts = st.text("ab", min_size=1, max_size=3)


@given(st.dictionaries(texts, st.floats(-20, 0), max_size=6), st.lists(texts, min_size=1, max_size=5, unique=True))
@settings(max_examples=300)
def test_for_all_choices_a_score_is_that_of_the_choice_itself_or_of_a_beginning_that_no_other_has(top, choices):
    alternatives = tuple(sorted(top.items(), key=lambda entry: -entry[1]))
    scores = scores_of(choices, Token("a", -1.0, alternatives), {})
    assert len(scores) == len(choices)
    for choice, score in zip(choices, scores, strict=True):
        if choice in top:
            assert score == top[choice]
        elif score is not None:
            sources = [text for text in top if choice.startswith(text) and top[text] == score]
            assert sources
            for source in sources:
                assert source not in choices or len(sources) > 1


def test_a_server_without_log_probabilities_is_refused_for_choices_and_only_for_them(serving):
    _, engine = serving(lambda path, body: said("Yes", logprobs=None))
    with pytest.raises(ConfigError, match=r"gives no log-probabilities .* reads answers in words"):
        engine.generate([user("q", choices=("Yes", "No"))])
    (answer,) = engine.generate([user("q", logprobs=True)])
    assert (answer.text, answer.tokens) == ("Yes", ())
    _, engine = serving(lambda path, body: said("Yes", logprobs=chat_logprobs(("Yes", -0.1, {}))))
    with pytest.raises(ConfigError, match="gives no log-probabilities"):
        engine.generate([user("q", choices=("Yes", "No"))])


def test_choices_are_scored_at_temperature_one_without_seed_or_stop_and_fields_of_ones_own_win(serving):
    scored = said("x", logprobs=chat_logprobs(("x", -0.1, {"x": -0.1})))
    server, engine = serving(lambda path, body: scored, temperature=0.3, seed=1, extra_body={"logprobs": 7})
    engine.generate([user("q", choices=("x",), stop=("y",))])
    (body,) = server.bodies
    assert body["temperature"] == 1.0 and body["logprobs"] == 7 and not {"seed", "stop"} & body.keys()


def test_a_filtered_choice_request_is_an_answer_without_scores(serving):
    _, engine = serving(stopping(said("", reason="content_filter"), {"choices": []}))
    for reason in ("content_filter", "no_choice"):
        (answer,) = engine.generate([user("q", choices=("Yes", "No"))])
        assert (answer.scores, answer.finish_reason) == ((None, None), reason)


@pytest.mark.parametrize("junk", [None, 3, [], {}, {"content": None}, {"tokens": None}, {"content": []}])
def test_log_probabilities_that_are_none_are_none(junk):
    assert tokens_of(junk) == []


# -- failures


def test_what_passes_is_tried_again(serving):
    tries = Counter()
    failures = {
        "busy": failed(429, "slow down"),
        "broken": failed(500, "oops"),
        "away": failed(503, "starting"),
        "dropped": Reply({}, drop=True),
        "silent": Reply(said("too late"), wait_s=0.6),
    }

    def script(path, body):
        name = body["messages"][0]["content"]
        tries[name] += 1
        return failures[name] if tries[name] <= 1 else said(f"{name} at last")

    _, engine = serving(script, timeout_s=0.25, max_retries=2)
    answers = engine.generate([user(name) for name in failures])
    assert [answer.text for answer in answers] == [f"{name} at last" for name in failures]
    assert tries == dict.fromkeys(failures, 2)


def test_the_pause_that_a_server_asks_for_is_kept(serving):
    times = []

    def script(path, body):
        times.append(time.monotonic())
        return Reply({"error": {"message": "wait"}}, 429, {"retry-after": "1"}) if len(times) == 1 else echo(path, body)

    _, engine = serving(script, max_retries=1)
    engine.generate([user("q")])
    assert 1.0 <= times[1] - times[0] < 3


@pytest.mark.parametrize(
    "reply, kind, words",
    [
        (failed(401, f"Incorrect API key provided: {KEY}"), ConfigError, ["401", "$RANKRL_TEST_KEY", "***"]),
        (failed(403, "no access"), ConfigError, ["403", "$RANKRL_TEST_KEY"]),
        (failed(404, "The model `m` does not exist."), ConfigError, ["404", "does not exist", "give a model"]),
        (failed(400, "This model's maximum context length is 4096 tokens", code="context_length_exceeded"),
         DataError, ["400", "context_length_exceeded", "lower max_new_tokens (50)", "shorter passages"]),
        (failed(400, "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."), ConfigError, ["token_param"]),
        (failed(400, "Unsupported value: 'temperature' does not support 0.0"), ConfigError, ["temperature=null"]),
        (failed(400, "Unknown parameter: 'add_generation_prompt'"), ConfigError, ["continue_style", "prefix"]),
        (failed(400, "Too many logprobs requested: at most 5"), ConfigError, ["top_logprobs (20)"]),
        (failed(422, "what?"), ConfigError, ["422", "extra_body"]),
        (failed(429, "quota exceeded"), RankRLError, ["429", "quota exceeded", "after 3 tries", "--journal", "concurrency (32)"]),
        (failed(500, "oops"), RankRLError, ["500", "oops", "after 3 tries"]),
        (Reply("<html>a proxy</html>"), ConfigError, ["no OpenAI-compatible server", "a proxy", "/v1"]),
        (Reply({"detail": "hello"}), ConfigError, ["no OpenAI-compatible server"]),
        (Reply({"error": {"code": 502, "message": "behind me"}}), RankRLError, ["behind me"]),
    ],
)  # fmt: skip
def test_what_does_not_pass_is_one_line_that_says_what_to_do(serving, monkeypatch, reply, kind, words):
    monkeypatch.setenv("RANKRL_TEST_KEY", KEY)
    server, engine = serving(lambda path, body: reply, max_retries=2, api_key_env="RANKRL_TEST_KEY")
    with pytest.raises(RankRLError) as caught:
        engine.generate([user("q")])
    message = str(caught.value)
    assert type(caught.value) is kind
    assert "\n" not in message and server.url in message and "'m'" in message and KEY not in message
    assert [word for word in words if word not in message] == []
    assert len(server.asked) == (3 if "after 3 tries" in words else 1)


def test_nobody_there_and_no_answer_are_said(serving):
    server, _ = serving(echo)
    server.__exit__()
    away = OpenaiEngine("m", base_url=server.url, max_retries=0)
    with pytest.raises(RankRLError, match=r"cannot be reached .* tried 1 times; is it running"):
        away.generate([user("q")])
    server, slow = serving(lambda path, body: Reply(said("x"), wait_s=0.5), timeout_s=0.1, max_retries=1)
    with pytest.raises(RankRLError, match=r"no answer within 0.1 s, tried 2 times; raise timeout_s"):
        slow.generate([user("q")])


def test_an_error_gives_up_the_rest_and_keeps_what_had_come(serving):
    def script(path, body):
        text = body["messages"][0]["content"]
        if text == "bad":
            return Reply(failed(404, "gone").body, 404, wait_s=0.2)
        return Reply(said(text), wait_s=0.0 if text == "quick" else 5.0)

    server, engine = serving(script, concurrency=3)
    told = []
    started = time.monotonic()
    with pytest.raises(ConfigError, match="404"):
        engine.generate(
            [user(t) for t in ["quick", "bad", *(f"slow {i}" for i in range(50))]],
            lambda i, a: told.append((i, a.text)),
        )
    assert time.monotonic() - started < 2
    assert told == [(0, "quick")]
    time.sleep(0.1)
    assert len(server.asked) <= 6, "requests were sent after the error"
    assert [answer.text for answer in engine.generate([user("quick")])] == ["quick"], "the engine goes on afterwards"


def test_an_error_in_on_answer_gives_up_the_rest(serving):
    server, engine = serving(lambda path, body: Reply(said("x"), wait_s=0.05), concurrency=2)

    def full(i, answer):
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="disk is full"):
        engine.generate([user(str(i)) for i in range(100)], full)
    time.sleep(0.3)
    assert len(server.asked) < 10


# -- concurrency, threads, ends


@pytest.mark.parametrize("concurrency", [1, 8])
def test_no_more_requests_are_open_than_allowed_and_as_many_as_that(serving, concurrency):
    server, engine = serving(lambda path, body: Reply(echo(path, body), wait_s=0.02), concurrency=concurrency)
    assert engine.concurrent == concurrency
    started = time.monotonic()
    engine.generate([user(str(i)) for i in range(40)])
    assert server.most == concurrency
    assert time.monotonic() - started < 40 * 0.02 / concurrency + 1.0


def test_many_threads_share_the_limit_and_get_their_own_answers(serving):
    server, engine = serving(lambda path, body: Reply(echo(path, body), wait_s=0.01), concurrency=6)
    found = {}

    def ask(thread):
        mine = [user(f"{thread}-{i}") for i in range(5)]
        told = []
        found[thread] = ([a.text for a in engine.generate(mine, lambda i, a: told.append(a.text))], sorted(told))

    threads = [threading.Thread(target=ask, args=(t,)) for t in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    for t in range(20):
        expected = [f"{t}-{i}"[::-1] for i in range(5)]
        assert found[t] == (expected, sorted(expected))
    assert server.most <= 6


def test_closing_ends_what_is_under_way_in_other_threads_and_everything_after(serving):
    server, engine = serving(lambda path, body: Reply(said("x"), wait_s=3.0))
    problems = []

    def ask():
        try:
            engine.generate([user("q")])
        except RankRLError as problem:
            problems.append(str(problem))

    thread = threading.Thread(target=ask)
    thread.start()
    while not server.asked:
        time.sleep(0.01)
    started = time.monotonic()
    engine.close()
    thread.join(2)
    assert not thread.is_alive() and time.monotonic() - started < 1.5
    assert problems == ["the openai engine was closed while it was asked"]
    with pytest.raises(RankRLError, match="closed; load it again"):
        engine.generate([user("q")])
    engine.close()


SCRIPT = """
import sys
from rankrl.engines.openai import OpenaiEngine
from rankrl.types import Request
engine = OpenaiEngine("m", base_url=sys.argv[1])
print("asking", flush=True)
try:
    engine.generate([Request([{"role": "user", "content": str(i)}]) for i in range(100)])
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


def test_an_interrupt_ends_the_process_promptly_and_quietly(serving):
    server, _ = serving(lambda path, body: Reply(said("x"), wait_s=20.0))
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, server.url], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "asking\n"
    while len(server.asked) < 32:
        time.sleep(0.01)
    started = time.monotonic()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=15)
    assert (out, err, process.returncode) == ("interrupted\n", "", 0)
    assert time.monotonic() - started < 5


# -- options, keys, fingerprints


@pytest.mark.parametrize(
    "options, words",
    [
        ({"concurrency": 0}, "concurrency must be a whole number of 1 to 1000, got 0"),
        ({"concurrency": 2000}, "concurrency"),
        ({"concurrency": True}, "concurrency"),
        ({"max_new_tokens": 0}, "max_new_tokens must be a whole number of 1 or more, got 0"),
        ({"max_retries": -1}, "max_retries must be a whole number of 0 or more"),
        ({"top_logprobs": 0}, "top_logprobs"),
        ({"temperature": -1}, "temperature must be 0 or more"),
        ({"temperature": math.nan}, "temperature"),
        ({"temperature": "hot"}, "temperature"),
        ({"timeout_s": 0}, "timeout_s must be more than 0"),
        ({"continue_style": "vlm"}, "continue_style must be vllm, prefix or none, got 'vlm'"),
        ({"token_param": "n"}, "token_param must be max_tokens or max_completion_tokens"),
        ({"extra_body": "{broken"}, "extra_body must be a JSON object"),
        ({"extra_body": [1]}, "extra_body must be a JSON object"),
        ({"extra_body": {"x": math.nan}}, "extra_body must be a JSON object"),
        ({"base_url": "localhost:8000"}, "base_url must be like http"),
        ({"base_url": "http://[broken/v1"}, "base_url must be like http"),
        ({"base_url": "http://me:secret@host/v1"}, "user name or password"),
        ({"tokenizer": "./no-such-folder/"}, "no model at"),
    ],
)
def test_options_out_of_range_are_refused_in_one_line(options, words):
    with pytest.raises((ConfigError, DataError), match=words.replace("(", r"\(")) as caught:
        OpenaiEngine("m", **{"base_url": "http://localhost:1/v1", **options})
    assert "secret" not in str(caught.value) and "\n" not in str(caught.value)


def test_fields_of_other_servers_are_not_sent_to_openai_to_go_on_with_an_answer(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    styles = [OpenaiEngine("m", base_url=url).continue_style for url in (None, "http://here:1/v1")]
    assert styles == ["none", "vllm"]
    assert OpenaiEngine("m", continue_style="prefix").continue_style == "prefix"


def test_the_address_is_the_option_then_the_environment_then_openais(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    assert OpenaiEngine("m").base_url == "https://api.openai.com/v1"
    monkeypatch.setenv("OPENAI_BASE_URL", "http://there:1/v1/")
    assert OpenaiEngine("m").base_url == "http://there:1/v1"
    assert OpenaiEngine("m", base_url="http://here:1/v1").base_url == "http://here:1/v1"
    monkeypatch.delenv("OPENAI_API_KEY")
    monkeypatch.delenv("OPENAI_BASE_URL")
    with pytest.raises(ConfigError, match=r"no key .* environment variable OPENAI_API_KEY"):
        OpenaiEngine("m")


def test_openai_is_not_told_what_it_refuses(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    engine = OpenaiEngine("m", chat_template_kwargs={"enable_thinking": False})
    assert engine._sampling.extra_body == {}


def test_the_key_is_sent_and_shown_nowhere(serving, monkeypatch):
    monkeypatch.setenv("RANKRL_TEST_KEY", KEY)
    server, engine = serving(echo, api_key_env="RANKRL_TEST_KEY")
    engine.generate([user("q")])
    sent = {name.lower(): value for name, value in server.asked[0][2].items()}
    assert sent["authorization"] == f"Bearer {KEY}"
    shown = json.dumps(settings_of(engine)) + repr(engine) + repr(vars(engine)) + engine.fingerprint
    assert KEY not in shown
    assert settings_of(engine) == {
        "model": "m", "base_url": server.url, "api_key_env": "RANKRL_TEST_KEY", "max_new_tokens": 50, "temperature": 0.0,
        "seed": 0, "concurrency": 32, "timeout_s": 600.0, "max_retries": 8, "extra_body": {}, "chat_template_kwargs": {},
        "continue_style": "vllm", "token_param": "max_tokens", "top_logprobs": 20, "tokenizer": None, "revision": "",
    }  # fmt: skip


def test_the_fingerprint_is_of_what_decides_the_answers():
    def fingerprint(model="m", **options):
        return OpenaiEngine(model, **{"base_url": "http://localhost:1/v1", **options}).fingerprint

    same = [
        fingerprint(),
        fingerprint(base_url="http://elsewhere:2/v1"),
        fingerprint(concurrency=3, timeout_s=1, max_retries=0, api_key_env="OTHER"),
        fingerprint(seed=4),  # drawn from at no time
        fingerprint(token_param="max_completion_tokens"),
        fingerprint(temperature=0),
    ]
    assert len(set(same)) == 1
    different = [
        fingerprint("n"),
        fingerprint(revision="2"),
        fingerprint(max_new_tokens=7),
        fingerprint(temperature=1.0),
        fingerprint(temperature=1.0, seed=4),
        fingerprint(temperature=None),
        fingerprint(extra_body={"top_p": 0.5}),
        fingerprint(chat_template_kwargs={"enable_thinking": False}),
        fingerprint(continue_style="none"),
        fingerprint(top_logprobs=5),
    ]
    assert len({same[0], *different}) == 1 + len(different)


def test_pairs_are_refused_before_anything_is_sent(serving):
    server, engine = serving(echo)
    pair = Request([{"role": PAIR, "content": "q"}, {"role": PAIR, "content": "d"}], choices=("relevant",))
    with pytest.raises(ConfigError, match="classifier"):
        engine.generate([user("q"), pair])
    assert server.asked == []


def test_without_the_package_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(MissingDependencyError, match=r'pip install "rankrl\[openai\]"'):
        OpenaiEngine("m", base_url="http://localhost:1/v1")


def test_a_reranker_ranks_through_http(serving):
    def script(path, body):
        last = body["messages"][-1]["content"]
        return said("<think>x</think> <answer>[2]</answer>" if "[2]" in last else "<answer>[1]</answer>")

    assert "openai" in engine_names()
    server, _ = serving(script)
    loaded = load_reranker("rank_r1", model="m", engine="openai", base_url=server.url, max_new_tokens=9, concurrency=2)
    ranking = loaded.rerank("q", ["a", "b", "c"])
    assert sorted(found.docid for found in ranking) == ["0", "1", "2"]
    assert loaded.readings["ok"] == len(server.asked) > 0
    assert {body["max_tokens"] for body in server.bodies} == {9}
    loaded.engine.close()


@pytest.fixture
def collection(tmp_path):
    """A collection of three topics and nine documents, and a first stage over it."""
    (tmp_path / "qrels").mkdir()
    documents = [{"_id": f"d{i}", "title": "", "text": f"document number {i}"} for i in range(9)]
    topics = [{"_id": f"q{i}", "text": f"which is {i}?"} for i in range(3)]
    for name, rows in (("corpus", documents), ("queries", topics)):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "qrels/test.tsv").write_text(
        "query-id\tcorpus-id\tscore\n" + "".join(f"q{i}\td{i}\t1\n" for i in range(3))
    )
    lines = [f"q{i} Q0 d{j} {j + 1} {9 - j} bm25\n" for i in range(3) for j in range(9)]
    (tmp_path / "bm25.trec").write_text("".join(lines))
    return tmp_path


def test_a_run_that_a_server_breaks_off_goes_on_elsewhere_and_pays_nothing_twice(collection, capsys):
    from rankrl.cli import main

    answered = []
    lock = threading.Lock()

    def choosing(path, body):
        text = body["messages"][-1]["content"]
        with lock:
            answered.append(json.dumps(body, sort_keys=True))
        return said(f"<think>x</think> <answer>[{1 + len(text) % 3}]</answer>")

    def breaking(path, body):
        with lock:
            if len(answered) >= 10:
                return Reply({"error": {"message": "out of order"}}, 503)
        return choosing(path, body)

    def rerank(url, output, *more):
        names = {"--run": "bm25.trec", "--collection": "", "-o": output}
        files = [text for name, file in names.items() for text in (name, str(collection / file))]
        asked = ["--split", "test", "--model", "m", "--engine", "openai", "--base-url", url, "--option", "num_child=2"]
        return main(["rerank", "rank_r1", *files, *asked, "--engine-option", "max_retries=0", *more])

    with OpenaiServer(choosing) as server:
        assert rerank(server.url, "whole.trec") == 0
    whole, answered[:] = list(answered), []
    capsys.readouterr()
    journal = ["--journal", str(collection / "calls.sqlite")]
    with OpenaiServer(breaking) as server:
        assert rerank(server.url, "resumed.trec", *journal) == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert "status 503: out of order" in error and "--journal keeps what was paid for" in error
    assert len(answered) == 10 and not (collection / "resumed.trec").exists()
    with OpenaiServer(choosing) as server:
        assert rerank(server.url, "resumed.trec", *journal) == 0
    assert sorted(answered) == sorted(set(whole)), "a call was made twice, or not at all"
    assert (collection / "resumed.trec").read_bytes() == (collection / "whole.trec").read_bytes()
    assert (collection / "whole.trec").read_text() != (collection / "bm25.trec").read_text()


# -- a real model behind the server


@pytest.fixture(scope="module")
def real(tiny_model_builder, tmp_path_factory):
    """A transformers engine on a tiny model whose answers differ from prompt to prompt."""
    from rankrl.engines.transformers import TransformersEngine

    folder = tiny_model_builder(tmp_path_factory.mktemp("served") / "model", initializer_range=0.3)
    return TransformersEngine(folder, max_new_tokens=12, device="cpu")


def test_greedy_answers_through_http_are_those_of_the_model_itself(serving, real):
    lock = threading.Lock()

    def script(path, body):
        with lock:
            (answer,) = real.generate([Request(body["messages"])])
        usage = {"prompt_tokens": answer.prompt_tokens, "completion_tokens": answer.completion_tokens}
        return said(answer.text, reason=answer.finish_reason, usage=usage)

    _, engine = serving(script, concurrency=4, tokenizer=real.name)
    requests = [user(f"name the moon of planet {i} and the river of city {i * 7}") for i in range(8)]
    assert engine.generate(requests) == real.generate(requests)
    assert len({answer.text for answer in real.generate(requests)}) > 4
    text = "the heart pumps blood through the arteries and the lungs"
    assert engine.clip(text, 5) == real.clip(text, 5) != text


def test_a_tokenizer_tells_the_first_tokens_of_choices(serving, real):
    first = real.tokenizer.decode(real.tokenizer("retrieval system", add_special_tokens=False)["input_ids"][:1])
    assert first != "retrieval system"
    top = {first: -2.0, first[:1]: -0.1, "x": -3.0}
    logprobs = chat_logprobs(("x", -3.0, top))
    _, engine = serving(lambda path, body: said("x", logprobs=logprobs), tokenizer=real.name)
    (answer,) = engine.generate([user("q", choices=("retrieval system", "x"))])
    assert answer.scores == (-2.0, -3.0)
