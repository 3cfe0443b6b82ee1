"""Links in the documents lead to existing files, and the index of design records agrees with the records."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DESIGN = ROOT / "docs" / "design"
DOCUMENTS = subprocess.run(
    ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"],
    cwd=ROOT,
    capture_output=True,
    text=True,
    check=True,
).stdout.split()
LINK = re.compile(r"\[[^\]]*\]\((?!https?:|#)([^)#\s]+)[^)]*\)")


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_to_existing_files(document: str) -> None:
    """A relative link names a file or a folder of the repository."""
    path = ROOT / document
    missing = [target for target in LINK.findall(path.read_text()) if not (path.parent / target).exists()]
    assert not missing


def test_the_index_lists_every_record_with_its_status() -> None:
    """docs/design/README.md has a line for each record, with the record's own title and status."""
    rows = re.findall(r"^\| \[(.*)\]\((.*)\) \| (.*) \|$", (DESIGN / "README.md").read_text(), re.MULTILINE)
    records = []
    for path in sorted(DESIGN.glob("0*.md")):
        text = path.read_text()
        title = re.search(r"^# (.*)$", text, re.MULTILINE)
        status = re.search(r"^Status: (.*)$", text, re.MULTILINE)
        assert title and status, f"{path.name} needs a title and a status"
        records.append((title[1], path.name, status[1]))
    assert rows == records


@pytest.mark.parametrize("record", sorted(path.name for path in DESIGN.glob("0*.md")))
def test_a_record_says_what_is_missing_if_it_is_not_all_built(record: str) -> None:
    """A record that is partly built lists what is missing; one that is not built yet says what there is instead."""
    text = (DESIGN / record).read_text()
    for heading in ("## Context", "## Decision", "## Consequences"):
        assert heading in text
    if "Status: accepted, partly built" in text:
        assert "## Not built yet" in text
    if "Status: accepted, not built yet" in text:
        assert "## What is there today" in text
