"""Summaries of a text's own sentences: where they end, which are taken, and the runner that does both."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from numpy.typing import NDArray

from penstock_common.errors import PenstockError
from penstock_common.manifest import Field, FieldKind, Format, Manifest, Output, Parameters, Task
from penstock_inference.engine.model import LoadedModel
from penstock_inference.runners.runner import ModelMismatchError
from penstock_inference.runners.transformers_heads import summary
from penstock_inference.runners.transformers_heads.summary import most_central, sentences_of
from penstock_inference.versions.load_model import load_model

COUNT = Field("sentences", FieldKind.INTEGER, "INT32", required=False)
WORDS = ["anna", "lives", "in", "graz", "the", "river", "is", "cold", "bread", "costs", "more"]
TEXT = "Anna lives in Graz. The river is cold. The river in Graz is cold. Bread costs more. Bread is cold. Graz lives."


def manifest(*inputs: Field, **parameters: Any) -> Manifest:
    return Manifest(
        Format.TRANSFORMERS,
        "model",
        Task.TENSOR,
        [Field("text", FieldKind.TEXT, "BYTES"), *inputs],
        [Output("text", "BYTES")],
        parameters=Parameters(**{"task": "summarize", **parameters}),
        examples=[{"text": TEXT}],
    )


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An artifact with a tiny model of random weights without a head."""
    folder = tmp_path_factory.mktemp("artifact")
    vocabulary = folder / "vocab.txt"
    vocabulary.write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", *WORDS]))
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=len(WORDS) + 6,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=32,
    )
    transformers.BertModel(config).save_pretrained(folder / "model")
    transformers.BertTokenizerFast(str(vocabulary), model_max_length=32).save_pretrained(folder / "model")
    return folder


def ask(model: LoadedModel, texts: list[str], counts: list[int] | None = None) -> list[str]:
    arrays: dict[str, NDArray[Any]] = {"text": np.array([text.encode() for text in texts], object)}
    if counts is not None:
        arrays["sentences"] = np.array(counts, np.int32)
    return [answer.decode() for answer in model.run(arrays)[0].tolist()]


def test_sentences_end_at_full_stops_that_are_no_abbreviations() -> None:
    """Spaces and line breaks within them do not count; what has no letter and no digit is not a sentence."""
    text = "Dr. Smith paid\n  $3.50 on Jan. 5. * * *\n\nHe left!"
    assert sentences_of(text, "en") == ["Dr. Smith paid $3.50 on Jan. 5.", "He left!"]
    assert sentences_of("Am 3. Mai kam Dr. Maier. Er blieb.", "de") == ["Am 3. Mai kam Dr. Maier.", "Er blieb."]
    assert sentences_of(" \n", "en") == []


def test_the_most_central_sentences_differ_from_each_other() -> None:
    """Of two that say the same, the second comes after one that says something else; the answer is in their order."""
    vectors = np.array([[0.5, 1], [1, 0.5], [1, 0.5]], np.float32) / np.float32(1.25**0.5)
    assert most_central(vectors, 1) == [1]
    assert most_central(vectors, 2) == [0, 1]
    assert most_central(vectors, 3) == [0, 1, 2]


def test_a_summary_has_as_many_sentences_as_its_row_says(artifact: Path) -> None:
    """Three if it does not say, all if there are no more; they are the text's own, in its order."""
    model = load_model(manifest(COUNT), artifact, 1)
    whole = sentences_of(TEXT, "en")
    for count, text in zip((1, 2, 5, 6, 50), ask(model, [TEXT] * 5, [1, 2, 5, 6, 50]), strict=True):
        kept = sentences_of(text, "en")
        assert len(kept) == min(count, 6)
        assert kept == [sentence for sentence in whole if sentence in kept]
    [three] = ask(model, [TEXT])
    assert len(sentences_of(three, "en")) == 3
    assert ask(model, ["Anna lives."]) == ["Anna lives."]
    assert ask(model, ["…"]) == [""]


def test_a_row_does_not_depend_on_the_rows_beside_it(artifact: Path) -> None:
    """The same summary, alone and beside others."""
    model = load_model(manifest(), artifact, 1)
    alone = [ask(model, [text])[0] for text in (TEXT, TEXT[20:])]
    assert ask(model, [TEXT, TEXT[20:], "Bread."]) == [*alone, "Bread."]


def test_each_batch_of_sentences_counts_as_progress(artifact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a long text is not taken for a hang."""
    monkeypatch.setattr(summary, "_SENTENCES_AT_ONCE", 2)
    model = load_model(manifest(), artifact, 1)
    told: list[None] = []
    model.tell_progress = lambda: told.append(None)
    ask(model, [TEXT])
    assert len(told) == 3


def test_what_cannot_be_summarized_is_refused(artifact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the bound, and the remedy."""
    model = load_model(manifest(COUNT), artifact, 1)
    with pytest.raises(PenstockError, match="sentences: 0 is less than 1"):
        ask(model, [TEXT], [0])
    monkeypatch.setattr(summary, "_MOST_SENTENCES", 5)
    with pytest.raises(PenstockError, match="it has 6 sentences, and 5 are read at most; send it in parts"):
        ask(model, [TEXT])
    with pytest.raises(ModelMismatchError, match=r"parameters\.beam_size.*it has task, language"):
        load_model(manifest(beam_size=2), artifact, 1)
