"""What a cell stores of every epoch, and which epoch each arm picks."""

from __future__ import annotations

import numpy as np
import pandas as pd
from torch import Tensor

from cag.anatomy import severity_category
from cag.chapters.classification.settings import CellSettings

ARMS = ("clean", "as_published")


def targets_of(samples: pd.DataFrame, cut_points: tuple[float, ...]) -> pd.Series:
    """Category of each frame; redundancy frames are the class after the last category."""
    categories = severity_category(samples["percent_stenosis"].to_numpy(), cut_points)
    return pd.Series(np.where(samples["redundant"], len(cut_points) + 1, categories), index=samples.index)


def epoch_rows(epoch: int, scored: pd.DataFrame, probabilities: Tensor, cell: CellSettings) -> pd.DataFrame:
    """Predictions of one epoch, a row a frame.

    Parameters
    ----------
    scored : DataFrame
        Frames with their ``part`` and ``target``.
    probabilities : Tensor [n, k or k + 1]
        Softmax outputs; the last of k + 1 is the redundancy class.
    """
    k = cell.n_categories
    table = scored.assign(epoch=epoch, fold=cell.fold, n_categories=k, redundancy=cell.redundancy)
    for category in range(k):
        table[f"p_{category}"] = probabilities[:, category].double().numpy()
    table["p_redundant"] = probabilities[:, k].double().numpy() if cell.redundancy else 0.0
    return table


def log_likelihood(predictions: pd.DataFrame) -> float:
    """Mean log-probability of the true category: the score that picks an epoch, in either arm."""
    probabilities = predictions.filter(regex=r"^p_\d+$").to_numpy()
    chosen = probabilities[np.arange(len(predictions)), predictions["target"].to_numpy()]
    return float(np.log(np.clip(chosen, 1e-7, 1)).mean())


def select_epochs(predictions: pd.DataFrame) -> pd.DataFrame:
    """Predictions of the epoch each arm picks.

    ``clean`` takes the epoch best on the inner patients and keeps both parts (thresholds and
    temperatures are chosen on the inner one); ``as_published`` takes the epoch best on the
    outer fold it is then scored on.
    """
    tables = []
    labeled = predictions[~predictions["redundant"]]
    for arm, part in zip(ARMS, ("inner", "outer"), strict=True):
        scores = labeled[labeled["part"] == part].groupby("epoch")[list(predictions)].apply(log_likelihood)
        best = scores.idxmax() if len(scores) else predictions["epoch"].max()
        tables.append(predictions[predictions["epoch"] == best].assign(arm=arm))
    chosen = pd.concat(tables, ignore_index=True)
    return chosen[(chosen["part"] == "outer") | (chosen["arm"] == "clean")].reset_index(drop=True)
