"""Tensors in shared memory, whoever says where they are."""

from __future__ import annotations

import fcntl
import os
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from penstock_common.errors import PenstockError
from penstock_common.tensors import NUMPY_DTYPES
from penstock_inference.runners.shared_tensors import Place, SharedMemory, create_memory, datatype_of, plan


def memory(size: int) -> SharedMemory:
    made, fd = create_memory("test", size)
    os.close(fd)
    return made


def texts(*values: bytes) -> NDArray[Any]:
    array = np.empty(len(values), np.object_)
    array[:] = values
    return array


@given(
    st.lists(
        st.tuples(st.sampled_from(sorted(set(NUMPY_DTYPES) - {"BYTES"})), st.lists(st.integers(0, 3), max_size=2)),
        min_size=1,
        max_size=4,
    ),
    st.lists(st.integers(1, 3), min_size=1, max_size=3),
)
def test_what_is_written_is_read(tensors: list[tuple[str, list[int]]], rows: list[int]) -> None:
    """Parts of any types and shapes come back as one tensor each, and none overlaps another."""
    parts = [
        [np.full((count, *shape), n + 1, NUMPY_DTYPES[datatype]) for count in rows]
        for n, (datatype, shape) in enumerate(tensors)
    ]
    places, contents, size = plan(
        [(str(n), datatype, parts[n]) for n, (datatype, _) in enumerate(tensors)],
    )
    made = memory(size)
    made.write(places, contents)
    for place, expected in zip(places, parts, strict=True):
        assert np.array_equal(made.read(place), np.concatenate(expected))


def test_texts_are_packed() -> None:
    """Beside other tensors, with their own lengths."""
    places, contents, size = plan(
        [("t", "BYTES", [texts(b"a", b""), texts(b"\xff\0long")]), ("x", "FP32", [np.ones(2, np.float32)])]
    )
    made = memory(size)
    made.write(places, contents)
    assert made.read(places[0]).tolist() == [b"a", b"", b"\xff\0long"]
    assert made.read(places[1]).tolist() == [1, 1]


@pytest.mark.parametrize(
    "place",
    [
        Place("", "FP32", [4], 65536, 16),
        Place("", "FP32", [4], 65528, 16),
        Place("", "FP32", [4], -16, 16),
        Place("", "FP32", [4], 0, 12),
        Place("", "FP32", [2**62, 4], 0, 0),
        Place("", "FP32", [-4, -1], 0, 16),
        Place("", "FP32", [1] * 40, 0, 4),
        Place("", "COMPLEX", [1], 0, 4),
        Place("", "BYTES", [2**40], 0, 65536),
        Place("", "BYTES", [1], 0, 8),
    ],
)
def test_a_place_that_cannot_be_is_refused(place: Place) -> None:
    """Outside the memory, of another size than its shape has, of no known type; texts whose lengths do not add up."""
    made = memory(65536)
    made.put(b"\xff" * 65536)
    with pytest.raises((ValueError, PenstockError)):
        made.read(place)


def test_nobody_can_change_its_size() -> None:
    """A process that shrinks it would end the server with SIGBUS."""
    _, fd = create_memory("test", 100)
    for size in (0, 2**20):
        with pytest.raises(PermissionError):
            os.ftruncate(fd, size)
    with pytest.raises(PermissionError):
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE)
    os.close(fd)


def test_memory_is_in_use_as_long_as_a_part_of_a_tensor_is() -> None:
    """A message's rows of a batch keep it; copies do not."""
    made = memory(100)
    whole = made.read(Place("", "FP32", [4], 0, 16))
    part, copy = whole[1:2], whole.copy()
    del whole
    assert made.in_use
    del part
    assert not made.in_use
    assert copy.shape == (4,)


def test_a_type_that_cannot_be_sent_is_named() -> None:
    """The model's owner learns it from the error."""
    with pytest.raises(TypeError, match="complex64 cannot be sent"):
        datatype_of(np.ones(1, np.complex64))
