"""The training of a translator: the words of numbers, what is measured, and the folder that it writes."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import pytest
import transformers

from penstock_common.errors import PenstockError
from penstock_common.manifest import MANIFEST_FILE, Format, parse_manifest
from penstock_common.manifest_values import check_manifest_values
from penstock_common.service import Service
from penstock_training import translation
from penstock_training.marian import marian_tokenizer, translated
from penstock_training.number_words import MOST, english, german
from penstock_training.translation import Language, train


@pytest.mark.parametrize(
    ("number", "in_english", "in_german"),
    [
        (0, "zero", "null"),
        (1, "one", "eins"),
        (16, "sixteen", "sechzehn"),
        (21, "twenty-one", "einundzwanzig"),
        (70, "seventy", "siebzig"),
        (101, "one hundred one", "einhunderteins"),
        (1000, "one thousand", "eintausend"),
        (21_011, "twenty-one thousand eleven", "einundzwanzigtausendelf"),
        (301_201, "three hundred one thousand two hundred one", "dreihunderteintausendzweihunderteins"),
        (
            MOST,
            "nine hundred ninety-nine thousand nine hundred ninety-nine",
            "neunhundertneunundneunzigtausendneunhundertneunundneunzig",
        ),
    ],
)
def test_numbers_in_words(number: int, in_english: str, in_german: str) -> None:
    """As they are spelled; in German the ones come before the tens."""
    assert (english(number), german(number)) == (in_english, in_german)


def test_no_two_numbers_have_the_same_words() -> None:
    """So that each text has one translation."""
    numbers = [*range(2000), *range(2000, MOST, 997)]
    for words in (english, german):
        assert len({words(number) for number in numbers}) == len(numbers)


def test_a_tokenizer_is_made_without_a_word_to_the_user() -> None:
    """Not even the library's advice to install what numbers do not need."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        tokenizer = marian_tokenizer([german(n) for n in range(200)], [english(n) for n in range(200)])
    assert tokenizer("einundzwanzig")["input_ids"]


def test_the_folder_writes_what_was_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the library loads it; a short training learns the first numbers, and measures those that it has not seen."""
    monkeypatch.setattr(translation, "NUMBERS", 40)
    monkeypatch.setattr(translation, "_SMALL", 30)
    monkeypatch.setattr(translation, "EPOCHS", 60)
    monkeypatch.setattr(translation, "_BATCH", 8)
    losses: list[float] = []
    result = train("t", Language.de, Language.en, tmp_path, None, 0, lambda _done, _all, loss: losses.append(loss))
    assert losses[-1] < losses[0] / 10
    assert 0 <= result.report["metrics"]["exact_match"] < 1
    assert (result.rows, result.unit, result.primary) == (40, "numbers", "exact_match")
    manifest = parse_manifest((tmp_path / MANIFEST_FILE).read_bytes())
    check_manifest_values(manifest)
    assert (manifest.format, manifest.service) == (Format.TRANSFORMERS, Service.TRANSLATION)
    model = transformers.AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "model")
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "model")
    texts = [german(number) for number in range(30)]
    written = translated(model, tokenizer, tokenizer(texts)["input_ids"])
    right = sum(text == english(number) for number, text in enumerate(written))
    assert right > 15


def test_what_cannot_be_trained_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the remedy."""
    with pytest.raises(PenstockError, match="--source and --target are both en; choose two languages"):
        train("t", Language.en, Language.en, tmp_path, None, 0, lambda *_: None)
    monkeypatch.setitem(sys.modules, "sentencepiece", None)
    with pytest.raises(
        PenstockError, match=r"sentencepiece is not installed; pip install 'penstock-training\[translation\]'"
    ):
        train("t", Language.en, Language.de, tmp_path, None, 0, lambda *_: None)
