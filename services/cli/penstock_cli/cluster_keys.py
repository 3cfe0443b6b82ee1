"""API keys in a cluster: records in the Secret that every gateway mounts."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from penstock_common.errors import PenstockError
from penstock_gateway.auth.key_record import KeyRecord, dump_record, load_record, new_key, timestamp, unknown_key

_GATEWAYS = "app.kubernetes.io/name=penstock,app.kubernetes.io/component=gateway"


class ClusterKeys:
    """The Secret ``secret`` of ``namespace``, in the cluster of the current kubeconfig context.

    Raises:
        PenstockError: 503 ``cluster-unreachable`` or 404 ``unknown-secret``, of all methods.
    """

    keeps_last_use = False

    def __init__(self, namespace: str, secret: str) -> None:
        # Slow to import, and not needed for an installation on one machine.
        from kubernetes import client, config
        from kubernetes.config import ConfigException

        try:
            config.load_kube_config()
        except ConfigException as err:
            raise PenstockError(503, "cluster-unreachable", f"{err}; set KUBECONFIG.") from None
        self._api = client.CoreV1Api()
        self._namespace = namespace
        self._secret = secret

    def create(
        self,
        name: str,
        rate: float | None = None,
        burst: float | None = None,
        models: Sequence[str] | None = None,
        expires: datetime | None = None,
    ) -> tuple[KeyRecord, str]:
        """Raises: PenstockError: 422 of ``new_key``."""
        record, key = new_key(name, rate, burst, models, expires)
        self._write(record)
        return record, key

    def records(self) -> list[KeyRecord]:
        data = self._read()
        found = [load_record(base64.b64decode(value)) for entry, value in data.items() if entry.endswith(".json")]
        return sorted(found, key=lambda record: (record.created, record.id))

    def revoke(self, key_id: str) -> None:
        """Raises: PenstockError: 404 ``unknown-key``."""
        data = self._read()
        for entry, value in data.items():
            if entry.endswith(".json") and (record := load_record(base64.b64decode(value))).id == key_id:
                self._write(replace(record, revoked=record.revoked or timestamp()), entry)
                return
        raise unknown_key(key_id)

    def _read(self) -> dict[str, str]:
        return self._call(self._api.read_namespaced_secret, self._secret, self._namespace).data or {}

    def _write(self, record: KeyRecord, entry: str = "") -> None:
        """Merge one entry, so that two writers at the same time do not undo each other's change."""
        encoded = base64.b64encode(dump_record(record)).decode()
        body = {"data": {entry or f"{record.id}.json": encoded}}
        self._call(self._api.patch_namespaced_secret, self._secret, self._namespace, body)
        self._touch_gateway_pods()

    def _touch_gateway_pods(self) -> None:
        """Annotate the pods: a kubelet reads a mounted Secret once a minute, but at once when its pod changes."""
        patch = {"metadata": {"annotations": {"penstock.dev/keys-changed": timestamp()}}}
        for pod in self._call(self._api.list_namespaced_pod, self._namespace, label_selector=_GATEWAYS).items:
            self._call(self._api.patch_namespaced_pod, pod.metadata.name, self._namespace, patch)

    def _call(self, method: object, *arguments: object, **options: object):  # type: ignore[no-untyped-def]
        from kubernetes.client import ApiException
        from urllib3.exceptions import HTTPError

        try:
            return method(*arguments, **options)  # type: ignore[operator]
        except ApiException as err:
            where = f"secret {self._secret} in namespace {self._namespace}"
            if err.status == 404:
                remedy = "name them with --namespace and --secret; if the keys are in PostgreSQL, "
                remedy += "run `penstock keys` in a gateway's pod"
                raise PenstockError(404, "unknown-secret", f"There is no {where}; {remedy}.") from None
            raise PenstockError(err.status or 503, "cluster-refused", f"{where}: {err.reason}") from None
        except HTTPError as err:
            raise PenstockError(503, "cluster-unreachable", f"The cluster cannot be reached: {err}") from None
