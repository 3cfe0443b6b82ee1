"""A loaded model: pre-processing, the runner, post-processing, and the check of what comes out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from penstock_common.manifest import Manifest
from penstock_common.postprocessing.steps import Postprocessing
from penstock_common.preprocessing.steps import preprocess
from penstock_inference.engine.array_of import array_of
from penstock_inference.engine.bindings import InputBinding, OutputBinding
from penstock_inference.engine.input_checks import check_utf8
from penstock_inference.engine.message import Arrays, Outputs
from penstock_inference.engine.output_checks import check_outputs
from penstock_inference.runners.runner import FileAnswer, FileTensor, PassesProgressOn, Runner


class FileModel:
    """What a model is around its file: from checked inputs to the file's, and from its answer to checked outputs.

    Args:
        manifest: its signature, pre- and post-processing.
        inputs: what the file takes.
        folder: of its artifact.

    Raises:
        ModelMismatchError: if the inputs of the file are not those of the manifest.
    """

    def __init__(self, manifest: Manifest, inputs: Sequence[FileTensor], folder: Path) -> None:
        self.manifest = manifest
        self._folder = folder
        self._inputs = InputBinding(manifest, inputs)
        masks = [field.mask for field in manifest.client_inputs if field.mask]
        self._names = [*[field.name for field in manifest.client_inputs], *masks]
        self._constants = [array_of(field, field.constant) for field in manifest.inputs if field.constant is not None]
        self._postprocessing = Postprocessing(manifest, folder)
        self._outputs: OutputBinding | None = None

    def _file_inputs(self, inputs: Arrays, rows: int) -> list[NDArray[Any] | None]:
        given: list[NDArray[Any] | None]
        if self.manifest.preprocess is None:
            given = [inputs.get(name) for name in self._names]
        else:
            given = [*preprocess(self.manifest, inputs, self._folder)]
        # Copies, since a model may write to what it is given.
        constants = [np.repeat(array[np.newaxis], rows, axis=0) for array in self._constants]
        return self._inputs.bind([*given, *constants])

    def _checked_outputs(self, answer: FileAnswer, inputs: Arrays, rows: int) -> Outputs:
        if self._outputs is None:  # some files tell the names of their outputs only when they answer
            self._outputs = OutputBinding(self._postprocessing.file_outputs, answer, batch=self.manifest.batch)
        outputs = self._postprocessing.run(self._outputs.take(answer), inputs)
        return check_outputs(self.manifest, outputs, rows)


class LoadedModel(PassesProgressOn, FileModel):
    """Runs batches of one version.

    Args:
        runner: its file, loaded.

    Attributes:
        longest_run: seconds of the longest of the runs by which it was tried; 0 before.
    """

    def __init__(self, manifest: Manifest, runner: Runner, folder: Path = Path()) -> None:
        super().__init__(manifest, runner.inputs, folder)
        self._runner = runner
        self.longest_run = 0.0

    def run(self, inputs: Arrays) -> Outputs:
        """Run one batch of checked inputs, ``[rows, *shape]`` each, with the masks of those that are padded.

        A model without a batch has one row.

        Raises:
            PenstockError: 422 ``invalid-input`` for a row that cannot be read; 500 ``bad-model-answer`` if the
                outputs do not fit the signature.
            ModelMismatchError: in the first run, if the outputs of the file are not those of the manifest.
        """
        rows = len(next(iter(inputs.values())))
        tensors = self._file_inputs(inputs, rows)
        try:
            answer = self._runner.run(tensors)
        except UnicodeDecodeError:
            check_utf8(inputs)
            raise
        return self._checked_outputs(answer, inputs, rows)

    def changed_state(self) -> list[str]:
        """Return the names of the weights and buffers that runs have changed."""
        return self._runner.changed_state()
