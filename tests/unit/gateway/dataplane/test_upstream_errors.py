"""What a gRPC status becomes for a client."""

from __future__ import annotations

import grpc
import pytest

from penstock_common.errors import PenstockError
from penstock_gateway.dataplane.upstream_errors import row_could_be_to_blame, translate

S = grpc.StatusCode
SECRET = "upstream connect error 10.0.0.7:9100 Traceback"
COME_BACK = {"Retry-After": "1"}


def error(status: grpc.StatusCode, code: str | None, details: str | None) -> grpc.aio.AioRpcError:
    """What the stub raises; ``code`` is the mark of our pods."""
    trailing = grpc.aio.Metadata(*([("penstock-code", code)] if code else []))
    return grpc.aio.AioRpcError(status, grpc.aio.Metadata(), trailing, details)


@pytest.mark.parametrize(
    ("status", "code", "http", "headers"),
    [
        (S.INVALID_ARGUMENT, "invalid-input", 422, {}),
        (S.OUT_OF_RANGE, "invalid-input", 422, {}),
        (S.NOT_FOUND, "unknown-version", 404, {}),
        (S.FAILED_PRECONDITION, "some-state", 412, {}),
        (S.RESOURCE_EXHAUSTED, "queue-full", 503, COME_BACK),
        (S.UNAVAILABLE, "model-unavailable", 503, COME_BACK),
        (S.CANCELLED, "some-cancel", 503, COME_BACK),
        (S.DEADLINE_EXCEEDED, "deadline-exceeded", 504, {}),
    ],
)
def test_what_a_pod_says_is_passed_on(status: grpc.StatusCode, code: str, http: int, headers: dict[str, str]) -> None:
    """A pod's own code and words reach the client, with the HTTP status of the gRPC status."""
    problem = translate(error(status, code, "Field 'x' is too long."), "spam")
    assert (problem.status, problem.code, problem.detail) == (http, code, "Field 'x' is too long.")
    assert problem.headers == headers


@pytest.mark.parametrize(
    ("status", "http", "code", "headers"),
    [
        (S.UNAVAILABLE, 503, "upstream-unavailable", COME_BACK),
        (S.RESOURCE_EXHAUSTED, 413, "message-too-large", {}),
        (S.CANCELLED, 503, "upstream-unavailable", COME_BACK),
        (S.DEADLINE_EXCEEDED, 504, "deadline-exceeded", {}),
        (S.NOT_FOUND, 404, "unknown-model", {}),
        (S.INVALID_ARGUMENT, 500, "upstream-error", {}),
        (S.OUT_OF_RANGE, 500, "upstream-error", {}),
        (S.FAILED_PRECONDITION, 500, "upstream-error", {}),
        (S.INTERNAL, 500, "upstream-error", {}),
        (S.UNKNOWN, 500, "upstream-error", {}),
        (S.UNIMPLEMENTED, 500, "upstream-error", {}),
        (S.DATA_LOSS, 500, "upstream-error", {}),
        (S.ABORTED, 500, "upstream-error", {}),
        (S.ALREADY_EXISTS, 500, "upstream-error", {}),
        (S.PERMISSION_DENIED, 500, "upstream-error", {}),
        (S.UNAUTHENTICATED, 500, "upstream-error", {}),
    ],
)
def test_what_nobody_wrote_for_clients_gets_words_of_the_gateway(
    status: grpc.StatusCode, http: int, code: str, headers: dict[str, str]
) -> None:
    """Without a pod's mark the client gets the gateway's code and words for the status, and none of the details."""
    problem = translate(error(status, None, SECRET), "spam")
    assert (problem.status, problem.code, problem.headers) == (http, code, headers)
    assert SECRET not in str(problem.problem())


@pytest.mark.parametrize("status", [S.INTERNAL, S.UNKNOWN, S.DATA_LOSS, S.ABORTED, S.PERMISSION_DENIED])
def test_a_pods_defect_is_not_told(status: grpc.StatusCode) -> None:
    """A failure inside a pod is 500 ``upstream-error`` and names the model, though the pod has marked it."""
    problem = translate(error(status, "model-failed", SECRET), "spam")
    assert (problem.status, problem.code) == (500, "upstream-error")
    assert "'spam'" in problem.detail
    assert SECRET not in str(problem.problem())
    assert "model-failed" not in str(problem.problem())


def test_a_broken_stream_has_neither_metadata_nor_details() -> None:
    """An error that no server wrote is translated too."""
    bare = grpc.aio.AioRpcError(S.UNAVAILABLE, None, None, None)  # type: ignore[arg-type]
    assert translate(bare, "spam").code == "upstream-unavailable"


def test_other_metadata_are_not_the_mark() -> None:
    """Only ``penstock-code`` marks a pod's words."""
    trailing = grpc.aio.Metadata(("code", "invalid-input"), ("x-penstock-code", "invalid-input"))
    other = grpc.aio.AioRpcError(S.NOT_FOUND, grpc.aio.Metadata(), trailing, SECRET)
    assert translate(other, "spam").code == "unknown-model"


@pytest.mark.parametrize("status", [400, 413, 415, 422, 500])
def test_a_row_may_be_to_blame(status: int) -> None:
    """What one bad row can cause is worth a second try for its neighbours, each alone."""
    assert row_could_be_to_blame(PenstockError(status, "some-code", ""))


@pytest.mark.parametrize("status", [401, 403, 404, 409, 429, 499, 503, 504])
def test_no_row_is_to_blame(status: int) -> None:
    """What holds for every row of the bundle would only fail again."""
    assert not row_could_be_to_blame(PenstockError(status, "some-code", ""))


def test_a_defect_of_the_gateway_is_nobodys_fault() -> None:
    """An exception that is not a problem is not blamed on a row."""
    assert not row_could_be_to_blame(RuntimeError("a defect"))
