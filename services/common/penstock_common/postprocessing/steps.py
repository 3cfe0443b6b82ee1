"""The table of post-processing steps, and ``Postprocessing``, which runs those that a manifest names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from penstock_common.manifest import Manifest, Output, Postprocess, bad_manifest
from penstock_common.postprocessing.best_class import ARGMAX, LABELS
from penstock_common.postprocessing.boxes import BOXES
from penstock_common.postprocessing.ctc import CTC
from penstock_common.postprocessing.probabilities import SIGMOID, SOFTMAX
from penstock_common.postprocessing.ranking import RANKING
from penstock_common.postprocessing.speech_segments import SPEECH_SEGMENTS
from penstock_common.postprocessing.step import Batch, Step
from penstock_common.postprocessing.wav import WAV
from penstock_common.step_params import read_params

STEPS: dict[str, Step[Any]] = {
    "softmax": SOFTMAX,
    "sigmoid": SIGMOID,
    "argmax": ARGMAX,
    "labels": LABELS,
    "ctc": CTC,
    "boxes": BOXES,
    "wav": WAV,
    "speech-segments": SPEECH_SEGMENTS,
    "ranking": RANKING,
}

_NO_FOLDER = Path()


class Postprocessing:
    """The steps of one manifest.

    Args:
        folder: of the artifact.

    Attributes:
        file_outputs: what the file is to give: the manifest's outputs but those that only a step makes, and then
            those that only a step reads.

    Raises:
        PenstockError: 422 ``bad-manifest`` if a step, its parameters or its outputs are wrong.
    """

    def __init__(self, manifest: Manifest, folder: Path = _NO_FOLDER) -> None:
        self._manifest = manifest
        self._folder = folder
        self._steps = _read_steps(manifest)
        made = {name for step in self._steps for name in step.gives}
        self.file_outputs = [output for output in manifest.outputs if output.name not in made]
        known = {output.source or output.name for output in self.file_outputs}
        extra = dict.fromkeys(name for step in self._steps for name in step.reads if name not in known)
        self.file_outputs += [Output(name, "", source=name) for name in extra]

    def files(self) -> list[str]:
        """Return the paths in the artifact of the files that the steps read."""
        return [path for step in self._steps for path in step.step.files(step.params)]

    def made_outputs(self) -> set[str]:
        """Return the names of the outputs that steps give; the others are those of the file."""
        return {name for step in self._steps for name in (step.output.name, *step.gives)}

    def binary_outputs(self) -> set[str]:
        """Return the names of the outputs that are files, and not texts."""
        return {step.output.name for step in self._steps if step.step.binary}

    def run(self, tensors: Sequence[NDArray[Any]], inputs: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        """Return the outputs of the manifest, in its order.

        Args:
            tensors: of ``file_outputs``, ``[rows, ...]`` each.
            inputs: what the clients sent, ``[rows, ...]`` for each field.

        Raises:
            PenstockError: 500 ``bad-model-answer`` if a step cannot work on what the file gives.
        """
        by_source = {o.source or o.name: tensor for o, tensor in zip(self.file_outputs, tensors, strict=True)}
        outputs = {output.name: tensor for output, tensor in zip(self.file_outputs, tensors, strict=True)}
        for step in self._steps:
            read = [by_source[name] for name in (step.output.source or step.output.name, *step.reads)]
            given = step.step.run(Batch(self._manifest, step.output, read, inputs, self._folder), step.params)
            outputs |= zip((step.output.name, *step.gives), given, strict=True)
        return [outputs[output.name] for output in self._manifest.outputs]


@dataclass(frozen=True, slots=True)
class _ReadStep:
    """A step with its parameters, the output that it gives, and the names of what else it reads and gives."""

    step: Step[Any]
    params: Any
    output: Output
    reads: list[str]
    gives: list[str]


def _read_steps(manifest: Manifest) -> list[_ReadStep]:
    chosen = manifest.postprocess_steps
    outputs = {output.name: output for output in manifest.outputs}
    steps: list[_ReadStep] = []
    given: set[str] = set()
    for number, entry in enumerate(chosen):
        where = f"postprocess.{number}" if isinstance(manifest.postprocess, list) else "postprocess"
        read = _read_step(entry, outputs, manifest, where)
        names = [read.output.name, *read.gives]
        for name in names:
            if name not in outputs:
                raise bad_manifest(f"{where}: {name!r} is not an output; there are {', '.join(outputs)}")
            if name in given or names.count(name) > 1:
                raise bad_manifest(f"{where}: output {name!r} is given twice; give each step an output of its own")
        given |= set(names)
        steps.append(read)
    return steps


def _read_step(chosen: Postprocess, outputs: Mapping[str, Output], manifest: Manifest, where: str) -> _ReadStep:
    step = STEPS.get(chosen.name)
    if step is None:
        raise bad_manifest(f"{where}.name: {chosen.name!r} is none of {', '.join(STEPS)}")
    params = read_params(where, chosen.name, chosen.params, step.params)
    output = outputs.get(chosen.output) if chosen.output else manifest.outputs[0]
    if output is None:
        raise bad_manifest(f"{where}.output: {chosen.output!r} is not an output; there are {', '.join(outputs)}")
    try:
        step.check(manifest, output, params)
    except ValueError as err:
        raise bad_manifest(str(err)) from None
    return _ReadStep(step, params, output, step.reads(params), step.gives(params))
