"""Every published number beside this study's own, with a verdict that says what may be compared."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pandas as pd

from cag.settings import StudySettings
from cag.store import Store

CLAIMS = Path(__file__).with_name("paper_claims.csv")

_SIMULATED = "same definition, simulated patients"
_VIEW_OF_LEVEL = {
    "image:LCA LAO cranial": "image: LCA LAO cranial",
    "image:LCA RAO cranial": "image: LCA RAO cranial",
    "image:LCA LAO caudal": "image: LCA LAO caudal",
    "image:LCA RAO caudal": "image: LCA RAO caudal",
    "image:RCA": "image: RCA",
    "artery:LCA": "artery: LCA",
    "artery:RCA": "artery: RCA",
    "patient": "patient",
}
_FRAME_METRICS = {
    "mean_error_begin": "begin_error",
    "mean_error_end": "end_error",
    "acceptance_rate_le3": "acceptance_rate",
    "error_rate_ge10": "error_rate",
}

#: What the paper says in words, as pairs of its own numbers: first is better than second.
DIRECTIONS: tuple[tuple[str, dict[str, str], dict[str, str], bool], ...] = (
    *(
        (
            f"Redundancy training raises the AUC of {k} for the {artery}",
            {"source": "Table 3", "subset": f"image:{artery}", "condition": f"{k}, redundancy", "metric": "auc"},
            {"source": "Table 3", "subset": f"image:{artery}", "condition": f"{k}, no redundancy", "metric": "auc"},
            True,
        )
        for artery in ("LCA", "RCA")
        for k in ("2-CAT", "3-CAT")
    ),
    *(
        (
            f"Two categories give a higher accuracy than three for the {artery}, with redundancy training",
            {"source": "Table 3", "subset": f"image:{artery}", "condition": "2-CAT, redundancy", "metric": "accuracy"},
            {"source": "Table 3", "subset": f"image:{artery}", "condition": "3-CAT, redundancy", "metric": "accuracy"},
            True,
        )
        for artery in ("LCA", "RCA")
    ),
    *(
        (
            f"The FPN finds more lesions than the CAM in the {artery} ({metric})",
            {"source": "Table 4", "subset": artery, "condition": "FPN, IoU>0.5", "metric": metric},
            {"source": "Table 4", "subset": artery, "condition": "CAM, IoU>0.2", "metric": metric},
            True,
        )
        for artery in ("LCA", "RCA")
        for metric in ("global_sensitivity", "sens_s", "spec_s")
    ),
    *(
        (
            f"The FPN is nearer to the lesion than the CAM in the {artery}",
            {"source": "Table 4", "subset": artery, "condition": "FPN", "metric": "mse"},
            {"source": "Table 4", "subset": artery, "condition": "CAM", "metric": "mse"},
            False,
        )
        for artery in ("LCA", "RCA")
    ),
    (
        "The beginning of contrast is found more exactly than its end",
        {"source": "Results: frame selection", "metric": "mean_error_begin"},
        {"source": "Results: frame selection", "metric": "mean_error_end"},
        False,
    ),
)


class ScorecardSettings(StudySettings):
    """What notebook 08 is told: whose results stand beside the paper's."""


@cache
def claims() -> pd.DataFrame:
    """Every published number: ``source, subset, condition, metric, value, sd, n, unit, note``."""
    return pd.read_csv(CLAIMS)


def scorecard(store: Store) -> pd.DataFrame:
    """The published numbers with this run's values and verdicts.

    Returns
    -------
    DataFrame
        The columns of ``claims`` and ``own, own_low, own_high, verdict, comparable``.
        ``verdict``: ``within the interval``, ``outside the interval``, ``no interval`` or ``not compared``.
    """
    lookups = _lookups(store)
    rows = []
    for row in claims().fillna({"subset": "", "condition": ""}).to_dict("records"):
        claim = {str(name): value for name, value in row.items()}
        lookup = lookups.get(str(claim["source"]))
        own, why = lookup(claim) if lookup else (None, _not_ours(str(claim["source"])))
        rows.append(claim | _own(own) | {"verdict": _verdict(own, float(claim["value"])), "comparable": why})
    return pd.DataFrame(rows)


def directions(card: pd.DataFrame) -> pd.DataFrame:
    """What the paper says in words: whether its direction shows in this run too.

    Returns
    -------
    DataFrame
        ``statement, paper, own, reproduced``: differences first minus second; ``yes``, ``no`` or ``not measured``.
    """
    rows = []
    for statement, first, second, higher_is_better in DIRECTIONS:
        a, b = _find(card, first), _find(card, second)
        own = a["own"] - b["own"]
        better = own > 0 if higher_is_better else own < 0
        verdict = "not measured" if pd.isna(own) else "yes" if better else "no"
        rows.append((statement, a["value"] - b["value"], own, verdict))
    return pd.DataFrame(rows, columns=["statement", "paper", "own", "reproduced"])


def _find(card: pd.DataFrame, conditions: dict[str, str]) -> pd.Series:
    chosen = card
    for column, value in conditions.items():
        chosen = chosen[chosen[column] == value]
    return chosen.iloc[0]


Lookup = Callable[[dict[str, object]], tuple["pd.Series | None", str]]


def _lookups(store: Store) -> dict[str, Lookup]:
    """For each source of claims, how its counterpart is found in this run's tables."""
    tables = {
        name: pd.read_parquet(store.table(name)) if store.table(name).exists() else pd.DataFrame()
        for name in (
            "cohort_severity",
            "frame_selection_metrics",
            "classification_image_metrics",
            "classification_level_metrics",
            "localization_metrics",
        )
    }
    return {
        "Table 1": lambda claim: _count(tables["cohort_severity"], claim),
        "Results: frame selection": lambda claim: _frame(tables["frame_selection_metrics"], claim),
        "Table 3": lambda claim: _image(tables["classification_image_metrics"], claim),
        "Results: artery and patient level": lambda claim: _level(tables["classification_level_metrics"], claim),
        "Table 4": lambda claim: _localization(tables["localization_metrics"], claim),
    }


def _count(table: pd.DataFrame, claim: dict[str, object]) -> tuple[pd.Series | None, str]:
    why = "the cohort is drawn to these shares at its own size"
    if table.empty:
        return None, "not computed in this run"
    row = table[table["level"] == _VIEW_OF_LEVEL[str(claim["subset"])]].iloc[0]
    name = str(claim["condition"]).replace("%", " %")
    return pd.Series({"value": float(row[name]), "low": float("nan"), "high": float("nan")}), why


def _frame(table: pd.DataFrame, claim: dict[str, object]) -> tuple[pd.Series | None, str]:
    metric = _FRAME_METRICS[str(claim["metric"])]
    return _one(table, _SIMULATED, method="cnn_lstm", arm="as_published", metric=metric)


def _image(table: pd.DataFrame, claim: dict[str, object]) -> tuple[pd.Series | None, str]:
    system = _system(str(claim["condition"]))
    artery = str(claim["subset"]).split(":")[1]
    return _one(table, _SIMULATED, artery=artery, arm="as_published", metric=claim["metric"], **system)


def _level(table: pd.DataFrame, claim: dict[str, object]) -> tuple[pd.Series | None, str]:
    level, _, artery = str(claim["subset"]).partition(":")
    place = {"level": level, "artery": artery or "both", "how": "max", "threshold": "half", "arm": "as_published"}
    return _one(table, _SIMULATED, metric=claim["metric"], **place, **_system(str(claim["condition"])))


def _localization(table: pd.DataFrame, claim: dict[str, object]) -> tuple[pd.Series | None, str]:
    method = str(claim["condition"]).split(",")[0].lower()
    why = "simulated patients; distances scaled to 512 pixels"
    return _one(table, why, artery=claim["subset"], method=method, arm="as_published", metric=claim["metric"])


def _system(condition: str) -> dict[str, object]:
    return {"n_categories": int(condition[0]), "redundancy": "no redundancy" not in condition}


def _one(table: pd.DataFrame, why: str, **conditions: object) -> tuple[pd.Series | None, str]:
    chosen = table
    for column, value in conditions.items():
        if column not in chosen:
            return None, "not computed in this run"
        chosen = chosen[chosen[column] == value]
    if len(chosen) != 1 or pd.isna(chosen.iloc[0]["value"]):
        return None, "not computed in this run"
    return chosen.iloc[0], why


def _own(own: pd.Series | None) -> dict[str, float]:
    names = {"own": "value", "own_low": "low", "own_high": "high"}
    return {name: float("nan") if own is None else float(own[column]) for name, column in names.items()}


def _verdict(own: pd.Series | None, published: float) -> str:
    if own is None:
        return "not compared"
    if pd.isna(own["low"]):
        return "no interval"
    return "within the interval" if own["low"] <= published <= own["high"] else "outside the interval"


def _not_ours(source: str) -> str:
    reasons = {
        "Table 2": "the simulated patients are drawn to these characteristics; see the cohort chapter",
        "Discussion": "a number of others that the paper cites",
        "authors' per-fold FPN values": "folds of other patients; the fold means stand in Table 4",
    }
    return reasons.get(source, "no counterpart in this study")
