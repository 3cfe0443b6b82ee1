"""Conversion between arrays and tensors on the wire, and the refusal of malformed ones."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock_common.contract import inference_pb2 as pb
from penstock_common.errors import PenstockError
from penstock_common.tensors import NUMPY_DTYPES, from_raw, input_arrays, pack_bytes, to_raw, unpack_bytes


@given(st.lists(st.binary(max_size=50), max_size=20))
def test_bytes_elements_survive_the_wire(elements: list[bytes]) -> None:
    """Unpacking returns what was packed."""
    assert unpack_bytes(pack_bytes(elements), len(elements)) == elements


@pytest.mark.parametrize("datatype", [d for d in NUMPY_DTYPES if d != "BYTES"])
def test_fixed_size_types_survive_the_wire(datatype: str) -> None:
    """Raw data is little-endian and row-major."""
    array = np.arange(6).reshape(2, 3).astype(NUMPY_DTYPES[datatype])
    assert np.array_equal(from_raw(to_raw(array, datatype), datatype, [2, 3]), array)


@given(st.binary(max_size=60), st.integers(0, 20))
def test_garbage_is_refused_not_believed(raw: bytes, count: int) -> None:
    """Bytes are either exactly so many elements or a 400."""
    try:
        array = from_raw(raw, "BYTES", [count])
    except PenstockError as err:
        assert (err.status, err.code) == (400, "bad-tensor")
    else:
        assert len(array) == count
        assert to_raw(array, "BYTES") == raw


@pytest.mark.parametrize("count", [100_000, 10_000_000, 1 << 50])
def test_a_claim_costs_no_memory(count: int) -> None:
    """A shape of many elements over a few bytes is refused before room for them is taken."""
    tracemalloc.start()
    try:
        with pytest.raises(PenstockError, match=r"need at least|has a dimension that is not") as caught:
            from_raw(b"\0" * 60, "BYTES", [count])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert caught.value.code == "bad-tensor"
    assert peak < 100_000


@pytest.mark.parametrize("datatype", ["FP32", "BYTES"])
@pytest.mark.parametrize(
    "shape", [[1] * 17, [1] * 100, [-1], [2**31], [0, 2**62], [0, 2**31], [0] + [2**30] * 5, [2**31 - 1] * 16]
)
def test_shapes_that_numpy_would_not_take_are_refused(datatype: str, shape: list[int]) -> None:
    """More than 16 dimensions, negative and absurd ones are a 400, raw and typed, whatever the data."""
    request = pb.ModelInferRequest()
    request.inputs.add(name="x", datatype=datatype, shape=shape)
    for read in (lambda: from_raw(b"", datatype, shape), lambda: input_arrays(request)):
        with pytest.raises(PenstockError) as caught:
            read()
        assert (caught.value.status, caught.value.code) == (400, "bad-tensor")


def test_sixteen_dimensions_and_no_rows_are_read() -> None:
    """The bounds themselves are allowed; one dimension more is not, although the data fits."""
    assert from_raw(bytes(4), "FP32", [1] * 16).ndim == 16
    with pytest.raises(PenstockError, match="17 dimensions, 16 are allowed"):
        from_raw(bytes(4), "FP32", [1] * 17)
    assert from_raw(b"", "FP32", [0, 2**31 - 1]).shape == (0, 2**31 - 1)


def test_typed_contents_are_read() -> None:
    """Contents may be typed fields instead of raw bytes; their number must fit the shape."""
    request = pb.ModelInferRequest()
    tensor = request.inputs.add(name="x", datatype="INT8", shape=[2])
    tensor.contents.int_contents.extend([1, -2])
    assert input_arrays(request)["x"].tolist() == [1, -2]
    tensor.contents.int_contents.append(300)
    with pytest.raises(PenstockError, match="shape"):
        input_arrays(request)
    tensor.shape[0] = 3
    with pytest.raises(PenstockError, match="out of range"):
        input_arrays(request)
