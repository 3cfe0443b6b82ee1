"""The figures of ``make bench-services``."""

from __future__ import annotations

from benchmarks.services import quality
from benchmarks.services.rounds import ALONE, Case, Round, rows_of
from benchmarks.services.samples import Sample


def test_ratios_are_medians_of_the_rounds_own() -> None:
    """By the clock and by CPU time; a system's quality and first token stand in its row."""
    rounds = {ALONE: [Round(2, 4), Round(1, 1)], "penstock": [Round(1, 2, 5.0), Round(3, 1, 7.0)]}
    alone, penstock = rows_of(Case("ocr", 8, "images", rounds, {"penstock": "good"}))
    assert (alone["a second"], alone["x alone"], alone["first token ms"], alone["quality"]) == (1.5, 1, None, None)
    assert (penstock["a second"], penstock["x alone"], penstock["x by CPU"]) == (2, 1.75, 0.75)
    assert (penstock["first token ms"], penstock["quality"]) == (6, "good")


def test_without_the_model_alone_there_are_no_ratios() -> None:
    """The rate is still there."""
    [row] = rows_of(Case("ocr", 1, "images", {"penstock": [Round(2, 4)]}))
    assert (row["a second"], row["x alone"], row["x by CPU"]) == (2, None, None)


def test_quality_counts_what_is_right() -> None:
    """Repeated lines count as often as they are there; an entity needs text and label; boxes agree to a pixel."""
    nothing = Sample(b"")
    assert quality.same_texts([], ["a", "b"], ["a", "c"]) == "1 of 2 texts"
    assert quality.least_cosine([], [[1, 0], [0, 1]], [[1, 0], [0.6, 0.8]]) == "cosine 0.8000"
    assert quality.word_error_rate([Sample(b"", truth="a b c d")], ["a b d"], []) == "word errors 0.250"
    assert quality.exact_lines([Sample(b"", truth=["a", "a", "b"])], [["a", "b", "c"]], []) == "2 of 3 lines"
    found, own = [[0, 0, 9, 9], [5, 5, 9, 9]], [[0, 0, 9.5, 9], [50, 50, 90, 90]]
    assert quality.same_faces([nothing], [found], [own]) == "1 of 2 faces, 1 not theirs"
    truth, entities = [["a", "X"], ["b", "Y"]], [["a", "X"], ["b", "Z"], ["c", "Y"]]
    assert quality.entity_f1([Sample(b"", truth=truth)], [entities], []) == "F1 0.400"
    assert quality.top_1([Sample(b"", truth=["x"]), Sample(b"", truth=["y"])], ["x", "x"], []) == "1 of 2 pictures"
