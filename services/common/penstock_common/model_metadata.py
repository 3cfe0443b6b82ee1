"""The model metadata document of the Open Inference Protocol v2, the same over REST and gRPC."""

from __future__ import annotations

from typing import Any

from penstock_common.dimensions import wire_shape
from penstock_common.manifest import Manifest


def model_metadata(name: str, version: str, manifest: Manifest) -> dict[str, Any]:
    """Return the document of one version; its keys are also the names of ``ModelMetadataResponse``'s fields."""
    return {
        "name": name,
        "versions": [version],
        "platform": f"penstock_{manifest.format.replace('-', '_')}",
        "inputs": [
            {"name": spec.name, "datatype": spec.datatype, "shape": wire_shape(spec.shape, batch=manifest.batch)}
            for spec in manifest.client_inputs
        ],
        "outputs": [
            {"name": spec.name, "datatype": spec.datatype, "shape": wire_shape(spec.shape, batch=manifest.batch)}
            for spec in manifest.outputs
        ],
    }
