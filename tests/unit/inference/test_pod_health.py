"""What gRPC health checks see of a pod."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from penstock_common.manifest import is_name
from penstock_inference.health import LIVE, NOT_SERVING, SERVING, HealthBoard

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


async def test_a_pod_is_live_from_its_start_to_its_end(board: HealthBoard, stub: health_pb2_grpc.HealthStub) -> None:
    """The liveness probe must not end a pod because it loads or leaves; the name cannot be a model's."""
    request = health_pb2.HealthCheckRequest(service=LIVE)
    await board.show(False, set())
    assert (await stub.Check(request)).status == SERVING
    await board.show_leaving()
    assert (await stub.Check(request)).status == SERVING
    assert not is_name(LIVE)


async def test_a_loop_that_is_stuck_is_not_live(board: HealthBoard) -> None:
    """While something holds the event loop, the probe gets no answer; afterwards it does."""
    await board.show(True, set())
    server = grpc.aio.server()
    board.add_to(server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    request = health_pb2.HealthCheckRequest(service=LIVE)
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        probe = health_pb2_grpc.HealthStub(channel)
        with pytest.raises(grpc.RpcError) as silent:
            probe.Check(request, timeout=0.5)  # on this thread, and so on the loop's
        assert silent.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
        assert (await asyncio.to_thread(probe.Check, request, timeout=30)).status == SERVING
    await server.stop(None)
