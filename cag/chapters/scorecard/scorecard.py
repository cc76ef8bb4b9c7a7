"""Every published number beside this study's own, with a verdict that says what may be compared."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

import pandas as pd

from cag.chapters.scorecard.verdicts import judge
from cag.chapters.store import Store
from cag.metrics.intervals import Estimate
from cag.settings import StudySettings

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


class ScorecardSettings(StudySettings):
    """What notebook 08 is told: whose results stand beside the paper's."""


@cache
def claims() -> pd.DataFrame:
    """Every published number: ``source, subset, condition, metric, value, sd, n, unit, note``."""
    return pd.read_csv(CLAIMS)


def scorecard(store: Store, differences: Mapping[str, Estimate]) -> pd.DataFrame:
    """The published numbers with this run's values and verdicts.

    Parameters
    ----------
    differences : mapping of statement to Estimate
        What the paper says in words, measured in this run; see ``scorecard_directions.paired_directions``.

    Returns
    -------
    DataFrame
        The columns of ``claims`` and ``own, own_low, own_high, verdict, reason``; for ``verdict`` see
        ``scorecard_verdicts``. ``reason`` says what the verdict rests on, or why there is nothing to compare.
    """
    lookups = _lookups(store)
    rows = []
    for row in claims().fillna({"subset": "", "condition": ""}).to_dict("records"):
        claim = {str(name): value for name, value in row.items()}
        lookup = lookups.get(str(claim["source"]))
        own, why = lookup(claim) if lookup else (None, _not_ours(str(claim["source"])))
        rows.append(claim | _own(own) | {"reason": why})
    return judge(pd.DataFrame(rows), differences)


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


def _not_ours(source: str) -> str:
    reasons = {
        "Table 2": "the simulated patients are drawn to these characteristics; see the cohort chapter",
        "Discussion": "a number of others that the paper cites",
        "authors' per-fold FPN values": "folds of other patients; the fold means stand in Table 4",
    }
    return reasons.get(source, "no counterpart in this study")
