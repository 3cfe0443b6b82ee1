"""The price preset: its made-up offers, and the predictions of its saved model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from penstock_common.errors import PenstockError
from penstock_common.manifest import MANIFEST_FILE, FieldKind, parse_manifest
from penstock_training.price import train, used_cars
from penstock_training.table_file import parse_table


def test_the_made_up_offers_are_the_same_for_a_seed() -> None:
    """A seed reproduces the data; another seed gives other data."""
    assert used_cars(0, 20) == used_cars(0, 20)
    assert used_cars(0, 20) != used_cars(1, 20)


def test_the_saved_model_predicts_prices(tmp_path: Path) -> None:
    """It learns the rule of the offers; loaded again, it is as accurate as reported, and a batch changes no answer."""
    trained = train(None, tmp_path, None, 0, lambda *_: None)
    assert trained.report["metrics"]["r2"] > 0.95
    assert (trained.primary, trained.higher_is_better) == ("mae", False)
    manifest = parse_manifest((tmp_path / MANIFEST_FILE).read_bytes())
    assert [field.kind for field in manifest.inputs][:3] == [FieldKind.CATEGORY, FieldKind.CATEGORY, FieldKind.NUMBER]
    offers = parse_table(used_cars(0), "offers").rows
    numbers = torch.tensor([[float(cell) for cell in row[2:5]] for row in offers])
    indices = torch.tensor(
        [
            [field.categories.index(cell) for field, cell in zip(manifest.inputs, row[:2], strict=False)]
            for row in offers
        ]  # type: ignore[union-attr]
    )
    prices = np.array([float(row[5]) for row in offers])
    model = torch.jit.load(str(tmp_path / manifest.file))
    with torch.no_grad():
        batch = model(numbers[:200], indices[:200]).numpy()
        alone = model(numbers[:1], indices[:1])
    assert np.abs(batch - prices[:200]).mean() < 2 * trained.report["metrics"]["mae"]
    assert alone[0] == pytest.approx(float(batch[0]), rel=1e-4)


def test_a_table_of_ones_own_is_trained_on(tmp_path: Path) -> None:
    """The last column is estimated; the manifest lists the categories and bounds the numbers."""
    data = tmp_path / "data.csv"
    rows = [f"{colour},{size},{10 * size}" for size in range(10) for colour in ("red", "blue")]
    data.write_text("\n".join(["colour,size,price", *rows]))
    trained = train(data, tmp_path / "artifact", None, 0, lambda *_: None)
    assert trained.rows == len(rows)
    colour, size = parse_manifest((tmp_path / "artifact" / MANIFEST_FILE).read_bytes()).inputs
    assert (colour.name, colour.categories) == ("colour", ["blue", "red"])
    assert (size.name, size.minimum, size.maximum) == ("size", 0.0, 18.0)


def test_a_target_of_texts_is_refused(tmp_path: Path) -> None:
    """Prices are numbers, also if all of them look like labels."""
    data = tmp_path / "data.csv"
    data.write_text("\n".join(["colour,price", *["red,cheap", "blue,dear"] * 10]))
    with pytest.raises(PenstockError, match=r"data\.csv: column 'price' cannot be estimated"):
        train(data, tmp_path / "artifact", None, 0, lambda *_: None)
