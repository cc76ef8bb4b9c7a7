"""Who and what is in a cohort: the paper's Tables 1 and 2, and the flow from patients to frames."""

from __future__ import annotations

import numpy as np
import pandas as pd

from cag.anatomy import MODEL_VIEWS, NO_STANDARD_VIEW, THREE_CATEGORIES, category_names, severity_category
from cag.chapters.classification.samples import classification_samples
from cag.data.cohort import Cohort
from cag.data.severity import artery_severity

_NAMES = category_names(THREE_CATEGORIES)
#: Yes-no characteristics of Table 2: column of patients.csv -> its row.
_RISK_FACTORS = {
    "hypertension": "hypertension",
    "diabetes": "diabetes",
    "dyslipidemia": "dyslipidemia",
    "smoker": "current smoker",
    "family_history": "family history of CAD",
    "previous_cva": "previous cerebrovascular accident",
}


def severity_counts(cohort: Cohort, frames_per_run: int) -> pd.DataFrame:
    """Frames a classifier's view, arteries and patients in each severity category (Table 1).

    Returns
    -------
    DataFrame
        ``level`` and one column of counts a category.
    """
    samples = classification_samples(cohort, frames_per_run)
    samples = samples[~samples["redundant"]]
    reference = artery_severity(cohort)
    patients = pd.DataFrame(reference.groupby("patient_id", as_index=False)["percent_stenosis"].max())
    groups: dict[str, pd.DataFrame] = {f"image: {view}": samples[samples["model_view"] == view] for view in MODEL_VIEWS}
    groups |= {f"artery: {artery}": reference[reference["artery"] == artery] for artery in ("LCA", "RCA")}
    groups["patient"] = patients
    rows = []
    for level, table in groups.items():
        categories = severity_category(table["percent_stenosis"].to_numpy(), THREE_CATEGORIES)
        rows.append([level, *np.bincount(categories, minlength=len(_NAMES))])
    return pd.DataFrame(rows, columns=["level", *_NAMES])


def characteristics(patients: pd.DataFrame) -> pd.DataFrame:
    """Age, sex, origin, body-mass index and risk factors (Table 2), as far as they are known.

    Returns
    -------
    DataFrame
        ``characteristic, value, known`` (patients with the item recorded).
    """
    rows: list[tuple[str, str, int]] = []
    for column, name in (("age", "age, median (IQR), years"), ("bmi", "body-mass index, median (IQR), kg/m²")):
        known = pd.to_numeric(patients.get(column, pd.Series(dtype=float)), errors="coerce").dropna()
        if len(known):
            low, middle, high = known.quantile([0.25, 0.5, 0.75])
            rows.append((name, f"{middle:.0f} ({low:.0f}-{high:.0f})", len(known)))
    for column, value, name in (
        ("sex", "M", "male"),
        *(("race", race, race) for race in ("white", "black", "asian", "other")),
    ):
        known = patients.get(column, pd.Series(dtype=object)).dropna()
        if len(known):
            rows.append((name, _share(known.eq(value)), len(known)))
    for column, name in _RISK_FACTORS.items():
        known = pd.to_numeric(patients.get(column, pd.Series(dtype=float)), errors="coerce").dropna()
        if len(known):
            rows.append((name, _share(known.astype(bool)), len(known)))
    return pd.DataFrame(rows, columns=["characteristic", "value", "known"])


def flow(cohort: Cohort, frames_per_run: int) -> pd.DataFrame:
    """From patients to frames: what is left after each step and what was set aside, and why (STARD-AI item 19).

    Returns
    -------
    DataFrame
        ``step, patients, runs, frames, set_aside``.
    """
    runs = cohort.manifest
    standard = runs[runs["view"].notna() & runs["view"].ne(NO_STANDARD_VIEW)]
    contrast = standard.dropna(subset=["contrast_begin", "contrast_end"])
    samples = classification_samples(cohort, frames_per_run)
    labeled = samples[~samples["redundant"]]
    steps = [
        ("Runs of the cohort", runs, "", int(runs["n_frames"].sum())),
        ("in a standard view", standard, "other angles", int(standard["n_frames"].sum())),
        ("with a contrast interval", contrast, "no injection seen", int(contrast["n_frames"].sum())),
        ("labeled frames drawn", labeled, "frames not drawn", len(labeled)),
    ]
    rows, before = [], None
    for name, table, reason, frames in steps:
        n_runs = table["run_id"].nunique()
        aside = "" if before is None else f"{before[0] - n_runs} runs, {before[1] - frames} frames: {reason}"
        rows.append((name, table["patient_id"].nunique(), n_runs, frames, aside))
        before = (n_runs, frames)
    return pd.DataFrame(rows, columns=["step", "patients", "runs", "frames", "set_aside"])


def _share(flags: pd.Series) -> str:
    return f"{int(flags.sum())} ({100 * flags.mean():.0f} %)"
