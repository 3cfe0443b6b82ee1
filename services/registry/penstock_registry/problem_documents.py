"""Problem documents (RFC 9457): the form of every refusal."""

from __future__ import annotations

import msgspec
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from penstock_common.errors import PenstockError, no_such_call

PROBLEM_TYPE = "application/problem+json"


def problem_document(err: PenstockError) -> Response:
    return Response(msgspec.json.encode(err.problem()), err.status, headers=err.headers, media_type=PROBLEM_TYPE)


def add_exception_handlers(app: FastAPI) -> None:
    """Turn what handlers raise, and what FastAPI itself refuses, into problem documents."""

    @app.exception_handler(PenstockError)
    async def handler_refused(_: Request, err: PenstockError) -> Response:
        return problem_document(err)

    @app.exception_handler(HTTPException)
    async def no_route(request: Request, err: HTTPException) -> Response:
        return problem_document(no_such_call(err.status_code, request.method, request.url.path, err.headers))

    @app.exception_handler(RequestValidationError)
    async def bad_parameter(_: Request, err: RequestValidationError) -> Response:
        first = err.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        return problem_document(PenstockError(422, "bad-request", f"{where}: {first['msg']}."))
