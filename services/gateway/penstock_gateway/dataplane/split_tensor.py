"""A raw tensor cut into parts of some rows each."""

from __future__ import annotations

from collections.abc import Sequence

from penstock_common.tensors import pack_bytes, unpack_bytes


def split_raw(raw: bytes, counts: Sequence[int], total: int) -> list[bytes]:
    """The parts of a tensor whose rows have one width: ``counts`` rows each, ``total`` in all."""
    width = len(raw) // total
    parts = []
    at = 0
    for count in counts:
        end = at + count * width
        parts.append(raw[at:end])
        at = end
    return parts


def split_bytes(raw: bytes, counts: Sequence[int], total: int, elements: int) -> list[bytes]:
    """The same of a BYTES tensor of ``elements``, which differ in length."""
    values = unpack_bytes(raw, elements)
    per_row = len(values) // total
    parts = []
    at = 0
    for count in counts:
        end = at + count * per_row
        parts.append(pack_bytes(values[at:end]))
        at = end
    return parts
