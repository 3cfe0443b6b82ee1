"""Models of scikit-learn: in files of skops, which hold no code, or pickled.

Of a file of skops, only types that skops knows to be harmless are loaded, and those of scikit-learn itself: skops
distrusts its trees, since a crafted one can crash the process, which is then this model's alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import skops.io
import threadpoolctl
from numpy.typing import NDArray

from penstock_common.manifest import Manifest
from penstock_inference.runners.runner import FileAnswer, ModelMismatchError
from penstock_inference.runners.tables import (
    PREDICTION,
    PROBABILITIES,
    Table,
    check_classes,
    wanted_outputs,
)
from penstock_inference.runners.texts import encoded

#: Beginnings of the names of types that skops does not know, or distrusts for what they may do to their own process.
_HARMLESS = ("sklearn.", "numpy.dtype")

#: What a manifest may call the results of an estimator's methods.
_METHODS = {
    PREDICTION: "predict",
    PROBABILITIES: "predict_proba",
    "decision": "decision_function",
    "transformed": "transform",
}


class ScikitLearnRunner:
    """An estimator or a pipeline; each output of the manifest is the result of one of its methods."""

    def __init__(self, estimator: Any, manifest: Manifest) -> None:
        known = [name for name, method in _METHODS.items() if hasattr(estimator, method)]
        wanted = wanted_outputs(manifest, known)
        self._methods = {name: getattr(estimator, _METHODS[what]) for name, what in wanted.items()}
        check_classes(manifest, classes_of(estimator))
        self._table = Table(
            _listed(getattr(estimator, "feature_names_in_", None)), getattr(estimator, "n_features_in_", None)
        )
        self.inputs = self._table.inputs

    def run(self, inputs: Sequence[NDArray[Any] | None]) -> FileAnswer:
        rows = self._table.frame(inputs)
        return {name: encoded(np.asarray(method(rows))) for name, method in self._methods.items()}

    def changed_state(self) -> list[str]:
        return []  # a fitted estimator is not changed by its predictions


def load(path: Path, manifest: Manifest, threads: int) -> ScikitLearnRunner:
    """Load a ``.skops`` file."""
    threadpoolctl.threadpool_limits(threads)
    return ScikitLearnRunner(load_estimator(path), manifest)


def load_pickled(path: Path, manifest: Manifest, threads: int) -> ScikitLearnRunner:
    """Load a file of ``joblib.dump`` or ``pickle.dump``, which may run any code: the operator has to allow it."""
    threadpoolctl.threadpool_limits(threads)
    return ScikitLearnRunner(load_pickled_estimator(path), manifest)


def load_estimator(path: Path) -> Any:
    """Return what a ``.skops`` file holds.

    Raises:
        ModelMismatchError: naming the types that are not known to be harmless.
    """
    untrusted = skops.io.get_untrusted_types(file=path)
    unknown = [name for name in untrusted if not name.startswith(_HARMLESS)]
    if unknown:
        raise ModelMismatchError(
            f"The file holds types that are not known to be harmless: {', '.join(unknown)}. Leave them out of the "
            "pipeline, or convert it to ONNX with skl2onnx."
        )
    return skops.io.load(path, trusted=untrusted)


def load_pickled_estimator(path: Path) -> Any:
    """Return what a pickle holds; it may run any code."""
    return joblib.load(path)


def classes_of(estimator: Any) -> list[Any] | None:
    """Return the classes of a classifier; None of anything else, or of one with several targets, which has a list of them."""
    classes = getattr(estimator, "classes_", None)
    return None if isinstance(classes, list) else _listed(classes)


def _listed(array: Any) -> list[Any] | None:
    return None if array is None else np.asarray(array).tolist()
