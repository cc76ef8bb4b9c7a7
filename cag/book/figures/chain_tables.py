"""What the chain loses, as a table and a sentence."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import numpy as np
import pandas as pd

from cag.chapters.reading.chain import LINKS
from cag.chapters.reading.reading import ReadingSettings
from cag.metrics.intervals import Metrics, bootstrap_many, interval_text, paired_difference
from cag.metrics.weighted import roc_auc


def chain_table(found: pd.DataFrame, *, bootstrap: int, seed: int) -> pd.DataFrame:
    """Patient AUC of each variant with its interval, and the difference to the one with every link true."""
    rows, truth = [], _patients(found, "none")
    people = truth.patient_id.to_numpy()
    for links, words in LINKS.items():
        own = _patients(found, links)
        if own.empty or own.diseased.nunique() < 2:
            rows.append((words, len(own), "not computed", "–"))
            continue
        names, draw = own.patient_id.to_numpy(), partial(np.random.default_rng, seed)
        area = bootstrap_many(_area(own), names, n=bootstrap, rng=draw())["auc"]
        lost = paired_difference(_area(own), names, _area(truth), people, n=bootstrap, rng=draw())["auc"]
        rows.append((words, len(own), interval_text(area), "–" if links == "none" else interval_text(lost)))
    return pd.DataFrame(rows, columns=["Links", "Patients", "AUC", "Difference"])


#: Step of the chain -> the variants with and without it found instead of known; None is a perfect reader.
_STAGES: dict[str, tuple[str | None, str]] = {
    "classification": (None, "none"),
    "frame selection": ("none", "frames"),
    "artery and view": ("frames", "frames and views"),
    "whole chain": (None, "frames and views"),
}


def stage_losses(found: pd.DataFrame, *, bootstrap: int, seed: int) -> pd.DataFrame:
    """Patient AUC that each step costs: the step on the output of the one before it, against the same step on truth.

    Classification is measured against the area of one that a perfect reader of true frames has.
    """
    rows = []
    for stage, (before, after) in _STAGES.items():
        later, earlier = _patients(found, after), None if before is None else _patients(found, before)
        parts = [later] if earlier is None else [later, earlier]
        if any(part.empty or part.diseased.nunique() < 2 for part in parts):
            rows.append((stage, len(later), "not computed"))
            continue
        names, rng = later.patient_id.to_numpy(), np.random.default_rng(seed)
        if earlier is None:
            lost = bootstrap_many(_missing_area(later), names, n=bootstrap, rng=rng)["auc"]
        else:
            people = earlier.patient_id.to_numpy()
            lost = paired_difference(_area(earlier), people, _area(later), names, n=bootstrap, rng=rng)["auc"]
        rows.append((stage, len(later), interval_text(lost)))
    return pd.DataFrame(rows, columns=["Step", "Patients", "AUC lost"])


def chain_note(found: pd.DataFrame, settings: ReadingSettings) -> str:
    """How many patients and images stand behind the comparison, in a sentence."""
    if found.empty:
        return "The comparison was left out (parameter `chain_frames`)."
    patients = found.patient_id.nunique()
    return (
        f"{patients} patients, at most {settings.chain_frames} frames of each run in every row; few patients give wide "
        "intervals. A patient in whom nothing was read counts as called healthy."
    )


def _patients(found: pd.DataFrame, links: str) -> pd.DataFrame:
    """Score and truth of each patient in one variant."""
    own = found[found.found_links == links].groupby("patient_id", as_index=False)
    table = own.agg(score=("score", "max"), percent_stenosis=("percent_stenosis", "first")).fillna({"score": 0.0})
    return table.assign(diseased=table.percent_stenosis >= 25)


def _area(patients: pd.DataFrame) -> Metrics:
    """The area under the ROC curve for rows of weights."""
    diseased, score = patients.diseased.to_numpy(dtype=bool), patients.score.to_numpy(dtype=float)

    def metrics(weights: np.ndarray) -> Mapping[str, np.ndarray]:
        return {"auc": roc_auc(diseased, score, weights)}

    return metrics


def _missing_area(patients: pd.DataFrame) -> Metrics:
    """What the area under the ROC curve lacks to one, for rows of weights."""
    area = _area(patients)
    return lambda weights: {"auc": 1 - area(weights)["auc"]}
