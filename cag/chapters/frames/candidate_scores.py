"""Numbers of the candidate frames, from their prediction table alone."""

from __future__ import annotations

import numpy as np
import pandas as pd
from jaxtyping import Float

from cag.chapters.frames.scores import BASELINES, row_estimates
from cag.metrics.intervals import Estimate
from cag.metrics.measured import Measured
from cag.metrics.tables import bootstrap_table, difference_table
from cag.metrics.weighted import ratio


def candidate_estimates(candidates: pd.DataFrame, *, resamples: int, seed: int) -> pd.DataFrame:
    """Share of candidate frames inside the true contrast interval, by arm, method and choice.

    Parameters
    ----------
    candidates : DataFrame
        The table ``frame_selection_candidates``; frames chosen in runs without contrast count as outside.
    """
    keys, rng = ["arm", "method", "chosen_by"], np.random.default_rng(seed)
    return bootstrap_table(candidates, {"share_inside": _share_inside}, n=resamples, rng=rng, by=keys)


def candidate_headline(estimates: pd.DataFrame, method: str = "cnn_lstm") -> dict[str, Estimate]:
    """Share inside of the network's candidates, chosen by probability and quality, in the clean arm."""
    wanted = (estimates.arm == "clean") & (estimates.method == method) & (estimates.chosen_by == "quality")
    return {"candidates_inside": row_estimates(estimates[wanted])[0]}


def candidates_against_baselines(
    candidates: pd.DataFrame, *, resamples: int, seed: int, method: str = "cnn_lstm"
) -> dict[str, Estimate | str]:
    """The network's share inside minus that of the best method without a network, on the same resampled patients.

    Both choose by quality, in the clean arm.

    Returns
    -------
    dict
        ``candidates_difference`` (Estimate), ``candidates_baseline`` (in words), ``candidates_verdict`` (a sentence).
    """
    chosen = candidates[(candidates.arm == "clean") & (candidates.chosen_by == "quality")]
    shares = chosen[chosen.method.isin(list(BASELINES))].groupby("method").inside.mean()
    best = str(shares.idxmax())
    sides = [_measured(chosen[chosen.method == name]) for name in (method, best)]
    table = difference_table(*sides, n=resamples, rng=np.random.default_rng(seed))
    difference = row_estimates(table)[0]
    return {
        "candidates_difference": difference,
        "candidates_baseline": BASELINES[best],
        "candidates_verdict": _verdict(difference),
    }


def _measured(rows: pd.DataFrame) -> Measured:
    def many(weights: Float[np.ndarray, "b n"]) -> dict[str, Float[np.ndarray, " b"]]:
        return {"share_inside": _share_inside(rows, weights)}

    return Measured(many, rows.patient_id.to_numpy(), lambda name: "no candidate")


def _share_inside(candidates: pd.DataFrame, weights: Float[np.ndarray, "b n"]) -> Float[np.ndarray, " b"]:
    return ratio(weights @ candidates.inside.to_numpy(dtype=float), weights.sum(axis=1))


def _verdict(difference: Estimate) -> str:
    """Whether the network's candidates lie inside at least as often, in a sentence for the book."""
    if difference.low >= 0:
        return "They lie inside at least as often, and the interval of the difference holds no value below zero."
    if difference.high < 0:
        return "They lie inside less often, and the interval of the difference leaves out zero."
    word = "at least as often" if difference.value >= 0 else "less often"
    return f"Here they lie inside {word}; but the interval of the difference holds values below and above zero."
