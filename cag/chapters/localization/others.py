"""What others report on stenosis localization, beside this run's own numbers."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pandas as pd

#: Figures of others that set the scale, as the study's protocol lists them.
OTHERS = Path(__file__).with_name("localization_others.csv")
_NAMES = {
    "f1": "F1",
    "recall": "Recall",
    "ap50": "Average precision",
    "sensitivity": "Sensitivity",
    "detection rate": "Detection rate",
    "expert agreement": "Expert agreement",
}
_METHODS = {"fpn": "this run, FPN", "cam": "this run, CAM", "prior": "this run, place prior"}


def _reported(value: float, spread: float) -> str:
    """A value with as many decimals as it was reported with, two or three."""
    text = f"{value:.{3 if round(value, 2) != value else 2}f}"
    return text if pd.isna(spread) else f"{text} ± {spread:.3f}"


@cache
def others() -> pd.DataFrame:
    """Reported figures: ``study, year, set, metric, value, spread, note, source``."""
    return pd.read_csv(OTHERS)


def beside_others(metrics: pd.DataFrame, shown: str) -> pd.DataFrame:
    """This run's clean numbers of the kinds that others report, then theirs.

    They are no ranking: sets, splits, overlaps and what counts as found differ from study to study.

    Parameters
    ----------
    metrics : DataFrame
        From ``localization_scores.metric_table``.
    shown : str
        What this run's cohort shows.

    Returns
    -------
    DataFrame
        Study, Images, Metric, Value, Note, Source.
    """
    own = metrics[(metrics.arm == "clean") & (metrics.artery == "both")]
    rows = []
    for method, name in _METHODS.items():
        for metric in ("recall", "f1", "ap50"):
            for row in own[(own.method == method) & (own.metric == metric)].itertuples():
                text = f"{row.value:.2f} ({row.low:.2f} to {row.high:.2f})"
                rows.append((name, shown, _NAMES[metric], text, f"IoU of at least {row.iou:g}", ""))
    reported = others()
    values = [_reported(*pair) for pair in zip(reported["value"], reported["spread"], strict=True)]
    studies = reported["study"] + " " + reported["year"].astype(str)
    names = reported["metric"].map(_NAMES)
    rows += zip(studies, reported["set"], names, values, reported["note"], reported["source"], strict=True)
    return pd.DataFrame(rows, columns=["Study", "Images", "Metric", "Value", "Note", "Source"])
