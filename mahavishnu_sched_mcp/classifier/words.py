"""Takes the words out of a text and finds those that the vocabulary speaks of."""

from __future__ import annotations

import re
import unicodedata
from functools import cache, lru_cache
from typing import TYPE_CHECKING

from mahavishnu_sched_mcp.classifier import vocabulary

if TYPE_CHECKING:
    from collections.abc import Iterable

LONGEST_TEXT = 4000
"""Characters of a text that are read; a task's purpose stands at the beginning."""

LONGEST_COMPOUND = 40
"""Letters of a word that is still taken apart ('healthcheck')."""

REMEMBERED_WORDS = 4096
"""Words whose stem is kept; bounded, as the words come from outside."""

_CAMEL_WORD = re.compile(r"[A-Za-z]?[a-z0-9]*(?:[A-Z]+[a-z0-9]+)+[A-Z]*")
_CAMEL_PART = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z0-9]+")
_SUFFIXES = (
    *("ations", "ation", "ators", "ments", "ator", "ates", "ated", "ment", "ions", "ings"),
    *("ion", "ing", "als", "ate", "ers", "ies", "ied", "al", "er", "es", "ed", "s", "e", "y"),
)
"""The longest first, so that 'rotations' does not stay 'rotation'."""

_SHORTEST_STEM = 3
_DENIALS = frozenset({"no", "not", "without", "non", "nobody", "never"})
_DENIAL_REACH = 3


def read_words(text: str) -> tuple[str, ...]:
    """Take the words out of a name or a sentence, in small letters.

    Snake, kebab and camel case, capitals and punctuation make no difference, and a compound of
    known words is taken apart.

    Args:
        text: A name or a sentence; only its first `LONGEST_TEXT` characters are read.
    """
    plain = unicodedata.normalize("NFKC", text[:LONGEST_TEXT])
    words: list[str] = []
    for chunk in re.findall(r"[^\W_]+", plain):
        words.extend(_parts_of(chunk))
    return tuple(words)


def drop_denied(words: tuple[str, ...]) -> frozenset[str]:
    """Leave out the words that stand right after 'no', 'not' or 'without'.

    'Must not be lost' says that a loss matters, so losing is not denied.

    Args:
        words: In the order of the text.
    """
    return frozenset(
        word
        for position, word in enumerate(words)
        if word in {"lost", "lose"}
        or not _DENIALS.intersection(words[max(0, position - _DENIAL_REACH) : position])
    )


def find(pattern: str, words: Iterable[str]) -> tuple[str, ...]:
    """Give what of a pattern is in a text, in the text's forms, in alphabetical order.

    Args:
        pattern: As the vocabulary writes them.
        words: The words of the text.
    """
    by_stem: dict[str, list[str]] = {}
    for word in sorted(set(words)):
        by_stem.setdefault(stem(word), []).append(word)
    found = {_match(parts, by_stem) for parts in _alternatives(pattern)}
    return tuple(sorted(found - {""}))


@lru_cache(maxsize=REMEMBERED_WORDS)
def stem(word: str) -> str:
    """Cut off the endings of an English word, so that its forms become one.

    Args:
        word: In small letters.
    """
    while not word.endswith("ss"):
        ending = next(
            (e for e in _SUFFIXES if word.endswith(e) and len(word) - len(e) >= _SHORTEST_STEM), ""
        )
        if not ending:
            break
        word = word.removesuffix(ending)
    return word


def _match(parts: tuple[str, ...], by_stem: dict[str, list[str]]) -> str:
    """Give the words that match all parts, as one text; an empty one where a part is missing."""
    hits = []
    for part in parts:
        exact = part.removeprefix("!")
        forms = by_stem.get(stem(exact), [])
        if exact != part:
            forms = [word for word in forms if word == exact]
        hits += forms[:1]
    return " ".join(hits) if len(hits) == len(parts) else ""


@cache
def _alternatives(pattern: str) -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(word.split("+")) for word in pattern.split())


@cache
def _known_stems() -> frozenset[str]:
    patterns = [vocabulary.LIGHT, vocabulary.NEAR, vocabulary.FILLERS]
    patterns += [cue.pattern for cue in vocabulary.CUES]
    return frozenset(
        stem(part.removeprefix("!"))
        for pattern in patterns
        for parts in _alternatives(pattern)
        for part in parts
    )


def _parts_of(chunk: str) -> tuple[str, ...]:
    """Take one run of letters and digits apart: a known compound first, else by its humps.

    The compound goes first so that 'HealthCheck', 'healthcheck' and 'HEALTHCHECK' are one.
    """
    folded = chunk.casefold()
    known = _take_apart(folded) if len(folded) <= LONGEST_COMPOUND else ()
    if known:
        return known
    if _CAMEL_WORD.fullmatch(chunk):
        humps = _CAMEL_PART.findall(chunk)
        return tuple(part for hump in humps for part in _parts_of(hump.casefold()))
    return (folded,)


@lru_cache(maxsize=REMEMBERED_WORDS)
def _take_apart(folded: str) -> tuple[str, ...]:
    """Split a word into the fewest known words; nothing where that cannot be done."""
    best: list[tuple[str, ...] | None] = [(), *[None] * len(folded)]
    for end in range(1, len(folded) + 1):
        for start in range(end - 1):
            before = best[start]
            piece = folded[start:end]
            if before is None or stem(piece) not in _known_stems():
                continue
            here = best[end]
            if here is None or len(before) + 1 < len(here):
                best[end] = (*before, piece)
    return best[-1] or ()
