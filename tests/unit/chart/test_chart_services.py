"""The services of the chart: what each gets, and that they are those of ``penstock add``."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
import yaml

from penstock_cli import recipes
from penstock_common.pools import pool_of
from tests.unit.chart.test_chart import CHART, HELM, egress, rendered, settings_of

pytestmark = pytest.mark.skipif(HELM is None, reason="needs helm on the PATH")
TWO = ["--set", "services={chat,ocr}"]


def jobs(*options: str) -> dict[str, dict[str, Any]]:
    """Return the pods' specifications of the services' Jobs by their names."""
    objects = rendered(*options)
    made = {name: job for (kind, name), job in objects.items() if kind == "Job"}
    part = "app.kubernetes.io/component"
    return {
        n: job["spec"]["template"]["spec"] for n, job in made.items() if job["metadata"]["labels"][part] == "services"
    }


def test_the_chart_has_the_services_of_penstock_add() -> None:
    """Each with the resources of its pods and the example that the recipe has; the schema takes no other."""
    found = {recipe.name: recipe for recipe in recipes.list_recipes()}
    described = yaml.safe_load((CHART / "files" / "services.yaml").read_text())
    schema = json.loads((CHART / "values.schema.json").read_text())
    assert sorted(found) == sorted(described) == sorted(schema["properties"]["services"]["items"]["enum"])
    for name, recipe in found.items():
        call = json.loads(msgspec.json.encode(recipe.call).replace(b"{model}", name.encode()))
        assert described[name]["call"] == {key: value for key, value in call.items() if value}


def test_a_services_model_is_served_by_its_own_pool_alone() -> None:
    """Gateways send it there, whichever pool is first by name, and only that pool's pods load it."""
    objects = rendered(*TWO, "--set-json", 'pools.a={"models":["*"]}')
    pools = json.loads(settings_of(objects, "gateway")["PENSTOCK_GATEWAY_POOLS"])
    assert [pool_of(model, pools) for model in ("chat", "ocr", "spam")] == ["chat", "ocr", "a"]
    for pool in pools:
        globs = settings_of(objects, pool)["PENSTOCK_INFERENCE_MODELS"].split(",")
        served = {model for model in ("chat", "ocr") if pool_of(model, {pool: globs}) == pool}
        assert served == {pool} & {"chat", "ocr"}


def test_a_services_pool_has_what_it_needs_unless_the_values_say_otherwise() -> None:
    """Its resources stand in files/services.yaml, in place of those of poolDefaults; "pools" overrides single ones."""
    options = ["--set", "poolDefaults.resources.requests.memory=1Mi", "--set", "pools.ocr.resources.requests.cpu=7"]
    objects = rendered(*TWO, *options, "--set", "pools.ocr.autoscaling.maxReplicas=3")
    described = yaml.safe_load((CHART / "files" / "services.yaml").read_text())
    for service in ("chat", "ocr"):
        (pod,) = objects["Deployment", f"penstock-{service}"]["spec"]["template"]["spec"]["containers"]
        wanted = described[service]["resources"]
        assert pod["resources"]["limits"] == wanted["limits"]
        assert pod["resources"]["requests"] == wanted["requests"] | ({"cpu": 7} if service == "ocr" else {})
    assert objects["HorizontalPodAutoscaler", "penstock-ocr"]["spec"]["maxReplicas"] == 3


def test_each_service_has_a_job_that_only_its_own_change_repeats() -> None:
    """Another service leaves it alone; another image makes a new one, which registers nothing if the model is there."""
    one, two, newer = jobs("--set", "services={chat}"), jobs(*TWO), jobs(*TWO, "--set", "image.tag=newer")
    assert set(one) < set(two)
    assert not set(two) & set(newer)
    for spec in (two | newer).values():
        assert "--if-missing" in spec["containers"][0]["args"]


@pytest.mark.parametrize(
    ("options", "asks"),
    [
        ([], True),
        (["--set", "auth.postgresqlSecret=db"], False),
        (["--set", "auth.postgresqlSecret=db", "--set", "auth.existingKeySecret=mine"], True),
        (["--set", "gateway.tls.enabled=true", "--set", "gateway.tls.secret=tls"], False),
    ],
)
def test_a_job_waits_for_the_answer_if_it_can_ask(options: list[str], asks: bool) -> None:
    """It needs a key, and plain HTTP: the names in a certificate are for clients outside the cluster."""
    for spec in jobs(*TWO, *options).values():
        (container,) = spec["containers"]
        names = {variable["name"] for variable in container["env"]}
        assert ("PENSTOCK_KEY" in names, "--no-wait" in container["args"]) == (asks, not asks)


def test_a_job_reaches_registry_store_and_gateway() -> None:
    """And nothing else; they let it in, also if gateway.from restricts the clients."""
    options = ["--set", "store.url=s3://models", "--set", "gateway.from[0].podSelector.matchLabels.app=shop"]
    objects = rendered(*TWO, *options)
    assert sorted(egress(objects, "penstock-services")) == [53, 443, 8080, 8081]
    for part in ("gateway", "registry"):
        rules = objects["NetworkPolicy", f"penstock-{part}"]["spec"]["ingress"]
        peers = [peer["podSelector"]["matchLabels"] for rule in rules for peer in rule["from"] if "podSelector" in peer]
        assert "services" in [peer.get("app.kubernetes.io/component") for peer in peers]


def test_values_of_an_older_chart_are_enough() -> None:
    """``helm upgrade --reuse-values`` renders without the keys that have been added since the last release."""
    absent = ["services", "serviceJobs", "gateway.remotes"]
    assert rendered(*[f"--set={key}=null" for key in absent]) == rendered()
    assert jobs(*TWO, "--set", "serviceJobs=null")
