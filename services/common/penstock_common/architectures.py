"""The architectures that a manifest may name for a file of weights, and their parameters; the pods have the code."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from penstock_common.manifest import Format, Manifest, bad_manifest
from penstock_common.step_params import read_params

_Size = Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]


class MlpParams(msgspec.Struct, forbid_unknown_fields=True):
    """``sizes``: of the input, of each hidden layer, and of the output."""

    sizes: Annotated[list[_Size], msgspec.Meta(min_length=2, max_length=100)]
    activation: Literal["relu", "gelu", "silu", "tanh", "sigmoid"] = "relu"


class ResNetParams(msgspec.Struct, forbid_unknown_fields=True):
    """``classes``: of the output."""

    classes: _Size = 1000


class MtcnnParams(msgspec.Struct, forbid_unknown_fields=True):
    """``smallest_face``: the side in pixels of the smallest face that is looked for; the larger, the faster."""

    smallest_face: Annotated[int, msgspec.Meta(ge=12, le=4096)] = 20


ARCHITECTURES: dict[str, type[msgspec.Struct]] = {
    "mlp": MlpParams,
    "mtcnn": MtcnnParams,
    "resnet18": ResNetParams,
    "resnet34": ResNetParams,
    "resnet50": ResNetParams,
}
#: Those that decode pictures themselves and answer with JSON; all others take and give numbers.
FROM_PICTURES = frozenset({"mtcnn"})


def check_architecture(manifest: Manifest) -> None:
    """Check that a file of weights, and no other, has an architecture, and its parameters.

    Raises:
        PenstockError: 422 ``bad-manifest``.
    """
    chosen = manifest.architecture
    if (chosen is not None) != (manifest.format is Format.SAFETENSORS):
        raise bad_manifest(
            f"architecture: the file of {manifest.format} has its own; leave it out"
            if chosen is not None
            else f"architecture: a safetensors file has only weights; name one of {', '.join(ARCHITECTURES)}"
        )
    if chosen is None:
        return
    if chosen.name not in ARCHITECTURES:
        raise bad_manifest(
            f"architecture.name: {chosen.name!r} is none of {', '.join(ARCHITECTURES)}; for another, load the weights "
            "into their module and save that with torch.export.save"
        )
    read_params("architecture", chosen.name, chosen.params, ARCHITECTURES[chosen.name])
