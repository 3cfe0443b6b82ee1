"""How many numbers the weights of a GGUF file are, from its header (github.com/ggml-org/ggml, docs/gguf.md).

It is read here, and not by a library, because the server's process does it: a library would make objects of the whole
vocabulary, which takes seconds.
"""

from __future__ import annotations

import struct
from math import prod
from pathlib import Path

MAGIC = b"GGUF"
#: The longest header that is read; a vocabulary of 260,000 tokens with its merges takes half of it.
_MOST_BYTES = 32 * 2**20
#: Versions whose header looks like this one.
_VERSIONS = (2, 3)
_MOST_DIMENSIONS = 8
#: Types of tensors that hold their numbers as they are: F32, F16 and BF16.
_PLAIN = frozenset({0, 1, 30})

_COUNTS = struct.Struct("<IQQ")
_LENGTH = struct.Struct("<Q")
_TYPE = struct.Struct("<I")
_ARRAY = struct.Struct("<IQ")
_STRING_TYPE, _ARRAY_TYPE = 8, 9
#: Type of a value -> its bytes.
_WIDTHS = {0: 1, 1: 1, 7: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 10: 8, 11: 8, 12: 8}


def quantized_elements(path: Path) -> int:
    """Return how many numbers the tensors of a file have together; 0 if all of them hold theirs as they are.

    Raises:
        OSError: it cannot be read.
        ValueError: its header is damaged, or longer than is read.
    """
    with path.open("rb") as file:
        head = file.read(_MOST_BYTES)
    try:
        tensors = _Header(head).tensors()
    except struct.error:
        raise ValueError(f"{path.name}: the header has no end") from None
    if all(kind in _PLAIN for kind, _ in tensors):
        return 0
    return sum([elements for _, elements in tensors])


class _Header:
    """Walks through a header.

    Args:
        head: the beginning of the file.
    """

    def __init__(self, head: bytes) -> None:
        self._head = head
        self._at = len(MAGIC)

    def tensors(self) -> list[tuple[int, int]]:
        """Return the type and the number of elements of each tensor."""
        version, tensors, values = self._take(_COUNTS)
        if not self._head.startswith(MAGIC) or version not in _VERSIONS:
            raise ValueError(f"version {version} of GGUF is not known")
        for _ in range(values):
            self._skip_string()
            self._skip_value()
        return [self._tensor() for _ in range(tensors)]

    def _tensor(self) -> tuple[int, int]:
        self._skip_string()
        (dimensions,) = self._take(_TYPE)
        if dimensions > _MOST_DIMENSIONS:
            raise ValueError(f"a tensor has {dimensions} dimensions")
        elements = prod(self._take(struct.Struct(f"<{dimensions}Q")))
        kind, _ = self._take(_ARRAY)  # and where its data are
        return kind, elements

    def _skip_value(self) -> None:
        (kind,) = self._take(_TYPE)
        if kind == _ARRAY_TYPE:
            kind, count = self._take(_ARRAY)
            if kind != _STRING_TYPE:
                self._at += _width(kind) * count
                return
            for _ in range(count):
                self._skip_string()
        elif kind == _STRING_TYPE:
            self._skip_string()
        else:
            self._at += _width(kind)

    def _skip_string(self) -> None:
        (length,) = self._take(_LENGTH)
        self._at += length

    def _take(self, layout: struct.Struct) -> tuple[int, ...]:
        taken = layout.unpack_from(self._head, self._at)
        self._at += layout.size
        return taken


def _width(kind: int) -> int:
    if kind not in _WIDTHS:
        raise ValueError(f"a value of the type {kind} is not known")
    return _WIDTHS[kind]
