"""The Open Inference Protocol's REST body, with binary tensors."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays as numpy_arrays
from numpy.typing import NDArray

from penstock_common.errors import PenstockError
from penstock_common.tensors import pack_bytes, to_raw
from penstock_gateway.protocols import oip_json


def request(*inputs: dict[str, Any], **members: Any) -> bytes:
    return json.dumps({"inputs": list(inputs), **members}).encode()


def tensor(data: Any, datatype: str = "FP32", shape: Any = (2, 2), **more: Any) -> dict[str, Any]:
    return {"name": "x", "datatype": datatype, "shape": list(shape), "data": data, **more}


def binary(size: Any, datatype: str = "FP32", shape: Any = (2,)) -> dict[str, Any]:
    return {"name": "x", "datatype": datatype, "shape": list(shape), "parameters": {"binary_data_size": size}}


def refused(body: bytes, length: int | None = None) -> PenstockError:
    with pytest.raises(PenstockError) as caught:
        oip_json.decode(body, length)
    assert caught.value.status == 400
    return caught.value


@pytest.mark.parametrize("data", [[1, 2, 3, 4.5], [[1, 2], [3, 4.5]]])
def test_json_data_flat_or_nested(data: Any) -> None:
    """JSON data may be flat or nested; both are row-major."""
    decoded = oip_json.decode(request(tensor(data), id="7"), None)
    assert decoded.id == "7"
    assert decoded.inputs["x"].dtype == np.float32
    assert decoded.inputs["x"].tolist() == [[1, 2], [3, 4.5]]


def test_strings_are_bytes() -> None:
    """BYTES elements come from JSON strings as UTF-8."""
    decoded = oip_json.decode(request(tensor(["a", "é"], "BYTES", (2,))), None)
    assert decoded.inputs["x"].tolist() == [b"a", "é".encode()]


def test_binary_inputs_follow_the_json() -> None:
    """Binary inputs are read behind the JSON in their order, mixed with JSON inputs."""
    text = pack_bytes([b"a", b"\xff"])
    head = request(
        {**binary(8), "name": "a"},
        tensor([True], "BOOL", (1,)),
        {**binary(len(text), "BYTES"), "name": "b"},
    )
    body = head + np.array([1, 2], np.float32).tobytes() + text
    inputs = oip_json.decode(body, len(head)).inputs
    assert [inputs[name].tolist() for name in ("a", "x", "b")] == [[1, 2], [True], [b"a", b"\xff"]]


@pytest.mark.parametrize(
    "bad",
    [
        tensor([1, 2, 3]),
        tensor([[1, 2], [3]]),
        tensor([[1, 2], 3, 4]),
        tensor([1, 2, 3, "4"]),
        tensor([1, 2, 3, True]),
        tensor([1, 2, 3, 1e39]),
        tensor([1, 2, 3, None]),
        tensor("abcd"),
        tensor([1], "FP16", (1,)),
        tensor([1], "COMPLEX", (1,)),
        tensor([1.5], "INT32", (1,)),
        tensor([300], "UINT8", (1,)),
        tensor([-1], "UINT64", (1,)),
        tensor([1], "BYTES", (1,)),
        tensor([], "FP32", (0, 10**30)),
        tensor([1], "FP32", (-1,)),
        tensor([1], "FP32", [1] * 65),
        {"name": "x", "datatype": "FP32", "shape": [1]},
        {"name": "x", "shape": [1], "data": [1]},
        tensor([1], shape=(1,), parameters={"binary_data_size": 0}),
        binary(8),
        binary(-1),
        binary("8"),
        binary(0, "BYTES", (10**12,)),
    ],
)
def test_a_malformed_tensor_is_a_400(bad: dict[str, Any]) -> None:
    """Each malformed input is 400 bad-tensor."""
    body = request(bad)
    assert refused(body, len(body)).code == "bad-tensor"


def test_a_malformed_request_is_a_400() -> None:
    """Broken JSON, bytes left over, doubled inputs and wrong flags are 400."""
    assert refused(b"").code == "bad-json"
    assert refused(b'{"inputs":[NaN]}').code == "bad-json"
    assert refused(b'{"inputs":[],"id":"\xff"}').code == "bad-json"
    assert refused(b"{}").code == "bad-tensor"
    assert refused(b"[]").code == "bad-tensor"
    good = tensor([1, 2, 3, 4])
    assert "twice" in refused(request(good, good)).detail
    assert "bytes after" in refused(request(good) + b"1234", len(request(good))).detail
    assert refused(request(good), 10_000).code == "bad-inference-header"
    assert refused(request(good, parameters={"binary_data_output": 1})).code == "bad-tensor"


ARRAYS: dict[str, tuple[str, NDArray[Any]]] = {
    "y": ("FP32", np.array([[0.5, 1.5]], np.float32)),
    "t": ("BYTES", np.array([b"ok"], dtype=np.object_)),
}


def answer(arrays: dict[str, tuple[str, NDArray[Any]]], **members: Any) -> tuple[dict[str, Any], bytes, int | None]:
    decoded = oip_json.decode(request(tensor([1, 2, 3, 4]), **members), None)
    body, length = oip_json.encode(decoded, "m", "3", arrays)
    return json.loads(body[:length]), body[len(body) if length is None else length :], length


def test_json_answers() -> None:
    """By default all outputs are flat JSON, strings for BYTES, and the id comes back."""
    head, blob, length = answer(ARRAYS, id="7")
    assert (blob, length) == (b"", None)
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
    head, blob, _ = answer(ARRAYS, parameters={"binary_data_output": True})
    assert [o["parameters"]["binary_data_size"] for o in head["outputs"]] == [8, 6]
    assert blob == ARRAYS["y"][1].tobytes() + pack_bytes([b"ok"])
    head, blob, _ = answer(
        ARRAYS,
        parameters={"binary_data_output": True},
        outputs=[{"name": "t", "parameters": {"binary_data": False}}],
    )
    assert (head["outputs"][0]["data"], blob) == (["ok"], b"")


@pytest.mark.parametrize(
    ("datatype", "array"),
    [
        ("BYTES", np.array([b"\xff"], dtype=np.object_)),
        ("FP16", np.ones(1, np.float16)),
        ("FP32", np.array([np.nan], np.float32)),
    ],
)
def test_what_json_cannot_carry(datatype: str, array: NDArray[Any]) -> None:
    """Outputs that JSON cannot carry are refused with the advice to ask for binary data, which carry them."""
    with pytest.raises(PenstockError, match=r"'y' .*binary_data") as caught:
        answer({"y": (datatype, array)})
    assert (caught.value.status, caught.value.code) == (400, "not-json")
    _, blob, _ = answer({"y": (datatype, array)}, parameters={"binary_data_output": True})
    assert blob == to_raw(array, datatype)


def test_an_unknown_output_is_named() -> None:
    """Asking for an output that is not there lists those that are."""
    with pytest.raises(PenstockError, match="'z'; it has y, t") as caught:
        answer(ARRAYS, outputs=[{"name": "z"}])
    assert (caught.value.status, caught.value.code) == (400, "unknown-output")


@given(numpy_arrays(np.int64, st.tuples(st.integers(1, 4), st.integers(1, 4))))
def test_json_and_binary_agree(array: NDArray[Any]) -> None:
    """The same tensor as nested JSON and as binary data decodes to the same array."""
    nested = oip_json.decode(request(tensor(array.tolist(), "INT64", array.shape)), None)
    head = request(binary(array.nbytes, "INT64", array.shape))
    raw = oip_json.decode(head + array.astype("<i8").tobytes(), len(head))
    assert nested.inputs["x"].tolist() == raw.inputs["x"].tolist() == array.tolist()


@given(st.binary(max_size=80), st.none() | st.integers(0, 90))
def test_any_bytes_are_answered_with_a_clear_error(body: bytes, length: int | None) -> None:
    """No body makes the decoder fail in any other way than a 400."""
    try:
        oip_json.decode(body, length)
    except PenstockError as err:
        assert err.status == 400
