"""Sentences and how positive people found them: the data of VADER (Hutto and Gilbert, ICWSM 2014).

They are of tweets, film reviews, reviews of goods and newspaper editorials; each has the mean rating of 20 people at
least, from -4 to 4.
"""

from __future__ import annotations

import hashlib
import html
import tarfile
from pathlib import Path

from penstock_training.labelled_texts import Texts
from penstock_training.recipes.recipe import Package

PACKAGE = Package("vaderSentiment==3.3.2", "vaderSentiment-3.3.2", source=True)
MEGABYTES = 3
LICENCE = "MIT"
LABELS = ["negative", "neutral", "positive"]

_ARCHIVE = Path("additional_resources") / "hutto_ICWSM_2014.tar.gz"
_FILES = [
    f"hutto_ICWSM_2014/{source}_GroundTruth.txt"
    for source in ("tweets", "movieReviewSnippets", "amazonReviewSnippets", "nytEditorialSnippets")
]
#: A rating between the negative of this and this rounds to zero.
_NEUTRAL = 0.5


def read_sentences(package: Path) -> Texts:
    """Return all sentences, labelled by the sign of their rounded rating."""
    texts: list[str] = []
    truth: list[int] = []
    digest = hashlib.sha256()
    with tarfile.open(package / _ARCHIVE) as archive:
        for name in _FILES:
            file = archive.extractfile(name)
            assert file is not None, name
            data = file.read()
            digest.update(data)
            for line in data.decode().splitlines():
                _, rating, text = line.split("\t")
                texts.append(html.unescape(text))
                truth.append(label_of(float(rating)))
    return Texts(texts, truth, LABELS, digest.hexdigest(), {})


def label_of(rating: float) -> int:
    """Return the position in ``LABELS`` of a mean rating's label."""
    return 1 + (rating > _NEUTRAL) - (rating < -_NEUTRAL)
