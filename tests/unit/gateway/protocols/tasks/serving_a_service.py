"""A model of a service that answers what it was told to, and requests to the route that asks it."""

from __future__ import annotations

import base64
from typing import Any

import orjson
import pytest

from penstock_common.errors import PenstockError
from penstock_common.manifest import Field, FieldKind, Format, Manifest, Output, Task
from penstock_common.service import Service
from penstock_common.tensors import pack_bytes
from penstock_gateway.protocols.tasks.handler import TaskHandler
from penstock_gateway.protocols.tasks.picture import PICTURE
from penstock_gateway.protocols.tasks.table import TASK_ROUTES
from penstock_gateway.signature.answer_size import MAX_ANSWER_BYTES
from tests.unit.gateway.protocols.one_servable import OneServable, call

PNG = base64.b64decode(PICTURE)
TEXT = Field("text", FieldKind.TEXT, "BYTES", max_length=100)
IMAGE = Field("image", FieldKind.IMAGE, "BYTES")


def serving(
    service: Service, *fields: Field, output: Output, answers: bytes | list[bytes] = b"", **members: Any
) -> OneServable:
    """A model ``m``; its answers are a raw tensor, or the texts of one."""
    task = Task.CLASSIFICATION if members.get("labels") else Task.TENSOR
    manifest = Manifest(Format.PYTHON, "m.py", task, list(fields), [output], service=service, **members)
    return OneServable("m", manifest, (answers if isinstance(answers, bytes) else pack_bytes(answers),))


def handler(path: str, servable: OneServable) -> TaskHandler[Any]:
    [route] = [route for route in TASK_ROUTES if route.path == path]
    return TaskHandler(route, servable.dataplane, MAX_ANSWER_BYTES, None)


async def answer(path: str, servable: OneServable, body: Any, headers: dict[bytes, bytes] | None = None) -> Any:
    """What a route answers; a body that is not bytes is sent as JSON."""
    sent = body if isinstance(body, bytes) else orjson.dumps(body)
    reply = await handler(path, servable)(call(sent, headers))
    assert isinstance(reply.body, bytes)
    return orjson.loads(reply.body)


async def refusal(
    path: str, servable: OneServable, body: Any, headers: dict[bytes, bytes] | None = None
) -> PenstockError:
    """The error with which a route refuses a body."""
    with pytest.raises(PenstockError) as caught:
        await answer(path, servable, body, headers)
    return caught.value
