"""What the formats of tabular models share: columns by name or one matrix, and the names of the outputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from penstock_common.manifest import Manifest, Task
from penstock_inference.runners.runner import FileTensor, ModelMismatchError
from penstock_inference.runners.texts import texts

PREDICTION, PROBABILITIES = "prediction", "probabilities"


class Table:
    """The inputs of a model that was fitted on a table.

    Args:
        columns: the names of its columns; None if it was fitted on a matrix without names.
        width: the columns of that matrix; None if the model does not say, as one that takes texts.
    """

    def __init__(self, columns: Sequence[str] | None, width: int | None) -> None:
        self._columns = columns
        self.inputs: list[FileTensor]
        if columns is not None:
            self.inputs = [FileTensor(name, None, (-1,)) for name in columns]
        else:
            self.inputs = [FileTensor(None, None, None if width is None else (-1, width))]

    def frame(self, inputs: Sequence[NDArray[Any] | None]) -> Any:
        """Return the rows as the model was fitted: a ``pandas.DataFrame``, or a matrix. BYTES become ``str``."""
        arrays = [texts(array) for array in inputs if array is not None]
        if self._columns is None:
            return arrays[0]
        import pandas

        return pandas.DataFrame(dict(zip(self._columns, arrays, strict=True)))

    def matrix(self, inputs: Sequence[NDArray[Any] | None], dtype: type[np.floating[Any]]) -> NDArray[Any]:
        """Return the rows as one matrix ``[N, columns]`` of numbers.

        Raises:
            ModelMismatchError: a column holds texts.
        """
        arrays = [array for array in inputs if array is not None]
        for tensor, array in zip(self.inputs, arrays, strict=True):
            if array.dtype.hasobject:
                raise ModelMismatchError(f"The model takes numbers for {tensor.name or 'its input'}, and gets BYTES.")
        if self._columns is None:
            return np.ascontiguousarray(arrays[0], dtype=dtype)
        return np.stack(arrays, axis=1).astype(dtype, copy=False)


def wanted_outputs(manifest: Manifest, known: Sequence[str]) -> dict[str, str]:
    """Return what each output of the manifest is, of the things that a model can say.

    An output says by its ``source``, or else by its name, which it is. The first one of a classification or a
    regression need not.

    Args:
        known: what the model can say.

    Returns:
        By the name under which the manifest looks for the output.

    Raises:
        ModelMismatchError: an output is none of them.
    """
    first = {Task.CLASSIFICATION: PROBABILITIES, Task.REGRESSION: PREDICTION}.get(manifest.task)
    wanted = {}
    for i, output in enumerate(manifest.outputs):
        name = output.source or output.name
        says = name if name in known else first if i == 0 and not output.source else None
        if says is None or says not in known:
            raise ModelMismatchError(
                f"The model can give {', '.join(known)}; the manifest's output {output.name!r} is none of them. "
                "Set its `source` to one."
            )
        wanted[name] = says
    return wanted


def check_classes(manifest: Manifest, classes: Sequence[Any] | None) -> None:
    """Check the labels against the classes of a classifier, in their order.

    Raises:
        ModelMismatchError: the classes have names, and the labels are others or in another order.
    """
    if manifest.task is not Task.CLASSIFICATION or classes is None or not all(isinstance(c, str) for c in classes):
        return
    if list(classes) != manifest.labels:
        raise ModelMismatchError(
            f"The model's classes are {', '.join(classes)}, in this order; the labels are {', '.join(manifest.labels)}."
        )


def two_columns(probabilities: NDArray[Any]) -> NDArray[Any]:
    """Return the probabilities ``[N, 2]`` of both classes, given those of the second one ``[N]``."""
    return np.stack([1 - probabilities, probabilities], axis=1)
