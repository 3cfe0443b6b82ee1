"""English as it is spoken: a text in sentences, with its numbers, amounts and signs in words."""

from __future__ import annotations

import re
import unicodedata
from functools import cache
from typing import Any

#: Characters of a sentence at most; a longer one is cut, at punctuation if it has any, or between words.
LONGEST_SENTENCE = 200

#: Digits of the largest number that is read as one; those of a longer one are read one by one.
_MOST_DIGITS = 12

_SIGNS = str.maketrans(
    {
        "’": "'", "‘": "'", "“": '"', "”": '"', "–": ", ", "—": ", ", "…": ". ", "|": ", ",  # noqa: RUF001
        "&": " and ", "%": " percent ", "+": " plus ", "=": " equals ", "@": " at ", "°": " degrees ",
        "•": ", ", "_": " ", "/": " ", "(": ", ", ")": ", ",
    }
)  # fmt: skip

#: Abbreviations whose full stop ends no sentence; the lexicon has the others, such as "mr".
_ABBREVIATIONS = {
    "e.g.": "for example", "i.e.": "that is", "etc.": "et cetera", "vs.": "versus", "approx.": "approximately",
    "mr.": "mister", "mrs.": "missus", "ms.": "miss", "dr.": "doctor", "prof.": "professor", "st.": "saint",
    "jr.": "junior", "sr.": "senior",
}  # fmt: skip
_ABBREVIATION = re.compile(r"(?<![a-z])(?:" + "|".join(map(re.escape, _ABBREVIATIONS)) + ")", re.IGNORECASE)
#: The full stops of "J. K. Rowling" and "U.S.".
_INITIAL = re.compile(r"\b([A-Z])\.(?=\s?[A-Z]\b|\s[A-Za-z])")

_CURRENCIES = {
    "$": ("dollar", "dollars", "cent", "cents"),
    "£": ("pound", "pounds", "penny", "pence"),
    "€": ("euro", "euros", "cent", "cents"),
}
_WHOLE = r"\d+(?:,\d{3})*"
_MONEY = re.compile(rf"([$£€])({_WHOLE})(?:\.(\d\d))?(?![\d.]*\d)")
_TIME = re.compile(r"\b([01]?\d|2[0-3]):([0-5]\d)\b")
_ORDINAL = re.compile(rf"\b{_WHOLE}(?:st|nd|rd|th)\b", re.IGNORECASE)
_YEAR = re.compile(r"(?<![\d.,$£€-])(1[1-9]|20)(\d\d)(?![\d%]|[.,]\d)")
_NUMBER = re.compile(rf"(?<![\w.])-?{_WHOLE}(?:\.\d+)?|\d+")
#: A sentence ends here, with its closing quotation mark; and at an empty line, and before each item of a list.
_STOP = re.compile(r"([.!?][\"']*)\s+")
_END = re.compile(r"\n\s*\n|\n(?=\s*[-*\d])")
_PAUSE = re.compile(r"(?<=[,;:])\s+")


def sentences(text: str) -> list[str]:
    """Split a text, whose numbers are then words, into sentences of ``LONGEST_SENTENCE`` characters at most."""
    text = unicodedata.normalize("NFC", text).translate(_SIGNS)
    text = _ABBREVIATION.sub(lambda match: _ABBREVIATIONS[match[0].lower()], text)
    text = _INITIAL.sub(r"\1 ", text)
    whole = [in_words(part) for part in _END.split(_STOP.sub(r"\1\n\n", text))]
    return [piece for sentence in whole for piece in _cut(" ".join(sentence.split())) if piece]


def in_words(text: str) -> str:
    """Write the numbers of a text as words: amounts, times, years, ordinals and others."""
    text = _MONEY.sub(_money, text)
    text = _TIME.sub(_time, text)
    text = _ORDINAL.sub(lambda match: _spelled(match[0].replace(",", "")), text)
    text = _YEAR.sub(_year, text)
    return _NUMBER.sub(lambda match: _spelled(match[0].replace(",", "")), text)


def _money(match: re.Match[str]) -> str:
    one, many, small_one, small_many = _CURRENCIES[match[1]]
    whole, part = match[2].replace(",", ""), match[3]
    words = f"{_spelled(whole)} {one if whole == '1' else many}"
    if part and part != "00":
        words += f" and {_spelled(part.lstrip('0'))} {small_one if part == '01' else small_many}"
    return words


def _time(match: re.Match[str]) -> str:
    hour, minute = match[1], match[2]
    if minute == "00":
        return f"{_spelled(hour)} o'clock"
    return f"{_spelled(hour)} {'oh ' if minute[0] == '0' else ''}{_spelled(str(int(minute)))}"


def _year(match: re.Match[str]) -> str:
    century, year = match[1], match[2]
    if century == "20" and year < "10":
        return _spelled(match[0])
    if year == "00":
        return f"{_spelled(century)} hundred"
    return f"{_spelled(century)} {'oh ' if year[0] == '0' else ''}{_spelled(str(int(year)))}"


def _spelled(number: str) -> str:
    """Spell a number, or an ordinal such as 1st; the digits of a long one, or of one that begins with 0, each for itself."""
    whole = number.lstrip("-").partition(".")[0]
    if len(whole) > _MOST_DIGITS or (len(whole) > 1 and whole[0] == "0"):
        return " ".join(_engine().number_to_words(digit) for digit in number if digit.isdigit())
    return str(_engine().number_to_words(number, andword="")).replace("-", " ").replace(",", "")


@cache
def _engine() -> Any:
    # Imported here because only pods that run such models need it.
    import inflect

    return inflect.engine()


def _cut(sentence: str) -> list[str]:
    """Cut a sentence that is too long, at the last pause that fits, or else between words."""
    pieces = []
    while len(sentence) > LONGEST_SENTENCE:
        start = sentence[: LONGEST_SENTENCE + 1]
        pauses = [match.end() for match in _PAUSE.finditer(start)]
        space = start.rfind(" ")
        at = pauses[-1] if pauses else space if space > 0 else LONGEST_SENTENCE
        pieces.append(sentence[:at].strip())
        sentence = sentence[at:].strip()
    return [*pieces, sentence]
