"""Wordings from packaged and from users' YAML files: found wrong when chosen, never in the middle of a run."""

from __future__ import annotations

import os
import re

import pytest

from rankrl.errors import ConfigError, DataError
from rankrl.lookup import lookup, names
from rankrl.rerankers._templates import _environment, _rendered, variants, wording
from rankrl.rerankers.listwise import Listwise
from rankrl.rerankers.rank_r1 import RankR1
from rankrl.rerankers.tourrank import TourRank
from rankrl.types import Candidate, CandidateList, Query

LISTING = CandidateList(Query("q", "who?"), (Candidate("a", "alpha", "T"), Candidate("b", "beta")))


@pytest.fixture
def mine(tmp_path):
    """Writes a YAML file and gives its path."""

    def write(text, name="mine.yaml"):
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return str(path)

    return write


def said(reranker):
    return [(message["role"], message["content"]) for message in reranker.prompt(LISTING)]


def test_a_users_wording_takes_the_place_of_the_packaged_one(mine):
    path = mine("mine: {system: Be brief., user: '{{ query }} / {{ passages|join(\" | \") }} / {{ n }}'}")
    expected = [("system", "Be brief."), ("user", "who? / [1] T alpha | [2] beta / 2")]
    assert said(RankR1(template=path)) == said(Listwise(template=path)) == expected


def test_the_first_variant_is_the_default_and_others_are_named(mine):
    path = mine("b: {user: 'B {{ query }}'}\na: {user: 'A {{ query }}'}")
    assert said(RankR1(template=path)) == said(RankR1(template=f"{path}:b")) == [("user", "B who?")]
    assert said(RankR1(template=f"{path}:a")) == [("user", "A who?")]
    with pytest.raises(ConfigError, match=r"no variant in .*mine\.yaml 'c'; there are: a, b"):
        RankR1(template=f"{path}:c")


def test_a_colon_in_the_path_is_part_of_it(mine, tmp_path):
    (tmp_path / "12:30").mkdir()
    path = mine("a: {user: 'A {{ query }}'}\nb: {user: 'B'}", "12:30/my.yml")
    assert said(RankR1(template=path)) == [("user", "A who?")]
    assert said(RankR1(template=f"{path}:b")) == [("user", "B")]


def test_a_file_that_was_edited_is_read_again(mine):
    path = mine("a: {user: 'A {{ query }}'}")
    assert said(RankR1(template=path)) == [("user", "A who?")]
    mine("a: {user: 'Another {{ query }}'}")
    assert said(RankR1(template=path)) == [("user", "Another who?")]
    stamp = os.stat(path).st_mtime_ns + 10**9
    mine("a: {user: 'Someother {{ query }}'[:0] }".replace("[:0] ", ""))
    os.utime(path, ns=(stamp, stamp))
    assert said(RankR1(template=path)) == [("user", "Someother who?")]


def test_turns_once_per_passage_and_turns_that_come_out_empty(mine):
    path = mine("""
a:
  turns:
    - {role: system, content: "{% if n > 5 %}Many.{% endif %}"}
    - {role: user, content: "{{ passage.label }} of {{ n }}: {{ passage.text }}", each: true}
    - {role: assistant, content: "Seen {{ passage.number }}.", each: true}
    - {role: user, content: "{{ query }}"}
    - {role: assistant, content: "["}
""")
    assert said(RankR1(template=path)) == [
        ("user", "1 of 2: T alpha"),
        ("assistant", "Seen 1."),
        ("user", "2 of 2: beta"),
        ("assistant", "Seen 2."),
        ("user", "who?"),
        ("assistant", "["),
    ]
    assert wording("rank_r1", path).begun == "["
    assert wording("rank_r1", "reasoning").begun == ""


def test_a_variable_of_the_packaged_wordings_is_a_users_too(mine):
    path = mine("a: {user: '{{ pick }} of {{ n }} {{ query }} {{ passages|join }}'}")
    assert said(TourRank(template=path, pick=1))[0][1].startswith("1 of 2 who?")
    with pytest.raises(ConfigError, match="the template uses pick; there are n, passages, query"):
        RankR1(template=path)


BOMB = "a:\n  b0: &b0 [x]\n" + "".join(f"  b{i + 1}: &b{i + 1} [{', '.join([f'*b{i}'] * 9)}]\n" for i in range(30))
BOMB += "  user: *b30\n"
"""A list of 9^30 texts in a few lines."""


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: {user: '{{ query'}", "the template cannot be used: .*print statement"),
        ("a: {user: '{% for p in passages %}{{ p }}'}", "the template cannot be used: .*end of template"),
        ("a: {user: '{{ query|shout }}'}", "No filter named 'shout'"),
        ("a: {user: '{{ question }}'}", "uses question; there are n, passages, query"),
        ("a: {user: '{{ query }}{% if n > 30 %}{{ qid }}{% endif %}'}", "uses qid"),
        ("a: {user: '{{ passage }}'}", "uses passage; .*`passage` is for turns marked `each: true`"),
        ("a: {user: '{% for p in passages %}{{ p.docid }}{% endfor %}'}", "has no attribute 'docid'"),
        ("a: {user: '{{ passages[25] }}'}", "no element 25"),
        ("a: {user: '{{ query + n }}'}", "TypeError"),
        ("a: {user: '{{ n / (n - 3) }}'}", "ZeroDivisionError"),
        ("a: {user: '{% include \"/etc/hostname\" %}'}", "the template cannot be used"),
        ('a: {user: "{% for i in range(10 ** 9) %}x{% endfor %}"}', "OverflowError"),
        ("a: {user: \"{{ ''.__class__.__mro__ }}\"}", "SecurityError"),
        ('a: {user: "{{ passages.append(query) }}"}', "SecurityError"),
        ('a: {user: "{{ query.format.__globals__ }}"}', "SecurityError"),
        ("a: {user: \"{{ '{0.__class__}'.format(query) }}\"}", "SecurityError|unsafe"),
        ('a: {user: "{{ self.__init__.__globals__ }}"}', "SecurityError"),
        ('a: {user: "{{ cycler.__init__.__globals__.os }}"}', "SecurityError"),
        ("a: {}", "no turn: give system, user, plain or assistant"),
        ("a: {user: ''}", "no turn"),
        ("a: {turns: []}", "no turn"),
        ("a: {turns: [{role: user}]}", "turns must be a list of mappings with role and content"),
        ("a: {turns: hello}", "turns must be a list"),
        ("a: {turns: [{role: tool, content: x}]}", "role 'tool'; it can be system, plain, user, assistant"),
        ("a: {user: x, turns: [{role: user, content: y}]}", "turns say it all; move user into them"),
        ("a: {user: 5}", "a turn must be a text, got 5; put it in quotes"),
        ("a: {user: yes}", "a turn must be a text, got True"),
        ("a: {turns: [{role: user, content: [x]}]}", "a turn must be a text"),
        (BOMB, r"a turn must be a text, got \[\["),
        ("a: {assistant: x}", "turns of assistant; a chat asks something"),
        ("a: {plain: x, user: y}", "turns of plain, user; .* plain text is alone"),
        ("a: {system: x, plain: y}", "turns of system, plain"),
        ("a: {turns: [{role: plain, content: x}, {role: plain, content: y}]}", "turns of plain, plain"),
        ("a: hello", "expected variants"),
        ("[1, 2]", "expected variants"),
        ("", "expected variants"),
        ("a: {user: 'x'", "is no YAML"),
        ("a: !!python/object/apply:os.system ['true']", "is no YAML"),
        ("[" * 5000, "is no YAML"),
    ],
)
def test_what_is_wrong_with_a_file_is_said_when_it_is_chosen(mine, text, message):
    with pytest.raises(ConfigError, match=message) as caught:
        RankR1(template=mine(text))
    assert "mine.yaml" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("yes_no", "{{ passages[1] }}", "with 1 shown: .*no element 1"),
        ("rank1", "{{ passages[1] }}", "with 1 shown: .*no element 1"),
        ("grouprank", "{{ passages[1] }}", "with 1 shown: .*no element 1"),
        ("prp", "{{ passages[2] }}", "with 2 shown: .*no element 2"),
        ("erank", "{{ document / 2 }}", "TypeError"),
        ("prorank", "{{ passages.append(1) }}{{ document }}", "SecurityError"),
        *((name, "{{ query }}, and no more", "shows no document") for name in ("yes_no", "rank1", "grouprank", "prp")),
        *((name, "{{ query }}, and no more", "shows no document") for name in ("erank", "prorank")),
    ],
)
def test_a_template_is_tried_with_as_many_documents_as_the_protocol_shows(mine, name, text, message):
    with pytest.raises(ConfigError, match=message) as caught:
        lookup(name, "rerankers")(template=mine(f"a: {{user: '{text}'}}"))
    assert str(caught.value).startswith(f"{name}: template ") and "mine.yaml" in str(caught.value)
    lookup(name, "rerankers")(template=mine("a: {user: '{{ passages[0] }}'}"))


def test_files_that_are_not_there_or_no_text(mine, tmp_path):
    with pytest.raises(DataError, match=r"none\.yaml"):
        RankR1(template=str(tmp_path / "none.yaml"))
    with pytest.raises(DataError):
        RankR1(template=str(tmp_path / "none.yaml:a"))
    (tmp_path / "bytes.yaml").write_bytes(b"a: {user: '\xff\xfe'}")
    with pytest.raises(ConfigError, match=r"bytes\.yaml is no YAML: 'utf-8' codec can't decode"):
        RankR1(template=str(tmp_path / "bytes.yaml"))
    (tmp_path / "folder.yaml").mkdir()
    with pytest.raises(DataError):
        RankR1(template=str(tmp_path / "folder.yaml"))
    for wrong in (None, 3, ["a"]):
        with pytest.raises(ConfigError, match="template must be a name or a YAML file"):
            RankR1(template=wrong)


@pytest.mark.parametrize("name", [n for n in names("rerankers") if hasattr(lookup(n, "rerankers")(), "template")])
def test_what_texts_say_is_never_a_template_and_huge_texts_are_cut(name):
    reranker = lookup(name, "rerankers")()
    texts = ("{{ 7 * 7 }} {% if x %}", "{# gone #} {{ query }}" + " w" * 200_000)
    listing = CandidateList(Query("q", "{{ n }}{% raw %}"), tuple(Candidate(str(i), t) for i, t in enumerate(texts)))
    shown = listing if reranker.shown > 1 else listing.pick([0])
    prompt = "\n".join(message["content"] for message in reranker.prompt(shown))
    assert "{{ n }}{% raw %}" in prompt
    assert "{{ 7 * 7 }} {% if x %}" in prompt
    assert "49" not in prompt
    if len(shown) > 1:
        assert "{# gone #} {{ query }}" in prompt
    assert len(prompt) < 200_000


@pytest.mark.parametrize("name", names("rerankers"))
def test_every_packaged_wording_can_be_used(name):
    part = lookup(name, "rerankers")
    if not hasattr(part(), "template"):
        return
    assert part().template in variants(name)
    for variant in variants(name):
        made = part(template=variant, **({"mode": "scoring"} if wording(name, variant).extras.get("only") else {}))
        messages = made.prompt(LISTING if made.shown > 1 else LISTING.pick([0]))
        text = "\n".join(message["content"] for message in messages)
        assert "who?" in text and "alpha" in text
        assert not re.search(r"[{}%]{2}", text), "a tag of the template itself is left"


@pytest.mark.parametrize(
    "content", ["plain", "a\r\nb\rc", "ends\n", "} odd %} #}", "  # x\n\n", "a{# seen by nobody #}b"]
)
def test_a_turn_without_variables_is_what_jinja_makes_of_it(content):
    assert _rendered(content, {}) == _environment().from_string(content).render()
