"""The runner of all heads: a function of the tensors of a batch, with the inputs that it takes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from numpy.typing import NDArray

from penstock_common.manifest import Manifest
from penstock_common.preprocessing.steps import model_tensors
from penstock_inference.runners.runner import FileAnswer, FileTensor, ModelMismatchError

#: The tensors of a batch, in the order of the runner's inputs, to the outputs by name.
Run = Callable[[Sequence[NDArray[Any] | None]], dict[str, NDArray[Any]]]


class TransformersRunner:
    """A folder's model, run as its ``TorchDevice`` says.

    Args:
        run: brings its tensors to the device itself.
    """

    def __init__(self, inputs: Sequence[FileTensor], run: Run) -> None:
        self.inputs = inputs
        self._run = run

    def run(self, inputs: Sequence[NDArray[Any] | None]) -> FileAnswer:
        return self._run(inputs)

    def changed_state(self) -> list[str]:
        return []  # the library's models keep nothing between calls


def bytes_inputs(manifest: Manifest, most: int, takes: str) -> list[FileTensor]:
    """Return the inputs of a model that calls them as the manifest does: BYTES, one for each row.

    Args:
        most: inputs that the model takes.
        takes: the same in words, for the error.

    Raises:
        ModelMismatchError: the manifest has more of them, or others.
    """
    tensors = model_tensors(manifest)
    if len(tensors) > most or any((tensor.datatype, tensor.shape) != ("BYTES", ()) for tensor in tensors):
        raise ModelMismatchError(f"The folder's model takes {takes}; declare inputs of BYTES without a shape.")
    return [FileTensor(tensor.name, "BYTES", (-1,)) for tensor in tensors]
