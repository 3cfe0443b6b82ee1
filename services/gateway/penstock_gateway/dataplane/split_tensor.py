"""A raw tensor cut into parts of some rows each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise

from penstock_common.tensors import pack_bytes, unpack_bytes


def split_raw(raw: bytes, counts: Sequence[int], total: int) -> list[bytes]:
    """The parts of a tensor whose rows have one width: ``counts`` rows each, ``total`` in all."""
    return [raw[start:end] for start, end in _places(counts, len(raw) // total)]


def split_bytes(raw: bytes, counts: Sequence[int], total: int, elements: int) -> list[bytes]:
    """The same of a BYTES tensor of ``elements``, which differ in length."""
    values = unpack_bytes(raw, elements)
    return [pack_bytes(values[start:end]) for start, end in _places(counts, elements // total)]


def _places(counts: Sequence[int], width: int) -> Iterator[tuple[int, int]]:
    """Where each part begins and ends, if a row is ``width`` wide."""
    return pairwise(accumulate([count * width for count in counts], initial=0))
