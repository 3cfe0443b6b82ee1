"""The Kubernetes objects of a model that KServe serves, and the meaning of their status."""

from __future__ import annotations

import re
from typing import Any

from penstock_common.errors import PenstockError
from penstock_common.registry_models import PRODUCTION

GROUP = "serving.kserve.io"
#: Its value is model@alias; it marks an InferenceService as Penstock's.
ANNOTATION = "penstock.dev/model"
_PORT = 9100

#: Checks in the pod whether an alias is ready, for aliases that the health service does not report.
_ALIAS_READY = (
    "import sys, grpc\n"
    "from penstock_common.contract import inference_pb2 as pb, inference_pb2_grpc as rpc\n"
    f"stub = rpc.GRPCInferenceServiceStub(grpc.insecure_channel('127.0.0.1:{_PORT}'))\n"
    "request = pb.ModelReadyRequest(name=sys.argv[1], version=sys.argv[2])\n"
    "sys.exit(not stub.ModelReady(request, timeout=5).ready)"
)


def service_name(model: str) -> str:
    """Return the name of a model's InferenceService: dots and underscores become dashes, as DNS labels have neither."""
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
    """Return an InferenceService that is ready once the alias's version is loaded and warm in its pods."""
    served: dict[str, Any] = {
        "modelFormat": {"name": "penstock", "version": "1"},
        "protocolVersion": "grpc-v2",
        # KServe has nothing to fetch; with neither storage nor storageUri it would add its model-pulling agent.
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
        f"{GROUP}/autoscalerClass": "none",  # the user sets the number of pods
        ANNOTATION: f"{model}@{alias}",
    }
    return {
        "apiVersion": f"{GROUP}/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": service_name(model), "annotations": annotations},
        "spec": {"predictor": predictor},
    }


def _startup_probe(model: str, alias: str) -> dict[str, Any]:
    if alias == PRODUCTION:  # the health service reports a model's production alias under its name
        return {
            "grpc": {"port": _PORT, "service": model},
            "periodSeconds": 2,
            "timeoutSeconds": 2,
            "failureThreshold": 900,
        }
    command = ["python", "-c", _ALIAS_READY, model, alias]
    return {"exec": {"command": command}, "periodSeconds": 5, "timeoutSeconds": 10, "failureThreshold": 360}


def pods_service(created: dict[str, Any]) -> dict[str, Any]:
    """Return a headless Service, for an Envoy that balances each request; it is deleted with its InferenceService."""
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
            "publishNotReadyAddresses": True,  # Envoy's own health checks decide whether an address is used
            "selector": {f"{GROUP}/inferenceservice": metadata["name"], "component": "predictor"},
            "ports": [{"name": "grpc", "port": _PORT, "targetPort": _PORT}],
        },
    }


def pool_values(model: str, namespace: str) -> dict[str, Any]:
    """Return chart values for a pool at the pods. Its name precedes "inference": the first pool that matches serves."""
    name = service_name(model)
    pool = {"address": f"{name}-pods.{namespace}.svc", "port": _PORT, "models": [model]}
    return {"pools": {f"external-{name}"[:22].rstrip("-"): pool}}


def status_row(service: dict[str, Any]) -> dict[str, Any]:
    """Return the row of an InferenceService in ``penstock kserve status``."""
    metadata, status = service["metadata"], service.get("status", {})
    ready: dict[str, Any] = next((c for c in status.get("conditions", []) if c["type"] == "Ready"), {})
    # The condition is about observedGeneration, which may be an earlier state of the object.
    is_ready = ready.get("status") == "True" and status.get("observedGeneration", 0) >= metadata["generation"]
    model_status = status.get("modelStatus", {})
    return {
        "name": metadata["name"],
        "model": metadata.get("annotations", {}).get(ANNOTATION, ""),
        "ready": is_ready,
        "pods": model_status.get("copies", {}).get("totalCopies", 0),
        "reason": "" if is_ready else failure(service) or ready.get("message", ""),
    }


def failure(service: dict[str, Any]) -> str:
    """Return why KServe cannot serve an InferenceService; empty if it can, or is still trying."""
    model_status = service.get("status", {}).get("modelStatus", {})
    # KServe also keeps failures of the past; in these two states the failure persists.
    if model_status.get("transitionStatus") not in ("InvalidSpec", "BlockedByFailedLoad"):
        return ""
    last = model_status.get("lastFailureInfo", {})
    if last.get("reason") in ("NoSupportingRuntime", "RuntimeNotRecognized", "RuntimeDisabled"):
        return "the cluster has no runtime for Penstock's models; kubectl apply -f deploy/k8s/kserve/runtime.yaml"
    return str(last.get("message", ""))
