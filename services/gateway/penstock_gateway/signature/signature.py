"""A model's signature: its manifest, what checks its requests and weighs them, what writes its answers."""

from __future__ import annotations

import msgspec

from penstock_common.manifest import Manifest
from penstock_gateway.signature.image_work import ImageWork
from penstock_gateway.signature.presenter import Presenter
from penstock_gateway.signature.request_bounds import DEFAULT_BOUNDS, RequestBounds
from penstock_gateway.signature.row_decoder import RowDecoder


class Signature:
    """Built once for each model version.

    Args:
        manifest: what the version's ``model.yaml`` declares.
        model: the model's name, for its answers.
        bounds: what one request may hold.
    """

    __slots__ = ("bounds", "decoder", "encoded", "image_work", "manifest", "model", "presenter")

    def __init__(self, manifest: Manifest, model: str, bounds: RequestBounds = DEFAULT_BOUNDS) -> None:
        self.model = model
        self.manifest = manifest
        self.encoded = msgspec.msgpack.encode(manifest)
        self.bounds = bounds
        self.decoder = RowDecoder(manifest, bounds)
        self.image_work = ImageWork(manifest)
        self.presenter = Presenter(manifest, model)
