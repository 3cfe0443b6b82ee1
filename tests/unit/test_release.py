"""`make release`: the trees that it refuses, and the checksums in dist/."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from deploy import release


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A committed tree that could be released as 1.2.3, on a machine that has helm."""
    source = tmp_path / "services" / "common" / "penstock_common" / "version.py"
    source.parent.mkdir(parents=True)
    source.write_text('"""The version."""\n\nVERSION = "1.2.3"\n')
    (tmp_path / "CHANGELOG.md").write_text("# Changelog\n\n## [Unreleased]\n\n## [1.2.3] - 2026-01-31\n")
    for command in (
        ["init", "-q"],
        ["add", "-A"],
        ["-c", "user.name=n", "-c", "user.email=e@example.com", "commit", "-qm", "all"],
    ):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    monkeypatch.setattr(release.shutil, "which", lambda program: f"/bin/{program}")
    return tmp_path


def test_a_committed_tree_with_a_changelog_entry_is_released(tree: Path) -> None:
    """The version is the one in version.py."""
    assert release.check(tree) == "1.2.3"


@pytest.mark.parametrize("path", ["CHANGELOG.md", "new-file"])
def test_uncommitted_changes_are_refused(tree: Path, path: str) -> None:
    """A changed or untracked file would be in the images but not in the commit; the message names it."""
    with (tree / path).open("a") as file:
        file.write("more\n")
    with pytest.raises(release.ReleaseError, match=rf"uncommitted changes[^$]*{path}"):
        release.check(tree)


@pytest.mark.parametrize(
    "heading", ["## [1.2.30] - 2026-01-31", "## [Unreleased]", "## [1.2.3]", "see ## [1.2.3] - 2026-01-31"]
)
def test_a_version_that_the_changelog_lacks_is_refused(
    tree: Path, heading: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The changelog needs a heading with exactly this version and a date."""
    (tree / "CHANGELOG.md").write_text(f"# Changelog\n\n{heading}\n")
    monkeypatch.setattr(release, "run", lambda *command, cwd: "")
    with pytest.raises(release.ReleaseError, match=r"no heading '## \[1\.2\.3\]"):
        release.check(tree)


def test_a_machine_without_helm_is_refused(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A release needs the chart, so it stops before anything is built."""
    monkeypatch.setattr(release.shutil, "which", lambda program: None)
    with pytest.raises(release.ReleaseError, match="helm is needed"):
        release.check(tree)


def test_checksums_cover_every_file(tmp_path: Path) -> None:
    """sha256sum accepts the list, which has every file, and notices a change."""
    for name in ("a.whl", "b.tgz"):
        (tmp_path / name).write_text(name)
    release.write_checksums(tmp_path)
    command = ["sha256sum", "--check", "--strict", "SHA256SUMS"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["a.whl: OK", "b.tgz: OK"]
    (tmp_path / "a.whl").write_text("else")
    assert subprocess.run(command, cwd=tmp_path, capture_output=True, check=False).returncode == 1


def test_the_release_holds_every_service_and_every_image() -> None:
    """The lists here are those of the Makefile."""
    makefile = (release.ROOT / "Makefile").read_text()
    assert f"PACKAGES := {' '.join(release.SERVICES)}\n" in makefile
    assert f"IMAGES := {' '.join(release.IMAGES)}\n" in makefile
