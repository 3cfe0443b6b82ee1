"""Manages InferenceServices in a cluster, with KServe's own client.

The package ``kserve`` is imported only when it is used, because it is optional,
slow to import, and parses ``sys.argv`` on import.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from penstock_cli.kserve_objects import (
    ANNOTATION,
    GROUP,
    failure,
    inference_service,
    pods_service,
    service_name,
    status_row,
)
from penstock_common.errors import PenstockError

_LAST_FAILURE_SECONDS = 15.0


class KServe:
    """Penstock's InferenceServices of ``namespace``, in the cluster of the current kubeconfig context.

    Raises:
        PenstockError: of all methods, if the cluster cannot be reached or refuses, or the package is missing.
    """

    def __init__(self, namespace: str) -> None:
        self._namespace = namespace
        arguments, sys.argv = sys.argv, sys.argv[:1]  # kserve parses them on import, as a model server's
        try:
            import kserve
        except ImportError:
            raise PenstockError(
                503, "kserve-missing", "The Python package kserve is missing: pip install 'penstock-cli[kserve]'."
            ) from None
        finally:
            sys.argv = arguments
        with self._kubernetes_errors():
            self._client: Any = kserve.KServeClient()

    def deploy(self, model: str, alias: str, replicas: int, image: str | None) -> None:
        """Create the InferenceService, or change it to what is asked for; do not wait for it."""
        body = inference_service(model, alias, replicas, image)
        name = body["metadata"]["name"]
        present = any(service["metadata"]["name"] == name for service in self._list())
        # The client's own create() passes an object of kserve's to Kubernetes' API, which newer versions of it refuse.
        objects, where = self._client.api_instance, (GROUP, "v1beta1", self._namespace, "inferenceservices")
        with self._kubernetes_errors():
            if present:
                body["metadata"]["resourceVersion"] = self._find(name)["metadata"]["resourceVersion"]
                made = objects.replace_namespaced_custom_object(*where, name, body)
            else:
                made = objects.create_namespaced_custom_object(*where, body)
            self._put_service(pods_service(made))

    def wait(self, model: str, seconds: float) -> dict[str, Any]:
        """Wait until a model's InferenceService is ready and all its pods are up to date; return its row.

        Raises:
            PenstockError: 504 ``not-ready`` after that time, or sooner if KServe reports a failure.
        """
        began = time.monotonic()
        while True:
            service = self._find(service_name(model))
            found = status_row(service)
            # KServe reports it as ready while old pods serve and new ones start.
            if found["ready"] and self._rolled_out(found["name"]):
                return found
            waited = time.monotonic() - began
            # A failure that KServe still reports by then will not go away without a change.
            hopeless = waited > _LAST_FAILURE_SECONDS and failure(service)
            if hopeless or waited > seconds:
                why = found["reason"] or "its new pods are not ready"
                raise PenstockError(504, "not-ready", f"{found['name']} is not ready after {waited:.0f} s: {why}")
            time.sleep(1)

    def rows(self) -> list[dict[str, Any]]:
        return [found for service in self._list() if (found := status_row(service))["model"]]

    def delete(self, model: str) -> None:
        name = service_name(model)
        self._find(name)
        with self._kubernetes_errors():
            self._client.delete(name, self._namespace)

    def _rolled_out(self, name: str) -> bool:
        with self._kubernetes_errors():
            deployment = self._client.app_api.read_namespaced_deployment(f"{name}-predictor", self._namespace)
        wanted, status = deployment.spec.replicas, deployment.status
        current = status.observed_generation == deployment.metadata.generation
        return bool(current and status.updated_replicas == status.replicas == status.available_replicas == wanted)

    def _put_service(self, body: dict[str, Any]) -> None:
        from kubernetes.client import ApiException

        core = self._client.core_api
        try:
            core.create_namespaced_service(self._namespace, body)
        except ApiException as err:
            if err.status != 409:
                raise
            # It may belong to a deleted InferenceService, to be deleted with it; a new owner prevents that.
            core.patch_namespaced_service(body["metadata"]["name"], self._namespace, body)

    def _list(self) -> list[dict[str, Any]]:
        with self._kubernetes_errors():
            found: list[dict[str, Any]] = self._client.get(namespace=self._namespace)["items"]
            return found

    def _find(self, name: str) -> dict[str, Any]:
        """Raises: PenstockError: 404 ``no-service``; 409 ``not-ours`` if Penstock has not made it."""
        found = next((service for service in self._list() if service["metadata"]["name"] == name), None)
        if found is None:
            raise PenstockError(
                404, "no-service", f"There is no InferenceService {name!r} in namespace {self._namespace!r}."
            )
        if not status_row(found)["model"]:
            raise PenstockError(
                409, "not-ours", f"InferenceService {name!r} is not Penstock's: it lacks the annotation {ANNOTATION}."
            )
        return found

    @contextmanager
    def _kubernetes_errors(self) -> Iterator[None]:
        from kubernetes.client import ApiException
        from kubernetes.config import ConfigException
        from urllib3.exceptions import HTTPError

        try:
            yield
        except ConfigException as err:
            raise PenstockError(503, "cluster-unreachable", f"{err}; set KUBECONFIG.") from None
        except HTTPError as err:
            raise PenstockError(503, "cluster-unreachable", f"The cluster cannot be reached: {err}") from None
        except ApiException as err:
            raise refusal(err) from None
        except RuntimeError as err:  # the kserve package wraps Kubernetes' answer in this
            raise (refusal(err.__context__) if isinstance(err.__context__, ApiException) else err) from None


def refusal(answer: Any) -> PenstockError:
    """Return an ApiException as an error with Kubernetes' own message."""
    try:
        message = json.loads(answer.body or "{}")["message"]
    except (ValueError, KeyError):
        message = ""
    if answer.status == 404 and not message:  # the path is unknown, so KServe's kinds are not installed
        return PenstockError(503, "no-kserve", "This cluster does not have KServe; install its controller first.")
    return PenstockError(
        answer.status or 503, "cluster-refused", f"Kubernetes refused this: {message or answer.reason}"
    )
