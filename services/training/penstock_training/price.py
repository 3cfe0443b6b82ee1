"""Price: a regressor over numeric and categorical columns.

It trains on any CSV whose last column is the number to predict. Without a CSV, it trains
on made-up offers of used cars, whose price follows a known rule with noise.
"""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.model_selection import train_test_split
from torch import Tensor, nn

from penstock_common.errors import PenstockError
from penstock_common.manifest import Batching, Field, FieldKind, Format, Manifest, Output, Preprocess, Task
from penstock_training.artifact import FILES, save
from penstock_training.evaluate import regression, write_report
from penstock_training.fit import Progress, fit
from penstock_training.pipeline import HELD_OUT, Trained, digest

EPOCHS = 40
_MAX_CATEGORIES = 200
_MIN_ROWS = 20


@dataclass
class Table:
    """The columns by name, and the target; ``order`` has the names of the columns in file order."""

    numeric: dict[str, NDArray[Any]]
    categorical: dict[str, list[str]]
    order: list[str]
    target_name: str
    target: NDArray[Any]


class TabularRegressor(nn.Module):
    """``float32 [N, numeric]`` and ``int64 [N, categorical]`` to values ``float32 [N]``.

    The graph standardises the numbers and scales its answer back, so that the inputs and outputs
    of the served model are in the units of the table.
    """

    mean: Tensor
    std: Tensor
    target: Tensor

    def __init__(self, mean: Tensor, std: Tensor, sizes: list[int], target_mean: float, target_std: float) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)
        self.register_buffer("target", torch.tensor([target_mean, target_std]))
        self.embeddings = nn.ModuleList([nn.Embedding(size, min(8, size)) for size in sizes])
        width = len(mean) + sum(min(8, size) for size in sizes)
        self.layers = nn.Sequential(nn.Linear(width, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1))

    def forward(self, numbers: Tensor, indices: Tensor) -> Tensor:
        parts = [(numbers - self.mean) / self.std]
        parts += [table(indices[:, i]) for i, table in enumerate(self.embeddings)]
        answer: Tensor = self.layers(torch.cat(parts, dim=1)).squeeze(1) * self.target[1] + self.target[0]
        return answer


def used_cars(seed: int, rows: int = 4000) -> bytes:
    """Return a CSV of made-up offers of used cars."""
    rng = np.random.default_rng(seed)
    makes = {"Aurora": 1.0, "Borealis": 1.35, "Cirrus": 0.8, "Delta": 0.95, "Estrel": 1.8}
    fuels = {"petrol": 0.0, "diesel": 600.0, "hybrid": 2200.0, "electric": 4000.0}
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(["make", "fuel", "age_years", "kilometres", "power_kw", "price"])
    for _ in range(rows):
        make, fuel = rng.choice(list(makes)), rng.choice(list(fuels))
        age, power = rng.uniform(0, 15), rng.uniform(45, 220)
        kilometres = max(0.0, age * rng.normal(14000, 4000))
        value = (9000 + 120 * power) * makes[make] * 0.88**age - 0.02 * kilometres * 0.9**age + fuels[fuel]
        price = max(300.0, value * rng.normal(1.0, 0.05))
        writer.writerow([make, fuel, f"{age:.1f}", f"{kilometres:.0f}", f"{power:.0f}", f"{price:.0f}"])
    return out.getvalue().encode()


def read_table(data: bytes) -> Table:
    """Read a CSV with a header, whose last column is the target.

    A column of numbers is numeric, any other column is categorical. Rows with an empty cell are skipped.

    Raises:
        PenstockError: 422 ``bad-data`` naming the line or column and the remedy.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as err:
        raise PenstockError(422, "bad-data", f"The data is not UTF-8 (byte {err.start}); save it as UTF-8.") from None
    reader = csv.reader(io.StringIO(text))
    header = next(reader, [])
    body = []
    for row in reader:
        if not row or not all(cell.strip() for cell in row):
            continue
        if len(row) != len(header):
            raise PenstockError(
                422, "bad-data", f"Line {reader.line_num} has {len(row)} columns, the header has {len(header)}."
            )
        body.append(row)
    if len(body) < _MIN_ROWS or len(header) < 2:
        raise PenstockError(
            422,
            "bad-data",
            f"The data needs a header, at least two columns and {_MIN_ROWS} rows without an empty cell.",
        )
    numeric: dict[str, NDArray[Any]] = {}
    categorical: dict[str, list[str]] = {}
    for name, column in zip(header, zip(*body, strict=True), strict=True):
        try:
            numeric[name] = np.array([float(cell) for cell in column], dtype=np.float32)
        except ValueError:
            categorical[name] = [cell.strip() for cell in column]
            if len(set(column)) > _MAX_CATEGORIES:
                raise PenstockError(
                    422, "bad-data", f"Column {name!r} has more than {_MAX_CATEGORIES} different texts; leave it out."
                ) from None
    for name, values in numeric.items():
        if not np.isfinite(values).all():
            raise PenstockError(
                422, "bad-data", f"Column {name!r} has a number that is not finite; leave that row out."
            )
    target = header[-1]
    if target not in numeric:
        raise PenstockError(422, "bad-data", f"The last column, {target!r}, must hold the numbers to predict.")
    return Table(numeric, categorical, header[:-1], target, numeric.pop(target))


def train(data: Path | None, folder: Path, format_: Format | None, seed: int, progress: Progress) -> Trained:
    """The price ``Pipeline``.

    Raises:
        PenstockError: 422 ``bad-data``.
    """
    raw = data.read_bytes() if data else used_cars(seed)
    table = read_table(raw)
    manifest = _manifest(table, format_ or Format.TORCHSCRIPT)
    categories = {f.name: f.categories or [] for f in manifest.inputs if f.kind is FieldKind.CATEGORY}
    rows = len(table.target)
    numbers = torch.tensor(
        np.stack([table.numeric[n] for n in table.order if n in table.numeric], axis=1)
        if table.numeric else np.zeros((rows, 0), dtype=np.float32)
    )  # fmt: skip
    indices = torch.tensor(
        [[categories[n].index(table.categorical[n][i]) for n in categories] for i in range(rows)], dtype=torch.int64
    ).reshape(rows, len(categories))
    target = torch.tensor(table.target)
    train_rows, test_rows = train_test_split(np.arange(rows), test_size=HELD_OUT, random_state=seed)
    torch.manual_seed(seed)
    seen = numbers[train_rows]
    model = TabularRegressor(
        seen.mean(dim=0),
        seen.std(dim=0).clamp(min=1e-6),
        [len(values) for values in categories.values()],
        float(target[train_rows].mean()),
        float(target[train_rows].std()) or 1.0,
    )
    spread = float(model.target[1])
    fit(
        model,
        model,
        lambda chosen: ((numbers[chosen], indices[chosen]), target[chosen]),
        train_rows,
        lambda predicted, truth: nn.functional.smooth_l1_loss(predicted / spread, truth / spread),
        epochs=EPOCHS, learning_rate=0.01, batch_size=128, seed=seed, progress=progress,
    )  # fmt: skip
    with torch.no_grad():
        predicted = model(numbers[test_rows], indices[test_rows]).numpy()
    report = regression(predicted, target[test_rows].numpy())
    batch = torch.export.Dim("batch", min=1, max=4096)
    save(folder, model, manifest, (numbers[:4], indices[:4]), ({0: batch}, {0: batch}))
    write_report(folder, "price", report)
    return Trained(report, "mae", False, digest(raw), rows, {"epochs": EPOCHS, "seed": seed})


def _manifest(table: Table, format_: Format) -> Manifest:
    fields = []
    example: dict[str, Any] = {}
    for name in table.order:
        if name in table.categorical:
            values = sorted(set(table.categorical[name]))
            fields.append(Field(name, FieldKind.CATEGORY, "BYTES", categories=values))
            example[name] = table.categorical[name][0]
        else:
            column = table.numeric[name]
            # An answer far outside the range of the training data would be meaningless.
            low, high = float(column.min()), float(column.max())
            margin = high - low
            minimum = 0.0 if low >= 0 and low - margin < 0 else low - margin
            fields.append(Field(name, FieldKind.NUMBER, "FP32", minimum=minimum, maximum=high + margin))
            example[name] = float(column[0])
    return Manifest(
        format=format_,
        file=FILES[format_],
        task=Task.REGRESSION,
        inputs=fields,
        outputs=[Output("value", "FP32", [], table.target_name)],
        preprocess=Preprocess("tabular"),
        batching=Batching(max_batch_size=128),
        description=f"Estimates {table.target_name} from {', '.join(table.order)}.",
        examples=[example],
    )
