"""The price pipeline: the tables that it reads and refuses, and the predictions of its saved model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from penstock_common.errors import PenstockError
from penstock_common.manifest import MANIFEST_FILE, FieldKind, parse_manifest
from penstock_training.price import TabularRegressor, read_table, train, used_cars

ROWS = [f"{colour},{size},{10 * size}" for size in range(10) for colour in ("red", "blue")]


def table(*rows: str, header: str = "colour,size,price") -> bytes:
    return "\n".join([header, *rows]).encode()


def test_a_column_of_numbers_is_numeric_and_any_other_categorical() -> None:
    """The last column is the target; the others keep the file's order."""
    read = read_table(table(*ROWS))
    assert (read.order, read.target_name) == (["colour", "size"], "price")
    assert list(read.categorical) == ["colour"] and read.categorical["colour"][:2] == ["red", "blue"]
    assert list(read.numeric) == ["size"] and read.numeric["size"].dtype == np.float32
    assert read.target[-1] == 90.0


def test_rows_with_an_empty_cell_are_left_out() -> None:
    """They are not counted, and do not turn a numeric column into a categorical one."""
    read = read_table(table("red,,10", *ROWS, " ,1,10"))
    assert len(read.target) == len(ROWS)
    assert list(read.numeric) == ["size"]


@pytest.mark.parametrize(
    ("data", "named"),
    [
        (b"\xff\xfe", "byte 0"),
        (b"", "20 rows"),
        (table(*ROWS[:19], "red,,1"), "20 rows without an empty cell"),
        (table(*[str(n) for n in range(20)], header="price"), "two columns"),
        (table("red,,1", *ROWS, "red,1"), "Line 23 has 2 columns, the header has 3"),
        (table(*[f"id{n},1,1" for n in range(201)]), "'colour' has more than 200"),
        (table(*[f"1,{n},cheap" for n in range(20)]), "'price', must hold the numbers"),
        (table(*ROWS, "red,nan,1"), "'size' has a number that is not finite"),
        (table(*ROWS, "red,1,inf"), "'price' has a number that is not finite"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused(data: bytes, named: str) -> None:
    """The 422 names the line or the column, and what is needed."""
    with pytest.raises(PenstockError, match=named) as refused:
        read_table(data)
    assert (refused.value.status, refused.value.code) == (422, "bad-data")


def test_the_made_up_offers_are_the_same_for_a_seed() -> None:
    """A seed reproduces the data; another seed gives other data."""
    assert used_cars(0, 20) == used_cars(0, 20)
    assert used_cars(0, 20) != used_cars(1, 20)


def test_the_model_takes_and_gives_the_units_of_the_table() -> None:
    """The graph standardises the numbers and scales the answer back."""
    model = TabularRegressor(torch.tensor([100.0]), torch.tensor([20.0]), [], target_mean=5000.0, target_std=300.0)
    for layer in model.layers[::2]:
        torch.nn.init.zeros_(layer.weight)
        torch.nn.init.zeros_(layer.bias)
    torch.nn.init.ones_(model.layers[0].weight)
    model.layers[2].weight.data[0, 0] = 1.0
    model.layers[4].weight.data[0, 0] = 1.0
    with torch.no_grad():
        answer = model(torch.tensor([[100.0], [140.0]]), torch.zeros(2, 0, dtype=torch.int64))
    assert answer.tolist() == [5000.0, 5000.0 + 2 * 300.0]


def test_the_saved_model_predicts_prices(tmp_path: Path) -> None:
    """It learns the rule of the offers; loaded again, it is as accurate as reported, and a batch changes no answer."""
    trained = train(None, tmp_path, None, 0, lambda *_: None)
    assert trained.report["metrics"]["r2"] > 0.95
    assert (trained.primary, trained.higher_is_better) == ("mae", False)
    manifest = parse_manifest((tmp_path / MANIFEST_FILE).read_bytes())
    assert [field.kind for field in manifest.inputs][:3] == [FieldKind.CATEGORY, FieldKind.CATEGORY, FieldKind.NUMBER]
    offers = read_table(used_cars(0))
    numbers = torch.tensor(np.stack([offers.numeric[f.name] for f in manifest.inputs[2:]], axis=1))
    indices = torch.tensor(
        [
            [f.categories.index(offers.categorical[f.name][row]) for f in manifest.inputs[:2]]  # type: ignore[union-attr]
            for row in range(200)
        ]
    )
    model = torch.jit.load(str(tmp_path / manifest.file))
    with torch.no_grad():
        batch = model(numbers[:200], indices)
        alone = model(numbers[:1], indices[:1])
    assert float((batch - torch.tensor(offers.target[:200])).abs().mean()) < 2 * trained.report["metrics"]["mae"]
    assert alone[0] == pytest.approx(float(batch[0]), rel=1e-4)


def test_a_table_of_ones_own_is_trained_on(tmp_path: Path) -> None:
    """A table may have only categorical columns; the manifest lists their values and bounds the numbers."""
    data = tmp_path / "data.csv"
    data.write_bytes(table(*ROWS))
    train(data, tmp_path / "both", None, 0, lambda *_: None)
    colour, size = parse_manifest((tmp_path / "both" / MANIFEST_FILE).read_bytes()).inputs
    assert (colour.name, colour.categories) == ("colour", ["blue", "red"])
    assert (size.name, size.minimum, size.maximum) == ("size", 0.0, 18.0)
    data.write_bytes(table(*[row.replace(",", ",size", 1) for row in ROWS]))
    trained = train(data, tmp_path / "categorical", None, 0, lambda *_: None)
    assert trained.rows == len(ROWS)
