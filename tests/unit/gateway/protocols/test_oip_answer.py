"""The Open Inference Protocol's answers over REST."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from numpy.typing import NDArray
from tritonclient.http import InferResult

from penstock_common.errors import PenstockError
from penstock_common.manifest import Field, FieldKind, Format, Manifest, Output, Task
from penstock_common.tensors import pack_bytes, to_raw
from penstock_gateway.dataplane.dataplane import Answer
from penstock_gateway.protocols import oip_answer, oip_request
from penstock_gateway.signature.answer_size import MAX_ANSWER_BYTES
from penstock_gateway.signature.rows import RawOutputs, Rows
from penstock_gateway.signature.signature import Signature

Arrays = dict[str, tuple[str, NDArray[Any]]]


class Model:
    """A servable that has already answered."""

    def __init__(self, arrays: Arrays, task: Task = Task.TENSOR, labels: list[str] | None = None) -> None:
        outputs = [
            Output(name, datatype, [-1, *array.shape[2:]][: array.ndim - 1])
            for name, (datatype, array) in arrays.items()
        ]
        inputs = [Field("x", FieldKind.TENSOR, "FP32")]
        self.model = "m"
        self.version = "3"
        self.signature = Signature(Manifest(Format.ONNX, "m.onnx", task, inputs, outputs, labels or []), "m")

    def infer(self, rows: Rows, deadline: float) -> asyncio.Future[RawOutputs]:
        raise AssertionError("already answered")


def encoded(
    arrays: Arrays, *, most: int = MAX_ANSWER_BYTES, model: Model | None = None, **members: Any
) -> tuple[bytes, int | None]:
    request = oip_request.decode(json.dumps({"inputs": [], **members}).encode(), None)
    outputs = [to_raw(array, datatype) for datatype, array in arrays.values()]
    rows = len(next(iter(arrays.values()))[1])
    return oip_answer.encode(request, Answer(model or Model(arrays), Rows([], rows), RawOutputs(outputs)), most)


def answer(arrays: Arrays, **options: Any) -> tuple[dict[str, Any], bytes]:
    """The JSON part and the binary part."""
    body, length = encoded(arrays, **options)
    return json.loads(body[:length]), b"" if length is None else body[length:]


def refused(arrays: Arrays, **options: Any) -> PenstockError:
    with pytest.raises(PenstockError) as caught:
        encoded(arrays, **options)
    return caught.value


def ask(name: str, **parameters: Any) -> list[dict[str, Any]]:
    return [{"name": name, "parameters": parameters}]


def texts(*elements: bytes) -> NDArray[Any]:
    array = np.empty(len(elements), dtype=np.object_)
    array[:] = elements
    return array


ARRAYS: Arrays = {"y": ("FP32", np.array([[0.5, 1.5]], np.float32)), "t": ("BYTES", texts(b"ok"))}


def test_json_answers() -> None:
    """By default all outputs are flat JSON, strings for BYTES, and the id comes back."""
    head, blob = answer(ARRAYS, id="7")
    assert blob == b""
    assert head == {
        "id": "7",
        "model_name": "m",
        "model_version": "3",
        "outputs": [
            {"name": "y", "datatype": "FP32", "shape": [1, 2], "data": [0.5, 1.5]},
            {"name": "t", "datatype": "BYTES", "shape": [1], "data": ["ok"]},
        ],
    }


def test_binary_answers() -> None:
    """Outputs asked for as binary follow the JSON in order, and only those asked for are sent."""
    head, blob = answer(ARRAYS, parameters={"binary_data_output": True})
    assert [o["parameters"]["binary_data_size"] for o in head["outputs"]] == [8, 6]
    assert blob == ARRAYS["y"][1].tobytes() + pack_bytes([b"ok"])
    head, blob = answer(ARRAYS, parameters={"binary_data_output": True}, outputs=ask("t", binary_data=False))
    assert (head["outputs"][0]["data"], blob) == (["ok"], b"")


@pytest.mark.parametrize("binary", [[], ["half"], ["single"], ["brain"], ["half", "brain", "single", "text"]])
def test_half_precision_next_to_others_is_read_by_tritonclient(binary: list[str]) -> None:
    """Triton's client reads FP16 and BF16 beside other outputs, whichever of them are binary."""
    arrays: Arrays = {
        "half": ("FP16", np.array([[0.1, 65504], [-1, 6e-8]], np.float16)),
        "brain": ("BF16", np.array([0.1, 3e38], ml_dtypes.bfloat16)),
        "single": ("FP32", np.array([0.1, 3e38], np.float32)),
        "text": ("BYTES", texts(b"a", b"bc")),
    }
    wanted = [{"name": name, "parameters": {"binary_data": name in binary}} for name in arrays]
    body, length = encoded(arrays, outputs=wanted)
    result = InferResult.from_response_body(body, header_length=length)
    assert result.as_numpy("half").dtype == np.float16
    assert result.as_numpy("half").tolist() == arrays["half"][1].tolist()
    assert result.as_numpy("brain").dtype == ml_dtypes.bfloat16
    assert result.as_numpy("brain").tolist() == arrays["brain"][1].tolist()
    assert result.as_numpy("single").tolist() == arrays["single"][1].tolist()
    assert [t if isinstance(t, bytes) else t.encode() for t in result.as_numpy("text")] == [b"a", b"bc"]


@pytest.mark.parametrize("datatype", ["BOOL", "INT8", "INT64", "UINT8", "UINT64", "FP64"])
def test_every_datatype_is_written(datatype: str) -> None:
    """Extreme values of each type survive JSON."""
    values: list[Any] = {
        "BOOL": [True, False],
        "INT8": [-128, 127],
        "INT64": [-(2**63), 2**63 - 1],
        "UINT8": [0, 255],
        "UINT64": [0, 2**64 - 1],
        "FP64": [0.1, -1.7976931348623157e308],
    }[datatype]
    array = np.array(values, dtype={"BOOL": "?", "FP64": "f8"}.get(datatype, datatype.lower()))
    assert answer({"y": (datatype, array)})[0]["outputs"][0]["data"] == values


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(
    ("datatype", "dtype"), [("BF16", ml_dtypes.bfloat16), ("FP16", "f2"), ("FP32", "f4"), ("FP64", "f8")]
)
def test_a_number_that_json_cannot_write_is_the_models_fault(value: float, datatype: str, dtype: Any) -> None:
    """NaN and infinity are 500 in JSON, null if that was asked for, and themselves in binary data."""
    arrays: Arrays = {"y": (datatype, np.array([1, value], dtype))}
    error = refused(arrays)
    assert (error.status, error.code) == (500, "bad-model-answer")
    head, _ = answer(arrays, parameters={"non_finite_as_null": True})
    assert head["outputs"][0]["data"] == [1, None]
    _, blob = answer(arrays, parameters={"binary_data_output": True})
    assert blob == arrays["y"][1].tobytes()


def test_bytes_that_are_not_text_are_answered_as_binary() -> None:
    """JSON cannot carry them: 400 with the advice to ask for binary data, which passes."""
    arrays: Arrays = {"y": ("BYTES", texts(b"\xff"))}
    error = refused(arrays)
    assert (error.status, error.code) == (400, "not-json")
    assert "binary_data" in error.detail
    assert answer(arrays, parameters={"binary_data_output": True})[1] == pack_bytes([b"\xff"])


def test_an_answer_that_does_not_fit_the_signature_is_the_models_fault() -> None:
    """Too few bytes are 500, in JSON and in binary data."""
    array = np.ones((2, 3), np.float32)
    request = oip_request.decode(b'{"inputs":[]}', None)
    model = Model({"y": ("FP32", array)})
    for raw in (array.tobytes()[:-1], array.tobytes() + b"x", array.tobytes()[:-4]):
        with pytest.raises(PenstockError) as caught:
            oip_answer.encode(request, Answer(model, Rows([], 2), RawOutputs([raw])), MAX_ANSWER_BYTES)
        assert (caught.value.status, caught.value.code) == (500, "bad-model-answer")


def test_the_likeliest_classes() -> None:
    """A classification is ``value:index:label`` of each row, the largest first, as JSON and as binary data."""
    arrays: Arrays = {"p": ("FP32", np.array([[0.1, 0.7, 0.2], [0.5, 0.25, 0.25]], np.float32))}
    model = Model(arrays, Task.CLASSIFICATION, ["ham", "spam", "other"])
    head, _ = answer(arrays, model=model, outputs=ask("p", classification=2))
    expected = ["0.7:1:spam", "0.2:2:other", "0.5:0:ham", "0.25:1:spam"]
    assert head["outputs"] == [{"name": "p", "datatype": "BYTES", "shape": [2, 2], "data": expected}]
    head, blob = answer(arrays, model=model, outputs=ask("p", classification=2, binary_data=True))
    assert blob == pack_bytes([text.encode() for text in expected])
    assert head["outputs"][0]["parameters"] == {"binary_data_size": len(blob)}


def test_classes_without_labels() -> None:
    """Without labels a class is its value and index; all are answered if fewer exist than asked for."""
    arrays: Arrays = {"y": ("INT64", np.array([[[1, 2], [4, 3]]]))}
    head, _ = answer(arrays, outputs=ask("y", classification=100))
    assert head["outputs"][0]["data"] == ["4:2", "3:3", "2:1", "1:0"]
    assert head["outputs"][0]["shape"] == [1, 4]


def test_there_is_no_likeliest_of_nan() -> None:
    """Values that are not finite have no order: the model's fault."""
    arrays: Arrays = {"y": ("FP32", np.array([[np.nan, 1]], np.float32))}
    error = refused(arrays, outputs=ask("y", classification=1, binary_data=True))
    assert (error.status, error.code) == (500, "bad-model-answer")


def test_an_answer_beyond_the_bound_is_not_built() -> None:
    """An answer that may not fit as JSON is 413 and says so; as binary data it fits."""
    arrays: Arrays = {"y": ("FP32", np.ones((1, 1000), np.float32))}
    error = refused(arrays, most=20_000)
    assert (error.status, error.code, error.extra) == (
        413,
        "answer-too-large",
        {"bound": "max_answer_bytes", "limit": 20_000},
    )
    assert "24,000 bytes, 20,000 are allowed" in error.detail
    assert len(answer(arrays, most=20_000, parameters={"binary_data_output": True})[1]) == 4000
    assert refused(arrays, most=20_000, outputs=ask("y", classification=1000)).code == "answer-too-large"
    assert answer(arrays, most=20_000, outputs=ask("y", classification=5))[0]["outputs"][0]["shape"] == [1, 5]
    assert refused(arrays, most=3999, parameters={"binary_data_output": True}).status == 413


def test_an_unknown_output_is_named() -> None:
    """Asking for an output that is not there lists those that are."""
    assert "it has y, t" in refused(ARRAYS, outputs=[{"name": "z"}]).detail
