"""A loaded model: pre-processing, the runner, and the check of what the runner returns."""

from __future__ import annotations

from penstock_common.errors import PenstockError
from penstock_common.manifest import Manifest
from penstock_common.preprocessing.steps import preprocess
from penstock_inference.engine.message import Arrays, Outputs
from penstock_inference.runners.runner import Runner


class LoadedModel:
    """Runs batches of one version.

    Args:
        manifest: its signature and pre-processing.
        runner: its file, loaded.
    """

    def __init__(self, manifest: Manifest, runner: Runner) -> None:
        self.manifest = manifest
        self._runner = runner

    def run(self, inputs: Arrays) -> Outputs:
        """Run one batch of checked inputs.

        Raises:
            PenstockError: 422 for a row that cannot be pre-processed; 500 ``bad-model-answer`` if the outputs
                do not fit the signature.
        """
        rows = len(next(iter(inputs.values())))
        outputs = self._runner.run(preprocess(self.manifest, inputs))
        if len(outputs) != len(self.manifest.outputs):
            raise PenstockError(
                500,
                "bad-model-answer",
                f"The model gave {len(outputs)} outputs, its manifest names {len(self.manifest.outputs)}.",
            )
        for output, spec in zip(outputs, self.manifest.outputs, strict=True):
            if output.ndim == 0 or len(output) != rows:
                raise PenstockError(
                    500, "bad-model-answer", f"Output {spec.name!r} does not have one row for each input row."
                )
        return outputs
