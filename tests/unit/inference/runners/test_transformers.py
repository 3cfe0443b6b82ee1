"""Folders of Hugging Face answer as ``transformers`` does; the models are tiny and have random weights."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
import transformers
from PIL import Image

from penstock_common.manifest import Acceleration, Field, FieldKind, Format, Manifest, Output, Precision, Task
from penstock_inference.engine.model import LoadedModel
from penstock_inference.runners.runner import ModelMismatchError
from penstock_inference.versions.load_model import load_model

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "anna", "lives", "in", "graz", "and", "works", "there", "."]
TEXTS = ["anna lives in graz", "graz", "anna works there and lives in graz .", ""]
LABELS = ["negative", "neutral", "positive"]


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return a function that makes an artifact with a folder ``model`` for a class of transformers."""

    def make(kind: Any, **config: Any) -> Path:
        torch.manual_seed(0)
        artifact = tmp_path_factory.mktemp("artifact")
        (artifact / "vocab.txt").write_text("\n".join(WORDS))
        tokenizer = transformers.BertTokenizerFast(str(artifact / "vocab.txt"), model_max_length=16)
        settings = transformers.BertConfig(
            vocab_size=len(WORDS),
            hidden_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=32,
            max_position_embeddings=16,
            **config,
        )
        kind(settings).save_pretrained(artifact / "model")
        tokenizer.save_pretrained(artifact / "model")
        return artifact

    return make


def manifest(output: Output, labels: list[str] | None = None, inputs: int = 1) -> Manifest:
    return Manifest(
        Format.TRANSFORMERS,
        "model",
        Task.CLASSIFICATION if labels else Task.TENSOR,
        [Field(f"text{i}", FieldKind.TEXT, "BYTES") for i in range(inputs)],
        [output],
        labels=labels or [],
    )


def ask(model: LoadedModel, *columns: list[str]) -> Any:
    named = {f"text{i}": np.array([text.encode() for text in texts], object) for i, texts in enumerate(columns)}
    return model.run(named)[0]


def named(labels: list[str]) -> dict[str, Any]:
    return {"id2label": dict(enumerate(labels)), "label2id": {label: i for i, label in enumerate(labels)}}


def test_a_text_classifier_answers_as_its_pipeline_does(bert: Any) -> None:
    """Also for rows that are padded beside a longer one, for an empty text, and for one that is cut off."""
    artifact = bert(transformers.BertForSequenceClassification, **named(LABELS))
    model = load_model(manifest(Output("probabilities", "FP32", [3]), LABELS), artifact, 1)
    pipeline = transformers.pipeline("text-classification", str(artifact / "model"), top_k=None)
    texts = [*TEXTS, "anna " * 40]
    for row, text in zip(ask(model, texts), texts, strict=True):
        [answers] = pipeline([text], truncation=True)
        expected = {answer["label"]: answer["score"] for answer in answers}
        np.testing.assert_allclose(row, [expected[label] for label in LABELS], atol=1e-5)


@pytest.mark.parametrize(
    "on_gpu", [False, pytest.param(True, marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"))]
)
def test_half_precision_answers_nearly_the_same(bert: Any, monkeypatch: pytest.MonkeyPatch, on_gpu: bool) -> None:
    """As FP32, on either device; the probabilities sum to 1, and are not by chance those of full precision."""
    if not on_gpu:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    artifact = bert(transformers.BertForSequenceClassification, **named(LABELS))
    full = manifest(Output("probabilities", "FP32", [3]), LABELS)
    half = msgspec.structs.replace(full, acceleration=Acceleration(Precision.BFLOAT16))
    expected, answered = [ask(load_model(one, artifact, 1), TEXTS) for one in (full, half)]
    assert answered.dtype == np.float32
    np.testing.assert_allclose(answered, expected, atol=0.02)
    np.testing.assert_allclose(answered.sum(axis=1), 1, atol=1e-6)
    assert np.abs(answered - expected).max() > 1e-6


def test_a_pair_of_texts_goes_into_one_row(bert: Any) -> None:
    """A cross-encoder takes two inputs."""
    artifact = bert(transformers.BertForSequenceClassification, **named(LABELS))
    model = load_model(manifest(Output("probabilities", "FP32", [3]), LABELS, inputs=2), artifact, 1)
    pipeline = transformers.pipeline("text-classification", str(artifact / "model"), top_k=None)
    expected = {answer["label"]: answer["score"] for answer in pipeline({"text": TEXTS[0], "text_pair": TEXTS[1]})}
    np.testing.assert_allclose(ask(model, TEXTS[:1], TEXTS[1:2])[0], [expected[label] for label in LABELS], atol=1e-5)


def test_several_labels_at_once_are_each_a_probability(bert: Any) -> None:
    """The folder says that its labels do not exclude each other, so they need not sum to 1."""
    artifact = bert(
        transformers.BertForSequenceClassification, problem_type="multi_label_classification", **named(LABELS)
    )
    model = load_model(manifest(Output("probabilities", "FP32", [3])), artifact, 1)
    loaded = transformers.AutoModelForSequenceClassification.from_pretrained(artifact / "model")
    tokenizer = transformers.AutoTokenizer.from_pretrained(artifact / "model")
    logits = loaded(**tokenizer(TEXTS[0], return_tensors="pt")).logits
    np.testing.assert_allclose(ask(model, TEXTS[:1]), torch.sigmoid(logits).detach(), atol=1e-5)


def test_a_text_may_be_longer_than_the_positions_of_a_roberta(bert: Any) -> None:
    """It is cut; two of the positions that its folder says are never used."""
    artifact = bert(transformers.BertModel)
    config = transformers.RobertaConfig(
        vocab_size=len(WORDS),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=12,
        pad_token_id=1,
        **named(LABELS),
    )
    transformers.RobertaForSequenceClassification(config).save_pretrained(artifact / "model")
    model = load_model(manifest(Output("probabilities", "FP32", [3]), LABELS), artifact, 1)
    long, cut = ask(model, ["anna " * 40, "anna " * 8])
    np.testing.assert_allclose(long, cut, atol=1e-6)


def test_a_lone_label_is_a_score(bert: Any) -> None:
    """As cross-encoders have it: its logit, or the probability that the pipeline gives, and not always 1."""
    artifact = bert(transformers.BertForSequenceClassification, num_labels=1)
    outputs = [Output("logits", "FP32"), Output("probabilities", "FP32", [1])]
    both = msgspec.structs.replace(manifest(outputs[0], inputs=2), outputs=outputs)
    columns = {"text0": np.array([b"anna lives"], object), "text1": np.array([b"graz"], object)}
    logits, probabilities = load_model(both, artifact, 1).run(columns)
    pipeline = transformers.pipeline("text-classification", str(artifact / "model"))
    pair = {"text": "anna lives", "text_pair": "graz"}
    np.testing.assert_allclose(probabilities[0], pipeline(pair)["score"], atol=1e-5)
    np.testing.assert_allclose(logits, pipeline(pair, function_to_apply="none")["score"], atol=1e-5)


def test_labels_that_are_not_the_folders_are_refused(bert: Any) -> None:
    """Another order would give each text a wrong label."""
    artifact = bert(transformers.BertForSequenceClassification, **named(LABELS))
    with pytest.raises(ModelMismatchError, match="folder's labels are negative, neutral, positive"):
        load_model(manifest(Output("probabilities", "FP32", [3]), LABELS[::-1]), artifact, 1)


def test_entities_have_their_place_in_the_text(bert: Any) -> None:
    """As JSON, a list for each text, as the pipeline finds them."""
    artifact = bert(transformers.BertForTokenClassification, **named(["O", "B-PER", "B-LOC"]))
    model = load_model(manifest(Output("entities", "BYTES")), artifact, 1)
    pipeline = transformers.pipeline("token-classification", str(artifact / "model"), aggregation_strategy="simple")
    found = 0
    for text, answer in zip(TEXTS[:3], ask(model, TEXTS[:3]), strict=True):
        entities, expected = json.loads(answer), pipeline(text)
        assert [(e["label"], e["start"], e["end"]) for e in entities] == [
            (e["entity_group"], e["start"], e["end"]) for e in expected
        ]
        assert all(text[e["start"] : e["end"]] == e["text"] for e in entities)
        found += len(entities)
    assert found


MODES = {
    "cls": {"pooling_mode_cls_token": True},
    "max": {"pooling_mode_max_tokens": True, "pooling_mode_mean_tokens": False},
    "mean": {"pooling_mode": "mean"},
    "root": {"pooling_mode_mean_sqrt_len_tokens": True},
    "weighted": {"pooling_mode_weightedmean_tokens": True},
    "last": {"pooling_mode_lasttoken": True},
    "cls and mean": {"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": True},
}


def pooled(tokens: torch.Tensor, pooling: str) -> torch.Tensor:
    """The vectors of one text's tokens as one."""
    weights = torch.arange(1.0, len(tokens) + 1)[:, None]
    return {
        "cls": tokens[0],
        "max": tokens.amax(0),
        "mean": tokens.mean(0),
        "root": tokens.sum(0) / len(tokens) ** 0.5,
        "weighted": (tokens * weights).sum(0) / weights.sum(),
        "last": tokens[-1],
        "cls and mean": torch.cat([tokens[0], tokens.mean(0)]),
    }[pooling]


@pytest.mark.parametrize("pooling", list(MODES))
def test_embeddings_are_pooled_as_the_folder_says(bert: Any, pooling: str) -> None:
    """The padding of a batch is left out, and the vectors are normalized if the folder has that module."""
    artifact = bert(transformers.BertModel)
    folder = artifact / "model"
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"word_embedding_dimension": 16} | MODES[pooling]))
    (folder / "modules.json").write_text(json.dumps([{"type": "sentence_transformers.models.Normalize"}]))
    model = load_model(manifest(Output("embedding", "FP32", [32 if "and" in pooling else 16])), artifact, 1)
    together = ask(model, TEXTS)
    loaded = transformers.AutoModel.from_pretrained(folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    for text, vector in zip(TEXTS, together, strict=True):
        tokens = loaded(**tokenizer(text, return_tensors="pt")).last_hidden_state[0].detach()
        expected = pooled(tokens, pooling)
        np.testing.assert_allclose(vector, expected / expected.norm(), atol=1e-5)


@pytest.mark.parametrize(
    ("modules", "pooling", "reason"),
    [
        (["Transformer", "Pooling", "Dense"], {}, "pass through Dense, which is not served"),
        (["Transformer", "Pooling"], {"pooling_mode_attention": True}, "asks for attention, which is not served"),
    ],
)
def test_a_folder_whose_vectors_would_be_others_is_refused(
    bert: Any, modules: list[str], pooling: dict[str, bool], reason: str
) -> None:
    """Without what comes after the pooling, the numbers would look right and mean something else."""
    artifact = bert(transformers.BertModel)
    (artifact / "model" / "1_Pooling").mkdir()
    (artifact / "model" / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    types = [{"type": f"sentence_transformers.models.{module}"} for module in modules]
    (artifact / "model" / "modules.json").write_text(json.dumps(types))
    with pytest.raises(ModelMismatchError, match=reason):
        load_model(manifest(Output("embedding", "FP32", [16])), artifact, 1)


def test_texts_become_small_letters_if_the_folder_says_so(bert: Any) -> None:
    """Before its tokenizer sees them, which here knows no other letters."""
    artifact = bert(transformers.BertModel)
    tokenizer = transformers.BertTokenizerFast(str(artifact / "vocab.txt"), model_max_length=16, do_lower_case=False)
    tokenizer.save_pretrained(artifact / "model")
    (artifact / "model" / "sentence_bert_config.json").write_text(json.dumps({"do_lower_case": True}))
    small, capitals = ask(load_model(manifest(Output("embedding", "FP32", [16])), artifact, 1), ["graz", "GRAZ"])
    np.testing.assert_array_equal(small, capitals)


def test_an_embedder_counts_the_tokens_of_each_text(bert: Any) -> None:
    """If the manifest asks: without the padding, as many as are read of a text that is too long; the vectors are the same."""
    artifact = bert(transformers.BertModel)
    plain = manifest(Output("vector", "FP32", [16]))
    counting = msgspec.structs.replace(plain, outputs=[Output("embedding", "FP32", [16]), Output("tokens", "INT32")])
    texts = np.array([text.encode() for text in [*TEXTS, "anna " * 40]], object)
    vectors, tokens = load_model(counting, artifact, 1).run({"text0": texts})
    assert tokens.dtype == np.int32
    assert tokens.tolist() == [6, 3, 10, 2, 16]
    np.testing.assert_array_equal(vectors, load_model(plain, artifact, 1).run({"text0": texts})[0])


def test_an_image_classifier_answers_as_its_pipeline_does(tmp_path: Path) -> None:
    """Images of any size and mode, resized as the folder's processor does."""
    torch.manual_seed(0)
    config = transformers.ViTConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, image_size=32, patch_size=8,
        **named(LABELS),
    )  # fmt: skip
    transformers.ViTForImageClassification(config).save_pretrained(tmp_path / "model")
    transformers.ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(tmp_path / "model")
    images = [
        Image.fromarray(np.random.default_rng(i).integers(0, 255, (40 + i, 50, 3), dtype=np.uint8)) for i in range(3)
    ]
    files = []
    for image in [*images, images[0].convert("L")]:
        buffer = io.BytesIO()
        image.save(buffer, "PNG")
        files.append(buffer.getvalue())
    one_image = [Field("image", FieldKind.IMAGE, "BYTES")]
    outputs = [Output("probabilities", "FP32", [3])]
    model = load_model(
        Manifest(Format.TRANSFORMERS, "model", Task.CLASSIFICATION, one_image, outputs, labels=LABELS), tmp_path, 1
    )
    answer = model.run({"image": np.array(files, object)})[0]
    pipeline = transformers.pipeline("image-classification", str(tmp_path / "model"), top_k=3)
    for row, file in zip(answer, files, strict=True):
        expected = {found["label"]: found["score"] for found in pipeline(Image.open(io.BytesIO(file)).convert("RGB"))}
        np.testing.assert_allclose(row, [expected[label] for label in LABELS], atol=1e-5)


def test_a_head_that_is_not_served_is_named(bert: Any) -> None:
    """With those that are."""
    artifact = bert(transformers.BertForMultipleChoice)
    with pytest.raises(ModelMismatchError, match="BertForMultipleChoice is not served"):
        load_model(manifest(Output("logits", "FP32", [2])), artifact, 1)


def test_code_and_pickles_in_a_folder_are_not_run(bert: Any) -> None:
    """Weights that are only there as a pickle are refused."""
    artifact = bert(transformers.BertModel)
    torch.save({}, artifact / "model" / "pytorch_model.bin")
    (artifact / "model" / "model.safetensors").unlink()
    with pytest.raises(OSError, match="safetensors"):
        load_model(manifest(Output("embedding", "FP32", [16])), artifact, 1)
    shutil.rmtree(artifact)
