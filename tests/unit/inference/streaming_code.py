"""A model in Python that streams, as an artifact has it in ``model.py``. The input ``what`` names one of its methods."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Chunk = dict[str, NDArray[Any]]


class Model:
    most_streams = 4

    def load(self, folder: Path) -> None:
        self.folder = folder
        self.steps = 0
        self.closed = 0

    def stream(self, inputs: Chunk) -> Iterator[Chunk]:
        what, n = inputs["what"][0].decode(), int(inputs["n"][0])
        if what == "refuse":
            raise ValueError("not this one")
        return self.closing(getattr(self, what)(n))

    def closing(self, chunks: Iterator[Chunk]) -> Iterator[Chunk]:
        try:
            yield from chunks
        finally:
            self.closed += 1

    def count(self, n: int) -> Iterator[Chunk]:
        for i in range(n):
            self.steps += 1
            yield chunk(i)

    def large(self, n: int) -> Iterator[Chunk]:
        """Chunks of n floats."""
        for i in range(3):
            yield chunk(i, np.full((1, n), i, np.float32))

    def endless_large(self, n: int) -> Iterator[Chunk]:
        while True:
            self.steps += 1
            yield chunk(self.steps, np.zeros((1, n), np.float32))

    def gated(self, n: int) -> Iterator[Chunk]:
        """Wait before each chunk but the first until a file with its number is there."""
        for i in range(n):
            while i and not (self.folder / f"gate-{i}").exists():
                time.sleep(0.005)
            yield chunk(i)

    def endless(self, n: int) -> Iterator[Chunk]:
        while True:
            self.steps += 1
            yield chunk(self.steps)

    def state(self, n: int) -> Iterator[Chunk]:
        """How many streams have ended, and how many chunks there were."""
        yield chunk(self.closed, np.array([[self.steps]], np.float32))

    def fail(self, n: int) -> Iterator[Chunk]:
        yield from self.count(n)
        raise ValueError("a fault of the model")

    def crash(self, n: int) -> Iterator[Chunk]:
        yield from self.count(n)
        os._exit(3)

    def hang(self, n: int) -> Iterator[Chunk]:
        yield chunk(0)
        while True:
            time.sleep(0.01)

    def wrong(self, n: int) -> Iterator[Chunk]:
        yield {"y": np.zeros(1, np.float64), "data": np.zeros((1, 1), np.float32)}

    def list(self, n: int) -> Iterator[Any]:
        yield [1]


def chunk(y: int, data: NDArray[Any] | None = None) -> Chunk:
    return {"y": np.array([y]), "data": np.zeros((1, 1), np.float32) if data is None else data}
