"""The model configuration document of Triton's extension, from a model's manifest."""

from __future__ import annotations

from typing import Any

from penstock_common.dimensions import wire_shape
from penstock_common.manifest import Field, Manifest, Output


def model_config(model: str, manifest: Manifest) -> dict[str, Any]:
    """What ``GET /v2/models/{model}/config`` answers, after Triton's ``model_config.proto``."""
    return {
        "name": model,
        "platform": f"penstock_{manifest.format.replace('-', '_')}",
        "backend": "penstock",
        "max_batch_size": manifest.batching.max_batch_size if manifest.batch else 0,
        "input": [_tensor(field) | {"optional": not field.required} for field in manifest.client_inputs],
        "output": [_tensor(output) for output in manifest.outputs],
        "model_transaction_policy": {"decoupled": manifest.stream},
    }


def _tensor(spec: Field | Output) -> dict[str, Any]:
    """Dimensions leave out the rows. Triton knows no tensor without any, but one that is reshaped to none."""
    data_type = "TYPE_STRING" if spec.datatype == "BYTES" else f"TYPE_{spec.datatype}"
    if spec.shape:
        return {"name": spec.name, "data_type": data_type, "dims": wire_shape(spec.shape, batch=False)}
    return {"name": spec.name, "data_type": data_type, "dims": [1], "reshape": {"shape": []}}
