"""Models of LightGBM, in its own text format."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
from numpy.typing import NDArray

from penstock_common.manifest import Manifest
from penstock_inference.runners.runner import FileAnswer
from penstock_inference.runners.tables import PREDICTION, PROBABILITIES, Table, two_columns, wanted_outputs


class LightGbmRunner:
    """A booster: probabilities if it is a classifier's, and else a prediction, both FP64."""

    def __init__(self, booster: lightgbm.Booster, manifest: Manifest, threads: int) -> None:
        self._booster = booster
        self._threads = threads
        objective = str(booster.dump_model(num_iteration=1).get("objective", "")).split(" ")[0]
        self._binary = objective in ("binary", "cross_entropy")
        self._says = PROBABILITIES if self._binary or objective.startswith("multiclass") else PREDICTION
        self._outputs = list(wanted_outputs(manifest, [self._says]))
        names = booster.feature_name()
        unnamed = names == [f"Column_{i}" for i in range(len(names))]
        self._table = Table(None if unnamed else names, len(names))
        self.inputs = self._table.inputs
        self._has_categories = bool(booster.pandas_categorical)

    def run(self, inputs: Sequence[NDArray[Any] | None]) -> FileAnswer:
        answer = np.asarray(self._booster.predict(self._rows(inputs), num_threads=self._threads))
        if self._binary:
            answer = two_columns(answer)
        return dict.fromkeys(self._outputs, answer)

    def changed_state(self) -> list[str]:
        return []

    def _rows(self, inputs: Sequence[NDArray[Any] | None]) -> Any:
        if not self._has_categories:
            return self._table.matrix(inputs, np.float64)
        frame = self._table.frame(inputs)
        # The booster has the categories that it was fitted with, and gives each its number.
        return frame.astype({name: "category" for name in frame.columns if frame[name].dtype.kind == "O"})


def load(path: Path, manifest: Manifest, threads: int) -> LightGbmRunner:
    """Load the file that ``Booster.save_model`` writes."""
    return LightGbmRunner(lightgbm.Booster(model_file=str(path)), manifest, threads)
