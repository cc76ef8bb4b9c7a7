"""Two systems compared on the same patients: paired differences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast
from zlib import crc32

import numpy as np
import pandas as pd

from cag.chapters.classification.scores import LEVELS, Level, labeled_frames, level_scores, measured, outputs_of
from cag.metrics.classification import of_scores
from cag.metrics.intervals import Measured
from cag.metrics.tables import difference_table, strata
from cag.settings import SettingsError


def sides(predictions: pd.DataFrame, column: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The scored frames (clean arm) with the largest and with the smallest value of a column; they must differ."""
    clean = labeled_frames(predictions).query("arm == 'clean'")
    first, second = clean[column].max(), clean[column].min()
    if first == second:
        remedy = "Give it at least two values and run again"
        raise SettingsError("one system alone cannot be compared", field=column, remedy=remedy)
    return clean[clean[column].eq(first)], clean[clean[column].eq(second)]


def differences(first: pd.DataFrame, second: pd.DataFrame, by: Sequence[str], *, n: int, rng: int) -> pd.DataFrame:
    """First minus second at image level on the same resampled patients, a row a stratum and metric; see ``sides``."""
    tables = [
        difference_table(measured(own), measured(other), n=n, rng=rng, **key)
        for (key, own), (_, other) in zip(strata(first, by), strata(second, by), strict=True)
    ]
    return pd.concat(tables, ignore_index=True)


def scores_of(rows: pd.DataFrame, reference: pd.DataFrame, level: str) -> pd.DataFrame:
    """``patient_id, artery, target, score`` of any stenosis by ``image``, ``artery`` or ``patient``, in fixed order."""
    if level != "image":
        return level_scores(rows, reference, cast(Level, level))
    ordered = rows.sort_values(["run_id", "frame"], ignore_index=True)
    return ordered[["patient_id", "artery", "target"]].assign(score=outputs_of(ordered).score)


def over_draws(several: Sequence[Measured], seed: int) -> Measured:
    """The mean area under the ROC curve of several trainings; every resample draws trainings as well as patients.

    Rows are of the same patients in the same order; with one ``seed``, equal resamples draw the same trainings.
    """

    def mean_area(weights: np.ndarray) -> dict[str, np.ndarray]:
        areas = np.stack([one.metrics(weights)["auc"] for one in several])
        every = np.arange(len(several))[:, None]  # the value itself counts each training once, as it does each patient
        rng = np.random.default_rng([seed, crc32(weights.tobytes())])
        drawn = every if len(weights) == 1 else rng.integers(len(several), size=areas.shape)
        return {"auc": np.take_along_axis(areas, drawn, axis=0).mean(axis=0)}

    return Measured(mean_area, several[0].groups)


def auc_differences(
    first: pd.DataFrame, second: pd.DataFrame, reference: pd.DataFrame, *, n: int, rng: int
) -> pd.DataFrame:
    """Difference in the area under the ROC curve of two systems at image, artery and patient level.

    The result has ``level, artery``, the areas ``first, second``, and of the difference ``value, low, high, p_value,
    n_groups``, from the same resampled patients.
    """
    rows = []
    for level in ("image", *LEVELS):
        by = () if level == "patient" else ("artery",)
        pairs = zip(*(strata(scores_of(side, reference, level), by) for side in (first, second)), strict=True)
        for (key, one), (_, other) in pairs:
            pair = of_scores(one), of_scores(other)
            areas = [float(own.metrics(np.ones((1, len(own.groups))))["auc"][0]) for own in pair]
            drawn = difference_table(*pair, n=n, rng=rng, **{"level": level, "artery": "both", **key})
            drawn = drawn[drawn["metric"].eq("auc")].drop(columns=["metric", "undefined"])
            rows.append(drawn.assign(**dict(zip(("first", "second"), areas, strict=True))))
    return pd.concat(rows, ignore_index=True)
