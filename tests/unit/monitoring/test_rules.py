"""Alerts fire when they should and only then; each has a runbook; dashboards are complete."""

from __future__ import annotations

import json
import math
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from penstock_gateway.edge.endpoint import SECONDS

ROOT = Path(__file__).resolve().parents[3]
CHART = ROOT / "deploy" / "helm" / "penstock"
RUNBOOKS = ROOT / "docs" / "runbooks"
CASES = sorted(Path(__file__).parent.glob("alerts*.yaml"))
DASHBOARDS = sorted((CHART / "files" / "dashboards").glob("*.json"))


def render(*values: str) -> subprocess.CompletedProcess[str]:
    """Render templates/monitoring.yaml with these values."""
    helm = shutil.which("helm")
    if helm is None:
        pytest.skip("needs helm on the PATH")
    command = [helm, "template", "penstock", str(CHART), "--namespace", "default", "--kube-version", "1.34.0"]
    command += ["--api-versions", "monitoring.coreos.com/v1", "-s", "templates/monitoring.yaml"]
    command += [f"--set=monitoring.{value}" for value in values]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def rules() -> dict[str, Any]:
    """The PrometheusRule's spec, as the chart renders it."""
    done = render("rules=true")
    assert done.returncode == 0, done.stderr
    spec: dict[str, Any] = yaml.safe_load(done.stdout)["spec"]
    return spec


def test_the_alerts_fire_when_they_should_and_only_then(rules: dict[str, Any], tmp_path: Path) -> None:
    """promtool runs the rules on the series of ``CASES``."""
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("needs promtool; on Debian: apt-get install prometheus")
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(rules))
    for path in CASES:
        shutil.copy(path, tmp_path)
    command = [promtool, "test", "rules", *[path.name for path in CASES]]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_is_tested_and_has_a_runbook(rules: dict[str, Any]) -> None:
    """Each alert has a page that says what to do, a case in which it fires, and one in which it does not."""
    alerts = {rule["alert"]: rule for group in rules["groups"] for rule in group["rules"] if "alert" in rule}
    cases = [case for path in CASES for case in yaml.safe_load(path.read_text())["tests"]]
    checks = [check for case in cases for check in case["alert_rule_test"]]
    assert set(alerts) == {check["alertname"] for check in checks if check["exp_alerts"]}
    assert set(alerts) == {check["alertname"] for check in checks if not check["exp_alerts"]}
    for name, rule in alerts.items():
        assert rule["annotations"]["summary"]
        assert rule["annotations"]["description"]
        assert rule["annotations"]["runbook_url"].endswith(f"/{name}.md")
        assert rule["labels"]["severity"] in ("page", "ticket")
    pages = {page.stem for page in RUNBOOKS.glob("*.md")}
    assert pages == set(alerts)


def test_rules_keep_to_their_namespace(rules: dict[str, Any]) -> None:
    """Every selector of every rule names the release's namespace, so that installations do not alert for each other."""
    for group in rules["groups"]:
        for rule in group["rules"]:
            names = re.findall(r"\b(?:penstock[_:]|envoy_|kube_)\w+", rule["expr"])
            assert names
            # "by (envoy_cluster_name)" and label matchers name a label, not a series.
            series = [name for name in names if name != "envoy_cluster_name"]
            assert rule["expr"].count('namespace="default"') == len(series), rule["expr"]


def test_the_latency_objective_is_a_bound_of_the_gateways_histogram() -> None:
    """Any other value is refused with a list of the gateway's bounds, because the alert would never have data."""
    done = render("rules=true", "latencySeconds=0.3")
    assert done.returncode != 0
    named = [float(bound) for bound in re.findall(r"[\d.]+", done.stderr.split("choose one of")[1])]
    assert [*named, math.inf] == SECONDS.labels("predict")._upper_bounds
    assert 'le="1.0"' in render("rules=true", "latencySeconds=1").stdout


@pytest.mark.parametrize("runbook", sorted(RUNBOOKS.glob("*.md")), ids=lambda path: path.stem)
def test_the_commands_of_runbooks_show_all_log_lines(runbook: Path) -> None:
    """With a selector, kubectl shows only ten lines of each pod unless --tail says otherwise."""
    text = runbook.read_text()
    assert all(heading in text for heading in ("**What clients see.**", "## Look", "## Fix"))
    for command in re.findall(r"kubectl [^`]* logs -l [^`]*", text):
        assert "--tail=-1" in command


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_dashboards_are_complete(path: Path) -> None:
    """Every panel has a title, a query and its own place; queries use the chosen data source and namespace."""
    dashboard = json.loads(path.read_text())
    assert dashboard["schemaVersion"] >= 39
    variables = {variable["name"]: variable for variable in dashboard["templating"]["list"]}
    assert (variables["datasource"]["type"], variables["datasource"]["query"]) == ("datasource", "prometheus")
    assert variables["namespace"]["type"] == "query"
    places = [(p["gridPos"]["x"], p["gridPos"]["y"]) for p in dashboard["panels"]]
    assert len(set(places)) == len(places) >= 6
    for panel in dashboard["panels"]:
        assert panel["title"]
        assert panel["targets"]
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        assert all('namespace="$namespace"' in target["expr"] for target in panel["targets"])
