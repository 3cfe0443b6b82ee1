"""The cluster that ``KUBECONFIG`` names, used through kubectl and helm."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
CHART = str(ROOT / "deploy" / "helm" / "penstock")


class CommandFailed(AssertionError):
    pass


def run(*command: str, stdin: str | None = None, timeout: float = 300) -> str:
    """Return a command's output; if it fails, the exception has its errors."""
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=timeout, check=False)
    if done.returncode:
        raise CommandFailed(f"{' '.join(command)} -> {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done.stdout


def until(condition: Callable[[], object], what: str, seconds: float = 180, every: float = 0.5) -> None:
    give_up = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < give_up, f"waited {seconds} s in vain for {what}"
        time.sleep(every)


class Namespace:
    """A namespace whose label makes Pod Security admit only restricted pods."""

    def __init__(self, name: str) -> None:
        self.name = name

    def create(self) -> None:
        document = {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": self.name, "labels": {"pod-security.kubernetes.io/enforce": "restricted"}},
        }
        self.apply(document)

    def label(self, label: str) -> None:
        run("kubectl", "label", "--overwrite", "namespace", self.name, label)

    def delete(self, *, wait: bool = True) -> None:
        options = ["--ignore-not-found", f"--wait={'true' if wait else 'false'}", "--timeout=180s"]
        run("kubectl", "delete", "namespace", self.name, *options)

    def kubectl(self, *arguments: str, stdin: str | None = None, timeout: float = 300) -> str:
        return run("kubectl", "-n", self.name, *arguments, stdin=stdin, timeout=timeout)

    def get(self, *arguments: str) -> Any:
        return json.loads(self.kubectl("get", *arguments, "-o", "json"))

    def apply(self, *documents: dict[str, Any]) -> None:
        listed = {"apiVersion": "v1", "kind": "List", "items": list(documents)}
        run("kubectl", "-n", self.name, "apply", "-f", "-", stdin=json.dumps(listed))

    def helm(self, *arguments: str, timeout: float = 400) -> str:
        return run("helm", "-n", self.name, *arguments, timeout=timeout)

    def rolled_out(self, deployment: str) -> None:
        self.kubectl("rollout", "status", f"deployment/{deployment}", "--timeout=240s")

    def pods(self, component: str) -> list[dict[str, Any]]:
        """Return a part's pods that are not being deleted."""
        found = self.get("pods", "-l", f"app.kubernetes.io/component={component}")["items"]
        return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]

    def ready_pods(self, component: str) -> list[str]:
        """Return the names of a part's ready pods."""
        return [
            pod["metadata"]["name"]
            for pod in self.pods(component)
            if any(c["type"] == "Ready" and c["status"] == "True" for c in pod["status"].get("conditions", []))
        ]

    def secret(self, name: str, entry: str) -> str:
        import base64

        return base64.b64decode(self.get("secret", name)["data"][entry]).decode()


RESTRICTED_POD: dict[str, Any] = {
    "automountServiceAccountToken": False,
    "enableServiceLinks": False,
    "securityContext": {"runAsNonRoot": True, "runAsUser": 10001, "seccompProfile": {"type": "RuntimeDefault"}},
    "restartPolicy": "Never",
    "terminationGracePeriodSeconds": 0,
}
RESTRICTED_CONTAINER: dict[str, Any] = {
    "securityContext": {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    },
    "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"memory": "256Mi"}},
}


def python_pod(
    name: str, image: str, program: str, environment: dict[str, str], labels: dict[str, str]
) -> dict[str, Any]:
    """Return a pod that runs a Python program in one of our images."""
    container = RESTRICTED_CONTAINER | {
        "name": "main",
        "image": image,
        "command": ["python", "-u", "-c", program],
        "env": [{"name": key, "value": value} for key, value in environment.items()],
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": labels},
        "spec": RESTRICTED_POD | {"containers": [container]},
    }
