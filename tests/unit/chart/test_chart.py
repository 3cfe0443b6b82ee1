"""The chart renders in its variants, refuses contradictions with an explanation, and its documents are up to date."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from penstock_common.remotes import Fallback, Remote, parse_remotes
from penstock_gateway.settings import GatewaySettings
from penstock_inference.health import LIVE
from penstock_inference.settings import InferenceSettings
from penstock_registry.settings import RegistrySettings

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
    "executor": [
        "--set", "poolDefaults.autoscaling.metric=executor", "--set", "gateway.autoscaling.enabled=true",
        "--set", "gateway.autoscaling.metric=requests",
    ],
    "doors": [
        "--set", "ingress.enabled=true", "--set", "ingress.tlsSecret=tls", "--set", "httpRoute.enabled=true",
        "--set-json", 'httpRoute.parentRefs=[{"name":"main"}]', "--set", "gateway.autoscaling.enabled=true",
    ],
    "tls": ["--set", "gateway.tls.enabled=true", "--set", "gateway.tls.secret=penstock-tls"],
    "remotes": [
        "--set-json", 'gateway.remotes.models={"gpt":{"url":"https://a.example.com/v1","model":"m","key_file":"gpt.key"}}',
        "--set", "gateway.remotes.secret=remote-keys",
    ],
    "files": [
        "--set", "auth.postgresqlSecret=db", "--set", "gateway.files.url=s3://files",
        "--set", "gateway.files.credentialsSecret=s3-files",
    ],
    "services": ["--set", "services={chat,image-classification}"],
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
        (["--set", "gateway.tls.enabled=true"], "name the Secret"),
        (
            ["--set", "gateway.tls.enabled=true,gateway.tls.secret=x,ingress.enabled=true,ingress.tlsSecret=x"],
            "in one place",
        ),
        (["--set", "gateway.tls.minVersion=1.1"], "minVersion"),
        (["--set", "auth.existingKeySecret=mine"], "set auth.existingKeysSecret"),
        (["--set", "tracing.endpoint=http://10.0.0.5"], "names no port"),
        (["--set", "gateway.files.url=s3://x"], "set auth.postgresqlSecret"),
        (["--set", "gateway.files.url=/data", "--set", "auth.postgresqlSecret=db"], "use s3://bucket"),
        (["--set", "gateway.files.credentialsSecret=x"], "gateway.files.url is empty"),
        (["--set", "gateway.remotes.models.gpt.model=m"], "models.gpt.url is missing"),
        (["--set", "gateway.remotes.models.gpt.url=http://a/v1"], "models.gpt.model is missing"),
        (
            ["--set-json", 'gateway.remotes.models={"gpt":{"url":"http://a/v1","model":"m","key_file":"k"}}'],
            "gateway.remotes.secret is empty",
        ),
        (["--set", "gateway.remotes.fallbacks.chat.to[0]=gpt"], "names gpt, which is not in"),
        (["--set", "gateway.remotes.fallbacks.chat.in_flight=1"], "fallbacks.chat.to is missing"),
        (["--set", "services={poetry}"], "one of 'chat'"),
        (["--set", "services={ocr,ocr}"], "equal"),
        (["--set", "services={ocr}", "--set-json", 'pools.ocr={"models":[]}'], "pools.ocr.models is empty"),
        (["--set", "gateway.replica=3"], "replica"),
        (["--set", "image.pullPolicy=Sometimes"], "pullPolicy"),
        (
            ["--set-json", 'gateway.env=[{"name":"PENSTOCK_GATEWAY_RATE","value":"1"}]'],
            "gateway.env: PENSTOCK_GATEWAY_RATE",
        ),
        (
            ["--set-json", 'registry.env=[{"name":"PENSTOCK_REGISTRY_HOST","value":"x"}]'],
            "registry.env: PENSTOCK_REGISTRY",
        ),
        (
            ["--set-json", 'pools.gpu={"models":["big*"],"env":[{"name":"PENSTOCK_INFERENCE_MODELS","value":"*"}]}'],
            "pools.gpu.env: PENSTOCK_INFERENCE_MODELS",
        ),
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


def metrics(objects: dict[tuple[str, str], dict[str, Any]], part: str) -> list[str]:
    """The names of what a part's autoscaler scales on."""
    found = []
    for metric in objects["HorizontalPodAutoscaler", f"penstock-{part}"]["spec"]["metrics"]:
        details = metric[metric["type"][0].lower() + metric["type"][1:]]
        found.append(details["name"] if "name" in details else details["metric"]["name"])
    return found


@pytest.mark.parametrize(("variant", "pool"), [("executor", "inference"), ("gpu", "gpu")])
def test_a_pool_scales_on_what_waits_for_it_in_the_gateways(variant: str, pool: str) -> None:
    """Its own messages alone count, and only for metrics that need the adapter anyway."""
    objects = rendered(*VARIANTS[variant])
    [waiting] = [
        metric["object"]
        for metric in objects["HorizontalPodAutoscaler", f"penstock-{pool}"]["spec"]["metrics"]
        if metric["type"] == "Object"
    ]
    assert waiting["metric"] == {
        "name": "penstock_gateway_waiting_messages",
        "selector": {"matchLabels": {"pool": pool}},
    }
    assert waiting["describedObject"] == {"apiVersion": "v1", "kind": "Namespace", "name": "default"}
    assert metrics(rendered(), "inference") == ["cpu"]


def test_gateways_scale_on_requests_in_flight_if_asked_to() -> None:
    """CPU stays one of the reasons for more gateways."""
    scaled = rendered(*VARIANTS["executor"])
    assert metrics(scaled, "gateway") == ["cpu", "penstock_gateway_requests_in_flight"]
    assert metrics(rendered(*VARIANTS["doors"]), "gateway") == ["cpu"]


def test_the_adapter_has_a_rule_for_every_metric_that_autoscalers_read() -> None:
    """A metric without a rule would leave the autoscaler without a decision."""
    rules = yaml.safe_load((CHART / "files" / "adapter-rules.yaml").read_text())
    known = {rule.get("name", {}).get("as", rule["seriesQuery"].partition("{")[0]) for rule in rules}
    read = {
        name
        for variant in ("executor", "gpu")
        for kind, part in rendered(*VARIANTS[variant])
        if kind == "HorizontalPodAutoscaler"
        for name in metrics(rendered(*VARIANTS[variant]), part.removeprefix("penstock-"))
    }
    assert read - {"cpu"} == known


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


def containers(objects: dict[tuple[str, str], dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The containers of a gateway's pod, by name."""
    spec = objects["Deployment", "penstock-gateway"]["spec"]["template"]["spec"]
    return {container["name"]: container for container in spec["initContainers"] + spec["containers"]}


def test_envoys_admin_interface_has_no_port() -> None:
    """It is a private socket in a volume that only Envoy and the gateway mount; what is exposed of it only reads."""
    objects = rendered(*VARIANTS["tls"])
    config = yaml.safe_load(objects["ConfigMap", "penstock-envoy"]["data"]["envoy.yaml"])
    pipe = {"pipe": {"path": str(GatewaySettings.model_fields["envoy_admin_socket"].default), "mode": 0o600}}
    assert config["admin"]["address"] == pipe
    ops = config["static_resources"]["listeners"][1]
    [host] = ops["filter_chains"][0]["filters"][0]["typed_config"]["route_config"]["virtual_hosts"]
    assert [route["match"] for route in host["routes"]] == [{"path": "/ready"}, {"path": "/metrics"}]
    pod = objects["Deployment", "penstock-gateway"]["spec"]["template"]["spec"]
    mount = {"name": "envoy-admin", "mountPath": "/run/envoy"}
    assert {name for name, held in containers(objects).items() if mount in held["volumeMounts"]} == {"envoy", "gateway"}
    assert {"name": "envoy-admin", "emptyDir": {"sizeLimit": "1Mi"}} in pod["volumes"]


def test_with_tls_nothing_outside_the_pod_speaks_plain_http() -> None:
    """The Service, its peers and the policy lead to the front's port; the gateway listens on loopback and a socket."""
    objects = rendered(*VARIANTS["tls"])
    for name in ("penstock", "penstock-gateway-peers"):
        assert [port["targetPort"] for port in objects["Service", name]["spec"]["ports"]] == ["https"]
    assert objects["Service", "penstock"]["spec"]["ports"][0]["port"] == 443
    ingress = objects["NetworkPolicy", "penstock-gateway"]["spec"]["ingress"]
    assert [[port["port"] for port in rule["ports"]] for rule in ingress] == [[8443], [9090, 8084, 8085]]
    gateway, front = containers(objects)["gateway"], containers(objects)["front"]
    environment = {variable["name"]: variable.get("value") for variable in gateway["env"]}
    assert environment["PENSTOCK_GATEWAY_HOST"] == "127.0.0.1"
    assert environment["PENSTOCK_GATEWAY_METRICS_HOST"] == "0.0.0.0"
    assert [port["name"] for port in gateway["ports"]] == ["metrics"]
    probed = {gateway[probe]["httpGet"]["port"] for probe in ("startupProbe", "readinessProbe", "livenessProbe")}
    assert probed == {"front-ops"}
    assert {port["name"]: port["containerPort"] for port in front["ports"]} == {"https": 8443, "front-ops": 8085}
    socket = environment["PENSTOCK_GATEWAY_FRONT_SOCKET"]
    config = objects["ConfigMap", "penstock-front"]["data"]["front.yaml"]
    assert f"path: {socket}\n" in config
    for container in (gateway, front):
        assert {"name": "front-socket", "mountPath": str(Path(socket).parent)} in container["volumeMounts"]


def test_prometheus_scrapes_the_front() -> None:
    """Its port has the metric that the alerts on the certificate's expiry read."""
    monitored = ["--set", "monitoring.podMonitors=true", "--api-versions", "monitoring.coreos.com/v1"]
    objects = rendered(*VARIANTS["tls"], *monitored)
    spec = objects["PodMonitor", "penstock-gateway"]["spec"]
    assert {"port": "front-ops", "path": "/metrics"} in spec["podMetricsEndpoints"]
    gateway = objects["Deployment", "penstock-gateway"]["spec"]["template"]["metadata"]["labels"]
    assert spec["selector"]["matchLabels"].items() <= gateway.items()
    config = yaml.safe_load(objects["ConfigMap", "penstock-front"]["data"]["front.yaml"])
    ops = config["static_resources"]["listeners"][1]
    [host] = ops["filter_chains"][0]["filters"][0]["typed_config"]["route_config"]["virtual_hosts"]
    assert {
        "match": {"path": "/metrics"},
        "route": {"cluster": "admin", "prefix_rewrite": "/stats/prometheus"},
    } in host["routes"]


def test_without_tls_there_is_no_front() -> None:
    """The default pod is as it was before."""
    objects = rendered()
    assert ("ConfigMap", "penstock-front") not in objects
    assert set(containers(objects)) == {"envoy", "gateway"}


def test_only_the_front_has_the_key_of_the_certificate() -> None:
    """The helm test compares certificates, and gets no key for that."""
    objects = rendered(*VARIANTS["tls"])
    holders = [
        (spec_name, container["name"])
        for spec_name, spec in (
            ("gateway", objects["Deployment", "penstock-gateway"]["spec"]["template"]["spec"]),
            ("test", objects["Pod", "penstock-test"]["spec"]),
        )
        for container in spec["containers"] + spec.get("initContainers", [])
        for mount in container.get("volumeMounts", [])
        if mount["name"] == "certificate"
    ]
    assert holders == [("gateway", "front"), ("test", "test")]
    (volume,) = objects["Pod", "penstock-test"]["spec"]["volumes"]
    assert volume["secret"] == {"secretName": "penstock-tls", "items": [{"key": "tls.crt", "path": "tls.crt"}]}


def test_envoy_reads_the_front_that_the_chart_renders(tmp_path: Path) -> None:
    """With the oldest version, the memory and the times that the values give."""
    options = [
        "--set", "gateway.tls.minVersion=1.3", "--set", "gateway.tls.memoryMiB=1024",
        "--set", "gateway.timeoutSeconds=120",
    ]  # fmt: skip
    objects = rendered(*VARIANTS["tls"], *options)
    data = objects["ConfigMap", "penstock-front"]["data"]
    (tmp_path / "front-certificate.yaml").write_text(data["front-certificate.yaml"])
    path = tmp_path / "front.yaml"
    path.write_text(data["front.yaml"].replace("/etc/envoy/", f"{tmp_path}/"))
    envoy = Path(sys.executable).parent / "envoy"
    done = subprocess.run([envoy, "--mode", "validate", "-c", path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    config = yaml.safe_load(data["front.yaml"])
    (chain,) = config["static_resources"]["listeners"][0]["filter_chains"]
    tls = chain["transport_socket"]["typed_config"]["common_tls_context"]
    assert tls["tls_params"] == {"tls_minimum_protocol_version": "TLSv1_3"}
    assert (
        chain["filters"][0]["typed_config"]["stream_idle_timeout"] == "740s"
    )  # the gateway's answer_seconds is 130, its stream_seconds 600
    assert config["overload_manager"]["resource_monitors"][1]["typed_config"]["max_heap_size_bytes"] == 768 * 1024**2
    assert containers(objects)["front"]["resources"]["limits"] == {"memory": "1024Mi"}
    # The folder of the certificate is the one that the Secret is mounted at, and Envoy watches it.
    mounts = {mount["name"]: mount["mountPath"] for mount in containers(objects)["front"]["volumeMounts"]}
    assert f"watched_directory: {{path: {mounts['certificate']}}}" in data["front-certificate.yaml"]


def test_only_the_registry_sees_the_stores_credentials() -> None:
    """With an object store, no other pod has them, and there is no volume."""
    objects = rendered(*VARIANTS["s3"])
    assert ("PersistentVolumeClaim", "penstock-registry") not in objects
    with_credentials = {(kind, name) for (kind, name), document in objects.items() if "envFrom" in json.dumps(document)}
    assert with_credentials == {("Deployment", "penstock-registry")}


@pytest.mark.parametrize(("seconds", "last_resort"), [(10, "60"), (120, "130")])
def test_the_last_resort_is_longer_than_the_longest_request(seconds: int, last_resort: str) -> None:
    """The gateway would refuse to start otherwise."""
    spec = rendered("--set", f"gateway.timeoutSeconds={seconds}")["Deployment", "penstock-gateway"]["spec"]
    (gateway,) = spec["template"]["spec"]["containers"]
    environment = {variable["name"]: variable.get("value") for variable in gateway["env"]}
    assert environment["PENSTOCK_GATEWAY_ANSWER_SECONDS"] == last_resort


@pytest.mark.parametrize(("timeout", "streams", "grace"), [(10, 60, 60), (90, 60, 90), (10, 0, 10)])
def test_a_pod_that_leaves_has_the_time_that_its_streams_have(timeout: int, streams: int, grace: int) -> None:
    """Kubernetes kills neither gateways, and with them their Envoys, nor the models' pods before it is over."""
    objects = rendered("--set", f"gateway.timeoutSeconds={timeout},gateway.streamGraceSeconds={streams}")
    seconds = {}
    for name in ("penstock-gateway", "penstock-inference"):
        spec = objects["Deployment", name]["spec"]["template"]["spec"]
        environment = {variable["name"]: variable.get("value") for variable in spec["containers"][0]["env"]}
        seconds[name] = (spec["terminationGracePeriodSeconds"], environment)
    total, environment = seconds["penstock-gateway"]
    assert environment["PENSTOCK_GATEWAY_STREAM_GRACE_SECONDS"] == str(streams)
    assert total == int(environment["PENSTOCK_GATEWAY_DRAIN_SECONDS"]) + grace + 10
    total, environment = seconds["penstock-inference"]
    assert environment["PENSTOCK_INFERENCE_GRACE_SECONDS"] == str(grace)
    assert total == int(environment["PENSTOCK_INFERENCE_DRAIN_SECONDS"]) + grace + 5


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_rendering_is_the_same_and_holds_no_secret(variant: str) -> None:
    """A GitOps controller that renders again, without a cluster, sees no difference and stores nothing secret."""
    first, second = helm(*VARIANTS[variant]), helm(*VARIANTS[variant])
    assert first.stdout == second.stdout
    assert "kind: Deployment" in first.stdout
    assert "kind: Secret" not in first.stdout


TOKENS = "--set=auth.existingTokensSecret=our-tokens"
KEYS = "--set=auth.existingKeysSecret=our-keys"
KEY = "--set=auth.existingKeySecret=our-key"
DATABASE = "--set=auth.postgresqlSecret=db"


@pytest.mark.parametrize(
    ("options", "created", "readable"),
    [
        (
            [],
            ["--tokens=penstock-registry-tokens", "--key=penstock-first-key", "--records=penstock-keys"],
            ["penstock-first-key", "penstock-keys"],
        ),
        ([TOKENS], ["--key=penstock-first-key", "--records=penstock-keys"], ["penstock-first-key", "penstock-keys"]),
        ([KEYS], ["--tokens=penstock-registry-tokens"], []),
        ([KEYS, KEY], ["--tokens=penstock-registry-tokens"], []),
        ([DATABASE], ["--tokens=penstock-registry-tokens"], []),
    ],
)
def test_a_job_creates_the_secrets_that_nobody_named(
    options: list[str], created: list[str], readable: list[str]
) -> None:
    """It comes before the rest, after its own rights: to create Secrets, and to read those of the first key."""
    objects = rendered(*options)
    job = objects["Job", "penstock-secrets"]
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert container["args"] == ["--namespace=default", "--release=penstock", *created]
    get = [
        rule.get("resourceNames", []) for rule in objects["Role", "penstock-secrets"]["rules"] if "get" in rule["verbs"]
    ]
    assert get == ([readable] if readable else [])
    weights = {}
    for kind in ("ServiceAccount", "Role", "RoleBinding", "Job"):
        annotations = objects[kind, "penstock-secrets"]["metadata"]["annotations"]
        assert annotations["helm.sh/hook"] == "pre-install,pre-upgrade"
        weights[kind] = int(annotations["helm.sh/hook-weight"])
    assert weights["Job"] > max(weights["ServiceAccount"], weights["Role"], weights["RoleBinding"])


def test_the_job_starts_as_the_chart_calls_it() -> None:
    """The program knows the options that the Job gives it."""
    (container,) = rendered()["Job", "penstock-secrets"]["spec"]["template"]["spec"]["containers"]
    outside = {name: value for name, value in os.environ.items() if not name.startswith("KUBERNETES_")}
    done = subprocess.run(
        [sys.executable, *container["command"][1:], *container["args"]],
        env=outside | {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "/var/run/secrets/kubernetes.io/serviceaccount/token" in done.stderr  # which is there in a pod only
    assert "No such option" not in done.stderr


@pytest.mark.parametrize("options", [[TOKENS, KEYS], [TOKENS, KEYS, KEY], [TOKENS, DATABASE]])
def test_with_secrets_of_its_owner_an_installation_has_no_job(options: list[str]) -> None:
    """Nothing in the cluster then has a right on Secrets, and every part mounts those that were named."""
    objects = rendered(*options)
    assert not [name for kind, name in objects if kind in ("Role", "RoleBinding")]
    assert ("Job", "penstock-secrets") not in objects
    mounted = {v["secret"]["secretName"] for spec in pods(objects) for v in spec.get("volumes", []) if "secret" in v}
    assert mounted == {"our-tokens"} | ({"our-keys"} if KEYS in options else set())
    (test,) = objects["Pod", "penstock-test"]["spec"]["containers"]
    key = next(variable for variable in test["env"] if variable["name"] == "KEY")
    assert key.get("valueFrom", {}).get("secretKeyRef", {}).get("name") == ("our-key" if KEY in options else None)


def test_each_part_gets_the_token_that_it_needs_as_a_file() -> None:
    """Gateways and pods may only read, the example may also publish and promote, the registry knows all tokens."""
    objects = rendered()
    runtime = yaml.safe_load((ROOT / "deploy" / "k8s" / "kserve" / "runtime.yaml").read_text())
    (example,) = [o for (kind, name), o in objects.items() if kind == "Job" and name.startswith("penstock-example")]
    parts = {
        "read": [
            objects["Deployment", "penstock-gateway"]["spec"]["template"]["spec"],
            objects["Deployment", "penstock-inference"]["spec"]["template"]["spec"],
            runtime["spec"],
        ],
        "train": [example["spec"]["template"]["spec"]],
    }
    for role, specs in parts.items():
        for spec in specs:
            (volume,) = [v["secret"] for v in spec["volumes"] if v["name"] == "registry-token"]
            assert volume["secretName"] == "penstock-registry-tokens"
            assert volume["items"] == [{"key": role, "path": "token"}]
            for container in spec["containers"]:
                files = {e["name"]: e.get("value") for e in container["env"] if "TOKEN" in e["name"]}
                assert list(files.values()) == ["/registry-token/token"]
                assert all(name.endswith("_REGISTRY_TOKEN_FILE") for name in files)
                (mount,) = [m for m in container["volumeMounts"] if m["name"] == "registry-token"]
                assert "subPath" not in mount  # which would never see a new token
    registry = objects["Deployment", "penstock-registry"]["spec"]["template"]["spec"]
    (volume,) = [v["secret"] for v in registry["volumes"] if v["name"] == "registry-tokens"]
    assert (volume["secretName"], volume.get("items")) == ("penstock-registry-tokens", None)


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


def test_gateways_reach_the_store_of_files_with_credentials_of_their_own() -> None:
    """Only they see them, and only that store is open to them; without one, nothing is."""
    objects = rendered(*VARIANTS["files"], "--set", "gateway.files.to[0].ipBlock.cidr=10.1.3.0/24")
    with_credentials = {(kind, name) for (kind, name), document in objects.items() if "envFrom" in json.dumps(document)}
    assert with_credentials == {("Deployment", "penstock-gateway")}
    assert settings_of(objects, "gateway")["PENSTOCK_GATEWAY_FILES_URL"] == "s3://files"
    assert egress(objects, "penstock-gateway")[443] == [{"ipBlock": {"cidr": "10.1.3.0/24"}}]
    assert 443 not in egress(rendered(), "penstock-gateway")


def test_access_to_the_gateway_can_be_restricted() -> None:
    """By default everybody may call the gateway, as every call needs a key; gateway.from restricts that."""
    everybody, ours = (
        rendered(*options)["NetworkPolicy", "penstock-gateway"]["spec"]["ingress"][0]
        for options in ([], ["--set", "gateway.from[0].podSelector.matchLabels.app=shop"])
    )
    assert "from" not in everybody
    assert ours["from"] == [{"podSelector": {"matchLabels": {"app": "shop"}}}]


def settings_of(objects: dict[tuple[str, str], dict[str, Any]], part: str) -> dict[str, str]:
    """Return the environment that the chart gives a part, without what comes from a Secret."""
    (container,) = objects["Deployment", f"penstock-{part}"]["spec"]["template"]["spec"]["containers"]
    names = [variable["name"] for variable in container["env"]]
    assert len(set(names)) == len(names)
    return {variable["name"]: variable["value"] for variable in container["env"] if "value" in variable}


def test_every_setting_can_be_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each service understands what the chart gives it, and takes further settings from ``env``; a pool's own list wins."""
    lists = {
        "gateway.env": [{"name": "PENSTOCK_GATEWAY_MAX_CONNECTIONS_PER_ADDRESS", "value": "77"}],
        "registry.env": [{"name": "PENSTOCK_REGISTRY_MAX_BLOB_BYTES", "value": "78"}],
        "poolDefaults.env": [{"name": "PENSTOCK_INFERENCE_CACHE_BYTES", "value": "79"}],
        "pools.gpu": {"models": ["big*"], "env": [{"name": "PENSTOCK_INFERENCE_CACHE_BYTES", "value": "80"}]},
    }
    objects = rendered(*[f"--set-json={value}={json.dumps(content)}" for value, content in lists.items()])
    for part in ("gateway", "registry", "inference"):
        for name, value in settings_of(objects, part).items():
            monkeypatch.setenv(name, value)
    assert GatewaySettings().max_connections_per_address == 77
    assert RegistrySettings().max_blob_bytes == 78
    assert InferenceSettings().cache_bytes == 79
    assert settings_of(objects, "gpu")["PENSTOCK_INFERENCE_CACHE_BYTES"] == "80"


REMOTES = """
gateway:
  remotes:
    models:
      gpt: {url: https://api.example.com/v1, model: big, key_file: gpt.key}
      ollama: {url: "http://ollama.models:11434/v1", model: small, ca_file: ca.crt}
      inside: {url: "http://vllm.models/v1", model: mid, max_connections: 8}
    fallbacks:
      chat: {to: [gpt], wait_seconds: 1.5, tokens_per_day: 25000000}
    secret: remote-keys
    ports: [8000]
    to: [{ipBlock: {cidr: 10.0.0.0/8}}]
"""


def test_remotes_are_a_list_beside_the_files_that_it_names(tmp_path: Path) -> None:
    """The gateway reads what the chart writes, the credentials are a Secret's, and only the remotes' ports are open."""
    (tmp_path / "values.yaml").write_text(REMOTES)
    objects = rendered("-f", str(tmp_path / "values.yaml"))
    listed = parse_remotes(objects["ConfigMap", "penstock-remotes"]["data"]["remotes.yaml"])
    assert listed.remotes["inside"] == Remote(url="http://vllm.models/v1", model="mid", max_connections=8)
    assert listed.fallbacks["chat"] == Fallback(to=("gpt",), wait_seconds=1.5, tokens_per_day=25_000_000)
    spec = objects["Deployment", "penstock-gateway"]["spec"]["template"]["spec"]
    (volume,) = [volume for volume in spec["volumes"] if volume["name"] == "remotes"]
    sources = volume["projected"]["sources"]
    assert sources == [{"configMap": {"name": "penstock-remotes"}}, {"secret": {"name": "remote-keys"}}]
    (mount,) = [mount for mount in spec["containers"][0]["volumeMounts"] if mount["name"] == "remotes"]
    assert settings_of(objects, "gateway")["PENSTOCK_GATEWAY_REMOTES_FILE"] == f"{mount['mountPath']}/remotes.yaml"
    opened = egress(objects, "penstock-gateway")
    for port in (8000, 443, 11434, 80):
        assert opened[port] == [{"ipBlock": {"cidr": "10.0.0.0/8"}}]


def test_without_remotes_gateways_reach_no_more_than_before() -> None:
    """No list, no volume and no open port."""
    objects = rendered()
    assert ("ConfigMap", "penstock-remotes") not in objects
    assert 443 not in egress(objects, "penstock-gateway")
    assert "PENSTOCK_GATEWAY_REMOTES_FILE" not in settings_of(objects, "gateway")


def test_the_pods_event_loop_answers_the_probes_of_kubernetes() -> None:
    """Start and life are the service "/live" of the port that serves predictions, readiness is the pod's own status."""
    runtime = yaml.safe_load((ROOT / "deploy" / "k8s" / "kserve" / "runtime.yaml").read_text())
    specs = [rendered()["Deployment", "penstock-inference"]["spec"]["template"]["spec"], runtime["spec"]]
    for spec in specs:
        (pod,) = spec["containers"]
        assert pod["livenessProbe"]["grpc"] == {"port": 9100, "service": LIVE}
        assert pod["readinessProbe"]["grpc"] == {"port": 9100}
        assert pod.get("startupProbe", pod["livenessProbe"])["grpc"]["service"] == LIVE


def test_threads_can_follow_the_limit_of_cpus() -> None:
    """With 0 the pod counts them itself; OpenMP, which does not know 0, gets no number."""
    for threads, openmp in (("3", "3"), ("0", None)):
        settings = settings_of(rendered("--set", f"poolDefaults.threads={threads}"), "inference")
        assert settings["PENSTOCK_INFERENCE_THREADS"] == threads
        assert settings.get("OMP_NUM_THREADS") == openmp


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
