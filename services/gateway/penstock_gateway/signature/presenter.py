"""Raw output tensors as the JSON answer of ``/v1``: a class, a value, or the outputs themselves."""

from __future__ import annotations

import base64
import math
import struct
from collections.abc import Callable
from heapq import nlargest
from typing import Any

import msgspec
import numpy as np

from penstock_common.errors import PenstockError
from penstock_common.manifest import Manifest, Task
from penstock_common.postprocessing.steps import Postprocessing
from penstock_common.tensors import NUMPY_DTYPES, widened
from penstock_gateway.signature.answer_tensors import answer_array, bad_answer, check_finite
from penstock_gateway.signature.rows import RawOutputs, Rows

_ENCODER = msgspec.json.Encoder()
_FLOAT_CODES = {"FP16": "e", "FP32": "f", "FP64": "d"}
_DIGITS = 6
#: Of more labels than this, /v1 answers the probabilities of the best few only, unless the manifest says how many.
_MANY_LABELS = 20
_TOP_OF_MANY = 5


def top_labels(manifest: Manifest) -> int:
    """Return how many probabilities of a classification are answered, the best first; 0 for all."""
    return manifest.top_k or (_TOP_OF_MANY if len(manifest.labels) > _MANY_LABELS else 0)


class Presenter:
    """Writes the answers of one model; built once from its manifest."""

    def __init__(self, manifest: Manifest, model: str) -> None:
        self._model = model
        self._outputs = manifest.outputs
        self._binary = Postprocessing(manifest).binary_outputs()
        self._labels = manifest.labels
        #: How many probabilities are answered; 0: all.
        self._top = top_labels(manifest)
        self._probabilities = struct.Struct(
            f"<{len(manifest.labels)}{_FLOAT_CODES.get(manifest.outputs[0].datatype, 'f')}"
        )
        by_task: dict[Task, Callable[[RawOutputs, int], list[dict[str, Any]]]] = {
            Task.CLASSIFICATION: self._classes,
            Task.REGRESSION: self._values,
            Task.TENSOR: self._tensors,
            Task.GENERATION: self._tensors,
        }
        self._present_rows = by_task[manifest.task]

    def present(self, outputs: RawOutputs, rows: Rows, version: str) -> bytes:
        """The JSON answer: one object, or a list of them if the request was one.

        Args:
            rows: those that were asked.

        Raises:
            PenstockError: 500 ``bad-model-answer`` if the outputs do not fit the manifest or are not finite.
        """
        if len(outputs.tensors) != len(self._outputs):
            raise self._bad(f"{len(outputs.tensors)} outputs; its manifest names {len(self._outputs)}")
        answers = self._present_rows(outputs, rows.count)
        for answer in answers:
            answer["model"] = self._model
            answer["version"] = version
        return _ENCODER.encode(answers if rows.is_list else answers[0])

    def named(self, outputs: RawOutputs) -> dict[str, Any]:
        """The outputs of one row by name, as JSON has them.

        Raises:
            PenstockError: 500 ``bad-model-answer``.
        """
        if len(outputs.tensors) != len(self._outputs):
            raise self._bad(f"{len(outputs.tensors)} outputs; its manifest names {len(self._outputs)}")
        [row] = self._tensors(outputs, 1)
        named: dict[str, Any] = row["outputs"]
        return named

    def _classes(self, outputs: RawOutputs, rows: int) -> list[dict[str, Any]]:
        raw = outputs.tensors[0]
        if self._outputs[0].datatype == "BF16" and len(raw) % 2 == 0:
            raw = widened(np.frombuffer(raw, NUMPY_DTYPES["BF16"])).tobytes()
        size = self._probabilities.size
        if len(raw) != rows * size:
            wanted = f"{rows} x {len(self._labels)} probabilities"
            raise self._bad(f"{len(raw)} bytes; {wanted} take {rows * size}")
        answers: list[dict[str, Any]] = []
        for probabilities in self._probabilities.iter_unpack(raw):
            if not math.isfinite(sum(probabilities)):
                raise self._bad("a probability that is not a finite number")
            confidence = max(probabilities)
            answers.append(
                {
                    "prediction": self._labels[probabilities.index(confidence)],
                    "confidence": round(confidence, _DIGITS),
                    "probabilities": self._best(probabilities)
                    if self._top
                    else {label: round(p, _DIGITS) for label, p in zip(self._labels, probabilities, strict=True)},
                }
            )
        return answers

    def _best(self, probabilities: tuple[float, ...]) -> dict[str, float]:
        """The largest by label, the best first."""
        best = nlargest(self._top, range(len(probabilities)), key=probabilities.__getitem__)
        return {self._labels[i]: round(probabilities[i], _DIGITS) for i in best}

    def _values(self, outputs: RawOutputs, rows: int) -> list[dict[str, Any]]:
        datatype = self._outputs[0].datatype
        itemsize = NUMPY_DTYPES[datatype].itemsize
        if datatype == "BYTES" or len(outputs.tensors[0]) != rows * itemsize:
            raise self._bad(f"{len(outputs.tensors[0])} bytes; {rows} values of {datatype} were expected")
        array = widened(np.frombuffer(outputs.tensors[0], NUMPY_DTYPES[datatype]))
        if not np.isfinite(array).all():
            raise self._bad("a value that is not a finite number")
        # str() of a numpy float is the shortest text that reads back as the same FP32: 0.1, not 0.10000000149.
        values = [float(str(v)) for v in array] if array.dtype.kind == "f" else array.tolist()
        return [{"prediction": value} for value in values]

    def _tensors(self, outputs: RawOutputs, rows: int) -> list[dict[str, Any]]:
        columns = [self._nested(outputs, i, rows) for i in range(len(self._outputs))]
        names = [output.name for output in self._outputs]
        return [{"outputs": dict(zip(names, row, strict=True))} for row in zip(*columns, strict=True)]

    def _nested(self, outputs: RawOutputs, index: int, rows: int) -> list[Any]:
        """One output as nested lists, a row each."""
        output = self._outputs[index]
        array = answer_array(outputs, index, output, rows, self._model)
        if output.name in self._binary:
            files = [base64.b64encode(element).decode() for element in array.ravel().tolist()]
            array = np.array(files, dtype=np.object_).reshape(array.shape)
        elif output.datatype == "BYTES":
            try:
                texts = [element.decode() for element in array.ravel().tolist()]
            except UnicodeDecodeError:
                raise self._bad(f"'{output.name}' that is not UTF-8 text; ask for it as binary on /v2") from None
            array = np.array(texts, dtype=np.object_).reshape(array.shape)
        check_finite(array, output.name, self._model)
        nested: list[Any] = array.tolist()
        return nested

    def _bad(self, what: str) -> PenstockError:
        return bad_answer(self._model, what)
