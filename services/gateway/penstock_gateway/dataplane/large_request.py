"""A request of more rows than one run of its model takes, cut into requests that a run takes.

In one message its runs would follow each other in one pod, and every other caller of that pod would wait for all of
them. Its parts take their turns with the others' requests, and go to whichever pods are free.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence

from penstock_common.dimensions import wire_shape
from penstock_common.manifest import Manifest, is_varying
from penstock_gateway.dataplane.split_tensor import split_bytes, split_raw
from penstock_gateway.signature.rows import RawOutputs, Rows


class LargeRequest:
    """Cuts the large requests of one model version, and joins the answers.

    Attributes:
        most_rows: of a part. None if all requests must stay whole: outputs of varying sizes are as large as the
            largest of a run, so those of two runs cannot be joined.
    """

    def __init__(self, manifest: Manifest) -> None:
        varies = any(is_varying(output.shape) for output in manifest.outputs)
        self.most_rows = manifest.batching.max_batch_size if manifest.batch and not varies else None
        self._inputs = [
            (field.datatype == "BYTES", tuple(wire_shape(field.shape, batch=False))) for field in manifest.client_inputs
        ]

    def cut(self, rows: Rows) -> list[Rows]:
        """Parts of ``most_rows`` each, the last one of fewer."""
        assert self.most_rows is not None
        counts = [min(self.most_rows, rows.count - at) for at in range(0, rows.count, self.most_rows)]
        columns = []
        for i, (raw, (is_bytes, fixed_shape)) in enumerate(zip(rows.inputs, self._inputs, strict=True)):
            shape = rows.shapes[i] if rows.shapes else fixed_shape
            if shape is None:  # an input that the request does not have
                columns.append([raw] * len(counts))
            elif is_bytes:
                columns.append(split_bytes(raw, counts, rows.count, rows.count * math.prod(shape)))
            else:
                columns.append(split_raw(raw, counts, rows.count))
        return [
            Rows(list(inputs), count, shapes=rows.shapes, principal=rows.principal, span=rows.span)
            for count, *inputs in zip(counts, *columns, strict=True)
        ]

    @staticmethod
    async def joined(answers: Sequence[asyncio.Future[RawOutputs]]) -> RawOutputs:
        """The answer to the whole request, from the parts'; if one fails, it fails, and the others are dropped."""
        try:
            parts = await asyncio.gather(*answers)
        finally:
            for answer in answers:
                answer.cancel()
        return RawOutputs([b"".join(column) for column in zip(*[part.tensors for part in parts], strict=True)])
