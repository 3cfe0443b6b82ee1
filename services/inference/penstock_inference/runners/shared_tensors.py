"""Tensors in memory that the server and a model's process share.

The server makes the memory and seals its size: a process that could shrink it would crash the server with SIGBUS.
Tensors of a fixed-size type lie in it row-major; those of BYTES as the protocol's raw tensor data, each element with
its length before it. The server believes nothing that a process says of them: see ``SharedMemory.read``.
"""

from __future__ import annotations

import fcntl
import math
import mmap
import os
import sys
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from penstock_common.tensors import MAX_DIMENSIONS, NUMPY_DTYPES, pack_bytes, unpack_bytes

#: Offsets are multiples of this: the size of a cache line, and enough for every vector instruction.
_ALIGNMENT = 64
_SMALLEST_BYTES = 64 * 1024

_DATATYPES = {dtype: datatype for datatype, dtype in NUMPY_DTYPES.items()}


class Place(msgspec.Struct, array_like=True):
    """Where one tensor lies; ``offset`` and ``size`` are in bytes."""

    name: str
    datatype: str
    shape: list[int]
    offset: int
    size: int


#: The parts of one tensor along its first axis, or the raw data of a BYTES tensor.
Content = Sequence[NDArray[Any]] | bytes
Buffer = mmap.mmap | bytearray


def datatype_of(array: NDArray[Any]) -> str:
    """Return the protocol's name of an array's type.

    Raises:
        TypeError: it has none.
    """
    try:
        return _DATATYPES[array.dtype]
    except KeyError:
        raise TypeError(f"The type {array.dtype} cannot be sent; known are {', '.join(NUMPY_DTYPES)}.") from None


def plan(tensors: Sequence[tuple[str, str, Sequence[NDArray[Any]]]]) -> tuple[list[Place], list[Content], int]:
    """Give each tensor its place.

    Args:
        tensors: the name, the datatype and the parts of each, which differ in their first dimension only.

    Returns:
        The places, what belongs there, and the bytes of memory that this takes.
    """
    places: list[Place] = []
    contents: list[Content] = []
    end = 0
    for name, datatype, parts in tensors:
        offset = -(-end // _ALIGNMENT) * _ALIGNMENT
        shape = list(parts[0].shape)
        if len(parts) > 1:
            shape[0] = sum([len(part) for part in parts])
        if datatype == "BYTES":
            packed = b"".join([pack_bytes(part.ravel().tolist()) for part in parts])
            contents.append(packed)
            size = len(packed)
        else:
            contents.append(parts)
            size = math.prod(shape) * NUMPY_DTYPES[datatype].itemsize
        places.append(Place(name, datatype, shape, offset, size))
        end = offset + size
    return places, contents, end


class SharedMemory:
    """A mapping of ``size`` bytes; the memory is freed when all mappings and descriptors are gone.

    Args:
        fd: a memfd, which the caller may close afterwards.
    """

    def __init__(self, fd: int, size: int) -> None:
        self.size = size
        self._map = mmap.mmap(fd, size)

    def write(self, places: Sequence[Place], contents: Sequence[Content]) -> None:
        """Put what ``plan`` returned into memory that is large enough."""
        write_tensors(self._map, places, contents)

    def close(self) -> None:
        """Free the mapping now, not when it is collected; nobody may read it any more."""
        self._map.close()

    def put(self, data: bytes, offset: int = 0) -> None:
        """Write bytes at an offset."""
        self._map[offset : offset + len(data)] = data

    def get(self, size: int, offset: int = 0) -> bytes:
        """Return bytes from an offset on."""
        return self._map[offset : offset + size]

    @property
    def in_use(self) -> bool:
        """Whether a tensor that was read is still in use: its array, or one that is a part of it."""
        return sys.getrefcount(self._map) > 2  # this object's reference, and the argument

    def read(self, place: Place) -> NDArray[Any]:
        """Return the tensor at a place: a view of this memory, or BYTES as a copy.

        Raises:
            ValueError: the place is not within the memory, its size does not fit its shape, or its data is not a BYTES
                tensor.
        """
        return read_tensor(self._map, self.size, place)


def write_tensors(buffer: Buffer, places: Sequence[Place], contents: Sequence[Content]) -> None:
    """Put what ``plan`` returned into a buffer that is large enough."""
    for place, content in zip(places, contents, strict=True):
        if isinstance(content, bytes):
            buffer[place.offset : place.offset + place.size] = content
        elif content[0].ndim:
            np.concatenate(content, out=_view(buffer, place))
        else:
            _view(buffer, place)[...] = content[0]


def read_tensor(buffer: Buffer, buffer_size: int, place: Place) -> NDArray[Any]:
    """Return the tensor at a place: a view of the buffer, or BYTES as a copy.

    Raises:
        ValueError: the place is not within the buffer, its size does not fit its shape, or its data is not a BYTES tensor.
    """
    shape, dtype = place.shape, NUMPY_DTYPES.get(place.datatype)
    if dtype is None or len(shape) > MAX_DIMENSIONS or any(size < 0 for size in shape):
        raise ValueError(f"A tensor of type {place.datatype[:20]!r} and shape {shape[:20]} is not possible.")
    if min(place.offset, place.size) < 0 or place.offset + place.size > buffer_size:
        raise ValueError(f"{place.size} bytes at {place.offset} are not within {buffer_size} bytes.")
    count = math.prod(shape)
    if place.datatype == "BYTES":
        if 4 * count > place.size:
            raise ValueError(f"{count} elements do not fit into {place.size} bytes.")
        array = np.empty(count, dtype=np.object_)
        # One copy, so that what is checked is what is read.
        array[:] = unpack_bytes(bytes(buffer[place.offset : place.offset + place.size]), count)
        return array.reshape(shape)
    if count * dtype.itemsize != place.size:
        raise ValueError(f"{place.datatype} of shape {shape} does not take {place.size} bytes.")
    return _view(buffer, place)


def _view(buffer: Buffer, place: Place) -> NDArray[Any]:
    return np.ndarray(place.shape, NUMPY_DTYPES[place.datatype], buffer, place.offset)


def create_memory(name: str, size: int) -> tuple[SharedMemory, int]:
    """Create memory of at least ``size`` bytes whose size nobody can change; return it and its descriptor.

    Pages take memory once they are written, so the size is rounded up to a power of two.
    """
    size = max(_SMALLEST_BYTES, 1 << (size - 1).bit_length())
    fd = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.ftruncate(fd, size)
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
        return SharedMemory(fd, size), fd
    except OSError:
        os.close(fd)
        raise
