"""Build a release of HEAD into dist/: wheels, the packaged chart, a bill of materials, images, checksums.

Usage: release.py [--builder docker|podman|buildah] [--repository PREFIX]; `make release` calls it. Nothing is pushed.

Wheels and chart are built from an export of the commit, so that no untracked file gets into them. The bill of
materials (CycloneDX) lists a new environment with the wheels installed, which also shows that they can be installed.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import shutil
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SERVICES = ("common", "gateway", "inference", "registry", "training", "cli")
IMAGES = ("registry", "gateway", "inference", "training", "loadtest")


class ReleaseError(Exception):
    """This tree cannot be released; the message names the reason and the remedy."""


def run(*command: str | Path, cwd: Path = ROOT) -> str:
    """Return a command's output; its standard error goes to the terminal, and a failure ends the release."""
    return subprocess.run(command, cwd=cwd, check=True, stdout=subprocess.PIPE, text=True).stdout


def read_version(root: Path) -> str:
    match = re.search(r'^VERSION = "(.+)"$', (root / "services/common/penstock_common/version.py").read_text(), re.M)
    if match is None:
        raise ReleaseError('services/common/penstock_common/version.py: there is no line VERSION = "..."')
    return match[1]


def check(root: Path) -> str:
    """Return the version to be released.

    Raises:
        ReleaseError: there are uncommitted changes, the changelog has no entry for the version, or helm is missing.
    """
    version = read_version(root)
    changed = run("git", "status", "--porcelain", cwd=root).rstrip()
    if changed:
        raise ReleaseError(f"the tree has uncommitted changes; commit or remove them:\n{changed}")
    heading = rf"^## \[{re.escape(version)}\] - \d{{4}}-\d\d-\d\d$"
    if not re.search(heading, (root / "CHANGELOG.md").read_text(), re.M):
        raise ReleaseError(
            f"CHANGELOG.md has no heading '## [{version}] - YYYY-MM-DD'; move the unreleased changes below one"
        )
    if shutil.which("helm") is None:
        raise ReleaseError("helm is needed to package the chart")
    return version


def export(folder: Path) -> None:
    """Write the files of HEAD; copy the license into every project, because a wheel has only files of its project."""
    archive = folder.with_suffix(".tar")
    run("git", "archive", "--output", archive, "HEAD")
    folder.mkdir()
    run("tar", "-xf", archive, "-C", folder)
    for service in SERVICES:
        for name in ("LICENSE", "NOTICE"):
            shutil.copy(folder / name, folder / "services" / service)


def build_wheels(source: Path, dist: Path, version: str) -> list[Path]:
    projects = [source / "services" / service for service in SERVICES]
    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", dist, *projects)
    wheels = [dist / f"penstock_{service}-{version}-py3-none-any.whl" for service in SERVICES]
    missing = [wheel.name for wheel in wheels if not wheel.exists()]
    if missing:
        raise ReleaseError(f"these wheels were not built: {', '.join(missing)}")
    return wheels


def new_environment(folder: Path, *packages: str | Path) -> Path:
    """Return the Python of a new virtual environment with the packages, in the versions that constraints.txt pins."""
    venv.create(folder, with_pip=False, symlinks=True)
    python = folder / "bin" / "python"
    constraints = ROOT / "constraints.txt"
    run(sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "-c", constraints, *packages)
    return python


def write_bill_of_materials(wheels: list[Path], folder: Path, dist: Path, version: str) -> None:
    installed = new_environment(folder / "installed", *wheels)
    run(installed, "-c", "; ".join(f"import penstock_{service}" for service in SERVICES), cwd=folder)
    run(installed.with_name("penstock"), "--help", cwd=folder)
    project = folder / "pyproject.toml"
    parts = ", ".join(f'"penstock-{service}"' for service in SERVICES)
    project.write_text(f'[project]\nname = "penstock"\nversion = "{version}"\ndependencies = [{parts}]\n')
    tool = new_environment(folder / "tool", "cyclonedx-bom")
    target = dist / f"penstock-{version}.cdx.json"
    command: list[str | Path] = [tool, "-m", "cyclonedx_py", "environment", "--pyproject", project]
    run(*command, "--mc-type", "application", "--output-reproducible", "--output-file", target, installed)
    # The list names our wheels by absolute path; keep their file names only, because they are published beside it.
    target.write_text(target.read_text().replace(f"{dist.as_uri()}/", ""))


def build_images(builder: str, repository: str, dist: Path, version: str) -> None:
    """Build the images into the builder's own store, and list their names and ids in images.txt."""
    command = ["make", "images", f"BUILDER={builder}", f"REPOSITORY={repository}", f"TAG={version}"]
    subprocess.run(command, cwd=ROOT, check=True)
    lines = []
    for image in IMAGES:
        name = f"{repository}/{image}:{version}"
        lines.append(f"{name} {run(*builder.split(), 'images', '--no-trunc', '--format', '{{.ID}}', name).strip()}\n")
    (dist / "images.txt").write_text("".join(lines))


def write_checksums(dist: Path) -> None:
    """Write SHA256SUMS of all files, as `sha256sum --check` reads it."""
    lines = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n"
        for path in sorted(dist.iterdir())
        if path.name != "SHA256SUMS"
    ]
    (dist / "SHA256SUMS").write_text("".join(lines))


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--builder", default="", help="the tool that builds the images; without it, none are built")
    parser.add_argument("--repository", default="ghcr.io/penstock", help="prefix of the images' names")
    arguments = parser.parse_args()
    dist = ROOT / "dist"
    try:
        version = check(ROOT)
        shutil.rmtree(dist, ignore_errors=True)
        dist.mkdir()
        with tempfile.TemporaryDirectory() as temporary:
            source = Path(temporary) / "source"
            export(source)
            print(f"wheels {version}", flush=True)
            wheels = build_wheels(source, dist, version)
            print("chart", flush=True)
            run("helm", "package", source / "deploy" / "helm" / "penstock", "--destination", dist)
            print("bill of materials of a new environment with the wheels", flush=True)
            write_bill_of_materials(wheels, Path(temporary), dist, version)
        if arguments.builder:
            print("images", flush=True)
            build_images(arguments.builder, arguments.repository, dist, version)
        else:
            print("no images: docker, podman and buildah do not work here; run `make images` on another machine")
        write_checksums(dist)
    except ReleaseError as err:
        print(f"no release: {err}", file=sys.stderr)
        return 1
    print("".join(f"dist/{path.name}\n" for path in sorted(dist.iterdir())), end="")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
