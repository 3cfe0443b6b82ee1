"""Triton's extensions of the Open Inference Protocol: what is there, and what says that it is not."""

from __future__ import annotations

import time
from types import MappingProxyType
from typing import cast

import pytest
from starlette.routing import Match, Route

from penstock_common.errors import PenstockError
from penstock_common.manifest import Batching, Field, FieldKind, Format, Manifest, Output, Task
from penstock_gateway.auth.principal import Principal
from penstock_gateway.edge.call import Call, Receive
from penstock_gateway.protocols.triton_absent import ABSENT, absent
from penstock_gateway.protocols.triton_config import model_config
from tests.unit.gateway.protocols.one_servable import FreeLease


def test_the_model_configuration() -> None:
    """Triton's types; dimensions without the rows, a scalar as one that is reshaped to none."""
    inputs = [
        Field("text", FieldKind.TEXT, "BYTES"),
        Field("grid", FieldKind.TENSOR, "FP16", shape=[2, 3]),
        Field("garden", FieldKind.BOOLEAN, "BOOL", required=False, default=False),
    ]
    outputs = [Output("y", "INT64", [-1])]
    manifest = Manifest(Format.TORCH_EXPORT, "m.pt2", Task.TENSOR, inputs, outputs, batching=Batching(8))
    assert model_config("m", manifest) == {
        "name": "m",
        "platform": "penstock_torch_export",
        "backend": "penstock",
        "max_batch_size": 8,
        "input": [
            {"name": "text", "data_type": "TYPE_STRING", "dims": [1], "reshape": {"shape": []}, "optional": False},
            {"name": "grid", "data_type": "TYPE_FP16", "dims": [2, 3], "optional": False},
            {"name": "garden", "data_type": "TYPE_BOOL", "dims": [1], "reshape": {"shape": []}, "optional": True},
        ],
        "output": [{"name": "y", "data_type": "TYPE_INT64", "dims": [-1]}],
        "model_transaction_policy": {"decoupled": False},
    }
    streams = Manifest(Format.PYTHON, "m.py", Task.TENSOR, inputs, outputs, stream=True)
    assert model_config("m", streams)["model_transaction_policy"] == {"decoupled": True}


async def test_what_is_absent_says_what_does_its_job() -> None:
    """404, which no alert takes for a failure, with the way to do it here."""
    call = Call(
        MappingProxyType({}), {}, b"", Principal("ann", "Ann"), time.monotonic() + 5, cast(Receive, None), FreeLease()
    )
    with pytest.raises(PenstockError, match=r"not exist here\. Use the other\.") as caught:
        await absent("Use the other.")(call)
    assert (caught.value.status, caught.value.code) == (404, "not-supported")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v2/models/stats"),
        ("GET", "/v2/models/m/stats"),
        ("POST", "/v2/repository/models/m/load"),
        ("GET", "/v2/systemsharedmemory/status"),
        ("GET", "/v2/systemsharedmemory/region/r/status"),
        ("POST", "/v2/cudasharedmemory/region/r/register"),
    ],
)
def test_the_table_of_what_is_absent(method: str, path: str) -> None:
    """Each call of Triton's clients is one of its rows."""
    scope = {"type": "http", "method": method, "path": path, "root_path": ""}
    routes = [Route(route, absent(""), methods=[verb]) for verb, route, _ in ABSENT]
    assert [route.matches(scope)[0] for route in routes].count(Match.FULL) == 1
