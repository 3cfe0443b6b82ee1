"""What gRPC health checks see of a pod."""

from __future__ import annotations

from collections.abc import AsyncIterator

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from penstock_inference.health import NOT_SERVING, SERVING, HealthBoard

UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN


@pytest.fixture
def board() -> HealthBoard:
    return HealthBoard()


@pytest.fixture
async def stub(board: HealthBoard) -> AsyncIterator[health_pb2_grpc.HealthStub]:
    server = grpc.aio.server()
    board.add_to(server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield health_pb2_grpc.HealthStub(channel)
    await server.stop(None)


async def statuses(stub: health_pb2_grpc.HealthStub, *services: str) -> list[int]:
    """The first status that a watcher of each service is sent."""
    found = []
    for service in services:
        call = stub.Watch(health_pb2.HealthCheckRequest(service=service))
        found.append((await call.read()).status)
        call.cancel()
    return found


async def test_a_model_that_is_no_longer_ready_is_not_serving(
    board: HealthBoard, stub: health_pb2_grpc.HealthStub
) -> None:
    """The pod is the service "", each model its own; a model that was never ready is unknown."""
    await board.show(False, set())
    assert await statuses(stub, "", "spam") == [NOT_SERVING, UNKNOWN]
    await board.show(True, {"spam", "digits"})
    assert await statuses(stub, "", "spam", "digits") == [SERVING] * 3
    await board.show(True, {"digits"})
    assert await statuses(stub, "", "spam", "digits") == [SERVING, NOT_SERVING, SERVING]


async def test_a_leaving_pod_serves_nothing(board: HealthBoard, stub: health_pb2_grpc.HealthStub) -> None:
    """A model that becomes ready while the pod leaves does not bring it back."""
    await board.show(True, {"spam"})
    await board.show_leaving()
    await board.show(True, {"spam", "digits"})
    assert await statuses(stub, "", "spam") == [NOT_SERVING, NOT_SERVING]
