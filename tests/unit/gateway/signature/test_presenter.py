"""Raw outputs become the JSON answer of /v1."""

import base64
import struct
from typing import Any

import ml_dtypes
import msgspec
import numpy as np
import pytest

from penstock_common.errors import PenstockError
from penstock_common.manifest import Field, FieldKind, Format, Manifest, Output, Postprocess, Task
from penstock_common.tensors import pack_bytes
from penstock_gateway.signature.presenter import Presenter
from penstock_gateway.signature.rows import RawOutputs, Rows


def presenter(task: Task, *outputs: Output) -> Presenter:
    labels = ["ham", "spam"] if task is Task.CLASSIFICATION else []
    text = Field("text", FieldKind.TEXT, "BYTES")
    return Presenter(Manifest(Format.ONNX, "m.onnx", task, [text], list(outputs), labels), "m")


CLASSES = presenter(Task.CLASSIFICATION, Output("p", "FP32", [2]))
VALUES = presenter(Task.REGRESSION, Output("y", "FP32"))


def answer(of: Presenter, *raw: bytes, rows: int = 1, is_list: bool = False) -> Any:
    return msgspec.json.decode(of.present(RawOutputs(list(raw)), Rows([], rows, is_list), "3"))


def test_one_row_of_a_classifier() -> None:
    """One row is an object with the likeliest label, its confidence and all probabilities."""
    assert answer(CLASSES, struct.pack("<2f", 0.0013, 0.9987)) == {
        "prediction": "spam",
        "confidence": 0.9987,
        "probabilities": {"ham": 0.0013, "spam": 0.9987},
        "model": "m",
        "version": "3",
    }


def test_a_list_in_is_a_list_out() -> None:
    """A list is answered with a list, one row too, each entry naming model and version."""
    answers = answer(CLASSES, struct.pack("<4f", 0.75, 0.25, 0.25, 0.75), rows=2, is_list=True)
    assert [(a["prediction"], a["confidence"], a["version"]) for a in answers] == [
        ("ham", 0.75, "3"),
        ("spam", 0.75, "3"),
    ]
    assert len(answer(CLASSES, struct.pack("<2f", 1, 0), is_list=True)) == 1


@pytest.mark.parametrize("value", [0.1, 12345.6, 16777216.0, -3e-7])
def test_regression_reads_naturally(value: float) -> None:
    """An FP32 value is written as the shortest number that reads back as the same FP32."""
    prediction = answer(VALUES, struct.pack("<f", value))["prediction"]
    assert prediction == value
    assert np.float32(prediction) == np.float32(value)


def test_bf16_is_numbers_too() -> None:
    """A value, probabilities and a tensor; two bytes of each on the wire."""
    raw = np.array([0.25, 0.75], ml_dtypes.bfloat16).tobytes()
    value = presenter(Task.REGRESSION, Output("y", "BF16"))
    assert [entry["prediction"] for entry in answer(value, raw, rows=2, is_list=True)] == [0.25, 0.75]
    classes = presenter(Task.CLASSIFICATION, Output("p", "BF16", [2]))
    assert answer(classes, raw)["probabilities"] == {"ham": 0.25, "spam": 0.75}
    tensor = presenter(Task.TENSOR, Output("t", "BF16", [2]))
    assert answer(tensor, raw)["outputs"] == {"t": [0.25, 0.75]}
    for of in (value, classes, tensor):
        with pytest.raises(PenstockError) as refused:
            answer(of, raw[:3])
        assert refused.value.code == "bad-model-answer"


def test_integer_values() -> None:
    """A regression of whole numbers stays whole."""
    assert answer(presenter(Task.REGRESSION, Output("y", "INT64")), struct.pack("<q", 7))["prediction"] == 7


def test_a_sound_is_base64() -> None:
    """What ``wav`` gives is a file, and not a text."""
    text = Field("text", FieldKind.TEXT, "BYTES")
    wav = Postprocess("wav", {"sample_rate": 8000}, "speech")
    outputs = [Output("note", "BYTES"), Output("speech", "BYTES")]
    of = Presenter(Manifest(Format.ONNX, "m.onnx", Task.TENSOR, [text], outputs, postprocess=wav), "m")
    given = answer(of, pack_bytes([b"hello"]), pack_bytes([b"RIFF\xff"]))["outputs"]
    assert given["note"] == "hello"
    assert base64.b64decode(given["speech"]) == b"RIFF\xff"


def test_tensors_are_nested_lists() -> None:
    """A tensor model's outputs are nested lists without the batch dimension; texts are strings."""
    of = presenter(Task.TENSOR, Output("a", "FP32", [-1, 2]), Output("t", "BYTES"))
    raw = np.arange(8, dtype=np.float32).tobytes()
    answers = answer(of, raw, pack_bytes([b"x", b"y"]), rows=2, is_list=True)
    assert [a["outputs"] for a in answers] == [
        {"a": [[0, 1], [2, 3]], "t": "x"},
        {"a": [[4, 5], [6, 7]], "t": "y"},
    ]


@pytest.mark.parametrize(
    ("of", "raw"),
    [
        (CLASSES, [struct.pack("<2f", float("nan"), 1)]),
        (CLASSES, [struct.pack("<2f", 0, float("inf"))]),
        (CLASSES, [b"1234"]),
        (CLASSES, []),
        (VALUES, [struct.pack("<f", float("nan"))]),
        (VALUES, [b""]),
        (presenter(Task.TENSOR, Output("a", "FP32")), [struct.pack("<f", float("inf"))]),
        (presenter(Task.TENSOR, Output("a", "FP32", [3])), [b"1234"]),
        (presenter(Task.TENSOR, Output("t", "BYTES")), [pack_bytes([b"\xff"])]),
        (presenter(Task.TENSOR, Output("t", "BYTES")), [b"\xff\xff\xff\xff"]),
    ],
)
def test_a_bad_output_is_the_models_fault(of: Presenter, raw: list[bytes]) -> None:
    """NaN, infinity and outputs that do not fit the manifest are 500 bad-model-answer."""
    with pytest.raises(PenstockError) as caught:
        of.present(RawOutputs(raw), Rows([], 1), "3")
    assert (caught.value.status, caught.value.code) == (500, "bad-model-answer")


def test_outputs_of_any_shape_are_nested_lists() -> None:
    """Several dimensions may vary, and a model may have found nothing."""
    of = presenter(Task.TENSOR, Output("boxes", "FP32", [-1, "corners"]))
    raw = RawOutputs([struct.pack("<6f", *range(6))], [(3, 2)])
    read = msgspec.json.decode(of.present(raw, Rows([], 1), "3"))
    assert read["outputs"] == {"boxes": [[0, 1], [2, 3], [4, 5]]}
    nothing = msgspec.json.decode(of.present(RawOutputs([b""], [(0, 4)]), Rows([], 1), "3"))
    assert nothing["outputs"] == {"boxes": []}


def test_a_shape_that_was_not_declared_is_the_models_fault() -> None:
    """A fixed size is as declared, and the bytes are as many as the shape says."""
    of = presenter(Task.TENSOR, Output("boxes", "FP32", [-1, 4]))
    for shape in ((1, 3), (2, 4)):
        with pytest.raises(PenstockError) as caught:
            of.present(RawOutputs([bytes(12)], [shape]), Rows([], 1), "3")
        assert (caught.value.status, caught.value.code) == (500, "bad-model-answer")


def many(labels: int, top_k: int | None = None) -> dict[str, float]:
    names = [f"l{i}" for i in range(labels)]
    text = Field("text", FieldKind.TEXT, "BYTES")
    outputs = [Output("p", "FP32", [labels])]
    manifest = Manifest(Format.ONNX, "m.onnx", Task.CLASSIFICATION, [text], outputs, names, top_k=top_k)
    values = [i / labels for i in range(labels)]
    probabilities: dict[str, float] = answer(Presenter(manifest, "m"), struct.pack(f"<{labels}f", *values))[
        "probabilities"
    ]
    return probabilities


def test_of_many_labels_the_best_are_answered() -> None:
    """Five of more than 20, or as many as the manifest says, the best first; up to 20 all in their order."""
    assert list(many(20)) == [f"l{i}" for i in range(20)]
    assert list(many(21)) == ["l20", "l19", "l18", "l17", "l16"]
    assert list(many(4, top_k=2)) == ["l3", "l2"]
    assert len(many(30, top_k=30)) == 30
