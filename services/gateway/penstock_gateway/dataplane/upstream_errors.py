"""What went wrong behind Envoy, as the problem that a client sees."""

from __future__ import annotations

import time
from typing import Any

import grpc

from penstock_common.errors import GRPC_TO_HTTP, PenstockError

#: Of one message, here, in Envoy and in the pods.
MAX_MESSAGE_BYTES = 64 * 1024 * 1024
#: How much earlier than here the deadline may pass in Envoy, where it began earlier.
_EARLY_SECONDS = 0.1

_ROW_COULD_BE_TO_BLAME = frozenset({400, 413, 415, 422, 500})


def row_could_be_to_blame(err: Exception) -> bool:
    """Whether a bundle's error may go away for most rows when they are sent alone."""
    return isinstance(err, PenstockError) and err.status in _ROW_COULD_BE_TO_BLAME


def is_connection_lost(err: grpc.aio.AioRpcError) -> bool:
    """Whether a call failed between the gateway and Envoy: neither Envoy nor a pod has answered anything."""
    return err.code() is grpc.StatusCode.UNAVAILABLE and not err.initial_metadata() and not err.trailing_metadata()


def is_reset_at(deadline: float, err: grpc.aio.AioRpcError) -> bool:
    """Whether Envoy reset a stream at its deadline: once a stream has begun, it cannot say so in a status."""
    trailing: Any = err.trailing_metadata() or ()
    late = time.monotonic() > deadline - _EARLY_SECONDS
    return late and "penstock-code" not in {key for key, _ in trailing}


def translate(err: grpc.aio.AioRpcError, model: str) -> PenstockError:
    """A pod's or Envoy's gRPC status as the problem that a client sees.

    Only a pod writes details for clients, and marks them with a ``penstock-code``;
    everything else (Envoy's own text, a broken stream) is not passed on.
    """
    status = GRPC_TO_HTTP.get(err.code(), 500)
    trailing: Any = err.trailing_metadata() or ()
    code = next((value for key, value in trailing if key == "penstock-code"), None)
    if code and status != 500:
        headers = {"Retry-After": "1"} if status == 503 else None
        return PenstockError(status, str(code), err.details() or "", headers=headers)
    if err.code() is grpc.StatusCode.RESOURCE_EXHAUSTED:  # gRPC's own bound on the size of a message
        text = f"The request to {model!r} or its answer is too large for one message; send fewer or smaller rows."
        return PenstockError(413, "message-too-large", text, extra={"bound": "message", "limit": MAX_MESSAGE_BYTES})
    if status == 503:
        return PenstockError(
            503,
            "upstream-unavailable",
            f"No pod that serves {model!r} could be reached just now; try again shortly.",
            headers={"Retry-After": "1"},
        )
    if status == 504:
        return deadline_exceeded()
    if status == 404:
        return PenstockError(404, "unknown-model", f"No pod serves {model!r}.")
    return PenstockError(500, "upstream-error", f"Model {model!r} failed on this input.")


def deadline_exceeded() -> PenstockError:
    return PenstockError(504, "deadline-exceeded", "The model did not answer in time.")
