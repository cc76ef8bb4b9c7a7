"""Three headline numbers, computed once more from the stored predictions by another implementation.

Plain Python on the rows of the Parquet files: pairs are counted, nothing of ``cag.metrics`` is used.
"""

from itertools import product
from pathlib import Path

import pandas as pd
import pytest

from cag.chapters.classification.scores import image_metrics, level_metrics, reference_standard
from cag.metrics.tables import estimate
from cag.settings import ROOT

PUBLISHED = ROOT / "results" / "published"
LEADING = {"n_categories": 2, "redundancy": True, "arm": "clean"}


def area(scores: list[tuple[bool, float]]) -> float:
    """Share of pairs in which the diseased one scores higher, ties half."""
    pairs = list(product((s for ill, s in scores if ill), (s for ill, s in scores if not ill)))
    return sum((p > n) + 0.5 * (p == n) for p, n in pairs) / len(pairs)


def compare(folder: Path, reference: pd.DataFrame, image: pd.DataFrame, levels: pd.DataFrame) -> None:
    rows = pd.read_parquet(folder / "classification.parquet").to_dict("records")
    rows = [row for row in rows if row["part"] == "outer" and not row["redundant"]]
    rows = [row for row in rows if all(row[name] == value for name, value in LEADING.items())]
    top: dict[str, float] = {}
    for row in rows:
        row["score"] = row["p_1"] / (row["p_0"] + row["p_1"])
        top[row["patient_id"]] = max(top.get(row["patient_id"], 0.0), row["score"])
    rca = [(row["target"] > 0, row["score"]) for row in rows if row["artery"] == "RCA"]
    agree = sum(ill == (score > 0.5) for ill, score in rca) / len(rca)
    said, true = (sum(part) / len(rca) for part in zip(*((s > 0.5, ill) for ill, s in rca), strict=True))
    by_chance = said * true + (1 - said) * (1 - true)
    ill = reference.groupby("patient_id")["target"].max().astype(bool)
    patients = estimate(levels, metric="auc", level="patient", how="max", threshold="half", **LEADING)
    assert patients.value == pytest.approx(area([(ill[patient], score) for patient, score in top.items()]))
    assert estimate(image, metric="auc", artery="RCA", **LEADING).value == pytest.approx(area(rca))
    kappa = estimate(image, metric="kappa", artery="RCA", **LEADING).value
    assert kappa == pytest.approx((agree - by_chance) / (1 - by_chance))


def test_headlines_of_a_tiny_study(drawn_cohort, grid_settings, grid_store, grid_predictions):
    reference = reference_standard(drawn_cohort, grid_settings)
    image = image_metrics(grid_predictions, n=2, rng=0)
    compare(grid_store.root, reference, image, level_metrics(grid_predictions, reference, n=2, rng=0))


def test_headlines_of_the_published_run():
    if not (PUBLISHED / "classification.parquet").exists():
        pytest.skip("no published run: results/published holds no classification.parquet")
    names = ("reference", "image_metrics", "level_metrics")
    compare(PUBLISHED, *(pd.read_parquet(PUBLISHED / f"classification_{name}.parquet") for name in names))
