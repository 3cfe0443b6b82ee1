"""The recipe of sentiment: the sentences that it reads, and the artifact that it makes of them."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from sklearn.model_selection import train_test_split
from tokenizers import BertWordPieceTokenizer

from penstock_common.manifest import MANIFEST_FILE, parse_manifest
from penstock_common.manifest_values import check_manifest_values
from penstock_common.preprocessing.steps import preprocess
from penstock_common.service import Service
from penstock_training.labelled_texts import Texts
from penstock_training.pipeline import HELD_OUT
from penstock_training.recipes import sentence_classifier
from penstock_training.recipes.rated_sentences import LABELS, label_of, read_sentences
from penstock_training.recipes.sentiment import train_on

RATED = {
    "tweets": ["1\t2.5\tI love it &amp; her", "2\t-3.25\tWorst. Day. Ever."],
    "movieReviewSnippets": ["1\t-0.5\tA film."],
    "amazonReviewSnippets": ["1_1\t0.51\tIt works."],
    "nytEditorialSnippets": ["1_1\t-0.51\tIt is late."],
}
MOODS = {"negative": ["awful", "broken"], "neutral": ["grey", "square"], "positive": ["lovely", "bright"]}


def test_rated_sentences_are_labelled_by_the_sign_of_their_rounded_rating(tmp_path: Path) -> None:
    """Those of all four sources, as people would write them."""
    (tmp_path / "additional_resources").mkdir()
    with tarfile.open(tmp_path / "additional_resources" / "hutto_ICWSM_2014.tar.gz", "w:gz") as archive:
        for source, lines in RATED.items():
            data = "".join(f"{line}\r\n" for line in lines).encode()
            member = tarfile.TarInfo(f"hutto_ICWSM_2014/{source}_GroundTruth.txt")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    read = read_sentences(tmp_path)
    assert [(text, LABELS[label]) for text, label in zip(read.texts, read.truth, strict=True)] == [
        ("I love it & her", "positive"),
        ("Worst. Day. Ever.", "negative"),
        ("A film.", "neutral"),
        ("It works.", "positive"),
        ("It is late.", "negative"),
    ]


@pytest.mark.parametrize(("rating", "label"), [(-4, 0), (-0.51, 0), (-0.5, 1), (0, 1), (0.5, 1), (0.51, 2), (4, 2)])
def test_what_rounds_to_zero_is_neutral(rating: float, label: int) -> None:
    """A mean of many ratings is hardly ever zero itself."""
    assert label_of(rating) == label


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A BERT of random weights that knows a few words."""
    words = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        "the",
        "is",
        *(word for words in MOODS.values() for word in words),
    ]
    words += [f"thing{n}" for n in range(30)]
    (tmp_path / "vocab.txt").write_text("\n".join(words))
    folder = tmp_path / "weights"
    folder.mkdir()
    BertWordPieceTokenizer(str(tmp_path / "vocab.txt")).save(str(folder / "tokenizer.json"))
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    torch.manual_seed(0)
    transformers.BertModel(transformers.BertConfig(vocab_size=len(words), **sizes)).save_pretrained(folder)
    return folder


def test_the_artifact_answers_as_it_was_measured(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """On the sentences that it was not trained on, and whatever else is in the batch; what is being done is logged."""
    caplog.set_level("INFO", "penstock_training.recipes")
    monkeypatch.setattr(sentence_classifier, "_EPOCHS", 100)
    sentences = [
        (f"The thing{n} is {word}", LABELS.index(mood))
        for mood, words in MOODS.items()
        for word in words
        for n in range(30)
    ]
    texts, truth = [text for text, _ in sentences], [label for _, label in sentences]
    artifact = tmp_path / "artifact"
    artifact.mkdir()
    train_on(Texts(texts, truth, LABELS, "", {}), weights, artifact)
    shares = [message for message in caplog.messages if message.startswith("reads 180 sentences: ")]
    assert 2 <= len(shares) <= 10 and shares[-1].endswith(" 100 %")
    assert caplog.messages[-1].startswith("trains: epoch 100 of 100, loss ")
    metrics = json.loads((artifact / "report.json").read_text())["metrics"]
    manifest = parse_manifest((artifact / MANIFEST_FILE).read_bytes())
    check_manifest_values(manifest)
    assert (manifest.service, manifest.labels) == (Service.TEXT_CLASSIFICATION, LABELS)
    program = torch.export.load(artifact / manifest.file).module()

    def probabilities(rows: list[str]) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
        column = np.array([row.encode() for row in rows], np.object_)
        ids, mask, _ = preprocess(manifest, {"text": column}, artifact)
        with torch.no_grad():
            return np.asarray(program(torch.from_numpy(ids), torch.from_numpy(mask)))

    together = probabilities(texts)
    right = together.argmax(axis=1) == truth
    _, held_out = train_test_split(np.arange(len(texts)), test_size=HELD_OUT, stratify=truth, random_state=0)
    assert metrics["accuracy"] == pytest.approx(right[held_out].mean())
    assert metrics["accuracy"] > 0.7
    alone = probabilities(texts[:1])
    with_a_longer_one = probabilities([texts[0], "The thing1 is lovely the thing2 is grey " * 40])
    np.testing.assert_allclose(alone, together[:1], atol=1e-5)
    np.testing.assert_allclose(with_a_longer_one[:1], alone, atol=1e-5)
