"""Price: the preset of ``tabular`` for offers of used cars, which it makes up by a known rule with noise.

With a file of one's own, it estimates the last column.
"""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np

from penstock_common.manifest import Format
from penstock_training.fit import Progress
from penstock_training.pipeline import Trained
from penstock_training.table_file import parse_table, read_table_file
from penstock_training.tabular import train_table
from penstock_training.tabular_rows import Kind, read_rows


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


def train(data: Path | None, folder: Path, format_: Format | None, seed: int, progress: Progress) -> Trained:
    """The price ``Pipeline``.

    Raises:
        PenstockError: 422 ``bad-data``.
    """
    table = read_table_file(data) if data else parse_table(used_cars(seed), "the offers")
    rows = read_rows(table, None, (), Kind.regression)
    return train_table("price", rows, folder, format_ or Format.TORCHSCRIPT, seed, progress)
