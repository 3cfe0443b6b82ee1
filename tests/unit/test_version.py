"""The version is in penstock_common/version.py, and everything else that has a version agrees with it."""

from __future__ import annotations

import ast
import re
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml
from setuptools.config.pyprojecttoml import read_configuration

from penstock_common.version import VERSION

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "services" / "common" / "penstock_common" / "version.py"
SERVICES = sorted(path.parent.name for path in (ROOT / "services").glob("*/pyproject.toml"))
#: How the manifests name one of our images or the release they belong to.
MANIFEST_VERSION = re.compile(
    r'ghcr\.io/penstock/\w+(?::|, newTag: )([^\s}"]+)|app\.kubernetes\.io/version: "?([^\s"]+)'
)


def test_the_version_is_a_semantic_version() -> None:
    """Helm accepts only semantic versions for a chart."""
    assert re.fullmatch(r"\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?", VERSION)


@pytest.mark.parametrize("service", SERVICES)
def test_a_package_reads_the_version(service: str) -> None:
    """setuptools reads the version from version.py, and pyproject.toml has none of its own."""
    project = ROOT / "services" / service / "pyproject.toml"
    assert "version" not in tomllib.loads(project.read_text())["project"]
    assert read_configuration(project)["project"]["version"] == VERSION


@pytest.mark.parametrize("service", SERVICES)
def test_an_installed_package_has_the_version(service: str) -> None:
    """After a change of version.py, `make install` installs the packages again."""
    assert version(f"penstock-{service}") == VERSION


def test_no_source_repeats_the_version() -> None:
    """A service that reports its version imports it."""
    repeated = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in sorted((ROOT / "services").rglob("*.py"))
        if path != SOURCE and "build" not in path.relative_to(ROOT).parts
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and node.value == VERSION
    ]
    assert not repeated, f"import penstock_common.version.VERSION instead: {', '.join(repeated)}"


def test_the_chart_has_the_version() -> None:
    """The chart and the images that it installs by default are released together."""
    chart = yaml.safe_load((ROOT / "deploy" / "helm" / "penstock" / "Chart.yaml").read_text())
    assert (chart["version"], chart["appVersion"]) == (VERSION, VERSION), "run make version"


def test_the_plain_manifests_have_the_version() -> None:
    """Every image of ours that a manifest names is of this version."""
    found = {
        f"{path.relative_to(ROOT)}: {match[1] or match[2]}": match[1] or match[2]
        for path in (ROOT / "deploy" / "k8s").rglob("*.yaml")
        for match in MANIFEST_VERSION.finditer(path.read_text())
    }
    assert len(found) >= 5  # base, overlay, load test, and KServe's runtime and kustomization
    assert set(found.values()) == {VERSION}, f"run make version: {sorted(found)}"
