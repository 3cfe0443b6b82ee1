"""``python -m penstock_training``: its commands, what it prints, and its errors."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from penstock_common.manifest import MANIFEST_FILE, parse_manifest
from penstock_training.__main__ import app

ROWS = "\n".join(
    f"{'good' if n % 2 else 'bad'},{'nice' if n % 2 else 'awful'} {'abcdefghijklmnopqrst'[n]}" for n in range(20)
)


@pytest.fixture
def reviews(tmp_path: Path) -> Path:
    path = tmp_path / "reviews.csv"
    path.write_text(f"stars,said\n{ROWS}\n,nothing")
    return path


def test_it_prints_each_metric_beside_the_baseline(reviews: Path, tmp_path: Path) -> None:
    """And what was left out; --out has the artifact, whose format is the one that was asked for."""
    out = tmp_path / "artifact"
    arguments = ["text", "--data", str(reviews), "--no-register", "--out", str(out), "--format", "torchscript"]
    done = CliRunner().invoke(app, [*arguments, "--text", "said", "--label", "stars"])
    assert done.exit_code == 0, done.output
    assert "reviews: held-out 20% of 20 rows" in done.output
    assert "always bad" in done.output and "f1_good" in done.output
    assert "left out: 1 without text or label" in done.output
    assert parse_manifest((out / MANIFEST_FILE).read_bytes()).format == "torchscript"
    assert "| accuracy |" in (out / "report.md").read_text()


def test_json_is_one_object(reviews: Path) -> None:
    """For scripts; nothing else is printed."""
    arguments = ["text", "--data", str(reviews), "--no-register", "--name", "stars", "--json"]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    answer = json.loads(done.stdout)
    assert (answer["model"], answer["rows"]) == ("stars", 20)
    assert {"accuracy", "f1_macro", "f1_bad", "f1_good"} <= answer["metrics"].keys()


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["text", "--text", "sayd"], "no column 'sayd'"),
        (["tabular", "--target", "stars", "--ignore", "x"], "no column 'x'"),
        (["text", "--name", "My Reviews"], "'My Reviews' cannot be a model's name"),
        (["spam"], "neither 'ham' nor 'spam'"),
        (["digits"], "leave --data out"),
    ],
)
def test_an_error_is_one_sentence(arguments: list[str], named: str, reviews: Path) -> None:
    """With status 1, and without a traceback."""
    done = CliRunner().invoke(app, [*arguments, "--data", str(reviews), "--no-register"])
    assert done.exit_code == 1
    assert named in " ".join(done.output.split())
    assert "Traceback" not in done.output


def test_every_training_is_listed() -> None:
    """The help names the kinds and the presets."""
    done = CliRunner().invoke(app, ["--help"])
    for name in ("text", "tabular", "image", "recommendation", "translation", "spam", "price", "digits"):
        assert f" {name} " in done.output
