"""The public CI's workflow calls existing make targets, and all that decide whether a change is accepted."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
MAKEFILE = (ROOT / "Makefile").read_text()
TARGETS = set(re.findall(r"^([a-z0-9-]+):", MAKEFILE, re.MULTILINE))
WORKFLOW: dict[str, Any] = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yaml").read_text())
COMMANDS = [step["run"] for job in WORKFLOW["jobs"].values() for step in job["steps"] if "run" in step]


def called() -> list[list[str]]:
    """The words after each `make`."""
    return [line.split()[1:] for command in COMMANDS for line in command.splitlines() if line.startswith("make ")]


def test_every_make_target_of_the_workflow_exists() -> None:
    """A renamed target fails this test, not only the workflow after the push."""
    targets = {word for words in called() for word in words if "=" not in word and not word.startswith('"')}
    assert targets and targets <= TARGETS


def test_every_variable_that_the_workflow_sets_is_read() -> None:
    """make silently ignores an unknown variable."""
    names = {word.partition("=")[0] for words in called() for word in words if "=" in word and word[0].isupper()}
    # NEXT_TAG is read by the e2e tests, from the environment that make passes on.
    assert names and names - {"NEXT_TAG"} <= set(re.findall(r"\$\((\w+)\)", MAKEFILE))


def test_the_workflow_runs_every_check() -> None:
    """Every check that a change has to pass locally is in the workflow."""
    assert {"lint", "types", "proto-check", "envoy-check", "test", "images", "e2e"} <= {words[0] for words in called()}


def test_the_cluster_gets_every_image() -> None:
    """The loop that loads images onto the nodes names all that `make images` builds."""
    images = re.search(r"^IMAGES := (.*)$", MAKEFILE, re.MULTILINE)
    loaded = [match[1] for command in COMMANDS if (match := re.search(r"for image in (.*); do", command))]
    assert images and loaded == [images[1]]


def test_a_job_can_only_read_the_repository_and_ends() -> None:
    """Code of a pull request has no write permission, and a hanging test ends before GitHub's six hours."""
    assert WORKFLOW["permissions"] == {"contents": "read"}
    assert all(job["timeout-minutes"] <= 90 and "permissions" not in job for job in WORKFLOW["jobs"].values())
