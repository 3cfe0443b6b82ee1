"""``/v1``: a row's fields in, a prediction out."""

from __future__ import annotations

from penstock_gateway.dataplane.dataplane import DataPlane
from penstock_gateway.dataplane.servable import Servable
from penstock_gateway.edge.call import Call, Reply
from penstock_gateway.protocols.large_json import LargeJson
from penstock_gateway.protocols.row_body import RowBody
from penstock_gateway.signature.answer_size import MAX_ANSWER_BYTES, check_json_size
from penstock_gateway.signature.rows import RawOutputs, Rows


class Predict:
    """``POST /v1/models/{model}/predict``, that of a version, and ``POST /predict`` for the default model.

    Args:
        max_answer_bytes: the largest answer that is built.
        large_json: decodes large bodies; without it all are decoded here.
    """

    def __init__(
        self,
        dataplane: DataPlane,
        default_model: str,
        max_answer_bytes: int = MAX_ANSWER_BYTES,
        large_json: LargeJson | None = None,
    ) -> None:
        self._dataplane = dataplane
        self._default_model = default_model
        self._max_answer_bytes = max_answer_bytes
        self._rows = RowBody(large_json)

    async def __call__(self, call: Call) -> Reply:
        model = call.path.get("model") or self._default_model
        answer = await self._dataplane.infer(call, model, call.path.get("version", ""), self._rows)
        return answer.reply(presented(answer.servable, answer.outputs, answer.rows, self._max_answer_bytes))


def presented(servable: Servable, outputs: RawOutputs, rows: Rows, max_bytes: int) -> bytes:
    """What a servable answered, in the form of ``/v1``.

    Raises:
        PenstockError: 413 ``answer-too-large``; 500 ``bad-model-answer``.
    """
    check_json_size(outputs.tensors, servable.signature.manifest.outputs, max_bytes)
    return servable.signature.presenter.present(outputs, rows, servable.version)
