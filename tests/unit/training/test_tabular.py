"""The training of a table: classification and regression, the target, and the manifest that it writes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from penstock_common.errors import PenstockError
from penstock_common.manifest import MANIFEST_FILE, FieldKind, Format, Manifest, Task, parse_manifest
from penstock_common.manifest_values import check_manifest_values
from penstock_common.preprocessing.steps import preprocess
from penstock_training.pipeline import Trained
from penstock_training.table_file import parse_table
from penstock_training.tabular import train
from penstock_training.tabular_network import TabularRegressor
from penstock_training.tabular_rows import Kind, read_rows

ROWS = [f"{colour},{size},{10 * size}" for size in range(10) for colour in ("red", "blue")]


def table(*rows: str, header: str = "colour,size,price") -> bytes:
    return "\n".join([header, *rows]).encode()


def houses(target: str) -> bytes:
    """Return a table with gaps, whose rows follow a rule: near the sea and large is dear."""
    rng = np.random.default_rng(0)
    rows = []
    for n in range(600):
        size, sea, town = rng.uniform(20, 200), rng.random() < 0.5, rng.choice(["A", "B", "C"])
        price = 1000 * size * (2 if sea else 1) + {"A": 0, "B": 30_000, "C": 60_000}[town]
        answer = f"{price:.0f}" if target == "price" else ("dear" if price > 200_000 else "cheap")
        rows.append(f"{n},{size if n % 10 else '':.6},{sea if n % 15 else ''},{town if n % 20 else ''},{answer}")
    return table(*rows, header=f"id,size,sea,town,{target}")


def test_the_target_is_the_last_column_or_the_one_that_is_named() -> None:
    """The others are inputs, in the order of the file, but for those that are left out."""
    last = read_rows(parse_table(table(*ROWS), "t.csv"), None, (), None)
    assert ([column.field.name for column in last.columns], last.target_name) == (["colour", "size"], "price")
    named = read_rows(parse_table(table(*ROWS), "t.csv"), "size", ["price"], None)
    assert ([column.field.name for column in named.columns], named.target_name) == (["colour"], "size")


@pytest.mark.parametrize(
    ("values", "kind", "labels"),
    [
        ([f"{n}.5" for n in range(20)], None, []),
        (["0", "1"] * 20, None, ["0", "1"]),
        (["0", "1"] * 20, Kind.regression, []),
        (["1", "2", "3"] * 10, None, []),
        (["1", "2", "3"] * 10, Kind.classification, ["1", "2", "3"]),
        (["yes", "no"] * 10, None, ["no", "yes"]),
    ],
)
def test_the_target_decides_what_is_learned(values: list[str], kind: Kind | None, labels: list[str]) -> None:
    """Numbers of more than two values are estimated, everything else is classified, unless the user says so."""
    rows = read_rows(parse_table(table(*[f"red,{v}" for v in values], header="a,b"), "t.csv"), None, (), kind)
    assert rows.labels == labels
    assert rows.target.dtype == (np.int64 if labels else np.float32)


def test_rows_without_a_target_are_counted() -> None:
    """They are left out, also of the columns."""
    rows = read_rows(parse_table(table("green,4,", *ROWS, "red,x, "), "t.csv"), None, (), None)
    assert (len(rows.target), rows.left_out) == (20, {"without a value of the target": 2})
    assert [column.field.kind for column in rows.columns] == [FieldKind.CATEGORY, FieldKind.NUMBER]
    assert rows.columns[0].field.categories == ["blue", "red"]


@pytest.mark.parametrize(
    ("data", "target", "kind", "named"),
    [
        (table(*ROWS[:19]), None, None, "t.csv has 19 rows with a value of 'price'; at least 20"),
        (table(*ROWS), "cost", None, "no column 'cost'.*--target"),
        (table(*[str(n) for n in range(20)], header="price"), None, None, "needs a column beside the target, 'price'"),
        (table(*[f"1,{n},cheap" for n in range(20)]), None, None, "the only label is 'cheap'"),
        (table(*[f"1,{n},l{n}" for n in range(101)]), None, None, "'price' has 101 different values, and 100 labels"),
        (
            table(*ROWS, "red,1,5 EUR"),
            None,
            Kind.regression,
            r"cannot be estimated \('5 EUR' in line 22 is not a number\)",
        ),
        (table(*ROWS, "red,1,inf"), None, None, "line 22: column 'price' has 'inf'"),
        (table(*[f"red,{n},7" for n in range(20)]), None, Kind.regression, "column 'price' is 7 in every row"),
        (table(*ROWS, "red,1,5 EUR"), None, Kind.classification, "at least 10 different rows of each label"),
    ],
)
def test_a_target_that_cannot_be_learned_is_refused(
    data: bytes, target: str | None, kind: Kind | None, named: str
) -> None:
    """The 422 names the column, the line and the remedy."""
    with pytest.raises(PenstockError, match=named) as refused:
        read_rows(parse_table(data, "t.csv"), target, (), kind)
    assert (refused.value.status, refused.value.code) == (422, "bad-data")


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


def trained(data: bytes, folder: Path, format_: Format | None = None) -> tuple[Trained, Manifest]:
    path = folder / "houses.csv"
    path.write_bytes(data)
    report = train("houses", path, None, ["id"] if b"id" in data[:3] else [], None, folder, format_, 0, lambda *_: None)
    manifest = parse_manifest((folder / MANIFEST_FILE).read_bytes())
    check_manifest_values(manifest)
    return report, manifest


def answers(folder: Path, manifest: Manifest, rows: list[dict[str, object]]) -> NDArray[np.float32]:
    """Return what the saved program answers."""
    columns = {}
    for field in manifest.inputs:
        values = [row.get(field.name, field.default) for row in rows]
        columns[field.name] = np.array(
            [value.encode() if isinstance(value, str) else value for value in values],
            dtype=np.object_ if field.kind is FieldKind.CATEGORY else np.float32,
        )
    program = torch.export.load(folder / manifest.file).module()
    with torch.no_grad():
        return np.asarray(program(*map(torch.from_numpy, preprocess(manifest, columns))))


def test_a_regression_with_gaps_learns_the_rule(tmp_path: Path) -> None:
    """Numbers, a boolean and categories with missing values; a client may leave out what was missing."""
    report, manifest = trained(houses("price"), tmp_path)
    assert report.report["metrics"]["r2"] > 0.8
    assert report.report["metrics"]["mae"] < report.report["baseline"]["metrics"]["mae"] / 2
    assert (manifest.task, report.primary, report.higher_is_better) == (Task.REGRESSION, "mae", False)
    large, small, unknown = answers(
        tmp_path, manifest, [{"size": 180, "sea": True, "town": "C"}, {"size": 30, "sea": False, "town": "A"}, {}]
    )
    assert large > 300_000 > 100_000 > small
    assert small < unknown < large


def test_a_classification_learns_the_rule(tmp_path: Path) -> None:
    """The labels are those of the column, and rows are answered alone as in a batch."""
    report, manifest = trained(houses("class"), tmp_path)
    assert report.report["metrics"]["accuracy"] > 0.85 > report.report["baseline"]["metrics"]["accuracy"]
    assert (manifest.task, manifest.labels, report.primary) == (Task.CLASSIFICATION, ["cheap", "dear"], "f1_macro")
    rows: list[dict[str, object]] = [{"size": 190, "sea": True, "town": "C"}, {"size": 30, "sea": False, "town": "A"}]
    batch = answers(tmp_path, manifest, rows)
    assert [manifest.labels[i] for i in batch.argmax(axis=1)] == ["dear", "cheap"]
    assert answers(tmp_path, manifest, rows[:1])[0] == pytest.approx(batch[0], abs=1e-5)


@pytest.mark.parametrize("format_", [Format.TORCH_EXPORT, Format.TORCHSCRIPT, Format.ONNX])
@pytest.mark.parametrize("prefix", ["", "size"])
def test_a_table_may_have_only_one_kind_of_column(prefix: str, format_: Format, tmp_path: Path) -> None:
    """Only numbers, or only categories, in every format."""
    rows = [f"{prefix}{n % 7},{prefix}{n % 5},{(n % 7) * 3}.5" for n in range(40)]
    report, manifest = trained(table(*rows), tmp_path, format_)
    assert (report.rows, (tmp_path / manifest.file).exists()) == (40, True)
