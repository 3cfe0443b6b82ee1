"""The error type of all services, and its forms over HTTP and gRPC.

A ``PenstockError`` is written for the caller: its ``detail`` names the field,
the value and the remedy, and is safe to send. Anything else that is raised is
a defect; the transports log it and answer with a detail-free 500 / INTERNAL.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import grpc


class PenstockError(Exception):
    """An error meant for the caller.

    Args:
        status: HTTP status code (400, 401, 403, 404, 405, 409, 412, 413, 415, 422, 429, 499, 503, 504, 500).
        code: stable machine-readable name in kebab case, e.g. ``unknown-model``.
        detail: one or two sentences for the caller; names field, value and remedy.
        headers: extra HTTP response headers, e.g. ``Retry-After``.
        extra: extra members of the problem document (RFC 9457, section 3.2).
    """

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        headers: Mapping[str, str] | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.headers = dict(headers or {})
        self.extra = dict(extra or {})

    def copy(self) -> PenstockError:
        """The same error for another caller. It has no traceback, whose frames would keep the first caller's data."""
        return PenstockError(self.status, self.code, self.detail, headers=self.headers, extra=self.extra)

    @property
    def grpc_code(self) -> grpc.StatusCode:
        return HTTP_TO_GRPC.get(self.status, grpc.StatusCode.INTERNAL)

    def problem(self) -> dict[str, Any]:
        """Return the ``application/problem+json`` document of RFC 9457."""
        return {
            "type": f"urn:penstock:error:{self.code}",
            "title": _title(self.status),
            "status": self.status,
            "code": self.code,
            "detail": self.detail,
            **self.extra,
        }


def _title(status: int) -> str:
    return "Client Closed Request" if status == 499 else HTTPStatus(status).phrase


def no_such_call(status: int, method: str, path: str, headers: Mapping[str, str] | None = None) -> PenstockError:
    """Return the error for a router's 404 (``unknown-path``) or 405 (``bad-method``, with the header ``Allow``)."""
    where = f"{method[:20]} {path[:120]}"
    if status == 405:
        allowed = (headers or {}).get("Allow", "another method")
        return PenstockError(405, "bad-method", f"There is no {where}; this path takes {allowed}.", headers=headers)
    return PenstockError(
        status, "unknown-path", f"There is no {where}; check the path against the API's documentation.", headers=headers
    )


def bad_model_answer(what: str) -> PenstockError:
    """Return the error for an answer that is the model's fault, and never its caller's."""
    return PenstockError(500, "bad-model-answer", f"The model gave {what}.")


#: HTTP status -> gRPC status, after google/rpc/code.proto.
HTTP_TO_GRPC: Mapping[int, grpc.StatusCode] = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.NOT_FOUND,
    409: grpc.StatusCode.ABORTED,
    412: grpc.StatusCode.FAILED_PRECONDITION,
    413: grpc.StatusCode.INVALID_ARGUMENT,
    415: grpc.StatusCode.INVALID_ARGUMENT,
    422: grpc.StatusCode.INVALID_ARGUMENT,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    499: grpc.StatusCode.CANCELLED,
    500: grpc.StatusCode.INTERNAL,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
}

#: gRPC status -> HTTP status, for errors of an upstream.
GRPC_TO_HTTP: Mapping[grpc.StatusCode, int] = {
    grpc.StatusCode.INVALID_ARGUMENT: 422,
    grpc.StatusCode.OUT_OF_RANGE: 422,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.FAILED_PRECONDITION: 412,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 503,
    # The upstream cancelled the call while the caller still waits, so the caller has not disconnected.
    grpc.StatusCode.CANCELLED: 503,
    grpc.StatusCode.UNAVAILABLE: 503,
    grpc.StatusCode.DEADLINE_EXCEEDED: 504,
}
