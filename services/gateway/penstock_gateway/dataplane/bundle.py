"""The rows of several requests as one message, and its answer cut back into their shares."""

from __future__ import annotations

import math
from collections.abc import Sequence

from penstock_common.contract import inference_pb2 as pb
from penstock_common.dimensions import wire_shape
from penstock_common.errors import PenstockError
from penstock_common.manifest import Manifest, is_varying
from penstock_gateway.dataplane.split_tensor import split_bytes, split_raw
from penstock_gateway.signature.rows import RawOutputs, Rows


class BundleFormat:
    """The messages of one model version."""

    def __init__(self, model: str, version: int, manifest: Manifest) -> None:
        self._model = model
        self._version = str(version)
        self._batch = manifest.batch
        self._inputs = [(field.name, field.datatype) for field in manifest.client_inputs]
        #: Of a row; those that vary come with the rows.
        self._shapes = [tuple(wire_shape(field.shape, batch=False)) for field in manifest.client_inputs]
        self._outputs = [output.name for output in manifest.outputs]
        self._outputs_vary = any(is_varying(output.shape) for output in manifest.outputs)

    def merge(self, bundle: Sequence[Rows], total: int) -> pb.ModelInferRequest:
        """One message that holds the ``total`` rows of a bundle, whose members agree in their shapes."""
        request = pb.ModelInferRequest(model_name=self._model, model_version=self._version)
        shapes = bundle[0].shapes or self._shapes
        for i, (name, datatype) in enumerate(self._inputs):
            shape = shapes[i]
            if shape is None:  # an input that none of them has
                continue
            request.inputs.add(name=name, datatype=datatype, shape=(total, *shape) if self._batch else shape)
            request.raw_input_contents.append(b"".join([rows.inputs[i] for rows in bundle]))
        return request

    def split(self, response: pb.ModelInferResponse, counts: Sequence[int], total: int) -> list[RawOutputs]:
        """The outputs for each member of the bundle.

        Args:
            counts: rows of each member, ``total`` in all.

        Raises:
            PenstockError: 500 ``bad-model-answer`` if an output is missing.
        """
        raw_by_name = dict(zip([o.name for o in response.outputs], response.raw_output_contents, strict=False))
        elements_by_name = {o.name: math.prod(o.shape) for o in response.outputs if o.datatype == "BYTES"}
        columns: list[list[bytes]] = []
        for name in self._outputs:
            raw = raw_by_name.get(name)
            if raw is None:
                raise PenstockError(500, "bad-model-answer", f"The model's answer lacks its output {name!r}.")
            elements = elements_by_name.get(name)
            if len(counts) == 1:
                columns.append([raw])
            elif elements is None:
                columns.append(split_raw(raw, counts, total))
            else:
                columns.append(split_bytes(raw, counts, total, elements))
        shapes = self._row_shapes(response) if self._outputs_vary else None
        return [RawOutputs(list(share), shapes) for share in zip(*columns, strict=True)]

    def _row_shapes(self, response: pb.ModelInferResponse) -> list[tuple[int, ...]]:
        by_name = {o.name: tuple(o.shape[1:] if self._batch else o.shape) for o in response.outputs}
        return [by_name[name] for name in self._outputs]
