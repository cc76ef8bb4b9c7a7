"""Three headline numbers, computed once more from the stored predictions by another implementation.

Plain Python on the rows of the Parquet files: pairs are counted, nothing of ``cag.metrics`` is used.
"""

from __future__ import annotations

from collections import Counter
from itertools import product
from pathlib import Path

import pandas as pd
import pytest

from cag.chapters.classification.scores import image_metrics, level_metrics, reference_standard
from cag.chapters.store import Store
from cag.metrics.tables import estimate
from cag.settings import ROOT

PUBLISHED = ROOT / "results" / "published"
LEADING = {"n_categories": 2, "redundancy": True, "arm": "clean"}


def area(positives: list[float], negatives: list[float]) -> float:
    """Share of pairs in which the diseased one scores higher, ties half."""
    wins = sum((p > n) + 0.5 * (p == n) for p, n in product(positives, negatives))
    return wins / (len(positives) * len(negatives))


def image_rows(folder: Path) -> list[dict]:
    table = pd.read_parquet(folder / "classification.parquet")
    rows = [row for row in table.to_dict("records") if row["part"] == "outer" and not row["redundant"]]
    rows = [row for row in rows if all(row[name] == value for name, value in LEADING.items())]
    for row in rows:
        row["score"] = row["p_1"] / (row["p_0"] + row["p_1"])
    return rows


def headline(folder: Path, reference: dict[str, bool]) -> dict[str, float]:
    rows = image_rows(folder)
    rca = [row for row in rows if row["artery"] == "RCA"]
    image_auc = area([r["score"] for r in rca if r["target"]], [r["score"] for r in rca if not r["target"]])
    top: dict[str, float] = {}
    for row in rows:
        top[row["patient_id"]] = max(top.get(row["patient_id"], 0.0), row["score"])
    patient_auc = area([s for p, s in top.items() if reference[p]], [s for p, s in top.items() if not reference[p]])
    cells = Counter((row["target"], int(row["score"] > 0.5)) for row in rca)
    count = len(rca)
    agree = (cells[0, 0] + cells[1, 1]) / count
    said, true = (cells[0, 1] + cells[1, 1]) / count, (cells[1, 0] + cells[1, 1]) / count
    by_chance = said * true + (1 - said) * (1 - true)
    return {"image_auc": image_auc, "patient_auc": patient_auc, "kappa": (agree - by_chance) / (1 - by_chance)}


def compare(folder: Path, reference: dict[str, bool], image: pd.DataFrame, levels: pd.DataFrame) -> None:
    own = headline(folder, reference)
    rca = {"artery": "RCA", **LEADING}
    patient = {"level": "patient", "how": "max", "threshold": "half", **LEADING}
    assert estimate(image, metric="auc", **rca).value == pytest.approx(own["image_auc"])
    assert estimate(image, metric="kappa", **rca).value == pytest.approx(own["kappa"])
    assert estimate(levels, metric="auc", **patient).value == pytest.approx(own["patient_auc"])


def test_headlines_of_a_tiny_study(drawn_cohort, grid_settings, grid_store, grid_predictions):
    reference = reference_standard(drawn_cohort, grid_settings)
    image = image_metrics(grid_predictions, n=2, rng=0)
    levels = level_metrics(grid_predictions, reference, hows=("max",), n=2, rng=0)
    diseased = reference.groupby("patient_id")["target"].max().astype(bool).to_dict()
    compare(grid_store.root, diseased, image, levels)


def test_headlines_of_the_published_run():
    if not (PUBLISHED / "classification.parquet").exists():
        pytest.skip("no published run: results/published holds no classification.parquet")
    stored = Store(PUBLISHED)
    image, levels = (pd.read_parquet(stored.table(f"classification_{name}_metrics")) for name in ("image", "level"))
    reference = pd.read_parquet(stored.table("classification_reference"))
    diseased = reference.groupby("patient_id")["target"].max().astype(bool).to_dict()
    compare(PUBLISHED, diseased, image, levels)
