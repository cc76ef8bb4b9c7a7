"""The leading system's numbers for subgroups of frames, runs and patients."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from cag.chapters.classification.samples import run_lesions
from cag.chapters.classification.tables import labeled_frames, leading, measured
from cag.data.cohort import Cohort
from cag.data.severity import low_quality
from cag.metrics.tables import interval_table

SUBGROUP_METRICS = ("auc", "sensitivity", "specificity")
#: Bands of percent diameter stenosis, of lesion length in millimeters and of age in years.
SEVERITY_EDGES = (25.0, 50.0, 70.0, 100.0)
LENGTH_EDGES = (0.0, 10.0, 20.0)
AGE_EDGES = (0.0, 55.0, 70.0)


def subgroups(predictions: pd.DataFrame, cohort: Cohort, *, bootstrap: int, seed: int) -> pd.DataFrame:
    """Area under the curve, sensitivity and specificity of the leading system in every subgroup (clean arm).

    Bands of severity and lesion length divide the diseased frames only; each stands against all frames
    without disease, so that their specificity is that of the whole. What the cohort does not know
    (sex, age, lesion length, study quality) is left out.

    Returns
    -------
    DataFrame
        ``by, subgroup, frames, patients, metric, value, low, high``.
    """
    rows = labeled_frames(leading(predictions))
    tables = []
    for by, name, own in _groups(_described(rows, cohort)):
        table = interval_table(measured(own), n=bootstrap, rng=np.random.default_rng(seed))
        sizes = {"frames": len(own), "patients": own["patient_id"].nunique()}
        tables.append(table[table["metric"].isin(SUBGROUP_METRICS)].assign(by=by, subgroup=name, **sizes))
    return pd.concat(tables, ignore_index=True)


def _described(rows: pd.DataFrame, cohort: Cohort) -> pd.DataFrame:
    """Frames with what is known of their patient and of the worst lesion of their run."""
    people = cohort.patients[[name for name in ("patient_id", "sex", "age") if name in cohort.patients]]
    lesions = run_lesions(cohort).drop(columns="percent_stenosis", errors="ignore")
    table = rows.merge(people, how="left", on="patient_id").merge(lesions, how="left", on="run_id")
    if "low_quality" in cohort.patients:
        table["quality"] = np.where(table["patient_id"].isin(low_quality(cohort)), "low", "as usual")
    return table


def _groups(table: pd.DataFrame) -> Iterator[tuple[str, str, pd.DataFrame]]:
    yield "all", "all frames", table
    plain = {"artery": "artery", "view": "view", "sex": "sex", "quality": "study quality"}
    for column, by in plain.items():
        if column in table:
            for name, own in table.groupby(column):
                yield by, str(name), own.reset_index(drop=True)
    if "age" in table:
        yield from _banded(table, "age", AGE_EDGES, "age, years", table.iloc[:0])
    diseased, healthy = table[table["target"].gt(0)], table[table["target"].eq(0)]
    yield from _banded(diseased, "percent_stenosis", SEVERITY_EDGES, "stenosis, %", healthy)
    if "length_mm" in table:
        yield from _banded(diseased, "length_mm", LENGTH_EDGES, "lesion length, mm", healthy)


def _banded(
    table: pd.DataFrame, column: str, edges: tuple[float, ...], by: str, beside: pd.DataFrame
) -> Iterator[tuple[str, str, pd.DataFrame]]:
    """Rows of each band of a column, with other rows added to every band; empty bands are left out."""
    bands = pd.cut(table[column], [*edges, np.inf], right=False)
    for band, own in table.groupby(bands, observed=True):
        open_end = "and more" if np.isinf(band.right) else f"to below {band.right:g}"
        name = f"{band.left:g}" if (column, band.left) == ("percent_stenosis", 100) else f"{band.left:g} {open_end}"
        yield by, name, pd.concat([own, beside], ignore_index=True)
