"""``penstock kserve``: models of the registry as KServe InferenceServices.

The package ``kserve`` is imported where it is used: it is optional, slow to
import, and reads ``sys.argv`` when it is.
"""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from penstock_common.errors import PenstockError
from penstock_common.registry_models import PRODUCTION

GROUP = "serving.kserve.io"
#: Holds model@alias, and marks an InferenceService as Penstock's.
ANNOTATION = "penstock.dev/model"
_PORT = 9100
_LAST_FAILURE_SECONDS = 15.0

#: For aliases that the health service does not know; runs in the pod.
_ALIAS_READY = (
    "import sys, grpc\n"
    "from penstock_common.contract import inference_pb2 as pb, inference_pb2_grpc as rpc\n"
    f"stub = rpc.GRPCInferenceServiceStub(grpc.insecure_channel('127.0.0.1:{_PORT}'))\n"
    "request = pb.ModelReadyRequest(name=sys.argv[1], version=sys.argv[2])\n"
    "sys.exit(not stub.ModelReady(request, timeout=5).ready)"
)


def service_name(model: str) -> str:
    """The InferenceService of a model: its name, as far as DNS takes it."""
    name = re.sub(r"[._]", "-", model)
    if not re.fullmatch(r"[a-z]([-a-z0-9]{0,38}[a-z0-9])?", name):
        raise PenstockError(
            422,
            "no-service-name",
            f"{model!r} cannot name an InferenceService: it takes up to 40 lower-case letters, digits, dots, dashes and "
            "underscores, and begins with a letter.",
        )
    return name


def inference_service(model: str, alias: str, replicas: int, image: str | None) -> dict[str, Any]:
    """An InferenceService that is ready once the alias's version is loaded and warm in its pods."""
    served: dict[str, Any] = {
        "modelFormat": {"name": "penstock", "version": "1"},
        "protocolVersion": "grpc-v2",
        # Nothing for KServe to fetch; with neither storage nor storageUri it would add its model-pulling agent.
        "storage": {},
        "env": [{"name": "PENSTOCK_INFERENCE_MODELS", "value": model}],
        "startupProbe": _startup_probe(model, alias),
    }
    if image is not None:
        served["image"] = image
    predictor = {
        "minReplicas": replicas,
        "maxReplicas": replicas,
        "automountServiceAccountToken": False,
        "model": served,
    }
    annotations = {
        f"{GROUP}/deploymentMode": "Standard",
        f"{GROUP}/autoscalerClass": "none",  # the number of pods is the user's
        ANNOTATION: f"{model}@{alias}",
    }
    return {
        "apiVersion": f"{GROUP}/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": service_name(model), "annotations": annotations},
        "spec": {"predictor": predictor},
    }


def _startup_probe(model: str, alias: str) -> dict[str, Any]:
    if alias == PRODUCTION:  # what the health service means by a model's name
        return {
            "grpc": {"port": _PORT, "service": model},
            "periodSeconds": 2,
            "timeoutSeconds": 2,
            "failureThreshold": 900,
        }
    command = ["python", "-c", _ALIAS_READY, model, alias]
    return {"exec": {"command": command}, "periodSeconds": 5, "timeoutSeconds": 10, "failureThreshold": 360}


def pods_service(created: dict[str, Any]) -> dict[str, Any]:
    """A headless Service, for an Envoy that balances request by request; it goes with its InferenceService."""
    metadata = created["metadata"]
    owner = {
        "apiVersion": created["apiVersion"],
        "kind": created["kind"],
        "name": metadata["name"],
        "uid": metadata["uid"],
    }
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": f"{metadata['name']}-pods",
            "namespace": metadata["namespace"],
            "ownerReferences": [owner],
        },
        "spec": {
            "clusterIP": "None",
            "publishNotReadyAddresses": True,  # Envoy's own health checks say whether to use an address
            "selector": {f"{GROUP}/inferenceservice": metadata["name"], "component": "predictor"},
            "ports": [{"name": "grpc", "port": _PORT, "targetPort": _PORT}],
        },
    }


def pool_values(model: str, namespace: str) -> dict[str, Any]:
    """The chart's values for a pool at the pods. Its name sorts before "inference": the first pool that matches serves."""
    name = service_name(model)
    pool = {"address": f"{name}-pods.{namespace}.svc", "port": _PORT, "models": [model]}
    return {"pools": {f"external-{name}"[:22].rstrip("-"): pool}}


def row(service: dict[str, Any]) -> dict[str, Any]:
    """What ``penstock kserve status`` tells of an InferenceService."""
    metadata, status = service["metadata"], service.get("status", {})
    ready: dict[str, Any] = next((c for c in status.get("conditions", []) if c["type"] == "Ready"), {})
    # The condition is of observedGeneration: it may be about what was asked for before.
    is_ready = ready.get("status") == "True" and status.get("observedGeneration", 0) >= metadata["generation"]
    model_status = status.get("modelStatus", {})
    return {
        "name": metadata["name"],
        "model": metadata.get("annotations", {}).get(ANNOTATION, ""),
        "ready": is_ready,
        "pods": model_status.get("copies", {}).get("totalCopies", 0),
        "reason": "" if is_ready else _failure(model_status) or ready.get("message", ""),
    }


def _failure(model_status: dict[str, Any]) -> str:
    """KServe keeps the last failure though it be over; only these states say that it is not."""
    if model_status.get("transitionStatus") not in ("InvalidSpec", "BlockedByFailedLoad"):
        return ""
    last = model_status.get("lastFailureInfo", {})
    if last.get("reason") in ("NoSupportingRuntime", "RuntimeNotRecognized", "RuntimeDisabled"):
        return "the cluster has no runtime for Penstock's models; kubectl apply -f deploy/k8s/kserve/runtime.yaml"
    return str(last.get("message", ""))


class Services:
    """Penstock's InferenceServices of ``namespace``, in the cluster of the current kubeconfig context.

    Raises:
        PenstockError: of all methods, where the cluster cannot be reached or refuses, or the package is missing.
    """

    def __init__(self, namespace: str) -> None:
        self._namespace = namespace
        arguments, sys.argv = sys.argv, sys.argv[:1]  # importing kserve parses them as a model server's
        try:
            import kserve
        except ImportError:
            raise PenstockError(
                503, "kserve-missing", "The Python package kserve is missing: pip install 'penstock-cli[kserve]'."
            ) from None
        finally:
            sys.argv = arguments
        with self._explained():
            self._client: Any = kserve.KServeClient()

    def deploy(self, model: str, alias: str, replicas: int, image: str | None) -> None:
        """Make the InferenceService, or change it to what is asked for; does not wait."""
        body = inference_service(model, alias, replicas, image)
        name = body["metadata"]["name"]
        present = any(service["metadata"]["name"] == name for service in self._all())
        # The client's own create() hands Kubernetes' API an object of kserve's, which newer versions of it refuse.
        objects, where = self._client.api_instance, (GROUP, "v1beta1", self._namespace, "inferenceservices")
        with self._explained():
            if present:
                body["metadata"]["resourceVersion"] = self._ours(name)["metadata"]["resourceVersion"]
                made = objects.replace_namespaced_custom_object(*where, name, body)
            else:
                made = objects.create_namespaced_custom_object(*where, body)
            self._put_service(pods_service(made))

    def wait(self, model: str, seconds: float) -> dict[str, Any]:
        """The row of a model's InferenceService once it is ready and all its pods are of its present form.

        Raises:
            PenstockError: 504 ``not-ready`` after that time, or sooner where KServe says that it failed.
        """
        began = time.monotonic()
        while True:
            service = self._ours(service_name(model))
            found = row(service)
            # KServe is content with the old pods while new ones start.
            if found["ready"] and self._rolled_out(found["name"]):
                return found
            waited = time.monotonic() - began
            # A failure that KServe has not taken back by then stays until somebody acts.
            hopeless = waited > _LAST_FAILURE_SECONDS and _failure(service.get("status", {}).get("modelStatus", {}))
            if hopeless or waited > seconds:
                why = found["reason"] or "its new pods are not"
                raise PenstockError(504, "not-ready", f"{found['name']} is not ready after {waited:.0f} s: {why}")
            time.sleep(1)

    def rows(self) -> list[dict[str, Any]]:
        return [found for service in self._all() if (found := row(service))["model"]]

    def delete(self, model: str) -> None:
        name = service_name(model)
        self._ours(name)
        with self._explained():
            self._client.delete(name, self._namespace)

    def _rolled_out(self, name: str) -> bool:
        with self._explained():
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
            # Perhaps a deleted InferenceService's, about to be collected: another owner keeps it.
            core.patch_namespaced_service(body["metadata"]["name"], self._namespace, body)

    def _all(self) -> list[dict[str, Any]]:
        with self._explained():
            found: list[dict[str, Any]] = self._client.get(namespace=self._namespace)["items"]
            return found

    def _ours(self, name: str) -> dict[str, Any]:
        """Raises: PenstockError: 404 ``no-service``; 409 ``not-ours``, for one that somebody made by other means."""
        found = next((service for service in self._all() if service["metadata"]["name"] == name), None)
        if found is None:
            raise PenstockError(
                404, "no-service", f"There is no InferenceService {name!r} in namespace {self._namespace!r}."
            )
        if not row(found)["model"]:
            raise PenstockError(
                409, "not-ours", f"InferenceService {name!r} is not Penstock's: it has no annotation {ANNOTATION}."
            )
        return found

    @contextmanager
    def _explained(self) -> Iterator[None]:
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
        except RuntimeError as err:  # the kserve package wraps what Kubernetes answers
            raise (refusal(err.__context__) if isinstance(err.__context__, ApiException) else err) from None


def refusal(answer: Any) -> PenstockError:
    """An ApiException in Kubernetes' own words."""
    try:
        message = json.loads(answer.body or "{}")["message"]
    except (ValueError, KeyError):
        message = ""
    if answer.status == 404 and not message:  # no such path: its kinds are unknown
        return PenstockError(503, "no-kserve", "This cluster has no KServe; install its controller first.")
    return PenstockError(answer.status or 503, "cluster-refused", f"Kubernetes refuses: {message or answer.reason}")
