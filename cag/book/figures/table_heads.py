"""What the columns of a result table are called where people read it; files keep the short names."""

from __future__ import annotations

import re

import pandas as pd

#: Column of a result table -> its head in the book; other columns get a capital letter.
HEADS = {
    "auc": "AUC",
    "brier": "Brier score",
    "assigned": "Labels assigned",
    "by": "By",
    "called": "Called diseased",
    "calibration_intercept": "Calibration intercept",
    "calibration_slope": "Calibration slope",
    "drawn": "Drawn anew",
    "ece": "Calibration error (ECE)",
    "f1_weighted": "F1 (weighted)",
    "how": "Combined by",
    "interval_iou": "Interval IoU",
    "lesion": "Lesion box",
    "mild": "Mild counts as",
    "n_categories": "Categories",
    "n_rows": "Frames",
    "npv": "NPV",
    "p_stenosis": "P(stenosis)",
    "paper": "Published",
    "part": "Part of the rules",
    "percent_stenosis": "Percent stenosis",
    "ppv": "PPV",
    "redundancy": "Redundancy training",
    "redundant": "Called redundant",
    "run_id": "Run",
    "scaling": "Temperature scaling",
    "trained": "Trained on labels",
    "visible": "Labels visible",
}

#: Truth values, by column; elsewhere yes and no.
TRUTH = {"redundancy": {True: "with", False: "without"}}

#: What a line may not break inside of: ``(0.79 to 0.88)`` and ``0.84 ± 0.02``.
_HELD_TOGETHER = re.compile(r"\(-?[\d.]+ to -?[\d.]+\)|-?[\d.]+ ± [\d.]+|\(no interval\)|not defined")


def with_heads(table: pd.DataFrame) -> pd.DataFrame:
    """A table with words at the head of its columns, words for its truth values, and intervals that do not break."""
    shown = table.copy()
    for name in shown.select_dtypes("bool"):
        shown[name] = shown[name].map(TRUTH.get(str(name), {True: "yes", False: "no"}))
    for name in shown.select_dtypes(["object", "string"]):
        shown[name] = shown[name].map(lambda cell: _unbroken(cell) if isinstance(cell, str) else cell)
    return shown.rename(columns=lambda name: HEADS.get(name, str(name)[:1].upper() + str(name)[1:].replace("_", " ")))


def _unbroken(cell: str) -> str:
    """A text whose intervals stay on one line."""
    return _HELD_TOGETHER.sub(lambda found: found[0].replace(" ", "\N{NO-BREAK SPACE}"), cell)
