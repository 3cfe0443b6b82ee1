"""Rows of a service's model from what a request asks about, with errors that name the request's member."""

from __future__ import annotations

from penstock_common.errors import PenstockError
from penstock_common.manifest_service import service_input
from penstock_common.service import Service
from penstock_gateway.edge.call import Call
from penstock_gateway.protocols.large_json import LargeJson
from penstock_gateway.signature.column import Column
from penstock_gateway.signature.field_check import invalid
from penstock_gateway.signature.rows import Rows
from penstock_gateway.signature.signature import Signature


def input_of(signature: Signature, service: Service) -> str:
    """The name of the input with which a model is asked.

    Raises:
        PenstockError: 422 ``invalid-input`` if the model is not for the service.
    """
    field = service_input(signature.manifest)
    if field is None or signature.manifest.service is not service:
        said = f"service: {signature.manifest.service}" if signature.manifest.service else "no service"
        what = f"'{signature.model}' is not for {service}: its manifest says {said}; GET /v1/models lists those of all models"
        raise invalid("model", what)
    return field.name


async def decode_column(call: Call, column: Column, signature: Signature, large_json: LargeJson | None) -> Rows:
    """The rows of a column, decoded in a process beside the gateway if it is large."""
    if large_json is not None and len(memoryview(column.values)) > large_json.min_bytes:
        return await large_json.column(call, column, signature)
    return column.rows(signature.decoder)


def of_member(err: PenstockError, field: str, member: str) -> PenstockError:
    """The error of a model's field as one of the request's member that had its value."""
    if field == member or err.extra.get("field") != field:
        return err
    named = err.copy()
    named.detail = err.detail.replace(f"Field '{field}'", f"Field '{member}'", 1)
    named.extra["field"] = member
    return named
