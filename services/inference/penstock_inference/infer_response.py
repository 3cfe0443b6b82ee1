"""The outputs of a model as a ``ModelInferResponse``."""

from __future__ import annotations

from penstock_common.contract import inference_pb2 as pb
from penstock_common.errors import PenstockError
from penstock_common.registry_models import Version
from penstock_common.tensors import CONTENTS_FIELDS, to_raw
from penstock_inference.engine.message import Outputs


def infer_response(request: pb.ModelInferRequest, version: Version, outputs: Outputs) -> pb.ModelInferResponse:
    """Return the outputs that the request asks for, all if it names none.

    The contents are raw if those of the request were, and typed otherwise.

    Raises:
        PenstockError: 422 ``unknown-output``.
    """
    specs = version.manifest.outputs
    wanted = {output.name for output in request.outputs}
    unknown = wanted - {spec.name for spec in specs}
    if unknown:
        raise PenstockError(422, "unknown-output", f"The model has no output {sorted(unknown)[0]!r}.")
    response = pb.ModelInferResponse(model_name=request.model_name, model_version=str(version.version), id=request.id)
    first = 0 if version.manifest.batch else 1  # a model without a batch has no rows
    raw = bool(request.raw_input_contents)
    for spec, array in zip(specs, outputs, strict=True):
        if wanted and spec.name not in wanted:
            continue
        output = response.outputs.add(name=spec.name, datatype=spec.datatype, shape=array.shape[first:])
        field = CONTENTS_FIELDS.get(spec.datatype)
        if raw or field is None:
            response.raw_output_contents.append(to_raw(array, spec.datatype))
        else:
            getattr(output.contents, field).extend(array.ravel().tolist())
    return response
