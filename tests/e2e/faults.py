"""Faults of one part of an installation, as they happen to real ones.

Every fault comes back from a fresh pod, because Kubernetes makes a container that
dies twice within ten minutes wait longer each time, which is not what is tested.
"""

from __future__ import annotations

import json
import random
import tempfile
from collections.abc import Callable

from tests.e2e.cluster import CommandFailed, Namespace, until

#: Sends a signal to the service, which is the child of the container's process 1.
_SIGNAL = """
import os, pathlib, sys
for status in pathlib.Path("/proc").glob("[0-9]*/status"):
    if "PPid:\\t1\\n" in status.read_text():
        os.kill(int(status.parent.name), int(sys.argv[1]))
"""
#: Asks Envoy's admin interface, which is a socket that the gateway's container has, to end it.
_QUIT = """
import socket
with socket.socket(socket.AF_UNIX) as admin:
    admin.connect("/run/envoy/admin.sock")
    admin.sendall(b"POST /quitquitquit HTTP/1.1\\r\\nHost: envoy\\r\\nContent-Length: 0\\r\\n\\r\\n")
    admin.recv(1024)
"""
#: Takes the pod's network interface down: SIOCGIFFLAGS, then SIOCSIFFLAGS without IFF_UP.
_CUT = """
import fcntl, socket, struct
with socket.socket() as any_socket:
    answer = fcntl.ioctl(any_socket, 0x8913, struct.pack("16sH14x", b"eth0", 0))
    flags = struct.unpack_from("16xH", answer)[0]
    fcntl.ioctl(any_socket, 0x8914, struct.pack("16sH14x", b"eth0", flags & ~1))
"""
_ROOT_OF_THE_NETWORK = {
    "securityContext": {"runAsUser": 0, "runAsNonRoot": False, "capabilities": {"add": ["NET_ADMIN"]}}
}


def signal_service(namespace: Namespace, pod: str, container: str, number: int) -> None:
    """Send a signal to the service in a pod's container."""
    try:
        namespace.kubectl("exec", pod, "-c", container, "--", "python", "-c", _SIGNAL, str(number))
    except CommandFailed as err:
        if "exit code 137" not in str(err):  # the container ended, and this command with it
            raise


def kill_pod(namespace: Namespace, image: str) -> str:
    """SIGKILL for the service of a pod that runs models."""
    pod = random.choice(namespace.ready_pods("inference"))
    signal_service(namespace, pod, "inference", 9)
    return pod


def stop_pod(namespace: Namespace, image: str) -> str:
    """SIGSTOP for the service of a pod that runs models: its connections stay open."""
    pod = random.choice(namespace.ready_pods("inference"))
    signal_service(namespace, pod, "inference", 19)
    return pod


def cut_network(namespace: Namespace, image: str) -> str:
    """No packet reaches or leaves a pod that runs models; nobody is told."""
    pod = random.choice(namespace.ready_pods("inference"))
    with tempfile.NamedTemporaryFile("w", suffix=".json") as custom:
        json.dump(_ROOT_OF_THE_NETWORK, custom)
        custom.flush()
        namespace.kubectl(
            "debug", pod, f"--image={image}", "--container=cut", "--profile=general", f"--custom={custom.name}",
            "--attach=false", "--", "python", "-c", _CUT,
        )  # fmt: skip
    until(lambda: "terminated" in json.dumps(_ephemeral_state(namespace, pod)), "the network to be cut", seconds=60)
    return pod


def _ephemeral_state(namespace: Namespace, pod: str) -> object:
    return namespace.get("pod", pod)["status"].get("ephemeralContainerStatuses", [])


def kill_envoy(namespace: Namespace, image: str) -> str:
    """The Envoy beside a gateway ends at once, without draining."""
    pod = random.choice(namespace.ready_pods("gateway"))
    namespace.kubectl("exec", pod, "-c", "gateway", "--", "python", "-c", _QUIT)
    return pod


def delete_by_force(namespace: Namespace, image: str) -> str:
    """A pod that runs models is deleted without notice."""
    pod = random.choice(namespace.ready_pods("inference"))
    namespace.kubectl("delete", "pod", pod, "--grace-period=0", "--force")
    return pod


def kill_registry(namespace: Namespace, image: str) -> str:
    """SIGKILL for the registry."""
    [pod] = namespace.ready_pods("registry")
    signal_service(namespace, pod, "registry", 9)
    return pod


FAULTS: list[Callable[[Namespace, str], str]] = [
    kill_pod,
    stop_pod,
    cut_network,
    kill_envoy,
    delete_by_force,
    kill_registry,
]


def replace(namespace: Namespace, pod: str) -> None:
    """Delete a pod that had a fault: in order if it can still be asked to leave, by force if not."""
    conditions = {c["type"]: c["status"] for c in _conditions(namespace, pod)}
    options = [] if conditions.get("Ready") == "True" else ["--grace-period=0", "--force"]
    namespace.kubectl("delete", "pod", pod, "--ignore-not-found", "--wait=false", *options)


def _conditions(namespace: Namespace, pod: str) -> list[dict[str, str]]:
    items = namespace.get("pods", f"--field-selector=metadata.name={pod}")["items"]
    return items[0]["status"].get("conditions", []) if items else []
