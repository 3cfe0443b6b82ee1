"""The handler that all routes of tasks share."""

from __future__ import annotations

from typing import Any, Generic

import msgspec

from penstock_common.errors import PenstockError
from penstock_common.manifest_service import CONTRACTS
from penstock_common.service import Service
from penstock_gateway.dataplane.dataplane import DataPlane
from penstock_gateway.edge.call import Call, Reply
from penstock_gateway.protocols.large_json import LargeJson
from penstock_gateway.protocols.tasks.request import Asked, read_request
from penstock_gateway.protocols.tasks.route import R, TaskRoute
from penstock_gateway.protocols.tasks.rows import decode_column, input_of, of_member
from penstock_gateway.signature.answer_size import check_json_size
from penstock_gateway.signature.column import Column
from penstock_gateway.signature.field_check import invalid
from penstock_gateway.signature.rows import Rows
from penstock_gateway.signature.signature import Signature

#: Characters of a model's description that an error quotes.
_DESCRIBED = 200


class TaskAnswer(msgspec.Struct):
    """What every route answers: a result for each row, in the order of the request, and who gave them."""

    model: str
    version: str
    results: list[Any]


class TaskHandler(Generic[R]):
    """Answers one route.

    Args:
        max_answer_bytes: the largest answer that is built.
        large_json: decodes what is large; without it all is decoded here.
    """

    def __init__(
        self, route: TaskRoute[R], dataplane: DataPlane, max_answer_bytes: int, large_json: LargeJson | None
    ) -> None:
        self.route = route
        self._dataplane = dataplane
        self._max_answer_bytes = max_answer_bytes
        self._large_json = large_json

    async def __call__(self, call: Call) -> Reply:
        asked = await read_request(call, self.route)
        service = self.route.services[asked.member]
        model = asked.request.model
        if model is None:
            model = self._dataplane.default_model(call.principal, service)

        async def rows(call: Call, signature: Signature) -> Rows:
            return await self._rows(call, asked, service, signature)

        answer = await self._dataplane.infer(call, model, "", rows)
        check_json_size(answer.outputs.tensors, answer.servable.signature.manifest.outputs, self._max_answer_bytes)
        results = self.route.present(answer, asked.request)
        return answer.reply(msgspec.json.encode(TaskAnswer(answer.servable.model, answer.servable.version, results)))

    async def _rows(self, call: Call, asked: Asked[R], service: Service, signature: Signature) -> Rows:
        field = input_of(signature, service)
        others = _others(asked.request, service, signature)
        values, asked.values = asked.values, ()  # the rows have copies of what they need
        try:
            if isinstance(values, msgspec.Raw):
                column = Column(field, values, others, is_row=not self.route.lists)
                return await decode_column(call, column, signature, self._large_json)
            if len(values) == 1:
                return signature.decoder.decode_form({field: values[0]})
            return signature.decoder.decode_forms([{field: value} for value in values])
        except PenstockError as err:
            raise of_member(err, field, asked.member) from None


def _others(request: R, service: Service, signature: Signature) -> dict[str, Any]:
    """The further inputs that a request gives.

    Raises:
        PenstockError: 422 ``invalid-input`` for one that the model does not take.
    """
    taken = {field.name for field in signature.manifest.client_inputs}
    names = [field.name for field in CONTRACTS[service].others]
    others = {name: value for name in names if (value := getattr(request, name)) is not None}
    for name in others:
        if name not in taken:
            description = signature.manifest.description[:_DESCRIBED]
            said = f" (it says of itself: {description})" if description else ""
            raise invalid(name, f"'{signature.model}' does not take it{said}; leave it out")
    return others
