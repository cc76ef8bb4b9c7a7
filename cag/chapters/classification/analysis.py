"""What the trained systems are worth: paired differences, the optimism of the published rules, temperatures."""

from __future__ import annotations

from typing import Any, Literal, cast

import numpy as np
import pandas as pd

from cag.chapters.classification.levels import Level, level_scores
from cag.chapters.classification.tables import labeled_frames, leading, measured, outputs_of, systems
from cag.metrics.calibration import fit_temperature, with_temperature
from cag.metrics.delong import auc_covariance, delong_test
from cag.metrics.intervals import Estimate
from cag.metrics.measured import Measured, of_classification, of_scores
from cag.metrics.tables import difference_table, estimate, interval_table, strata
from cag.settings import SettingsError

#: ``categories``: most minus fewest categories; ``redundancy``: with minus without redundancy training.
Contrast = Literal["categories", "redundancy"]


def difference(first: Measured, second: Measured, bootstrap: int, seed: int, **constants: Any) -> pd.DataFrame:
    """First minus second on the same resampled patients, a row a metric, with constant columns."""
    table = difference_table(first, second, n=bootstrap, rng=np.random.default_rng(seed))
    return table.assign(**constants)


def system_differences(predictions: pd.DataFrame, what: Contrast, *, bootstrap: int, seed: int) -> pd.DataFrame:
    """Paired differences at image level, a row an artery, other factor and metric (clean arm).

    Raises
    ------
    SettingsError
        If the run trained nothing to compare with.
    """
    clean = labeled_frames(predictions).query("arm == 'clean'")
    tables = []
    for key, rows in strata(clean, ("artery", _other(what))):
        first, second = _contrasted(rows, what)
        tables.append(difference(measured(first), measured(second), bootstrap, seed, **key))
    return pd.concat(tables, ignore_index=True)


def pooled_difference(predictions: pd.DataFrame, what: Contrast, *, bootstrap: int, seed: int) -> dict[str, Estimate]:
    """The paired difference of ``system_differences`` over both arteries, other factor as in the leading system."""
    first, second = _contrasted(_like_the_leading(predictions, what), what)
    table = difference(measured(first), measured(second), bootstrap, seed)
    return {metric: estimate(table, metric=metric) for metric in table["metric"]}


def auc_tests(
    predictions: pd.DataFrame, reference: pd.DataFrame, what: Contrast, *, bootstrap: int, seed: int
) -> pd.DataFrame:
    """Difference in the area under the ROC curve at image, artery and patient level, tested twice.

    DeLong's variance for arteries and patients, Obuchowski's for frames, which are clustered in
    patients; beside them the paired bootstrap over patients. Other factor as in the leading system.

    Returns
    -------
    DataFrame
        ``level, artery, first, second`` (areas), ``value, low, high, p_value, n_groups`` (DeLong) and
        ``bootstrap_low, bootstrap_high, bootstrap_p``.
    """
    sides = _contrasted(_like_the_leading(predictions, what), what)
    rows = []
    for level in ("image", "artery", "patient"):
        tables = [scores_of(side, reference, level) for side in sides]
        by = () if level == "patient" else ("artery",)
        for (key, first), (_, second) in zip(strata(tables[0], by), strata(tables[1], by), strict=True):
            rows.append({"level": level, "artery": "both"} | key | _auc_test(first, second, bootstrap, seed))
    return pd.DataFrame(rows)


def readable_tests(tests: pd.DataFrame, first: str, second: str) -> pd.DataFrame:
    """The table of ``auc_tests`` as it is read: both areas, and difference, interval and p-value of either test."""
    shown = tests[["level", "artery"]].assign(patients=tests["n_groups"])
    shown[f"AUC, {first}"], shown[f"AUC, {second}"] = tests["first"], tests["second"]
    shown["difference"] = tests["value"]
    bootstrap = ("bootstrap_low", "bootstrap_high", "bootstrap_p")
    for name, (low, high, p) in {"DeLong": ("low", "high", "p_value"), "bootstrap": bootstrap}.items():
        bounds = zip(tests[low], tests[high], strict=True)
        shown[f"{name}: 95 % interval"] = ["–" if pd.isna(a) else f"{a:.2f} to {b:.2f}" for a, b in bounds]
        shown[f"{name}: p"] = ["–" if pd.isna(value) else f"{value:.3f}" for value in tests[p]]
    return shown


def scores_of(rows: pd.DataFrame, reference: pd.DataFrame, level: str) -> pd.DataFrame:
    """``patient_id, artery, target, score`` of any stenosis, in an order that both sides of a contrast share.

    Parameters
    ----------
    level : {'image', 'artery', 'patient'}
    """
    if level != "image":
        return level_scores(rows, reference, cast(Level, level))
    ordered = rows.sort_values(["run_id", "frame"], ignore_index=True)
    return ordered[["patient_id", "artery", "target"]].assign(score=outputs_of(ordered).score)


def optimism(predictions: pd.DataFrame, *, bootstrap: int, seed: int) -> pd.DataFrame:
    """What the published rules add to each number: theirs minus ``clean``, paired, with interval.

    ``part`` is ``epoch`` (the epoch best on the scored fold, scored cleanly), ``scoring`` (the clean epoch;
    P(redundant) counts as disease, a contrast frame called redundant is wrong) or ``both``. Without redundancy
    training both rules score alike, so that there is ``both`` alone.

    Returns
    -------
    DataFrame
        ``artery, n_categories, redundancy, part, metric, value, low, high, p_value``.
    """
    tables = []
    for key, rows in strata(labeled_frames(predictions), ("artery", "n_categories", "redundancy")):
        arms = {str(arm): group.reset_index(drop=True) for arm, group in rows.groupby("arm")}
        clean = of_classification(arms["clean"], "clean")
        parts = {"both": of_classification(arms["as_published"], "as_published")}
        if key["redundancy"]:
            epoch = of_classification(arms["as_published"], "clean")
            parts = {"epoch": epoch, "scoring": of_classification(arms["clean"], "as_published")} | parts
        tables += [difference(own, clean, bootstrap, seed, part=part, **key) for part, own in parts.items()]
    return pd.concat(tables, ignore_index=True)


def level_optimism(predictions: pd.DataFrame, reference: pd.DataFrame, *, bootstrap: int, seed: int) -> pd.DataFrame:
    """The area under the ROC curve of arteries and patients by either rules, and how far they are apart.

    Leading system, largest score. Both sides are resampled by the same patients.

    Returns
    -------
    DataFrame
        ``level, artery, metric`` (``as published``, ``clean``, ``difference``), ``value, low, high, p_value``.
    """
    tables = []
    rows = {arm: labeled_frames(leading(predictions, arm)) for arm in ("as_published", "clean")}
    arteries = [("artery", artery) for artery in sorted(rows["clean"]["artery"].unique())]
    for level, artery in (*arteries, ("patient", "both")):
        sides = {}
        for arm, own in rows.items():
            scores = level_scores(own, reference, cast(Level, level))
            sides[arm] = of_scores(scores if artery == "both" else scores[scores["artery"].eq(artery)].reset_index())
        parts = {
            arm.replace("_", " "): interval_table(side, n=bootstrap, rng=np.random.default_rng(seed))
            for arm, side in sides.items()
        }
        parts["difference"] = difference(sides["as_published"], sides["clean"], bootstrap, seed)
        for name, part in parts.items():
            tables.append(part[part["metric"].eq("auc")].assign(level=level, artery=artery, metric=name))
    return pd.concat(tables, ignore_index=True)


def tempered(predictions: pd.DataFrame) -> pd.DataFrame:
    """Frames of the clean arm with P(redundant) dropped and each network's logits divided by a ``temperature``.

    Every system and fold has one, fitted on the inner frames of that fold; its networks share it, since a single
    view has few inner patients. It is 1 in a fold without inner frames.
    """
    keys = ("n_categories", "redundancy", "fold")
    inner = labeled_frames(predictions, "inner").query("arm == 'clean'")
    fitted = {
        tuple(key.values()): fit_temperature(outputs_of(own).probabilities, own["target"].to_numpy(dtype=int))
        for key, own in strata(inner, keys)
    }
    tables = []
    for key, rows in strata(predictions.query("arm == 'clean' and not redundant"), keys):
        own = fitted.get(tuple(key.values()), 1.0)
        probabilities = with_temperature(outputs_of(rows).probabilities, own)
        columns = {f"p_{index}": probabilities[:, index] for index in range(probabilities.shape[1])}
        tables.append(rows.assign(**columns, p_redundant=0.0, temperature=own))
    return pd.concat(tables, ignore_index=True)


def _auc_test(first: pd.DataFrame, second: pd.DataFrame, bootstrap: int, seed: int) -> dict[str, float]:
    positive, groups = first["target"].to_numpy() > 0, first["patient_id"].to_numpy()
    scores = [side["score"].to_numpy(dtype=float) for side in (first, second)]
    areas, _ = auc_covariance(positive, np.stack(scores), groups)
    delong = delong_test(positive, scores[0], scores[1], groups)
    drawn = difference(of_scores(first), of_scores(second), bootstrap, seed).set_index("metric").loc["auc"]
    result = {"first": areas[0], "second": areas[1], "value": delong.value, "low": delong.low, "high": delong.high}
    result |= {"p_value": delong.p_value, "n_groups": delong.n_groups}
    return result | {"bootstrap_low": drawn["low"], "bootstrap_high": drawn["high"], "bootstrap_p": drawn["p_value"]}


def _like_the_leading(predictions: pd.DataFrame, what: Contrast) -> pd.DataFrame:
    clean = labeled_frames(predictions).query("arm == 'clean'")
    k, redundancy = systems(predictions)[0]
    return clean[clean[_other(what)].eq(redundancy if what == "categories" else k)]


def _other(what: Contrast) -> str:
    return "redundancy" if what == "categories" else "n_categories"


def _contrasted(rows: pd.DataFrame, what: Contrast) -> tuple[pd.DataFrame, pd.DataFrame]:
    """First and second side of the contrast, by frame."""
    column, setting = ("n_categories", "cut_points") if what == "categories" else ("redundancy", "redundancy")
    first, second = rows[column].max(), rows[column].min()
    if first == second:
        remedy = f"Give {setting} at least two values and run again"
        raise SettingsError("one system alone cannot be compared", field=setting, remedy=remedy)
    return rows[rows[column].eq(first)].reset_index(drop=True), rows[rows[column].eq(second)].reset_index(drop=True)
