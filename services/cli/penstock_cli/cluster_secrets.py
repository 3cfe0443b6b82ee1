"""``python -m penstock_cli.cluster_secrets``: create the Secrets of an installation in a cluster, once.

The chart runs it as a Job before an installation and before an upgrade, so that no rendered manifest holds a secret.
A Secret that exists is never changed. It speaks Kubernetes' REST API with the identity of its pod, because the
``kubernetes`` package is not in the gateway's image.
"""

from __future__ import annotations

import base64
import os
import secrets
import ssl
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer

from penstock_common.errors import PenstockError
from penstock_common.registry_roles import ROLES
from penstock_gateway.auth.key_record import ID_LENGTH, PREFIX, KeyRecord, dump_record, key_hash, new_key

_IDENTITY = Path("/var/run/secrets/kubernetes.io/serviceaccount")


class Secrets:
    """The Secrets of one namespace.

    All methods raise ``PenstockError`` 503 ``cluster-refused`` or ``cluster-unreachable``.

    Args:
        http: its base URL is the namespace's in Kubernetes' API.
        labels: of the Secrets that are created.
    """

    def __init__(self, http: httpx.Client, labels: Mapping[str, str]) -> None:
        self._http = http
        self._labels = labels

    def read(self, name: str) -> dict[str, bytes] | None:
        """A Secret's entries; None if there is no such Secret."""
        answer = self._call("GET", f"secrets/{name}", name)
        if answer.status_code == 404:
            return None
        return {entry: base64.b64decode(value) for entry, value in (answer.json().get("data") or {}).items()}

    def create(self, name: str, entries: Mapping[str, bytes]) -> bool:
        """Create a Secret; False if there is one of that name, which stays as it is."""
        secret = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": name, "labels": self._labels},
            "data": {entry: base64.b64encode(value).decode() for entry, value in entries.items()},
        }
        return self._call("POST", "secrets", name, secret).status_code != 409

    def _call(self, method: str, path: str, name: str, body: Any = None) -> httpx.Response:
        try:
            answer = self._http.request(method, path, json=body)
        except httpx.HTTPError as err:
            raise PenstockError(503, "cluster-unreachable", f"Kubernetes' API cannot be reached: {err!r}.") from None
        if answer.is_error and answer.status_code not in (404, 409):
            raise PenstockError(503, "cluster-refused", f"Secret {name}: Kubernetes refused this: {answer.text}")
        return answer


def create_tokens(cluster: Secrets, name: str) -> bool:
    """Create the Secret with a token of the registry for each role; return whether it is new."""
    return cluster.create(name, {role: secrets.token_urlsafe(32).encode() for role in ROLES})


def create_first_key(cluster: Secrets, key_name: str, records_name: str) -> bool:
    """Create the Secret with the first API key and the one with its record; return whether there is a new record.

    Records that exist stay as they are, without a new key: the first key may have been noted and its Secret deleted.

    Raises:
        PenstockError: 422 ``bad-key`` if the Secret of the first key exists and holds something else.
    """
    if cluster.read(records_name) is not None:
        return False
    record, key = new_key("first")
    if not cluster.create(key_name, {"key": key.encode()}):
        record = _record_of(record, (cluster.read(key_name) or {}).get("key", b""), key_name)
    return cluster.create(records_name, {f"{record.id}.json": dump_record(record)})


def _record_of(record: KeyRecord, key: bytes, secret: str) -> KeyRecord:
    text = key.decode("ascii", "replace")
    key_id, separator, rest = text.removeprefix(PREFIX).partition("_")
    if not text.startswith(PREFIX) or len(key_id) != ID_LENGTH or not separator or not rest:
        raise PenstockError(
            422,
            "bad-key",
            f"The entry 'key' of Secret {secret} is not an API key ({PREFIX}<id>_<secret>); delete that Secret.",
        )
    return replace(record, id=key_id, hash=key_hash(key))


def main(
    namespace: Annotated[str, typer.Option(help="Where the Secrets belong.")],
    release: Annotated[str, typer.Option(help="The label app.kubernetes.io/instance of the Secrets.")],
    tokens: Annotated[str, typer.Option(help="Name of the Secret with the registry's tokens.")] = "",
    key: Annotated[str, typer.Option(help="Name of the Secret with the first API key; needs --records.")] = "",
    records: Annotated[str, typer.Option(help="Name of the Secret with the keys' records.")] = "",
) -> None:
    """Create the named Secrets that do not exist yet."""
    labels = {"app.kubernetes.io/name": "penstock", "app.kubernetes.io/instance": release}
    try:
        with _in_cluster(namespace) as http:
            cluster = Secrets(http, labels)
            if tokens:
                _report(tokens, create_tokens(cluster, tokens))
            if key:
                _report(records, create_first_key(cluster, key, records))
    except PenstockError as err:
        print(f"error: {err.detail}", file=sys.stderr)
        raise typer.Exit(1) from None


def _report(name: str, created: bool) -> None:
    print(f"{name}: {'created' if created else 'exists, and stays as it is'}")


def _in_cluster(namespace: str) -> httpx.Client:
    """A client with the identity of this pod, of the namespace's part of Kubernetes' API."""
    host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ["KUBERNETES_SERVICE_PORT"]
    host = f"[{host}]" if ":" in host else host
    return httpx.Client(
        base_url=f"https://{host}:{port}/api/v1/namespaces/{namespace}/",
        headers={"Authorization": f"Bearer {(_IDENTITY / 'token').read_text()}"},
        verify=ssl.create_default_context(cafile=str(_IDENTITY / "ca.crt")),
        timeout=30,
    )


if __name__ == "__main__":
    typer.run(main)
