"""``POST /v1/moderations``: texts in, and for each which of a classifier's labels it has, and whether it is flagged."""

from __future__ import annotations

import secrets
from typing import Any

import msgspec

from penstock_common.errors import PenstockError
from penstock_common.service import Service
from penstock_gateway.dataplane.dataplane import Answer, DataPlane
from penstock_gateway.edge.call import Call, Reply
from penstock_gateway.protocols.large_json import LargeJson
from penstock_gateway.protocols.openai.request import ModelName, decode_request
from penstock_gateway.protocols.tasks.labels import scored_labels
from penstock_gateway.protocols.tasks.rows import decode_column, input_of, of_member
from penstock_gateway.signature.answer_size import check_answer_size
from penstock_gateway.signature.column import Column
from penstock_gateway.signature.rows import Rows
from penstock_gateway.signature.signature import Signature

#: What a label takes in an answer, about.
_LABEL_BYTES = 128


class ModerationsRequest(msgspec.Struct):
    input: msgspec.Raw  # a text, or a list of texts
    model: ModelName | None = None


class Moderations:
    """The handler of the route.

    Args:
        max_answer_bytes: the largest answer that is built.
        large_json: decodes what is large; without it all is decoded here.
    """

    def __init__(self, dataplane: DataPlane, max_answer_bytes: int, large_json: LargeJson | None) -> None:
        self._dataplane = dataplane
        self._max_answer_bytes = max_answer_bytes
        self._large_json = large_json
        self._decoder = msgspec.json.Decoder(ModerationsRequest)

    async def __call__(self, call: Call) -> Reply:
        request = decode_request(self._decoder, call.body)
        model = request.model
        if model is None:
            model = self._dataplane.default_model(call.principal, Service.MODERATION)

        async def rows(call: Call, signature: Signature) -> Rows:
            field = input_of(signature, Service.MODERATION)
            column, request.input = Column(field, request.input), msgspec.Raw()  # the rows have copies
            try:
                return await decode_column(call, column, signature, self._large_json)
            except PenstockError as err:
                raise of_member(err, field, "input") from None

        answer = await self._dataplane.infer(call, model, "", rows)
        labels = len(answer.servable.signature.manifest.labels)
        check_answer_size(answer.rows.count * labels * _LABEL_BYTES, self._max_answer_bytes)
        body = {"id": f"modr-{secrets.token_hex(12)}", "model": model, "results": _results(answer)}
        return answer.reply(msgspec.json.encode(body))


def _results(answer: Answer) -> list[dict[str, Any]]:
    """A result for each text: its likeliest label is its category, and flags it unless the manifest calls it harmless."""
    manifest = answer.servable.signature.manifest
    harmful = [label for label in manifest.labels if label not in manifest.harmless_labels]
    results = []
    for scored in scored_labels(answer, len(manifest.labels)):
        likeliest, scores = scored[0][0], dict(scored)
        results.append(
            {
                "flagged": likeliest in harmful,
                "categories": {label: label == likeliest for label in harmful},
                "category_scores": {label: scores[label] for label in harmful},
                "category_applied_input_types": {label: ["text"] for label in harmful},
            }
        )
    return results
