"""Questions to the server of a remote before it goes into the list: does it answer, does it have the model?"""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import httpx

from penstock_common.errors import PenstockError
from penstock_common.remotes import Remote, read_credential

_SECONDS = 10.0
_NAMES_SHOWN = 10


def check_server(remote: Remote) -> None:
    """Ask a server for its models; one that has no list of them passes.

    Raises:
        PenstockError: 503 ``remote-check`` with what is wrong and what to do.
    """
    answer = _ask(remote, "GET", "/models")
    if answer.status_code in (401, 403):
        raise _failed(remote, f"refuses the credential (status {answer.status_code}); check --key-file")
    if answer.status_code != 200:
        return
    try:
        names = [model["id"] for model in answer.json()["data"]]
    except (ValueError, KeyError, TypeError):
        raise _failed(remote, "answers GET /models with something else than OpenAI's list; check --url") from None
    if names and remote.model not in names:
        shown = ", ".join(map(str, names[:_NAMES_SHOWN]))
        raise _failed(remote, f"has no model {remote.model!r}; it lists: {shown}")


def embedding_width(url: str, model: str, key_file: str, ca_file: str) -> int:
    """How many numbers the server makes of a text.

    Raises:
        PenstockError: 503 ``remote-check``.
    """
    remote = Remote(url=url, model=model, key_file=key_file, ca_file=ca_file, routes=("embeddings",), width=1)
    answer = _ask(remote, "POST", "/embeddings", {"model": model, "input": ["width"]})
    try:
        return len(answer.raise_for_status().json()["data"][0]["embedding"])
    except (httpx.HTTPError, ValueError, KeyError, TypeError, IndexError):
        raise _failed(remote, f"gives no embedding (status {answer.status_code}); give --width") from None


def _ask(remote: Remote, method: str, path: str, body: Any = None) -> httpx.Response:
    headers = {"authorization": f"Bearer {read_credential(Path(remote.key_file))}"} if remote.key_file else {}
    try:
        verify = ssl.create_default_context(cafile=remote.ca_file) if remote.ca_file else httpx.create_ssl_context()
        with httpx.Client(verify=verify, timeout=_SECONDS, trust_env=False) as client:
            return client.request(method, remote.url.rstrip("/") + path, headers=headers, json=body)
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as err:
        raise _failed(remote, f"cannot be reached: {err}; check --url and --ca-file") from None


def _failed(remote: Remote, what: str) -> PenstockError:
    return PenstockError(503, "remote-check", f"{remote.url} {what}. Nothing was changed; --no-check skips this.")
