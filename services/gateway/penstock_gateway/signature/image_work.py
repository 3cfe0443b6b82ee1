"""The work that the images of a request are, in bytes."""

from __future__ import annotations

from penstock_common.image_weight import image_weight
from penstock_common.manifest import FieldKind, Manifest
from penstock_common.tensors import unpack_bytes
from penstock_gateway.signature.rows import Rows


class ImageWork:
    """Adds up what the images of checked rows weigh; see ``image_weight``."""

    def __init__(self, manifest: Manifest) -> None:
        self._fields = [i for i, field in enumerate(manifest.client_inputs) if field.kind is FieldKind.IMAGE]

    def __call__(self, rows: Rows) -> int:
        work = 0
        for i in self._fields:
            if raw := rows.inputs[i]:
                work += sum(map(image_weight, unpack_bytes(raw, rows.count)))
        return work
