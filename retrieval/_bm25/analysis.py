"""Text -> index terms as Lucene's EnglishAnalyzer makes them: words, lower case, no possessives, no stop words, Porter stems.

Deviations from Lucene:
1. Words longer than 255 characters stay whole; Lucene cuts them into pieces of 255.
2. Emoji are words of one character (Lucene joins sequences), and only the common blocks of them are known.
3. A capital sigma at the end of a word and a dotted capital I are lowered as Python lowers them.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache

NAME = "lucene-english-porter"

STOP_WORDS = frozenset({
    "a", "an", "and", "are", "as", "at", "be", "but", "by", "for", "if", "in", "into", "is", "it", "no", "not",
    "of", "on", "or", "such", "that", "the", "their", "then", "there", "these", "they", "this", "to", "was", "will", "with",
})  # fmt: skip
"""The 33 words of Lucene's English stop set."""

# Unicode word boundaries (UAX 29) as far as they concern words: letters may be joined by one of : . ' and their kin,
# digits by one of , ; . ' and their kin; a Han or Hiragana character, or an emoji (® is one), is a word of its own.
_EMOJI = "\u00a9\u00ae\u2122\u2139\u2194-\u2199\u21a9\u21aa\U0001f300-\U0001faff"
_ALONE = "\u3041-\u3096\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff" + _EMOJI
_NUMBER_LIKE = "\u00b2\u00b3\u00b9\u00bc-\u00be\u2070\u2074-\u2079\u2080-\u2089\u2150-\u215f"  # in \w, yet not in words
_MARKS = "\u00ad\u0300-\u036f\u200c\u200d"
_CHARACTER = rf"[^\W{_NUMBER_LIKE}{_ALONE}]"
_LETTER = rf"[^\W\d_{_NUMBER_LIKE}{_ALONE}]"
_RUN = rf"(?:{_CHARACTER}++[{_MARKS}]*+)++"
_JOINT = rf"(?:(?<={_LETTER})[:\u00b7\u2027.'\u2018\u2019\u2024\uff0e](?={_LETTER})|(?<=\d)[,;.'\u2018\u2019\u2024\uff0e](?=\d))"
_WORD = re.compile(rf"[{_ALONE}]|{_RUN}(?:{_JOINT}{_RUN})*+")
_POSSESSIVES = ("'s", "\u2019s", "\uff07s")

# Lucene's stemmer is Porter's own later one. Where it departs from the published algorithm (Snowball's `porter`): after a
# stem with m > 0, -bli becomes -ble (not only -abli -able) and -logi becomes -log. The endings are those that reach -bli
# and -logi in the steps before.
_LATER_PORTER = re.compile(r"(.+)(bl|log)(?:i(?:es|ed|ing|s)?|y(?:s|ed|ing)?)")
_MEASURE_ABOVE_0 = re.compile(r"[aeiou][^aeiou]|[^aeiouy]y[^aeiou]")


@cache
def english_analyzer() -> Callable[[str], list[str]]:
    """The function from a text to its terms, in text order and with repeats; stems are remembered between calls."""
    import Stemmer

    porter = Stemmer.Stemmer("porter", 0).stemWord
    term_of: dict[str, str] = {}

    def term(word: str) -> str:
        word = word[:-2] if word.endswith(_POSSESSIVES) else word
        if word in STOP_WORDS or not word.strip("_"):
            return ""
        if len(word) <= 2:
            return word
        later = _LATER_PORTER.fullmatch(word)
        if later and _MEASURE_ABOVE_0.search(later[1]):
            return later[1] + "log" if later[2] == "log" else str(porter(later[1] + "ble"))
        return str(porter(word))

    def analyze(text: str) -> list[str]:
        words = _WORD.findall(text.lower())
        for word in words:
            if word not in term_of:
                term_of[word] = term(word)
        return [found for word in words if (found := term_of[word])]

    return analyze
