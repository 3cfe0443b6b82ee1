"""HTTP to one registry: who gets the token, and what becomes of errors."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import httpx
import msgspec

from penstock_common.errors import PenstockError
from penstock_common.registry_token import TokenFile

T = TypeVar("T")


class RegistryConnection:
    """The HTTP clients of one registry and of the object store behind it.

    Args:
        token_file: the file with the registry's token; None for a registry that asks for none.
        timeout: seconds for each step of a call (connect, send, receive).
        transport: carries all requests instead of the network.
    """

    def __init__(
        self,
        base_url: str,
        token_file: Path | None,
        *,
        timeout: float,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._base_url = base_url.rstrip("/")
        self.timeout = timeout
        token = None if token_file is None else TokenFile(token_file)
        self._registry = httpx.AsyncClient(base_url=self._base_url, auth=token, timeout=timeout, transport=transport)
        # Presigned URLs lead to other hosts, which must not see the token.
        self._object_store = httpx.AsyncClient(timeout=timeout, follow_redirects=True, transport=transport)

    async def aclose(self) -> None:
        await self._registry.aclose()
        await self._object_store.aclose()

    def client_for(self, url: str) -> httpx.AsyncClient:
        """The client for a target's URL: a path leads to the registry, any other URL to the object store."""
        return self._registry if url.startswith("/") else self._object_store

    async def call(
        self,
        method: str,
        path: str,
        answer_type: type[T],
        *,
        body: object = None,
        params: dict[str, Any] | None = None,
        headers: dict[str, str] | None = None,
        timeout: float | None = None,
    ) -> T:
        """Send ``body`` as JSON, if given, and decode the answer.

        Raises:
            PenstockError: the registry's own; 503 ``registry-unreachable`` if it gives no valid answer.
        """
        with self.translated_errors(path):
            response = await self._registry.request(
                method,
                path,
                content=None if body is None else msgspec.json.encode(body),
                params=params,
                headers={"Content-Type": "application/json", **(headers or {})},
                timeout=timeout or self.timeout,
            )
        raise_for_status(response)
        try:
            return msgspec.json.decode(response.content, type=answer_type)
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise PenstockError(
                503, "registry-unreachable", f"{response.url} did not answer as a registry does; check the URL."
            ) from None

    @contextlib.contextmanager
    def translated_errors(self, url: str) -> Iterator[None]:
        """Turn httpx's errors on a request to ``url`` into 503 ``registry-unreachable``."""
        try:
            yield
        except httpx.HTTPError as err:
            # Only the host of a presigned URL: the rest is a credential.
            server = (
                f"registry at {self._base_url}" if url.startswith("/") else f"object store at {httpx.URL(url).host}"
            )
            raise PenstockError(
                503, "registry-unreachable", f"The {server} cannot be reached: {type(err).__name__}."
            ) from None


def raise_for_status(response: httpx.Response) -> None:
    """Raise the problem document of a refusal, whose body must have been read, as ``PenstockError``.

    Raises:
        PenstockError: the registry's own, or 503 ``registry-unreachable`` if the body is not a problem document.
    """
    if not response.is_error:
        return
    try:
        document = response.json()
        refusal = PenstockError(response.status_code, str(document["code"]), str(document["detail"]))
    except (ValueError, KeyError, TypeError):
        refusal = PenstockError(
            503, "registry-unreachable", f"{response.url.host} answered {response.status_code} to {response.url.path}."
        )
    raise refusal
