"""The seam between the engine and the frameworks."""

from __future__ import annotations

from typing import Any, Protocol

from numpy.typing import NDArray


class Runner(Protocol):
    """The file of a model, loaded. The module of each format has a function ``load(path, threads)`` that returns one."""

    def run(self, batch: list[NDArray[Any]]) -> list[NDArray[Any]]:
        """Run the positional input tensors ``[N, ...]`` of a batch; return the output tensors ``[N, ...]``.

        Blocks. Called from one thread at a time. Raises whatever the framework raises.
        """
        ...
