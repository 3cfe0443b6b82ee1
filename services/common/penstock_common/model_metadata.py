"""The model metadata document of the Open Inference Protocol v2, the same over REST and gRPC."""

from __future__ import annotations

from typing import Any

from penstock_common.manifest import Field, Manifest, Output


def model_metadata(name: str, version: str, manifest: Manifest) -> dict[str, Any]:
    """Return the document of one version; its keys are also the names of ``ModelMetadataResponse``'s fields."""
    return {
        "name": name,
        "versions": [version],
        "platform": f"penstock_{manifest.format.replace('-', '_')}",
        "inputs": [_tensor(field) for field in manifest.inputs],
        "outputs": [_tensor(output) for output in manifest.outputs],
    }


def _tensor(spec: Field | Output) -> dict[str, Any]:
    return {"name": spec.name, "datatype": spec.datatype, "shape": [-1, *spec.shape]}
