"""Records what a function starts on the GPU for some batch sizes, and replays it instead of starting it from Python."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from penstock_inference.runners.runner import ModelMismatchError

#: Runs before a recording, in which libraries choose their algorithms and get their workspaces.
_RUNS_BEFORE = 3


@dataclass(frozen=True, slots=True)
class _Recording:
    """What was recorded for one batch size; it reads and writes always the same memory.

    Attributes:
        inputs: to be filled before a replay; None for one that is left out.
        answer: of the function; valid until the next replay of any recording.
    """

    graph: torch.cuda.CUDAGraph
    inputs: Sequence[torch.Tensor | None]
    answer: Any


class RecordedFunction:
    """A function of tensors on the GPU whose shapes are fixed but for the batch.

    Args:
        function: what each of its runs does must not depend on the tensors' values.
        batch_sizes: those that are recorded, each in its first run; other sizes run as they are.
    """

    def __init__(self, function: Callable[..., Any], batch_sizes: Sequence[int]) -> None:
        self._function = function
        self._batch_sizes = frozenset(batch_sizes)
        self._recordings: dict[int, _Recording] = {}
        # One memory for all recordings, since only one of them runs at a time.
        self._memory = torch.cuda.graph_pool_handle()

    def __call__(self, *tensors: torch.Tensor | None) -> Any:
        """Return what the function does; its tensors are overwritten by the next call.

        Raises:
            ModelMismatchError: a size could not be recorded.
        """
        rows = next(len(tensor) for tensor in tensors if tensor is not None)
        if rows not in self._batch_sizes:
            return self._function(*tensors)
        recording = self._recordings.get(rows)
        if recording is None:
            recording = self._recordings[rows] = self._record(rows, tensors)
        for own, given in zip(recording.inputs, tensors, strict=True):
            if own is not None and given is not None:
                own.copy_(given)
        recording.graph.replay()
        return recording.answer

    def _record(self, rows: int, tensors: Sequence[torch.Tensor | None]) -> _Recording:
        inputs = [None if tensor is None else tensor.clone() for tensor in tensors]
        for _ in range(_RUNS_BEFORE):
            self._function(*inputs)
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph, self._memory, torch.cuda.current_stream()):
                answer = self._function(*inputs)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as err:
            raise ModelMismatchError(
                f"A batch of {rows} rows cannot be recorded, probably because the model looks at values on "
                f"its way: {str(err)[:300]}. Leave acceleration.cuda_graphs out."
            ) from err
        return _Recording(graph, inputs, answer)
