"""The token that a client sends to the registry."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import httpx

from penstock_common.errors import PenstockError


class TokenFile(httpx.Auth):
    """Sends the first token of a file with each request. The file is read every time, so it can change at any time.

    A request raises ``PenstockError`` 503 ``no-registry-token`` if there is no token in it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        request.headers["Authorization"] = f"Bearer {self._token()}"
        yield request

    def _token(self) -> str:
        try:
            tokens = self._path.read_text().split()
        except OSError as err:
            raise _no_token(f"The file with the registry's token cannot be read: {err}.") from None
        if not tokens:
            raise _no_token(f"{self._path} has no token of the registry; put one into it.")
        return tokens[0]


def _no_token(what: str) -> PenstockError:
    return PenstockError(503, "no-registry-token", what)
