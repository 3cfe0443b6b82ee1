"""What the services are asked, with the right answers as far as they are known."""

from __future__ import annotations

import io
from typing import Any

import msgspec
import numpy as np
import soundfile
from PIL import Image
from sklearn.datasets import load_sample_image

from tests.models.packages import package_folder
from tests.models.pictures import encoded, page, photographs
from tests.models.test_language_and_entities import NEWS
from tests.models.test_speech import speak
from tests.models.test_transcription import RATE, SENTENCES, words

#: Of each answer of the chat.
TOKENS = 32
_TEXTS = 64
_PAGES = 8
_QUESTIONS = (
    "Explain in detail how plants turn sunlight into energy.",
    "Describe the history of the city of Paris from its beginning.",
    "Explain how a hydroelectric power station works, step by step.",
    "Describe how bread is made, from the field to the table.",
)
_TEXT = (
    "the river of water runs through a long valley and its dam gives power to people who live in towns near by when rain "
    "falls they open every gate so that nothing breaks while engineers read their instruments each hour"
)
#: The entities of NEWS, as the guidelines of OntoNotes have them.
_ENTITIES: tuple[list[tuple[str, str]], ...] = (
    [("Ada Lovelace", "PERSON"), ("Charles Babbage", "PERSON"), ("London", "GPE"), ("1833", "DATE")],
    [
        ("Angela Merkel", "PERSON"),
        ("Köln", "GPE"),
        ("3 May", "DATE"),
        ("Apple Inc.", "ORG"),
        ("about $5 million", "MONEY"),
        ("Paris", "GPE"),
    ],
    [("all day", "DATE")],
    [
        ("The European Commission", "ORG"),
        ("Google", "ORG"),
        ("2.4 billion euros", "MONEY"),
        ("Margrethe Vestager", "PERSON"),
        ("Tuesday", "DATE"),
        ("Brussels", "GPE"),
    ],
    [
        ("2019", "DATE"),
        ("40 percent", "PERCENT"),
        ("Iceland", "GPE"),
        ("Don Quixote", "WORK_OF_ART"),
        ("Spanish", "LANGUAGE"),
    ],
    [],
)
#: The pictures of scikit-image that show a class of ImageNet, and the classes that are right.
_PICTURES = {
    "chelsea.png": ("tabby", "tiger cat", "Egyptian cat"),
    "coffee.png": ("espresso", "cup", "coffee mug"),
    "rocket.jpg": ("missile", "projectile"),
    "clock_motion.png": ("analog clock", "wall clock"),
}


class Sample(msgspec.Struct):
    """One input.

    Attributes:
        data: a text in UTF-8, or a file.
        units: what an answer to it counts for in a rate.
        truth: the right answer, in the form of the service; None if nothing is right or wrong.
    """

    data: bytes
    units: int = 1
    truth: Any = None


def questions() -> list[Sample]:
    """Questions whose greedy answer is longer than TOKENS."""
    return [Sample(question.encode(), TOKENS) for question in _QUESTIONS]


def texts() -> list[Sample]:
    """Texts of 5 to 25 words."""
    random = np.random.default_rng(0)
    return [Sample(" ".join(random.choice(_TEXT.split(), int(random.integers(5, 26)))).encode()) for _ in range(_TEXTS)]


def sounds() -> list[Sample]:
    """Sentences that a synthetic voice says, as WAV files; their units are words."""
    samples = []
    for text, phonemes in SENTENCES.items():
        file = io.BytesIO()
        soundfile.write(file, speak(phonemes).ravel(), RATE, format="WAV")
        samples.append(Sample(file.getvalue(), len(words(text)), text))
    return samples


def pages() -> list[Sample]:
    """Pictures of lines of text."""
    made = [page(number) for number in range(_PAGES)]
    return [Sample(encoded(picture), truth=lines) for picture, lines in made]


def people() -> list[Sample]:
    """Photographs with and without faces; where these are, only the package says."""
    return [Sample(encoded(picture)) for picture in photographs().values()]


def news() -> list[Sample]:
    """Sentences with the entities in them."""
    return [Sample(text.encode(), truth=truth) for text, truth in zip(NEWS, _ENTITIES, strict=True) if text]


def pictures() -> list[Sample]:
    """Pictures with the names of the classes that are right."""
    china = Sample(encoded(Image.fromarray(load_sample_image("china.jpg"))), truth=["palace"])
    folder = package_folder("skimage") / "data"
    others = [Sample((folder / name).read_bytes(), truth=list(right)) for name, right in _PICTURES.items()]
    return [china, *others]
