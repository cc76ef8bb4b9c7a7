"""What may be said of each published number: reproduced in size, in direction, not, or not comparable and why."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd

#: Verdicts from the strongest to the weakest.
VERDICTS = ("in size", "in direction", "not reproduced", "not comparable")

#: What a measure shows without any skill, where it has such a value.
NO_SKILL = {"auc": 0.5, "kappa": 0.0}

#: An interval of a share wider than this holds so much that a number inside it says little.
WIDE = 0.3

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


def judge(card: pd.DataFrame) -> pd.DataFrame:
    """Add a ``verdict`` to each published number.

    ``in size``: it lies inside this run's 95 % interval. ``in direction``: it does not, but every
    comparison that the paper draws with it goes the same way here; where the paper draws none, both
    numbers are on the same side of what no skill would give, with the whole interval. ``not
    reproduced``: neither. ``not comparable``: this run has no number or no interval beside it.

    Parameters
    ----------
    card : DataFrame
        ``source, subset, condition, metric, value, own, own_low, own_high, reason``.

    Returns
    -------
    DataFrame
        With ``verdict``, and what it rests on in ``reason``.
    """
    ways = _ways(card)
    judged = [_judge_row(card.iloc[place], ways.get(place, [])) for place in range(len(card))]
    verdicts, reasons = zip(*judged, strict=True)
    return card.assign(verdict=verdicts, reason=reasons)


def directions(card: pd.DataFrame) -> pd.DataFrame:
    """What the paper says in words: whether its direction shows in this run too.

    Returns
    -------
    DataFrame
        ``statement, paper, own, reproduced``: differences first minus second; ``yes``, ``no`` or ``not measured``.
    """
    rows = [
        (statement, _number(card, a, "value") - _number(card, b, "value"), own, verdict)
        for statement, a, b, own, verdict in _compared(card)
    ]
    return pd.DataFrame(rows, columns=["statement", "paper", "own", "reproduced"])


def summary(card: pd.DataFrame) -> pd.DataFrame:
    """How many numbers of each source have which verdict; one column a verdict, and their sum."""
    counts = pd.crosstab(card["source"], card["verdict"]).reindex(columns=list(VERDICTS), fill_value=0)
    counts = counts.reindex(card["source"].unique())
    counts["all"] = counts.sum(axis=1)
    counts.loc["All"] = counts.sum()
    return counts.rename_axis(None, axis="columns").rename_axis("source").reset_index()


def _compared(card: pd.DataFrame) -> Iterator[tuple[str, int, int, float, str]]:
    """Each statement with its two rows, the difference in this run, and whether it has the paper's direction."""
    for statement, first, second, higher_is_better in DIRECTIONS:
        a, b = _find(card, first), _find(card, second)
        own = _number(card, a, "own") - _number(card, b, "own")
        better = own > 0 if higher_is_better else own < 0
        yield statement, a, b, own, "not measured" if np.isnan(own) else "yes" if better else "no"


def _ways(card: pd.DataFrame) -> dict[int, list[str]]:
    """Of each row, how the comparisons it takes part in came out."""
    found: dict[int, list[str]] = {}
    for _, a, b, _, verdict in _compared(card):
        for row in (a, b):
            found.setdefault(row, []).append(verdict)
    return found


def _judge_row(row: pd.Series, ways: list[str]) -> tuple[str, str]:
    if pd.isna(row["own_low"]) or pd.isna(row["own_high"]):
        return "not comparable", row["reason"]
    if row["own_low"] <= row["value"] <= row["own_high"]:
        wide = row["own_high"] - row["own_low"] > WIDE and row["value"] <= 1
        return "in size", f"{row['reason']}; the interval is wide and says little" if wide else row["reason"]
    if ways:
        same = all(way == "yes" for way in ways)
        told = "the paper's comparisons with it go the same way" if same else "a comparison with it goes another way"
        return "in direction" if same else "not reproduced", f"{row['reason']}; {told}"
    none = NO_SKILL.get(str(row["metric"]))
    if none is not None and (row["value"] > none) == (row["own_low"] > none):
        return "in direction", f"{row['reason']}; both better than no skill"
    return "not reproduced", row["reason"]


def _number(card: pd.DataFrame, place: int, column: str) -> float:
    return float(card[column].to_numpy()[place])


def _find(card: pd.DataFrame, conditions: Mapping[str, str]) -> int:
    """Place of the one row that meets the conditions."""
    meets = np.logical_and.reduce([card[column].eq(value).to_numpy() for column, value in conditions.items()])
    return int(np.flatnonzero(meets)[0])
