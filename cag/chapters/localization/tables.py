"""The localization numbers as tables that people read."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product

import pandas as pd

METHOD_NAMES = {"cam": "CAM", "fpn": "FPN", "prior": "place prior"}
ARM_NAMES = {"clean": "clean", "as_published": "as published"}

#: The four published numbers, then the standard ones, with their names and decimals.
METRICS: dict[str, tuple[str, int]] = {
    "global_sensitivity": ("Global sensitivity", 2),
    "sens_s": ("Sens_s", 2),
    "spec_s": ("Spec_s", 2),
    "mse": ("“MSE”, px", 0),
    "recall": ("Recall", 2),
    "precision": ("Precision", 2),
    "f1": ("F1", 2),
    "ap50": ("Average precision", 2),
    "ap": ("COCO AP", 3),
    "ar": ("COCO AR", 2),
    "recall_at_1fp": ("Recall at 1 false box an image", 2),
    "distance_found": ("Distance of found, px", 0),
    "distance_with_misses": ("Distance with misses, px", 0),
}
PUBLISHED = ("global_sensitivity", "sens_s", "spec_s", "mse")
STANDARD = tuple(name for name in METRICS if name not in PUBLISHED)


def table_four(metrics: pd.DataFrame, claims: pd.DataFrame, not_applicable: Mapping[str, str]) -> pd.DataFrame:
    """The paper's Table 4: its numbers beside this run's, as published and clean.

    Parameters
    ----------
    metrics : DataFrame
        From ``localization_scores.metric_table``.
    claims : DataFrame
        Published numbers (``source, subset, condition, metric, value``).
    not_applicable : mapping of method to reason

    Returns
    -------
    DataFrame
        Artery (``both`` where the cohort does not tell), Method, Metric, Paper, As published, Clean.
    """
    paper = claims[claims.source == "Table 4"]
    paper = paper.assign(method=paper.condition.str.split(",").str[0].str.lower()).rename(columns={"subset": "artery"})
    arteries = sorted(set(metrics.artery) - {"both"}) or ["both"]
    rows = []
    for artery, method in product(arteries, ("cam", "fpn")):
        own = metrics[(metrics.artery == artery) & (metrics.method == method)]
        for name in PUBLISHED:
            printed = paper[(paper.artery == artery) & (paper.method == method) & (paper.metric == name)].value
            texts = {ARM_NAMES[arm].capitalize(): _text(own, arm, name) for arm in ("as_published", "clean")}
            if method in not_applicable:
                texts = dict.fromkeys(texts, "not applicable")
            published = f"{printed.iloc[0]:.{METRICS[name][1]}f}" if len(printed) else "–"
            labels = {"Artery": artery, "Method": METHOD_NAMES[method], "Metric": METRICS[name][0]}
            rows.append(labels | {"Paper": published} | texts)
    return pd.DataFrame(rows)


def method_table(metrics: pd.DataFrame, not_applicable: Mapping[str, str], arm: str = "clean") -> pd.DataFrame:
    """Standard metrics over all images, a row a method; a method that does not apply says why.

    Returns
    -------
    DataFrame
        Metric, one column a method; the last row says on how many lesions, or why a method has no numbers.
    """
    own = metrics[(metrics.arm == arm) & (metrics.artery == "both")]
    columns = {"Metric": [*_heads(STANDARD), "Scored on"]}
    for method, name in METHOD_NAMES.items():
        values = own[own.method == method]
        if method in not_applicable:
            columns[name] = [*("–" for _ in STANDARD), not_applicable[method]]
        elif len(values):
            counts = f"{values.n_lesions.iloc[0]} lesions in {values.n_images.iloc[0]} images"
            columns[name] = [*(_text(values, arm, metric) for metric in STANDARD), counts]
    return pd.DataFrame(columns)


def comparison_table(differences: pd.DataFrame) -> pd.DataFrame:
    """Differences as text: Comparison, Metric, Difference."""
    rows = []
    for row in differences[differences.metric.isin(METRICS)].itertuples():
        name, digits = METRICS[str(row.metric)]
        rows.append((f"{_side(str(row.first))} minus {_side(str(row.second))}", name, interval(row, digits)))
    return pd.DataFrame(rows, columns=["Comparison", "Metric", "Difference"])


def agreement_text(agreement: pd.DataFrame) -> pd.DataFrame:
    """Agreement of the methods as text: Methods, Found by both, only the first, only the second, neither, Kappa, F1."""
    heads = {"both": "Found by both", "only_first": "Only the first", "only_second": "Only the second"}
    heads |= {"neither": "Neither", "kappa": "Kappa", "box_f1": "F1 of the boxes"}
    rows = []
    for (first, second), own in agreement.groupby(["first", "second"], sort=False):
        cells = {row.metric: interval(row, 2) for row in own.itertuples()}
        names = f"{METHOD_NAMES[str(first)]}, {METHOD_NAMES[str(second)]}"
        rows.append({"Methods": names} | {head: cells[name] for name, head in heads.items()})
    return pd.DataFrame(rows, columns=["Methods", *heads.values()])


def exclusion_table(counts: Mapping[str, int], excluded: pd.DataFrame) -> pd.DataFrame:
    """What of the cohort does not take part or was changed: Found, Number; a public set's own quirks first."""
    reasons = [reason if reason.startswith("kept") else f"left out: {reason}" for reason in excluded.reason]
    rows = [*counts.items(), *((f"box {reason}", count) for reason, count in zip(reasons, excluded.boxes, strict=True))]
    return pd.DataFrame(rows, columns=["Found", "Number"])


def _heads(names: tuple[str, ...]) -> list[str]:
    return [METRICS[name][0] for name in names]


def _side(name: str) -> str:
    arm, method = name.split(" ")
    return f"{METHOD_NAMES[method]} {ARM_NAMES[arm]}"


def _text(own: pd.DataFrame, arm: str, metric: str) -> str:
    rows = own[(own.arm == arm) & (own.metric == metric)]
    return interval(next(rows.itertuples()), METRICS[metric][1]) if len(rows) else "–"


def interval(row: object, digits: int) -> str:
    """A value with its interval as text, from a row with ``value, low, high``."""
    value, low, high = (getattr(row, name) for name in ("value", "low", "high"))
    if pd.isna(value):
        return "not defined"
    # Adding 0 turns a rounded -0 into 0.
    value, low, high = (round(float(number), digits) + 0.0 for number in (value, low, high))
    text = f"{value:.{digits}f}"
    return text if pd.isna(low) else f"{text} ({low:.{digits}f} to {high:.{digits}f})"
