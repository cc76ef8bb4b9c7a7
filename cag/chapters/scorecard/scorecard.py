"""Every published number beside this study's own, with a verdict that says what may be compared."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pandas as pd

from cag.chapters.scorecard.verdicts import judge
from cag.chapters.store import Store
from cag.metrics.intervals import wilson
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


def scorecard(store: Store) -> pd.DataFrame:
    """The published numbers with this run's values (as-published arm) and verdicts.

    Returns
    -------
    DataFrame
        The columns of ``claims`` and ``own, own_low, own_high, untested, skilled, verdict, reason``; see
        ``verdicts.judge``. ``reason`` says what the verdict rests on, or why there is nothing to compare.
    """
    lookups, untested = _lookups(store), _untested(store)
    rows = []
    for row in claims().fillna({"subset": "", "condition": ""}).to_dict("records"):
        claim = {str(name): value for name, value in row.items()}
        source = str(claim["source"])
        lookup = lookups.get(source)
        own, why = lookup(claim) if lookup else (None, _not_ours(source))
        rows.append(claim | _own(own, str(claim["metric"])) | {"untested": untested.get(source, ""), "reason": why})
    card = pd.DataFrame(rows)
    return judge(card.assign(skilled=_skilled(card, store)))


#: Place in the paper -> the part of the bundle whose networks its counterpart comes from.
_TRAINED_BY = {
    "Results: frame selection": "frames",
    "Table 3": "classification",
    "Results: artery and patient level": "classification",
    "Table 4": "localization",
}


def _untested(store: Store) -> dict[str, str]:
    """Why a place in the paper is not tested by this run: its networks were not trained as published."""
    found = {}
    for source, part in _TRAINED_BY.items():
        record = store.root / "bundle" / part / "part.json"
        if not record.exists():
            found[source] = "how the networks of this run were trained is not on record"
        elif json.loads(record.read_text())["settings"]["trainable"] != "all":
            found[source] = "published with every layer trained; this run trains heads on a trunk that stays as it was"
    return found


def _skilled(card: pd.DataFrame, store: Store) -> pd.Series:
    """Whether this run does better than a caller that sees no image, row by row.

    Grading: the lower end of the AUC's interval is above one half. Frames: better than the constant interval.
    Boxes: better than the place prior under the same rule. False where that was not measured.
    """
    area = card[card["metric"].eq("auc")].set_index(["source", "subset", "condition"])["own_low"]
    keys = pd.MultiIndex.from_frame(card[["source", "subset", "condition"]])
    graded = pd.Series(area.reindex(keys).to_numpy() > 0.5, index=card.index)
    plain = _beside_plain(card, store)
    return graded.where(card["source"].isin(["Table 3", "Results: artery and patient level"]), plain)


def _beside_plain(card: pd.DataFrame, store: Store) -> pd.Series:
    frames, boxes = (_read(store, name) for name in ("frame_selection_metrics", "localization_metrics"))
    better = []
    for row in card.itertuples():
        if row.source == "Results: frame selection":
            plain, _ = _one(frames, "", method="prior", metric=_FRAME_METRICS[str(row.metric)])
        elif row.source == "Table 4":
            plain, _ = _one(boxes, "", artery=row.subset, method="prior", arm="as_published", metric=row.metric)
        else:
            plain = None
        less_is_better = "error" in str(row.metric) or row.metric == "mse"
        ahead = plain is not None and (
            row.own_high < plain["value"] if less_is_better else row.own_low > plain["value"]
        )
        better.append(bool(ahead))
    return pd.Series(better, index=card.index)


def _read(store: Store, name: str) -> pd.DataFrame:
    return pd.read_parquet(store.table(name)) if store.table(name).exists() else pd.DataFrame()


Lookup = Callable[[dict[str, object]], tuple["pd.Series | None", str]]


def _lookups(store: Store) -> dict[str, Lookup]:
    """For each source of claims, how its counterpart is found in this run's tables."""
    tables = {
        name: _read(store, name)
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


def _own(own: pd.Series | None, metric: str) -> dict[str, float]:
    """Value and interval; Wilson's where a share is all or none, of which no resample can differ."""
    if own is None:
        return dict.fromkeys(("own", "own_low", "own_high"), float("nan"))
    value, low, high = (float(own[name]) for name in ("value", "low", "high"))
    if low == high == value and value in (0.0, 1.0) and metric in ("sensitivity", "accuracy", "global_sensitivity"):
        patients = int(own.get("n_groups", 0))
        exact = wilson(round(value * patients), patients)
        low, high = exact.low, exact.high
    return {"own": value, "own_low": low, "own_high": high}


def _not_ours(source: str) -> str:
    reasons = {
        "Table 2": "the simulated patients are drawn to these characteristics; see the cohort chapter",
        "Discussion": "a number of others that the paper cites",
        "authors' per-fold FPN values": "folds of other patients; the fold means stand in Table 4",
    }
    return reasons.get(source, "no counterpart in this study")
