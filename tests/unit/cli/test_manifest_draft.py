"""A manifest that is drafted from a signature: names, kinds, tasks, and comments on guesses."""

from __future__ import annotations

from typing import Any

import pytest

from penstock_cli.manifest_draft import Draft, draft_manifest
from penstock_cli.model_questions import is_complete
from penstock_common.errors import PenstockError
from penstock_common.file_signature import FileSignature, FoundInput, FoundOutput
from penstock_common.manifest import FieldKind, Format, Task, parse_manifest
from penstock_common.manifest_values import check_manifest_values

FEATURES = FoundInput("features", "FP32", [4])


def draft(signature: FileSignature, **given: Any) -> Draft:
    """A draft of an ONNX file, whose text is a manifest that registration accepts."""
    given = {"task": None, "labels": [], "examples": [], **given}
    drafted = draft_manifest(signature, Format.ONNX, "m.onnx", **given)
    read = parse_manifest(drafted.text())
    check_manifest_values(read)
    assert read == drafted.manifest
    return drafted


def test_a_model_that_generates_text_streams_it() -> None:
    """Its inputs may be absent, and the file's own example is the one that it is tried with."""
    inputs = [FoundInput("prompt", "BYTES", [], FieldKind.TEXT, max_length=80, required=False)]
    inputs.append(FoundInput("stop", "BYTES", [-1], FieldKind.TENSOR, required=False))
    inputs.append(FoundInput("images", "BYTES", [-1], FieldKind.IMAGE, max_elements=16, required=False))
    outputs = [FoundOutput("text", "BYTES", []), FoundOutput("tokens", "INT32", [])]
    signature = FileSignature(inputs, outputs, task=Task.GENERATION, examples=[{"prompt": "Hello"}])
    drafted = draft_manifest(signature, Format.TRANSFORMERS, "model", task=None, labels=[], examples=[])
    manifest = parse_manifest(drafted.text())
    check_manifest_values(manifest)
    assert manifest.stream and manifest.task is Task.GENERATION and manifest.examples == [{"prompt": "Hello"}]
    assert [(field.name, field.required, field.shape, field.max_elements) for field in manifest.inputs] == [
        ("prompt", False, [], None),
        ("stop", False, [-1], None),
        ("images", False, [-1], 16),
    ]
    assert all(map(is_complete, inputs))


def test_names_of_converters_become_names_for_clients() -> None:
    """They differ, and the name in the file is the source."""
    inputs = [FoundInput(name, "FP32", [2]) for name in ("input:0", "input/0", "0", "plain")]
    manifest = draft(FileSignature(inputs, [FoundOutput("Identity:0", "FP32", [2, 2])])).manifest
    assert [(field.name, field.source) for field in manifest.inputs] == [
        ("input_0", "input:0"),
        ("input_0_2", "input/0"),
        ("input_0_3", "0"),
        ("plain", ""),
    ]
    assert (manifest.outputs[0].name, manifest.outputs[0].source) == ("Identity_0", "Identity:0")


@pytest.mark.parametrize(
    ("datatype", "shape", "kind", "row"),
    [
        ("FP32", [], "number", []),
        ("FP32", [1], "number", []),
        ("FP32", [2], "tensor", [2]),
        ("INT64", [1], "integer", []),
        ("BOOL", [], "boolean", []),
        ("BYTES", [1], "text", []),
    ],
)
def test_a_column_is_a_scalar(datatype: str, shape: list[int], kind: str, row: list[int]) -> None:
    """The kind is what a client sends."""
    (field,) = draft(FileSignature([FoundInput("x", datatype, shape)], [FoundOutput("y", "FP32", [2])])).manifest.inputs
    assert (field.kind, field.shape) == (kind, row)


def test_probabilities_come_first_whatever_the_order_of_the_file() -> None:
    """Converters put the label before them; numbers stand for labels that nobody knows, with a comment."""
    outputs = [FoundOutput("label", "INT64", []), FoundOutput("probabilities", "FP32", [3], probabilities=True)]
    drafted = draft(FileSignature([FEATURES], outputs))
    assert drafted.manifest.task is Task.CLASSIFICATION
    assert [output.name for output in drafted.manifest.outputs] == ["probabilities", "label"]
    assert drafted.manifest.labels == ["0", "1", "2"]
    assert "# The file has no names of its classes" in drafted.text()


def test_outputs_without_names_are_taken_by_position_if_the_order_changes() -> None:
    """The source is the position in the file."""
    outputs = [FoundOutput(None, "INT64", []), FoundOutput(None, "FP32", [2], probabilities=True)]
    manifest = draft(FileSignature([FEATURES], outputs), labels=["no", "yes"]).manifest
    assert [(output.name, output.source) for output in manifest.outputs] == [("probabilities", "1"), ("output", "0")]


@pytest.mark.parametrize(
    ("shape", "labels", "postprocess", "declared"),
    [([3], ["a", "b", "c"], "softmax", [3]), ([1], ["no", "yes"], "sigmoid", [2])],
)
def test_scores_become_probabilities(
    shape: list[int], labels: list[str], postprocess: str, declared: list[int]
) -> None:
    """With labels, an output that is not probabilities gets a post-processing, and a comment that it is a guess."""
    drafted = draft(FileSignature([FEATURES], [FoundOutput("logits", "FP32", shape)]), labels=labels)
    assert drafted.manifest.postprocess == postprocess and drafted.manifest.outputs[0].shape == declared
    assert "# A guess" in drafted.text()


def test_labels_that_do_not_fit_the_file_are_refused() -> None:
    """With both numbers."""
    with pytest.raises(PenstockError, match=r"there are 2 \(a, b\); the file gives FP32 \[3\]"):
        draft(FileSignature([FEATURES], [FoundOutput("logits", "FP32", [3])]), labels=["a", "b"])


def test_without_labels_scores_stay_a_tensor() -> None:
    """A comment says what they may be."""
    drafted = draft(FileSignature([FEATURES], [FoundOutput("logits", "FP32", [3])]))
    assert drafted.manifest.task is Task.TENSOR
    assert "postprocess: softmax" in drafted.text()


def test_a_single_number_is_a_regression() -> None:
    """Which is a guess; --task overrules it."""
    signature = FileSignature([FEATURES], [FoundOutput("y", "FP32", [1])])
    assert draft(signature).manifest.task is Task.REGRESSION and "# A guess" in draft(signature).text()
    assert draft(signature, task=Task.TENSOR).manifest.task is Task.TENSOR


def test_one_row_at_a_time_is_not_batched() -> None:
    """The comment says how it could be."""
    drafted = draft(FileSignature([FEATURES], [FoundOutput("y", "FP32", [2])], rows=1))
    assert drafted.manifest.batching.max_batch_size == 1
    assert "first dimension that varies" in drafted.text()


def test_what_a_signature_shows_is_in_the_manifest() -> None:
    """Inputs that may be absent, rows of a batch that pay, and examples, unless others are given."""
    inputs = [FoundInput("text", "BYTES", []), FoundInput("language", "BYTES", [], required=False)]
    signature = FileSignature(inputs, [FoundOutput("out", "BYTES", [])], best_rows=8, examples=[{"text": "a"}])
    manifest = draft(signature).manifest
    assert [field.required for field in manifest.inputs] == [True, False]
    assert (manifest.batching.max_batch_size, manifest.examples) == (8, [{"text": "a"}])
    assert draft(signature, examples=[{"text": "b"}]).manifest.examples == [{"text": "b"}]
