"""What the choice of label rule changes: the worst segment assigned to the view, or the lesions seen in the frame."""

from __future__ import annotations

import numpy as np
import pandas as pd
from sklearn.metrics import cohen_kappa_score

from cag.chapters.classification.samples import LabelRule, classification_samples
from cag.chapters.classification.settings import ClassificationSettings
from cag.chapters.classification.tables import labeled_frames, outputs_of
from cag.chapters.classification.training import targets_of
from cag.data.cohort import Cohort
from cag.metrics.measured import of_scores
from cag.metrics.tables import bootstrap_table, interval_table, weighted_mean

RULES: tuple[LabelRule, ...] = ("assigned", "visible")


def labels_by_rule(cohort: Cohort, settings: ClassificationSettings) -> pd.DataFrame:
    """Labeled frames with their target of the leading system under either rule.

    Returns
    -------
    DataFrame
        ``run_id, patient_id, frame, artery, view, assigned, visible`` (categories).

    Raises
    ------
    LabelError
        If the cohort has no boxes.
    """
    tables = {rule: classification_samples(cohort, settings.frames_per_run, rule) for rule in RULES}
    cuts = min(settings.cut_points, key=len)
    targets = {rule: targets_of(table, cuts) for rule, table in tables.items()}
    both = tables["assigned"].assign(**targets).query("not redundant")
    return both[["run_id", "patient_id", "frame", "artery", "view", *RULES]].reset_index(drop=True)


def label_agreement(labels: pd.DataFrame, *, bootstrap: int, seed: int) -> pd.DataFrame:
    """How many frames each rule calls diseased and how often both agree, a row a view and for all, with intervals.

    Returns
    -------
    DataFrame
        ``view, kappa`` (Cohen's), ``metric`` (``assigned, visible, agreement``), ``value, low, high, n_rows``.
    """
    table = labels.assign(agreement=labels["assigned"].eq(labels["visible"]))
    table[list(RULES)] = table[list(RULES)].gt(0)
    table = pd.concat([table, table.assign(view="all views")], ignore_index=True)
    metrics = {name: weighted_mean(name) for name in (*RULES, "agreement")}
    shares = bootstrap_table(table, metrics, n=bootstrap, rng=np.random.default_rng(seed), by=("view",))
    kappas = {view: _kappa(own) for view, own in table.groupby("view")}
    return shares.assign(kappa=shares["view"].map(kappas))


def scored_by_either(
    trained: dict[str, pd.DataFrame], labels: pd.DataFrame, *, bootstrap: int, seed: int
) -> pd.DataFrame:
    """Area under the ROC curve of networks trained by one rule and scored by the other.

    Parameters
    ----------
    trained : mapping of the rule trained by to predictions (clean arm)

    Returns
    -------
    DataFrame
        ``trained, metric`` (the rule scored by), ``value, low, high``.
    """
    keys = ["run_id", "frame"]
    tables = []
    for name, predictions in trained.items():
        rows = labeled_frames(predictions).query("arm == 'clean'").reset_index(drop=True)
        scores = (
            rows[["patient_id", *keys]].assign(score=outputs_of(rows).score).merge(labels[[*keys, *RULES]], on=keys)
        )
        for rule in RULES:
            own = of_scores(scores.assign(target=scores[rule]))
            table = interval_table(own, n=bootstrap, rng=np.random.default_rng(seed))
            tables.append(table[table["metric"].eq("auc")].assign(trained=name, metric=rule))
    return pd.concat(tables, ignore_index=True)


def _kappa(rows: pd.DataFrame) -> float:
    if len(np.unique(rows[list(RULES)].to_numpy())) < 2:
        return float("nan")
    return float(cohen_kappa_score(rows["assigned"], rows["visible"]))
