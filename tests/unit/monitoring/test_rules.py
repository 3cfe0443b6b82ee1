"""Alerts fire when they should and only then; each has a runbook; dashboards are whole."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
CHART = ROOT / "deploy" / "helm" / "penstock"
DASHBOARDS = sorted((CHART / "files" / "dashboards").glob("*.json"))


@pytest.fixture(scope="module")
def rules() -> dict[str, Any]:
    """The PrometheusRule's spec, as the chart renders it."""
    helm = shutil.which("helm")
    if helm is None:
        pytest.skip("needs helm on the PATH")
    command = [helm, "template", "penstock", str(CHART), "--namespace", "default", "--kube-version", "1.34.0"]
    command += ["--set", "monitoring.rules=true", "-s", "templates/monitoring.yaml"]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    spec: dict[str, Any] = yaml.safe_load(text)["spec"]
    return spec


def test_the_alerts_fire_when_they_should_and_only_then(rules: dict[str, Any], tmp_path: Path) -> None:
    """promtool plays the series of alerts.yaml through the rules."""
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("needs promtool; on Debian: apt-get install prometheus")
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(rules))
    shutil.copy(Path(__file__).with_name("alerts.yaml"), tmp_path)
    done = subprocess.run([promtool, "test", "rules", "alerts.yaml"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_is_tested_and_has_a_runbook(rules: dict[str, Any]) -> None:
    """An alert without a page that says what to do, or without a test, is not finished."""
    alerts = {rule["alert"]: rule for group in rules["groups"] for rule in group["rules"] if "alert" in rule}
    tested = set(re.findall(r"alertname: (\w+)", Path(__file__).with_name("alerts.yaml").read_text()))
    assert set(alerts) == tested
    for name, rule in alerts.items():
        assert rule["annotations"]["runbook_url"].endswith(f"/{name}.md")
        assert rule["labels"]["severity"] in ("page", "ticket")
    pages = {page.stem for page in (ROOT / "docs" / "runbooks").glob("*.md")}
    assert pages == set(alerts)


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_dashboards_are_whole(path: Path) -> None:
    """Every panel has a title, a query and a place of its own; queries keep to the chosen namespace."""
    dashboard = json.loads(path.read_text())
    places = [(p["gridPos"]["x"], p["gridPos"]["y"]) for p in dashboard["panels"]]
    assert len(set(places)) == len(places) >= 6
    for panel in dashboard["panels"]:
        assert panel["title"]
        assert all('namespace="$namespace"' in target["expr"] for target in panel["targets"])
