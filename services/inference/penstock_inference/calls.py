"""What the calls of the gRPC edge have in common: who sends a message, how long it may take, how it is counted."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import grpc
import structlog

from penstock_common.contract import inference_pb2 as pb
from penstock_common.errors import PenstockError
from penstock_inference.metrics import count_unknown_answer
from penstock_inference.versions.hosted import HostedVersion

log = structlog.get_logger()
T = TypeVar("T")

#: The time of a message whose caller sets no deadline.
DEFAULT_SECONDS = 60.0

#: How much before this side's deadline a caller may give up because of its own, which began earlier.
_EARLY_SECONDS = 0.05

#: Metadata of a message that names the principal whose turn it takes.
_PRINCIPAL = "penstock-principal"
#: Metadata of a message with how many pods Envoy has sent it to, this one included.
_ATTEMPTS = "x-envoy-attempt-count"


class Sender(NamedTuple):
    """What the metadata say of a message's sender.

    Attributes:
        principal: whose message it is; empty if the caller does not say, or bundles those of several.
        retried: whether Envoy has sent it to another pod before.
    """

    principal: str = ""
    retried: bool = False


def sender_of(context: grpc.aio.ServicerContext[Any, Any]) -> Sender:
    principal, retried = "", False
    for key, value in context.invocation_metadata() or ():
        if key == _PRINCIPAL:
            principal = str(value)
        elif key == _ATTEMPTS:
            retried = value != "1"
    return Sender(principal, retried)


@dataclass(slots=True)
class AnsweredCall:
    """A message that is being answered; ``hosted`` is None until its version is found."""

    hosted: HostedVersion | None = None


@contextmanager
def counted(
    request: pb.ModelInferRequest, deadline: float, hosted: HostedVersion | None = None
) -> Iterator[AnsweredCall]:
    """Count a message by the status it ends with; log an unexpected exception and raise 500 ``model-failed`` instead."""
    call = AnsweredCall(hosted)
    code = "OK"
    try:
        yield call
    except PenstockError as err:
        code = err.grpc_code.name
        raise
    except (asyncio.CancelledError, GeneratorExit):
        code = "CANCELLED" if time.monotonic() < deadline - _EARLY_SECONDS else "DEADLINE_EXCEEDED"
        raise
    except Exception:
        code = "INTERNAL"
        number = request.model_version if call.hosted is None else call.hosted.version.version
        log.exception("model failed", model=request.model_name, version=str(number))
        raise PenstockError(500, "model-failed", f"Model {request.model_name!r} failed on this input.") from None
    finally:
        if call.hosted is None:
            count_unknown_answer(code)
        else:
            call.hosted.metrics.count_answer(code)


async def until(deadline: float, result: Awaitable[T]) -> T:
    """Await ``result``, but not longer than until ``deadline``.

    Raises:
        PenstockError: 504 ``deadline-exceeded``.
    """
    try:
        async with asyncio.timeout(deadline - time.monotonic()):
            return await result
    except TimeoutError:
        raise PenstockError(504, "deadline-exceeded", "The model did not answer in time.") from None
