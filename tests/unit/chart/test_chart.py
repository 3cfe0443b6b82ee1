"""The chart renders in its variants, refuses contradictions with an explanation, and its documents are up to date."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from penstock_gateway.settings import GatewaySettings

ROOT = Path(__file__).resolve().parents[3]
CHART = ROOT / "deploy" / "helm" / "penstock"
HELM = shutil.which("helm")
pytestmark = pytest.mark.skipif(HELM is None, reason="needs helm on the PATH")


def helm(*arguments: str, release: str = "penstock") -> subprocess.CompletedProcess[str]:
    command = [
        str(HELM),
        "template",
        release,
        str(CHART),
        "--namespace",
        "default",
        "--kube-version",
        "1.34.0",
        *arguments,
    ]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def rendered(*arguments: str) -> dict[tuple[str, str], dict[str, Any]]:
    """Return the rendered objects by kind and name."""
    done = helm(*arguments)
    assert done.returncode == 0, done.stderr
    return {(d["kind"], d["metadata"]["name"]): d for d in yaml.safe_load_all(done.stdout) if d}


def pods(objects: dict[tuple[str, str], dict[str, Any]]) -> list[dict[str, Any]]:
    specs = [o["spec"]["template"]["spec"] for (kind, _), o in objects.items() if kind in ("Deployment", "Job")]
    return specs + [o["spec"] for (kind, _), o in objects.items() if kind == "Pod"]


VARIANTS: dict[str, list[str]] = {
    "default": [],
    "try": ["-f", str(CHART / "values-try.yaml")],
    "s3": ["--set", "store.url=s3://models", "--set", "store.credentialsSecret=s3", "--set", "registry.replicas=2"],
    "postgresql": ["--set", "auth.postgresqlSecret=db"],
    "gpu": [
        "--set-json",
        'pools.gpu={"models":["big*"],"resources":{"limits":{"nvidia.com/gpu":1}},"autoscaling":{"metric":"gpu"}}',
    ],
    "executor": ["--set", "poolDefaults.autoscaling.metric=executor"],
    "doors": [
        "--set", "ingress.enabled=true", "--set", "ingress.tlsSecret=tls", "--set", "httpRoute.enabled=true",
        "--set-json", 'httpRoute.parentRefs=[{"name":"main"}]', "--set", "gateway.autoscaling.enabled=true",
    ],
    "traces": ["--set", "tracing.endpoint=http://collector.monitoring:4317", "--set", "networkPolicies.enabled=false"],
}  # fmt: skip


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_pod_fits_pod_security_restricted(variant: str) -> None:
    """Every container of every variant is non-root, with a read-only root and without capabilities or a token."""
    specs = pods(rendered(*VARIANTS[variant]))
    assert len(specs) >= 3  # the gateway's, the registry's and a pool's
    for spec in specs:
        assert spec["automountServiceAccountToken"] is False
        assert spec["securityContext"]["runAsNonRoot"] and spec["securityContext"]["seccompProfile"]
        for container in spec["containers"] + spec.get("initContainers", []):
            security = container["securityContext"]
            assert security["readOnlyRootFilesystem"] and security["allowPrivilegeEscalation"] is False
            assert security["capabilities"] == {"drop": ["ALL"]}
            assert container["resources"]["requests"] and container["resources"]["limits"]["memory"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--set", "registry.replicas=2"], "set store.url"),
        (["--set", "store.url=ftp://x"], "use s3://bucket"),
        (["--set", "store.credentialsSecret=x"], "store.url is empty"),
        (["--set", "poolDefaults.drainSeconds=1"], "set drainSeconds to at least"),
        (["--set", "poolDefaults.autoscaling.minReplicas=20"], "above maxReplicas"),
        (["--set", "poolDefaults.autoscaling.metric=gpu"], "nvidia"),
        (["--set", "pools.inference.models=null"], "models is empty"),
        (["--set-json", 'pools.gateway={"models":["*"]}'], "taken by another part"),
        (["--set", "httpRoute.enabled=true"], "parentRefs"),
        (["--set", "ingress.enabled=true"], "in the clear"),
        (["--set", "auth.existingKeySecret=mine"], "set auth.existingKeysSecret"),
        (["--set", "tracing.endpoint=http://10.0.0.5"], "names no port"),
        (["--set", "gateway.replica=3"], "replica"),
        (["--set", "image.pullPolicy=Sometimes"], "pullPolicy"),
    ],
)
def test_contradictions_are_refused_with_what_to_change(options: list[str], words: str) -> None:
    """Values that cannot work stop the rendering with an explanation."""
    done = helm(*options)
    assert done.returncode != 0
    assert words in done.stderr


def test_an_autoscaled_pool_has_no_replicas_of_its_own() -> None:
    """Only the autoscaler writes the number of pods."""
    objects = rendered()
    assert "replicas" not in objects["Deployment", "penstock-inference"]["spec"]
    assert objects["HorizontalPodAutoscaler", "penstock-inference"]["spec"]["minReplicas"] == 2
    fixed = rendered("--set", "poolDefaults.autoscaling.enabled=false")
    assert fixed["Deployment", "penstock-inference"]["spec"]["replicas"] == 2


@pytest.mark.parametrize(
    ("variant", "clusters"),
    [("gpu", ["gpu", "inference", "admin"]), ("traces", ["inference", "admin", "collector"])],
)
def test_envoy_reads_what_the_chart_renders(tmp_path: Path, variant: str, clusters: list[str]) -> None:
    """The configuration has a cluster and a route for each pool, and the collector's if there are traces."""
    config = rendered(*VARIANTS[variant])["ConfigMap", "penstock-envoy"]["data"]["envoy.yaml"]
    resources = yaml.safe_load(config)["static_resources"]
    assert [cluster["name"] for cluster in resources["clusters"]] == clusters
    assert ("collector.monitoring" in config) == (variant == "traces")
    path = tmp_path / "envoy.yaml"
    path.write_text(config)
    envoy = Path(sys.executable).parent / "envoy"
    done = subprocess.run([envoy, "--mode", "validate", "-c", path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_envoys_admin_interface_has_no_port() -> None:
    """It is a private socket in a volume that only Envoy and the gateway mount; what is exposed of it only reads."""
    objects = rendered()
    config = yaml.safe_load(objects["ConfigMap", "penstock-envoy"]["data"]["envoy.yaml"])
    pipe = {"pipe": {"path": str(GatewaySettings.model_fields["envoy_admin_socket"].default), "mode": 0o600}}
    assert config["admin"]["address"] == pipe
    ops = config["static_resources"]["listeners"][1]
    [host] = ops["filter_chains"][0]["filters"][0]["typed_config"]["route_config"]["virtual_hosts"]
    assert [route["match"] for route in host["routes"]] == [{"path": "/ready"}, {"path": "/metrics"}]
    pod = objects["Deployment", "penstock-gateway"]["spec"]["template"]["spec"]
    for container in (*pod["initContainers"], *pod["containers"]):
        mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
        assert mounts["envoy-admin"] == "/run/envoy"
    assert {"name": "envoy-admin", "emptyDir": {"sizeLimit": "1Mi"}} in pod["volumes"]


def test_only_the_registry_sees_the_stores_credentials() -> None:
    """With an object store, no other pod has them, and there is no volume."""
    objects = rendered(*VARIANTS["s3"])
    assert ("PersistentVolumeClaim", "penstock-registry") not in objects
    with_credentials = {(kind, name) for (kind, name), document in objects.items() if "envFrom" in json.dumps(document)}
    assert with_credentials == {("Deployment", "penstock-registry")}


def test_the_first_key_and_its_hash_belong_together() -> None:
    """The Secret of hashes has the SHA-256 of the key in the other Secret."""
    import base64
    import hashlib

    objects = rendered()
    key = base64.b64decode(objects["Secret", "penstock-first-key"]["data"]["key"])
    record = json.loads(base64.b64decode(objects["Secret", "penstock-keys"]["data"]["first.json"]))
    assert record["hash"] == hashlib.sha256(key).hexdigest()
    assert key.decode().startswith(f"psk_{record['id']}_")


@pytest.mark.parametrize(("seconds", "last_resort"), [(10, "60"), (120, "130")])
def test_the_last_resort_is_longer_than_the_longest_request(seconds: int, last_resort: str) -> None:
    """The gateway would refuse to start otherwise."""
    spec = rendered("--set", f"gateway.timeoutSeconds={seconds}")["Deployment", "penstock-gateway"]["spec"]
    (gateway,) = spec["template"]["spec"]["containers"]
    environment = {variable["name"]: variable.get("value") for variable in gateway["env"]}
    assert environment["PENSTOCK_GATEWAY_ANSWER_SECONDS"] == last_resort


GITOPS = [
    "--set=auth.existingTokenSecret=token",
    "--set=auth.existingKeySecret=key",
    "--set=auth.existingKeysSecret=keys",
]


def test_with_secrets_of_their_own_every_rendering_is_the_same() -> None:
    """A GitOps controller that renders again sees no difference, and the chart creates no Secret."""
    first, second = rendered(*GITOPS), rendered(*GITOPS)
    assert first == second
    assert not [name for kind, name in first if kind == "Secret"]


def test_a_digest_replaces_the_tag() -> None:
    """An image with a digest is pulled by its digest; the others keep the tag."""
    digest = "sha256:" + "0" * 64
    images = {
        container["image"]
        for spec in pods(rendered("--set", f"image.digests.gateway={digest}", "--set", "image.tag=v1"))
        for container in spec["containers"]
    }
    assert f"ghcr.io/penstock/gateway@{digest}" in images
    assert "ghcr.io/penstock/registry:v1" in images


@pytest.mark.parametrize("variant", VARIANTS)
def test_no_volume_in_memory_or_on_the_node_grows_without_bound(variant: str) -> None:
    """Every emptyDir has a size limit."""
    volumes = [volume for spec in pods(rendered(*VARIANTS[variant])) for volume in spec.get("volumes", [])]
    assert [v for v in volumes if "emptyDir" in v]
    assert all(v["emptyDir"]["sizeLimit"] for v in volumes if "emptyDir" in v)


def egress(objects: dict[tuple[str, str], dict[str, Any]], policy: str) -> dict[int, list[Any]]:
    """Return the peers that a policy lets a part reach, by port; an empty list means everybody."""
    rules = objects["NetworkPolicy", policy]["spec"]["egress"]
    return {port["port"]: rule.get("to", []) for rule in rules for port in rule["ports"]}


def test_the_policies_open_no_more_than_is_needed() -> None:
    """DNS is open only to the cluster's own servers, the database only on its port, the store only at its address."""
    default = egress(rendered(), "penstock-gateway")
    assert default[53] == [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}}}]
    database = rendered("--set", "auth.postgresqlSecret=db", "--set", "auth.postgresqlPort=6432")
    assert 6432 in egress(database, "penstock-gateway")
    assert 5432 not in egress(database, "penstock-gateway")
    store = ["--set", "store.url=s3://models", "--set", "store.to[0].ipBlock.cidr=10.1.2.0/24"]
    for part in ("penstock-registry", "penstock-inference"):
        assert egress(rendered(*store), part)[443] == [{"ipBlock": {"cidr": "10.1.2.0/24"}}]


def test_access_to_the_gateway_can_be_restricted() -> None:
    """By default everybody may call the gateway, as every call needs a key; gateway.from restricts that."""
    everybody, ours = (
        rendered(*options)["NetworkPolicy", "penstock-gateway"]["spec"]["ingress"][0]
        for options in ([], ["--set", "gateway.from[0].podSelector.matchLabels.app=shop"])
    )
    assert "from" not in everybody
    assert ours["from"] == [{"podSelector": {"matchLabels": {"app": "shop"}}}]


def test_documents_are_up_to_date() -> None:
    """The README's table and the schema are what chart_docs.py generates from values.yaml."""
    command = [sys.executable, str(ROOT / "deploy" / "helm" / "chart_docs.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_kustomize_base_is_what_the_chart_renders() -> None:
    """deploy/k8s/base is up to date."""
    done = subprocess.run(
        ["bash", str(ROOT / "deploy" / "k8s" / "render.sh")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == (ROOT / "deploy" / "k8s" / "base" / "penstock.yaml").read_text()
