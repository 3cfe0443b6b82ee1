"""The manifest's ``parameters``, of which each kind of model takes some."""

from __future__ import annotations

from penstock_common.manifest import Manifest, Parameters
from penstock_inference.runners.runner import ModelMismatchError


def parameters_of(manifest: Manifest, *taken: str) -> Parameters:
    """Return the parameters of a manifest; None for those that it does not set.

    Args:
        taken: the names of those that the model takes.

    Raises:
        ModelMismatchError: the manifest sets another.
    """
    parameters = manifest.parameters or Parameters()
    for name in Parameters.__struct_fields__:
        if name not in taken and getattr(parameters, name) is not None:
            has = f"it has {', '.join(taken)}" if taken else "it has none"
            raise ModelMismatchError(f"parameters.{name}: the folder's model has no such parameter; {has}.")
    return parameters
