"""Under load, every query of every dashboard, rule and alert returns data from a real Prometheus."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest

from tests.e2e.cluster import ROOT, CommandFailed, run, until
from tests.e2e.conftest import Release
from tests.e2e.prometheus import query

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]
DASHBOARDS = sorted((ROOT / "deploy" / "helm" / "penstock" / "files" / "dashboards").glob("*.json"))

#: What may have no series: a counter with labels before the first event, and the certificate of a front without TLS.
_MAY_BE_EMPTY = (
    "penstock_inference_load_failures_total",
    "envoy_listener_ssl_certificate_expiration_unix_time_seconds",
    "penstock_gateway_remote_ready",
)


def panels(namespace: str) -> dict[str, str]:
    """Return the queries of all dashboards by panel, with their variables set."""
    found = {}
    for path in DASHBOARDS:
        for panel in json.loads(path.read_text())["panels"]:
            for target in panel["targets"]:
                expression = target["expr"].replace("$namespace", namespace).replace("$model", ".*")
                found[f"{path.stem}: {panel['title']} {target['refId']}"] = expression
    return found


def rules(release: Release) -> dict[str, str]:
    """Return the expression of every rule; an alert's without its comparisons, which are false while all is well."""
    spec = release.namespace.get("prometheusrule", "penstock")["spec"]
    found = {}
    for group in spec["groups"]:
        for rule in group["rules"]:
            if "record" in rule:
                found[rule["record"]] = rule["expr"]
            else:
                for i, part in enumerate(re.split(r"\s+(?:and|or)\s+", rule["expr"].replace("\n", " "))):
                    bare = re.sub(r"\s*(>=?|==)\s*[\d.e-]+\s*\)*\s*$", "", part.strip())
                    found[f"{rule['alert']} {i}"] = bare.lstrip("(")
    return found


@pytest.fixture
def monitored(release: Release) -> Iterator[Release]:
    """The release with monitors and rules, which are removed afterwards."""
    try:
        run("kubectl", "get", "crd", "podmonitors.monitoring.coreos.com", "prometheusrules.monitoring.coreos.com")
    except CommandFailed:
        pytest.skip("needs the Prometheus operator")
    release.upgrade("--set=monitoring.podMonitors=true", "--set=monitoring.rules=true")
    yield release
    release.upgrade()


def test_prometheus_scrapes_every_part(monitored: Release) -> None:
    """Every pod's metrics port is up, including Envoy's, whose container is a sidecar among the init containers."""
    namespace = monitored.namespace
    ports = {"gateway": ("metrics", "envoy-ops"), "inference": ("metrics",), "registry": ("http",)}
    wanted = {(pod, port) for part, names in ports.items() for pod in namespace.ready_pods(part) for port in names}
    assert len(wanted) >= 4

    def up() -> set[tuple[str, str]]:
        found = query(f'up{{namespace="{namespace.name}"}} == 1')
        return {(series["metric"]["pod"], series["metric"]["endpoint"]) for series in found}

    until(lambda: up() >= wanted, "every port to be scraped", every=5)


def test_every_query_has_an_answer(monitored: Release) -> None:
    """With monitors and rules, and after some load, no panel is empty and no rule is without data."""
    release = monitored
    queries = panels(release.namespace.name) | rules(release)
    missing: dict[str, str] = {}

    def all_answered() -> bool:
        missing.clear()
        missing.update({name: expression for name, expression in queries.items() if not query(expression)})
        for name in list(missing):
            if any(word in missing[name] for word in _MAY_BE_EMPTY):
                del missing[name]
        return not missing

    with release.load() as load:
        load.more(300)
        try:
            until(all_answered, "every query to have an answer", seconds=180, every=5)
        except AssertionError:
            raise AssertionError(f"no data for {json.dumps(missing, indent=1)}") from None
    assert len(queries) > 40


def test_dashboards_are_where_grafana_looks(release: Release) -> None:
    """Each is a ConfigMap with the label that Grafana's sidecar looks for, and has the same JSON as the repository."""
    release.upgrade("--set=monitoring.dashboards=true")
    found = release.namespace.get("configmaps", "-l", "grafana_dashboard=1")["items"]
    contents = {name: json.loads(text) for item in found for name, text in item["data"].items()}
    assert contents == {f"penstock-{path.name}": json.loads(path.read_text()) for path in DASHBOARDS}
    release.upgrade()
