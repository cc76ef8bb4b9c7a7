"""What scoring rules are worth: the published ones taken apart, and mild disease counted three ways."""

from __future__ import annotations

from typing import Literal, cast

import numpy as np
import pandas as pd

from cag.chapters.classification.comparisons import difference
from cag.chapters.classification.levels import Level, level_scores
from cag.chapters.classification.tables import labeled_frames, leading, measured
from cag.metrics.measured import of_classification, of_scores
from cag.metrics.tables import interval_table, strata

#: Parts of the optimism: the epoch alone, the scoring alone, both together.
OPTIMISM_PARTS = ("epoch", "scoring", "both")
Mild = Literal["negative", "positive", "dropped"]
MILD: tuple[Mild, ...] = ("negative", "positive", "dropped")


def optimism(predictions: pd.DataFrame, *, bootstrap: int, seed: int) -> pd.DataFrame:
    """What the published rules add to each number: theirs minus ``clean``, paired, with interval.

    ``part`` is ``epoch`` (the epoch best on the scored fold, scored cleanly), ``scoring`` (the clean epoch;
    P(redundant) counts as disease, a contrast frame called redundant is wrong) or ``both``. Without redundancy
    training there is ``both`` alone.

    Returns
    -------
    DataFrame
        ``artery, n_categories, redundancy, part, metric, value, low, high, p_value``.
    """
    tables = []
    for key, rows in strata(labeled_frames(predictions), ("artery", "n_categories", "redundancy")):
        arms = {str(arm): group.reset_index(drop=True) for arm, group in rows.groupby("arm")}
        clean = of_classification(arms["clean"], "clean")
        others = {
            "epoch": of_classification(arms["as_published"], "clean"),
            "scoring": of_classification(arms["clean"], "as_published"),
            "both": of_classification(arms["as_published"], "as_published"),
        }
        # Without a redundancy class both rules score alike, so that the epoch is all there is.
        for part in OPTIMISM_PARTS if key["redundancy"] else ("both",):
            tables.append(difference(others[part], clean, bootstrap, seed, part=part, **key))
    return pd.concat(tables, ignore_index=True)


def level_optimism(predictions: pd.DataFrame, reference: pd.DataFrame, *, bootstrap: int, seed: int) -> pd.DataFrame:
    """The area under the ROC curve of arteries and patients by either rules, and how far they are apart.

    Leading system, largest score. Both sides are resampled by the same patients.

    Returns
    -------
    DataFrame
        ``level, artery, metric`` (``as published``, ``clean``, ``difference``), ``value, low, high, p_value``.
    """
    arteries = [("artery", artery) for artery in sorted(reference["artery"].unique())]
    tables = []
    for level, artery in (*arteries, ("patient", "both")):
        sides = {}
        for arm in ("as_published", "clean"):
            scores = level_scores(labeled_frames(leading(predictions, arm)), reference, cast(Level, level))
            own = scores if level == "patient" else scores[scores["artery"].eq(artery)]
            sides[arm] = of_scores(own.reset_index(drop=True))
        if not len(sides["clean"].groups):  # an artery none of whose views was trained
            continue
        parts = {
            arm.replace("_", " "): interval_table(side, n=bootstrap, rng=np.random.default_rng(seed))
            for arm, side in sides.items()
        }
        parts["difference"] = difference(sides["as_published"], sides["clean"], bootstrap, seed)
        for name, part in parts.items():
            tables.append(part[part["metric"].eq("auc")].assign(level=level, artery=artery, metric=name))
    return pd.concat(tables, ignore_index=True)


def with_mild(rows: pd.DataFrame, mild: Mild) -> pd.DataFrame:
    """Labeled frames with narrowings below the first cut-point counted as told.

    ``negative`` leaves them in category 0 (the paper's text, and this study), ``positive`` puts them into the
    lowest category of disease, ``dropped`` leaves the frames out; both occur in the published label scripts.
    """
    is_mild = rows["target"].eq(0) & rows["percent_stenosis"].gt(0)
    if mild == "dropped":
        return rows[~is_mild].reset_index(drop=True)
    return rows.assign(target=rows["target"].mask(is_mild, 1)) if mild == "positive" else rows


def mild_three_ways(predictions: pd.DataFrame, *, bootstrap: int, seed: int) -> pd.DataFrame:
    """The leading system's numbers with mild disease negative, positive and left out; one training, three tasks.

    Returns
    -------
    DataFrame
        ``artery, mild, diseased`` (share of the frames), ``metric, value, low, high, n_rows, n_groups``.
    """
    lead = labeled_frames(leading(predictions))
    tables = []
    for key, rows in strata(lead, ("artery",)):
        for mild in MILD:
            own = with_mild(rows, mild)
            table = interval_table(measured(own), n=bootstrap, rng=np.random.default_rng(seed))
            tables.append(table.assign(mild=mild, diseased=own["target"].gt(0).mean(), **key))
    return pd.concat(tables, ignore_index=True)
