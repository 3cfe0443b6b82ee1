"""The tensors of one row of a stream, packed into a packet or into memory of their own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from numpy.typing import NDArray

from penstock_inference.runners.shared_tensors import Content, Place, SharedMemory, read_tensor, write_tensors
from penstock_inference.runners.wire import Parcel


def pack_parcel(places: Sequence[Place], contents: Sequence[Content], size: int) -> Parcel:
    """Return what ``plan`` returned as a parcel that travels in its packet."""
    data = bytearray(size)
    write_tensors(data, places, contents)
    return Parcel(list(places), bytes(data))


def read_parcel(parcel: Parcel, memory: SharedMemory | None) -> Iterator[tuple[Place, NDArray[Any]]]:
    """Yield each tensor with its place: a view of the memory, or of a copy of the packet's data.

    Raises:
        ValueError: a place does not fit, or there is no memory though the parcel names some.
    """
    if not parcel.memory_bytes:
        data = bytearray(parcel.data)
        for place in parcel.places:
            yield place, read_tensor(data, len(data), place)
        return
    if memory is None or memory.size != parcel.memory_bytes:
        raise ValueError(f"There is no memory of {parcel.memory_bytes} bytes.")
    for place in parcel.places:
        yield place, memory.read(place)
