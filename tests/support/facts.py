"""Facts in a text: its numbers, names and key words, whatever the sentences around them."""

import re

from pytest import fail


def lacking(text, *facts):
    """Those of *facts* that *text* does not have as whole words: a number is not found within a longer one.

    Letters match in either case, and any white space matches a space. A fact that ends in ``*`` is the
    beginning of a word: ``block*`` is found in "blocks" and in "blocked".
    """
    return [fact for fact in facts if not re.search(_pattern(fact), text, re.IGNORECASE)]


def paragraph_with(paragraphs, *facts):
    """The first of *paragraphs* that has all *facts*; the test fails where none has."""
    gaps = [lacking(text, *facts) for text in paragraphs]
    if [] not in gaps:
        nearest = min(range(len(gaps)), key=lambda place: len(gaps[place]))
        fail(
            "no paragraph has all facts; the nearest lacks {}: {}".format(gaps[nearest], paragraphs[nearest])
        )
    return paragraphs[gaps.index([])]


def named(text, names):
    """Those of *names* that stand in *text*, in the order of their first places."""
    places = {name: re.search(_pattern(name), text) for name in names}
    return sorted((name for name in places if places[name]), key=lambda name: places[name].start())


def said_of(name, text, names):
    """What *text* says after *name* is first named, up to the next of *names*."""
    start = re.search(_pattern(name), text).end()
    ends = [found.start() for each in names for found in [re.search(_pattern(each), text[start:])] if found]
    return text[start : start + min(ends)] if ends else text[start:]


def _pattern(fact):
    words = r"\s+".join(re.escape(word) for word in fact.rstrip("*").split())
    behind = "" if fact.endswith("*") else r"(?!\w|[.,]\d)"
    return r"(?<!\w)(?<!\d[.,])" + words + behind
