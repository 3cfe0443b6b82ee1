"""How the words of a language are pronounced: by a lexicon and, for words that it lacks, by their letters."""

from __future__ import annotations

import base64
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import Any

#: Letters before and after one that decide how it is pronounced.
_NEIGHBOURS = 3
_SILENT = "_"
#: Upper-case words up to this length that the lexicon lacks are read letter by letter.
_LONGEST_ACRONYM = 5
#: Letters of a word that are looked at; nothing longer is a word.
_LONGEST_WORD = 40


class Pronunciation:
    """Pronounces words.

    Args:
        lexicon: a UTF-8 file with a line for each word, in lower case, a tab, and its phonemes. The name of a letter is
            that of the letter in upper case.
        letters: a model of CRFsuite that labels each letter of a word with its phonemes, as gruut trains them
            (github.com/rhasspy/gruut, g2p.py: features and labels).
        renamed: what the lexicon calls phonemes that the labels call otherwise.
    """

    def __init__(self, lexicon: Path, letters: Path, renamed: Mapping[str, str]) -> None:
        try:  # imported here because only pods that run such models need it
            import pycrfsuite
        except ModuleNotFoundError:
            text = "words cannot be pronounced here; install penstock-inference[speech]"
            raise ModuleNotFoundError(text, name="pycrfsuite") from None

        lines = lexicon.read_text(encoding="utf-8").splitlines()
        self._lexicon = {word: phonemes for word, _, phonemes in (line.partition("\t") for line in lines)}
        self._renamed = renamed
        self._tagger: Any = pycrfsuite.Tagger()
        self._tagger.open(str(letters))

    def phonemes(self, word: str) -> str:
        """Return the phonemes of a word of letters and apostrophes."""
        word = word[:_LONGEST_WORD]
        known = self._lexicon.get(word.lower())
        if known is not None:
            return known
        if word.isupper() and len(word) <= _LONGEST_ACRONYM:
            return " ".join(self._lexicon.get(letter, "") for letter in word)
        base, apostrophe, _ = word.lower().rpartition("'s")
        if apostrophe and base in self._lexicon:
            return self._lexicon[base] + _plural_ending(self._lexicon[base])
        plain = "".join(c for c in unicodedata.normalize("NFD", word.lower()) if unicodedata.category(c) != "Mn")
        return self._lexicon.get(plain) or self._by_letters(plain)

    def _by_letters(self, word: str) -> str:
        labels = self._tagger.tag([_features(word, i) for i in range(len(word))])
        phonemes = [phoneme for label in labels for phoneme in base64.b64decode(label).decode().split("|")]
        return "".join(self._renamed.get(phoneme, phoneme) for phoneme in phonemes if phoneme != _SILENT)


def _features(word: str, at: int) -> dict[str, Any]:
    """Return what gruut's models look at for a letter of a word."""
    features: dict[str, Any] = {"bias": 1.0, "grapheme": _coded(word[at])}
    for step in range(1, _NEIGHBOURS + 1):
        if at >= step:
            features[f"grapheme-{step}"] = _coded(word[at - step])
        if at + step < len(word):
            features[f"grapheme+{step}"] = _coded(word[at + step])
    if at == 0:
        features["begin"] = True
    if at == len(word) - 1:
        features["end"] = True
    return features


def _coded(letter: str) -> str:
    return base64.b64encode(letter.encode()).decode()


def _plural_ending(phonemes: str) -> str:
    """Return how an ``'s`` is spoken after a word."""
    if phonemes.endswith(("s", "z", "ʃ", "ʒ")):
        return "ɪz"  # noqa: RUF001 (a phoneme)
    return "s" if phonemes.endswith(("p", "t", "k", "f", "θ")) else "z"
