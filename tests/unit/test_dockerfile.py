"""The Dockerfile has a target for every image, and each image has the packages that its process imports."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text()


def variable(name: str) -> list[str]:
    match = re.search(rf"^{name} := (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert match
    return match[1].split()


def stages() -> dict[str, str]:
    """The text of each stage by its name."""
    parts = re.split(r"^FROM \S+ AS (\S+)$", DOCKERFILE, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


@pytest.mark.parametrize("image", [*variable("IMAGES"), "services"])
def test_an_image_runs_as_nobody_and_says_what_it_is(image: str) -> None:
    """Every target of an image exists, ends as an unprivileged user, and names itself, its version and commit."""
    stage = stages()[image]
    assert re.findall(r"^USER (.*)$", stage, re.MULTILINE) == ["10001:10001"]
    assert "ENTRYPOINT" in stage
    assert "ARG VERSION=\nARG REVISION=\nRUN true\nLABEL" in stage  # in this order a cached build has the right labels
    label = stage[stage.rindex("LABEL") :]
    for key in ('title="Penstock ', "version=$VERSION", "revision=$REVISION"):
        assert f"org.opencontainers.image.{key}" in label
    # What changes with every commit comes last, so that no layer is built again for it.
    assert stage.index("USER") < stage.index("ENTRYPOINT") < stage.index("ARG VERSION")


OF_A_PROGRAM = [image for image in variable("IMAGES") if (ROOT / "services" / image).is_dir()]


@pytest.mark.parametrize("image", [*OF_A_PROGRAM, "services"])
def test_the_packages_of_an_image_are_on_its_path(image: str) -> None:
    """Every package that is copied into an image is on its PYTHONPATH, and nothing else is."""
    stage = stages()[image]
    copied = re.findall(r"^COPY --from=code (\S+)/penstock_\w+ \1/penstock_\w+$", stage, re.MULTILINE)
    path = re.search(r"PYTHONPATH=(\S+)", stage)
    assert path and path[1].split(":") == copied
    assert f"/app/services/{'cli' if image == 'services' else image}" in copied


@pytest.mark.parametrize(
    ("option", "name", "refusal"),
    [
        ("--extra", "gpus", "--extra gpus: no project has it"),
        ("--without", "kubernetes", "--without kubernetes: no such dependency"),
    ],
)
def test_what_is_added_or_left_out_has_to_exist(tmp_path: Path, option: str, name: str, refusal: str) -> None:
    """A name that no project has is refused."""
    project = '[project]\ndependencies = ["httpx"]\noptional-dependencies = {gpu = ["cupy"]}\n'
    (tmp_path / "pyproject.toml").write_text(project)
    script = ROOT / "services" / "install_dependencies.py"
    command = [sys.executable, str(script), option, name, "constraints.txt", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert refusal in done.stderr


@pytest.mark.parametrize("image", ["gateway", "services"])
def test_what_an_image_leaves_out_exists(image: str) -> None:
    """The names behind --without are dependencies of the projects that it installs, so the image still builds."""
    left_out = re.findall(r"--without (\S+)", stages()[image])
    installed = re.findall(r"^COPY (services/\w+/pyproject.toml)", stages()[image], re.MULTILINE)
    projects = "".join((ROOT / path).read_text() for path in installed)
    assert left_out and all(f'"{name}"' in projects for name in left_out)
