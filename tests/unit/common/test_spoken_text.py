"""English as it is spoken: sentences, numbers in words, and bounds."""

from __future__ import annotations

import pytest

from penstock_common.preprocessing.spoken_text import LONGEST_SENTENCE, in_words, sentences


@pytest.mark.parametrize(
    ("text", "spoken"),
    [
        ("It costs $12.50.", "It costs twelve dollars and fifty cents."),
        ("$1, £1.01 and €3", "one dollar, one pound and one penny and three euros"),
        (
            "In 1995 and 2007, 2024 or 1900",
            "In nineteen ninety five and two thousand seven, twenty twenty four or nineteen hundred",
        ),
        ("at 10:05, 9:00 or 17:30", "at ten oh five, nine o'clock or seventeen thirty"),
        ("the 1st, 22nd and 3rd", "the first, twenty second and third"),
        ("1,234,567 people", "one million two hundred thirty four thousand five hundred sixty seven people"),
        ("3.14 and -2", "three point one four and minus two"),
        ("007", "zero zero seven"),
        ("1234567890123", "one two three four five six seven eight nine zero one two three"),
    ],
)
def test_numbers_are_words(text: str, spoken: str) -> None:
    """Amounts, years, times, ordinals, decimals; the digits of a long number each for itself."""
    assert in_words(text) == spoken


def test_a_text_is_split_into_sentences() -> None:
    """At full stops and the like, and at empty lines; not after an abbreviation, an initial or within a number."""
    text = 'Dr. J. R. Smith paid $3.50, e.g. for tea. "Really?" The U.S. is big!\n\nA title\n\nThe end'
    assert sentences(text) == [
        "doctor J R Smith paid three dollars and fifty cents, for example for tea.",
        '"Really?"',
        "The U S is big!",
        "A title",
        "The end",
    ]


def test_signs_are_words() -> None:
    """What a reader would say of them; typographic marks are plain ones."""
    assert sentences("50% of R&D — it\u2019s 20°") == ["fifty percent of R and D , it's twenty degrees"]


@pytest.mark.parametrize("word", ["word ", "a" * 50 + ", ", "x" * 999])
def test_no_sentence_is_longer_than_the_bound(word: str) -> None:
    """Whatever a caller sends: it is cut at a pause, between words, or anywhere if there is neither."""
    text = word * (4000 // len(word))
    found = sentences(text)
    assert max(map(len, found)) <= LONGEST_SENTENCE
    assert "".join(found).replace(" ", "") == text.replace(" ", "")
