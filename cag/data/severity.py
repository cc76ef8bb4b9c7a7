"""The reference standard of arteries and patients, and what marks a study of low quality."""

from __future__ import annotations

import pandas as pd

from cag.anatomy import THREE_CATEGORIES, severity_category
from cag.data.cohort import Cohort


def artery_severity(cohort: Cohort) -> pd.DataFrame:
    """Reference standard of a patient and artery: worst percent stenosis of any of its segments.

    Returns
    -------
    DataFrame with patient_id, artery, percent_stenosis; one row for each patient and artery of the manifest.
    """
    seen = cohort.manifest.dropna(subset=["artery"])[["patient_id", "artery"]].drop_duplicates()
    worst = cohort.lesions.groupby(["patient_id", "artery"])["percent_stenosis"].max()
    table = seen.merge(worst.reset_index(), how="left", on=["patient_id", "artery"])
    return table.fillna({"percent_stenosis": 0.0}).sort_values(["patient_id", "artery"], ignore_index=True)


def patient_severity(cohort: Cohort) -> dict[str, int]:
    """Category of each patient's worst segment (none, stenosis, occlusion): what the folds are stratified by."""
    worst = artery_severity(cohort).groupby("patient_id")["percent_stenosis"].max()
    categories = severity_category(worst.to_numpy(), THREE_CATEGORIES)
    return dict(zip(worst.index, categories.tolist(), strict=True))


def low_quality(cohort: Cohort) -> set[str]:
    """Patients whose study is marked as of low quality."""
    marks = cohort.patients.set_index("patient_id").get("low_quality", pd.Series(dtype=float))
    return set(marks.index[marks.fillna(0).astype(bool)])
