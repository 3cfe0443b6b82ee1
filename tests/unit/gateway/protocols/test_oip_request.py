"""The Open Inference Protocol's REST body, with binary tensors."""

from __future__ import annotations

import json
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays as numpy_arrays
from numpy.typing import NDArray
from tritonclient.http import InferenceServerClient, InferInput

from penstock_common.errors import PenstockError
from penstock_common.manifest import Output
from penstock_common.tensors import pack_bytes
from penstock_gateway.protocols import oip_request, oip_tensor
from penstock_gateway.protocols.oip_request import RequestedOutput


def request(*inputs: dict[str, Any], **members: Any) -> bytes:
    return json.dumps({"inputs": list(inputs), **members}).encode()


def tensor(data: Any, datatype: str = "FP32", shape: Any = (2, 2), **more: Any) -> dict[str, Any]:
    return {"name": "x", "datatype": datatype, "shape": list(shape), "data": data, **more}


def binary(size: Any, datatype: str = "FP32", shape: Any = (2,)) -> dict[str, Any]:
    return {"name": "x", "datatype": datatype, "shape": list(shape), "parameters": {"binary_data_size": size}}


def arrays(body: bytes, length: int | None = None) -> dict[str, NDArray[Any]]:
    """The decoded inputs."""
    return {tensor.name: tensor.array() for tensor in oip_request.decode(body, length).tensors}


def refused(body: bytes, length: int | None = None) -> PenstockError:
    with pytest.raises(PenstockError) as caught:
        arrays(body, length)
    assert caught.value.status == 400
    return caught.value


@pytest.mark.parametrize("data", [[1, 2, 3, 4.5], [[1, 2], [3, 4.5]]])
def test_json_data_flat_or_nested(data: Any) -> None:
    """JSON data may be flat or nested; both are row-major."""
    decoded = arrays(request(tensor(data)))["x"]
    assert decoded.dtype == np.float32
    assert decoded.tolist() == [[1, 2], [3, 4.5]]


def test_strings_are_bytes() -> None:
    """BYTES elements come from JSON strings as UTF-8."""
    for data in (["a", 'é,"'], [["a"], ['é,"']]):
        shape = np.array(data).shape
        assert arrays(request(tensor(data, "BYTES", shape)))["x"].ravel().tolist() == [b"a", 'é,"'.encode()]


def test_binary_inputs_follow_the_json() -> None:
    """Binary inputs are read behind the JSON in their order, mixed with JSON inputs."""
    text = pack_bytes([b"a", b"\xff"])
    head = request(
        {**binary(8), "name": "a"},
        tensor([True], "BOOL", (1,)),
        {**binary(len(text), "BYTES"), "name": "b"},
    )
    body = head + np.array([1, 2], np.float32).tobytes() + text
    inputs = arrays(body, len(head))
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
        tensor([70000], "FP16", (1,)),
        tensor([1e39], "BF16", (1,)),
        tensor([1], "COMPLEX", (1,)),
        tensor([1.5], "INT32", (1,)),
        tensor([300], "UINT8", (1,)),
        tensor([-1], "UINT64", (1,)),
        tensor([1], "BYTES", (1,)),
        tensor([], "FP32", (0, 10**30)),
        tensor([1], "FP32", (-1,)),
        tensor([1], "FP32", [1] * 17),
        tensor([1], "FP32", [2**31]),
        tensor([1], "FP32", [10**300]),
        tensor([[[1, 2], [3, 4]]]),
        tensor([[1, [2]], [3, 4]]),
        tensor([[1, 2, 3, 4]]),
        tensor([{"a": 1}, 2, 3, 4]),
        tensor([1e300, 2, 3, 4]),
        tensor([10**400, 2, 3, 4]),
        tensor([10**400, 2, 3, 4], "INT64"),
        tensor(["a", 1], "BYTES", (2,)),
        tensor(["a,b"], "BYTES", (2,)),
        tensor(["a", "b", "c"], "BYTES", (2,)),
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


def test_the_protocols_optional_members_may_be_null() -> None:
    """Absent and null are the same: no id, no parameters, all outputs."""
    nulls = {"id": None, "parameters": None, "outputs": None}
    decoded = oip_request.decode(request(tensor([1, 2, 3, 4], parameters=None), **nulls), None)
    assert (decoded.id, decoded.outputs, decoded.binary_output, decoded.timeout) == ("", [], False, 0)
    named = oip_request.decode(request(outputs=[{"name": "y", "parameters": {"binary_data": None}}]), None)
    assert named.outputs == [RequestedOutput("y", binary=False)]


@pytest.mark.parametrize("datatype", ["INT8", "UINT64"])
def test_whole_numbers_may_be_written_with_a_point(datatype: str) -> None:
    """JSON does not tell 3 from 3.0."""
    assert arrays(request(tensor([1, 2.0, 3e0, 4], datatype)))["x"].tolist() == [[1, 2], [3, 4]]


def test_half_precision_in_json() -> None:
    """FP16 is read from JSON numbers as other floats are."""
    decoded = arrays(request(tensor([1, 0.1, -65504, 1e-9], "FP16")))["x"]
    assert decoded.dtype == np.float16
    assert decoded.ravel().tolist() == [1, np.float16(0.1), -65504, 0]


def test_bf16_in_json_and_from_tritonclient() -> None:
    """Numbers in JSON are rounded to BF16; Triton's client sends two bytes of each."""
    decoded = arrays(request(tensor([1, 0.1, -3e38, 1e-41], "BF16")))["x"]
    assert decoded.dtype == ml_dtypes.bfloat16
    assert decoded.astype(float).ravel().tolist() == pytest.approx([1, 0.1, -3e38, 0], rel=2**-8)
    sent = InferInput("x", [2, 2], "BF16")
    sent.set_data_from_numpy(decoded)
    body, length = InferenceServerClient.generate_request_body([sent])
    assert np.array_equal(arrays(body, length)["x"], decoded)


def test_data_is_not_decoded_before_it_is_asked_for() -> None:
    """A request is described without a look at its data, which may not fit its description."""
    body = request(tensor([1] * 100_000), {**tensor(["x"]), "name": "z"})
    assert [(t.name, t.datatype, t.shape) for t in oip_request.decode(body, None).tensors] == [
        ("x", "FP32", [2, 2]),
        ("z", "FP32", [2, 2]),
    ]


def test_numbers_that_no_shape_needs_are_not_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    """100,000 numbers for a shape of four are refused by their count."""
    monkeypatch.setattr(oip_tensor, "_decoder", lambda *_: pytest.fail("parsed"))
    assert "needs 4 elements, got 100000" in refused(request(tensor([1] * 100_000))).detail


@pytest.mark.parametrize(
    ("level", "parameters"),
    [
        ("request", {"sequence_id": 7}),
        ("request", {"sequence_id": "a", "sequence_start": False}),
        ("request", {"sequence_start": True}),
        ("request", {"sequence_end": True}),
        ("request", {"priority": 1}),
        ("request", {"temperature": 0.5}),
        ("request", {"binary_data": True}),
        ("input", {"shared_memory_region": "r"}),
        ("input", {"content_type": "base64"}),
        ("output", {"shared_memory_region": "r"}),
        ("output", {"binary_data_output": True}),
    ],
)
def test_no_parameter_is_ignored(level: str, parameters: dict[str, Any]) -> None:
    """What would change the meaning and is not carried out is 400, naming the parameter."""
    x = tensor([1, 2, 3, 4])
    body = {
        "request": request(x, parameters=parameters),
        "input": request({**x, "parameters": parameters}),
        "output": request(x, outputs=[{"name": "y", "parameters": parameters}]),
    }[level]
    error = refused(body)
    assert error.code == "unsupported-parameter"
    assert any(name in error.detail for name in parameters)


def test_parameters_that_ask_for_nothing_pass() -> None:
    """The values with which Triton's clients say nothing are accepted."""
    nothing = {"sequence_id": 0, "sequence_start": False, "sequence_end": False, "priority": 0, "timeout": 0}
    assert oip_request.decode(request(tensor([1, 2, 3, 4]), parameters=nothing), None).timeout == 0


def test_the_timeout_is_in_microseconds() -> None:
    """Triton's timeout becomes seconds; one beyond all floats is a long one."""
    for quarter in (250_000, 250_000.0):
        assert oip_request.decode(request(parameters={"timeout": quarter}), None).timeout == 0.25
    assert oip_request.decode(request(parameters={"timeout": 10**400}), None).timeout == 10**6


@pytest.mark.parametrize(
    "parameters", [{"timeout": -1}, {"timeout": 1.5}, {"timeout": True}, {"non_finite_as_null": 1}, {"timeout": {}}]
)
def test_a_parameter_has_its_type(parameters: dict[str, Any]) -> None:
    """A wrong type, a negative number and a nested value are 400."""
    assert refused(request(parameters=parameters)).code == "bad-tensor"


def test_each_output_is_asked_for_once() -> None:
    """4,000 times the same output is 400, and so is one that the model does not have."""
    assert "twice" in refused(request(outputs=[{"name": "y"}] * 4000)).detail
    decoded = oip_request.decode(request(outputs=[{"name": "y"}]), None)
    assert decoded.requested([Output("y", "FP32")]) == [RequestedOutput("y", binary=False)]
    with pytest.raises(PenstockError, match="no output 'y'; it has z") as caught:
        decoded.requested([Output("z", "FP32")])
    assert (caught.value.status, caught.value.code) == (400, "unknown-output")


def test_text_has_no_classes() -> None:
    """A classification of a BYTES output is 400."""
    decoded = oip_request.decode(request(outputs=[{"name": "y", "parameters": {"classification": 2}}]), None)
    assert decoded.requested([Output("y", "FP32")])[0].classes == 2
    with pytest.raises(PenstockError, match="is text") as caught:
        decoded.requested([Output("y", "BYTES")])
    assert (caught.value.status, caught.value.code) == (400, "unsupported-parameter")


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
    assert refused(request(good, parameters={"binary_data_output": 1})).code == "bad-tensor"


@given(numpy_arrays(np.int64, st.tuples(st.integers(1, 4), st.integers(1, 4))))
def test_json_and_binary_agree(array: NDArray[Any]) -> None:
    """The same tensor as nested JSON and as binary data decodes to the same array."""
    nested = arrays(request(tensor(array.tolist(), "INT64", array.shape)))
    head = request(binary(array.nbytes, "INT64", array.shape))
    raw = arrays(head + array.astype("<i8").tobytes(), len(head))
    assert nested["x"].tolist() == raw["x"].tolist() == array.tolist()


@given(st.binary(max_size=80), st.none() | st.integers(0, 90))
def test_any_bytes_are_answered_with_a_clear_error(body: bytes, length: int | None) -> None:
    """No body makes the decoder fail in any other way than a 400."""
    try:
        arrays(body, None if length is None else min(length, len(body)))
    except PenstockError as err:
        assert err.status == 400
